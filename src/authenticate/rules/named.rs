//! Callers by their names, for whoever asks what somebody may do without being them.
//!
//! Invariant: a name leads to one identity, since no two share a name; what the identity then may do is for the rules to say, like with any
//! that was proven.

use std::sync::Arc;

use super::{Identity, Matcher, Rules};
use crate::authenticate::caller::{Caller, Right};
use crate::authenticate::certificate::PeerCertificate;
use crate::names::TenantId;

/// A caller, and the rules about them.
#[derive(Debug)]
pub struct Known {
    /// The caller, with the name that presignd calls them by.
    pub caller: Caller,
    /// The places of the rules that match, in order.
    pub rules: Vec<usize>,
}

impl Rules {
    /// The caller of this name: one that a rule gives, or that presignd makes up. `None`: nobody can have it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Known> {
        let mut rules = self.0.iter();
        let given = rules.find(|rule| rule.name.as_deref() == Some(name));
        let identity = match given {
            Some(rule) => rule.matcher.identity()?,
            None => Identity::read(name)?,
        };
        let rules = self.0.iter().enumerate();
        let matching = rules.filter(|(_, rule)| rule.matcher.takes(&identity));
        Some(Known {
            rules: matching.map(|(place, _)| place).collect(),
            caller: self.caller(&identity, None),
        })
    }

    /// Whether the rule in this place gives whoever it matches the right for the tenant.
    #[must_use]
    pub fn gives(&self, place: usize, right: Right, tenant: &TenantId) -> bool {
        self.0.get(place).is_some_and(|rule| {
            let mut tenants = rule.allowance.tenants.iter();
            rule.allowance.may.hold(right) && tenants.any(|pattern| pattern.takes(tenant.as_str()))
        })
    }
}

impl Matcher {
    /// The one identity that it is about, if it is about one.
    fn identity(&self) -> Option<Identity> {
        Some(match self {
            Self::Anyone => Identity::Anyone,
            Self::Jwt { source, subject } => Identity::Jwt {
                source: Arc::clone(source),
                subject: subject.exact()?.to_owned(),
            },
            Self::ApiKey(name) => Identity::ApiKey(Arc::clone(name)),
            Self::Spiffe(id) => certificate(id.exact(), None, ""),
            Self::Dns(name) => certificate(None, Some(name), ""),
            Self::Subject(name) => certificate(None, None, name),
        })
    }
}

impl Identity {
    /// Whoever presignd gives this name.
    fn read(name: &str) -> Option<Self> {
        if name == "anyone" {
            return Some(Self::Anyone);
        }
        if name.starts_with("spiffe://") {
            return Some(certificate(Some(name), None, ""));
        }
        let (kind, rest) = name.split_once('.')?;
        match kind {
            "jwt" => {
                let (source, subject) = rest.split_once('.')?;
                Some(Self::Jwt {
                    source: source.into(),
                    subject: subject.to_owned(),
                })
            }
            "key" => Some(Self::ApiKey(rest.into())),
            "dns" => Some(certificate(None, Some(rest), "")),
            "subject" => Some(certificate(None, None, rest)),
            _ => None,
        }
    }
}

fn certificate(spiffe_id: Option<&str>, dns: Option<&str>, subject: &str) -> Identity {
    Identity::Certificate(PeerCertificate::naming(spiffe_id, dns, subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::pattern::Pattern;
    use crate::authenticate::rules::tests::rule;

    fn jwt(subject: Pattern) -> Matcher {
        Matcher::Jwt {
            source: "k8s".into(),
            subject,
        }
    }

    #[test]
    fn a_name_leads_to_whoever_has_it() {
        let rules: Rules = [
            rule(Matcher::ApiKey("media".into()), "acme", Some("media-api")),
            rule(jwt(Pattern::starting("system:")), "acme", None),
            rule(Matcher::Anyone, "globex", None),
            rule(jwt(Pattern::exactly("system:ann")), "acme", Some("ann")),
            rule(
                Matcher::Spiffe(Pattern::starting("spiffe://x/")),
                "acme",
                None,
            ),
            rule(Matcher::Dns("api.example".into()), "acme", None),
            rule(Matcher::Subject("CN=a".into()), "acme", None),
        ]
        .into_iter()
        .collect();
        for (name, known_as, places) in [
            ("media-api", "media-api", &[0, 2][..]),
            ("key.media", "media-api", &[0, 2]),
            ("key.other", "key.other", &[2]),
            ("jwt.k8s.system:bob.b", "jwt.k8s.system:bob.b", &[1, 2]),
            ("ann", "ann", &[1, 2, 3]),
            ("jwt.k8s.system:ann", "ann", &[1, 2, 3]),
            ("jwt.other.system:ann", "jwt.other.system:ann", &[2]),
            ("anyone", "anyone", &[2]),
            ("spiffe://x/y", "spiffe://x/y", &[2, 4]),
            ("dns.api.example", "dns.api.example", &[2, 5]),
            ("subject.CN=a", "subject.CN=a", &[2, 6]),
        ] {
            let known = rules.named(name).unwrap();
            assert_eq!(known.caller.name(), known_as, "{name}");
            assert_eq!(known.rules, places, "{name}");
        }
        for nobody in ["", "bob", "unknown", "jwt.k8s", "media"] {
            assert!(rules.named(nobody).is_none(), "{nobody}");
        }
        let (acme, globex) = ["acme", "globex"]
            .map(|id| TenantId::parse(id).unwrap())
            .into();
        assert!(rules.gives(0, Right::Sign, &acme) && !rules.gives(0, Right::Sign, &globex));
        assert!(!rules.gives(0, Right::Explain, &acme) && !rules.gives(9, Right::Sign, &acme));
    }
}
