//! Whether the list of callers fits to what else the file says: its sources, its tenants, and what is prepared and never used.

use std::collections::HashSet;

use super::{CallerRule, Match, NamePattern};
use crate::config::mistake::{Located, quoted};
use crate::config::reader::Reader;
use crate::config::suggestion::nearest;
use crate::config::{Settings, Tenant};

/// Whether the list fits to what else the file says.
pub(in crate::config) fn check<T>(reader: &mut Reader<'_>, settings: &Settings<T>) -> Option<()> {
    let mut fits = Some(());
    let tenants: Vec<&str> = settings.tenants.keys().map(String::as_str).collect();
    for rule in &settings.callers {
        let matches = &rule.value.matches;
        if let Err(why) = source_is_there(&matches.value, settings) {
            reader.mistake_in(matches, why);
            fits = None;
        }
        for pattern in &rule.value.tenants {
            let text = &pattern.value.text;
            // Most are whole names, and there may be many of both.
            let is_taken = if pattern.value.prefix {
                tenants.iter().any(|tenant| pattern.value.takes(tenant))
            } else {
                settings.tenants.contains_key(text)
            };
            if is_taken {
                continue;
            }
            if pattern.value.prefix {
                reader.warn_in(
                    pattern,
                    format!("no tenant's name begins with {}", quoted(text)),
                );
                continue;
            }
            let meant = nearest(text, &tenants)
                .map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
            reader.mistake_in(
                pattern,
                format!("there is no tenant {}{meant}", quoted(text)),
            );
            fits = None;
        }
    }
    fits?;
    warn_of_anyone(reader, settings);
    warn_of_unused(reader, settings);
    fits
}

fn source_is_there<T>(matches: &Match, settings: &Settings<T>) -> Result<(), String> {
    let authentication = &settings.authentication;
    let (kind, name, known): (_, _, Vec<&str>) = match matches {
        Match::Jwt { issuer, .. } => (
            "jwt",
            issuer,
            authentication.jwt.keys().map(String::as_str).collect(),
        ),
        Match::ApiKey(name) => (
            "api_keys",
            name,
            authentication.api_keys.keys().map(String::as_str).collect(),
        ),
        Match::Anyone => return Ok(()),
        Match::Spiffe(_) | Match::Dns(_) | Match::Subject(_) => {
            let tls = settings.server.tls.as_ref();
            return match tls.and_then(|tls| tls.client_ca.as_ref()) {
                Some(_) => Ok(()),
                None => Err(
                    "nobody has a client certificate that is believed: name its CA in `server.tls.client_ca`".to_owned(),
                ),
            };
        }
    };
    if known.contains(&name.as_str()) {
        return Ok(());
    }
    let mut issuers = authentication.jwt.iter();
    if let Some((meant, _)) = issuers.find(|(_, known)| known.value.issuer == *name) {
        return Err(format!(
            "issuers are called by their names in `authentication.jwt`: write `issuer: {meant}`"
        ));
    }
    let meant = nearest(name, &known)
        .map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
    Err(format!(
        "{} is not in `authentication.{kind}`{meant}",
        quoted(name)
    ))
}

fn warn_of_anyone<T>(reader: &mut Reader<'_>, settings: &Settings<T>) {
    let mut rules = settings.callers.iter();
    if settings.callers.len() > 1
        && let Some(rule) = rules.find(|rule| rule.value.matches.value == Match::Anyone)
    {
        reader.warn_in(
            &rule.value.matches,
            "whoever can connect may do this without a credential, and so may everybody else on the list",
        );
    }
}

/// What the file prepares and nobody can use.
fn warn_of_unused<T>(reader: &mut Reader<'_>, settings: &Settings<T>) {
    let matches = || {
        settings
            .callers
            .iter()
            .map(|rule| &rule.value.matches.value)
    };
    for (name, issuer) in &settings.authentication.jwt {
        if !matches().any(|m| matches!(m, Match::Jwt { issuer, .. } if issuer == name)) {
            reader.warn_in(issuer, "no entry of `callers` is about this issuer's tokens: they are accepted and allow nothing");
        }
    }
    for (name, holder) in &settings.authentication.api_keys {
        if !matches().any(|m| matches!(m, Match::ApiKey(own) if own == name)) {
            reader.warn_in(
                holder,
                "no entry of `callers` is about this API key: it is accepted and allows nothing",
            );
        }
    }
}

/// The tenants that somebody may ask for.
pub(in crate::config) struct Asked<'c> {
    whole: HashSet<&'c str>,
    beginnings: Vec<&'c NamePattern>,
}

impl<'c> Asked<'c> {
    /// Those that these callers may ask for.
    pub(in crate::config) fn by(callers: &'c [Located<CallerRule>]) -> Self {
        let patterns = callers.iter().flat_map(|rule| &rule.value.tenants);
        let (beginnings, whole): (Vec<_>, Vec<_>) = patterns
            .map(|pattern| &pattern.value)
            .partition(|pattern| pattern.prefix);
        Self {
            whole: whole.iter().map(|pattern| pattern.text.as_str()).collect(),
            beginnings,
        }
    }

    /// Warns of a tenant that nobody may ask for.
    pub(in crate::config) fn check(
        &self,
        reader: &mut Reader<'_>,
        id: &str,
        tenant: &Located<Tenant>,
    ) {
        let mut beginnings = self.beginnings.iter();
        if !self.whole.contains(id) && !beginnings.any(|pattern| pattern.takes(id)) {
            reader.warn_in(
                tenant,
                "no entry of `callers` names this tenant, so nobody may ask for it",
            );
        }
    }
}
