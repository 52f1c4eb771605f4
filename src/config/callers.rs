//! `callers`: who may ask, for which tenants, and for what.
//!
//! Invariant: nobody is let in by leaving something out. The list has to be there, whoever has no credential is let in by `anyone` alone, and
//! everybody else's tenants are named. A name belongs to one caller, and a caller has one name at most.

mod fit;

use std::collections::HashMap;

pub(super) use self::fit::{Asked, check};
use super::mistake::{Located, quoted};
use super::reader::Reader;
use super::suggestion::alternatives;
use super::tree::{Content, Node};

/// One entry of the list.
#[derive(Debug, Clone)]
pub struct CallerRule {
    /// Whom it is about.
    pub matches: Located<Match>,
    /// For which tenants they may ask; at least one.
    pub tenants: Vec<Located<NamePattern>>,
    /// For what; at least one.
    pub may: Vec<Right>,
    /// What they are called in records and sessions.
    pub name: Option<Located<String>>,
}

/// Whom an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Match {
    /// Whoever can connect.
    Anyone,
    /// Callers named by tokens of an issuer.
    Jwt {
        /// Its name in `authentication.jwt`.
        issuer: String,
        /// What its tokens call them.
        subject: NamePattern,
    },
    /// The holder of an API key, by their name in `authentication.api_keys`.
    ApiKey(String),
    /// SPIFFE IDs of client certificates.
    Spiffe(NamePattern),
    /// A DNS name of client certificates, in lower case.
    Dns(String),
    /// The subject of client certificates, as RFC 4514 writes it.
    Subject(String),
}

/// A name, or, where it is written with a `*` at its end, every name that begins so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePattern {
    /// The name, or the beginning.
    pub text: String,
    /// Whether it is a beginning.
    pub prefix: bool,
}

/// What a caller may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// URLs.
    Sign,
    /// Why there is a URL, or none.
    Explain,
    /// How much was used.
    Usage,
    /// What steers presignd while it runs.
    Operate,
}

impl Right {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Explain => "explain",
            Self::Usage => "usage",
            Self::Operate => "operate",
        }
    }
}

impl Match {
    /// Whether it is about one caller alone.
    fn is_exact(&self) -> bool {
        match self {
            Self::Anyone => false,
            Self::Jwt { subject, .. } => !subject.prefix,
            Self::Spiffe(id) => !id.prefix,
            Self::ApiKey(_) | Self::Dns(_) | Self::Subject(_) => true,
        }
    }
}

impl std::fmt::Display for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anyone => write!(f, "anyone"),
            Self::Jwt { issuer, subject } => write!(f, "{subject} by a token of {issuer}"),
            Self::ApiKey(name) => write!(f, "the holder of the API key {name}"),
            Self::Spiffe(id) => write!(f, "{id} by a client certificate"),
            Self::Dns(name) => write!(f, "the DNS name {name} by a client certificate"),
            Self::Subject(name) => write!(f, "the subject {name} by a client certificate"),
        }
    }
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (start, prefix) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        if text.is_empty() {
            Err(
                "is empty: write a name, or the beginning of names with a `*` at its end"
                    .to_owned(),
            )
        } else if start.contains('*') {
            Err(format!("{} has a `*` that is not at its end", quoted(text)))
        } else if start.len() > 1024 || start.chars().any(char::is_control) {
            Err(format!(
                "{} is no name: it is too long, or has control characters",
                quoted(text)
            ))
        } else {
            Ok(Self {
                text: start.to_owned(),
                prefix,
            })
        }
    }

    fn takes(&self, name: &str) -> bool {
        if self.prefix {
            name.starts_with(&self.text)
        } else {
            name == self.text
        }
    }
}

/// What may stand in `match`.
const KINDS: [&str; 5] = ["jwt", "api_key", "spiffe", "dns", "subject"];

const RIGHTS: [(&str, Right); 4] = [
    ("sign", Right::Sign),
    ("explain", Right::Explain),
    ("usage", Right::Usage),
    ("operate", Right::Operate),
];

/// What to write where there is no list.
pub(super) const MISSING: &str = "`callers` is required and missing: list who may ask and for which tenants, or write \
     `callers: [{ match: anyone }]` to let in whoever can connect";

/// The same for the tenants of an entry.
const NO_TENANTS: &str = "`tenants` is required and missing: name those that the caller may ask for, or write `tenants: [\"*\"]` for all";

pub(super) fn callers(
    reader: &mut Reader<'_>,
    node: &Node<'_>,
) -> Option<Vec<Located<CallerRule>>> {
    let rules = reader.list(node, rule)?;
    if rules.is_empty() {
        reader.mistake(
            node.at,
            "the list is empty, so nobody may ask: add who may, or `{ match: anyone }` for whoever can connect",
        );
        return None;
    }
    names_are_apart(reader, &rules)?;
    Some(rules)
}

fn rule(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<CallerRule>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let matches = section.required("match", |reader, node| {
        let matches = matches(reader, node)?;
        Some(reader.locate(node.at, matches))
    });
    let anyone = matches
        .as_ref()
        .is_some_and(|matches| matches.value == Match::Anyone);
    let tenants = if anyone {
        section.optional("tenants", tenants)
    } else {
        section
            .required_or("tenants", NO_TENANTS, tenants)
            .map(Some)
    };
    let may = section.or("may", vec![Right::Sign], rights);
    let name = section.optional("name", |reader, node| {
        let name = reader.parsed(node, name)?;
        Some(reader.locate(node.at, name))
    });
    section.finish();

    let (matches, name) = (matches?, name?);
    if let Some(name) = &name
        && !matches.value.is_exact()
    {
        let message = "one name is for one caller, and `match` takes many, who are told apart by names of their own: remove `name`";
        reader.mistake_in(name, message);
        return None;
    }
    let everybody = NamePattern {
        text: String::new(),
        prefix: true,
    };
    let rule = CallerRule {
        tenants: tenants?.unwrap_or_else(|| vec![reader.locate(at, everybody)]),
        matches,
        may: may?,
        name,
    };
    Some(reader.locate(at, rule))
}

fn matches(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Match> {
    if let Content::Scalar { .. } = node.content {
        return reader
            .choice(node, &[("anyone", ())])
            .map(|()| Match::Anyone);
    }
    let mut section = reader.section(node)?;
    let at = section.at();
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| section.has(kind)).collect();
    let jwt = section.optional("jwt", jwt);
    let api_key = section.optional("api_key", |r, n| r.parsed(n, exact));
    let spiffe = section.optional("spiffe", |r, n| r.parsed(n, spiffe));
    let dns = section.optional("dns", |r, n| r.parsed(n, dns));
    let subject = section.optional("subject", |r, n| r.parsed(n, exact));
    section.finish();
    if given.len() > 1 {
        let all = alternatives(&given).replace(" or ", " and ");
        reader.mistake(
            at,
            format!("holds {all}: an entry is about one of them, so make it several"),
        );
        return None;
    }
    let (jwt, api_key, spiffe) = (jwt?, api_key?, spiffe?);
    let (dns, subject) = (dns?, subject?);
    let found = jwt
        .or(api_key.map(Match::ApiKey))
        .or(spiffe.map(Match::Spiffe))
        .or(dns.map(Match::Dns))
        .or(subject.map(Match::Subject));
    if found.is_none() {
        let message = format!(
            "names nobody: add {}, or write `match: anyone`",
            alternatives(&KINDS)
        );
        reader.mistake(at, message);
    }
    found
}

fn jwt(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Match> {
    let mut section = reader.section(node)?;
    let issuer = section.required("issuer", |r, n| r.parsed(n, exact));
    let subject = section.required("subject", |r, n| r.parsed(n, NamePattern::parse));
    section.finish();
    Some(Match::Jwt {
        issuer: issuer?,
        subject: subject?,
    })
}

/// One name, where a beginning would let in more than its reader sees.
fn exact(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("is empty: write a name".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A SPIFFE ID or all below one, of one trust domain: <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>.
fn spiffe(text: &str) -> Result<NamePattern, String> {
    let pattern = NamePattern::parse(text)?;
    let form = "write it as `spiffe://trust-domain/path` or `spiffe://trust-domain/path/*`";
    let Some((domain, path)) = pattern
        .text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Err(format!("{} is no SPIFFE ID: {form}", quoted(text)));
    };
    let domain_is_good = !domain.is_empty()
        && domain
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    let ends_well = pattern.text.ends_with('/') == pattern.prefix;
    if domain_is_good && ends_well && !path.contains("//") {
        Ok(pattern)
    } else {
        Err(format!(
            "{} is no SPIFFE ID, or ends within a part of one: {form}",
            quoted(text)
        ))
    }
}

fn dns(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let name = text.strip_prefix("*.").unwrap_or(text);
    if (1..=253).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "{} is no DNS name, such as `api.example.com`",
            quoted(text)
        ))
    }
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !(1..=63).contains(&text.len()) || !text.bytes().all(allowed) {
        Err(format!(
            "{} is not 1 to 63 lower-case letters, digits, `_` or `-`",
            quoted(text)
        ))
    } else if matches!(text, "anyone" | "unknown") {
        Err(format!(
            "{} is the name of those who have none: take another",
            quoted(text)
        ))
    } else {
        Ok(text.to_owned())
    }
}

fn tenants(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Located<NamePattern>>> {
    let tenants = reader.distinct(node, |text| {
        let pattern = NamePattern::parse(text)?;
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if pattern.text.bytes().all(allowed) {
            Ok(pattern)
        } else {
            Err(format!(
                "{} is no tenant's name, nor the beginning of one",
                quoted(text)
            ))
        }
    })?;
    if tenants.is_empty() {
        reader.mistake(
            node.at,
            "the list is empty: name at least one, or write `[\"*\"]` for all",
        );
        return None;
    }
    Some(tenants)
}

fn rights(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Vec<Right>> {
    let rights = reader.list(node, |reader, node| reader.choice(node, &RIGHTS))?;
    if rights.is_empty() {
        reader.mistake(node.at, "the list is empty: name at least one");
        return None;
    }
    Some(rights)
}

/// No two callers of one name, and no two names of one caller.
fn names_are_apart(reader: &mut Reader<'_>, rules: &[Located<CallerRule>]) -> Option<()> {
    let mut by_name: HashMap<&str, &Located<Match>> = HashMap::new();
    let mut by_match: HashMap<&Match, &Located<String>> = HashMap::new();
    let mut apart = Some(());
    for rule in rules {
        let Some(name) = &rule.value.name else {
            continue;
        };
        let matches = &rule.value.matches;
        let namesake = by_name.entry(&name.value).or_insert(matches);
        if namesake.value != matches.value {
            let line = namesake.at.line;
            let message = format!(
                "{} is the name of the caller on line {line} already: rename one",
                quoted(&name.value)
            );
            reader.mistake_in(name, message);
            apart = None;
        }
        let other = by_match.entry(&matches.value).or_insert(name);
        if other.value != name.value {
            let message = format!(
                "this caller is named {} on line {} already: give one name, or the same twice",
                quoted(&other.value),
                other.at.line
            );
            reader.mistake_in(name, message);
            apart = None;
        }
    }
    apart
}
