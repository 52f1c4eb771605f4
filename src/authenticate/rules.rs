//! The operator's list of callers: who somebody is to presignd, and what they may do.
//!
//! Every rule that matches a proven identity adds what it allows; the name comes from the identity, or from the first rule that matches
//! and gives one. Invariant: two identities never share a name. What presignd makes up begins with its kind and a dot or a colon, which a
//! name of the operator's does not hold, and a source of tokens and an API key have names without a dot.

mod named;

use std::sync::Arc;

pub use self::named::Known;
use super::caller::{Allowance, Caller};
use super::certificate::PeerCertificate;
use super::pattern::Pattern;
use crate::names::TenantId;

/// Who somebody proved to be.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Whoever can connect.
    Anyone,
    /// The subject of a token.
    Jwt {
        /// The name of the issuer in the configuration, without a dot.
        source: Arc<str>,
        /// Who it is to the issuer.
        subject: String,
    },
    /// The holder of an API key, by its name, which has no dot.
    ApiKey(Arc<str>),
    /// The holder of a client certificate.
    Certificate(PeerCertificate),
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// Everybody, also those who prove to be somebody.
    Anyone,
    /// Subjects of tokens.
    Jwt {
        /// The name of the issuer in the configuration.
        source: Arc<str>,
        /// Who they are to the issuer.
        subject: Pattern,
    },
    /// The holder of an API key, by its name.
    ApiKey(Arc<str>),
    /// SPIFFE IDs of client certificates.
    Spiffe(Pattern),
    /// A DNS name of client certificates, in lower case.
    Dns(Box<str>),
    /// The subject of client certificates, as RFC 4514 writes it.
    Subject(Box<str>),
}

/// One entry of the list.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whom it is about.
    pub matcher: Matcher,
    /// What they may do.
    pub allowance: Allowance,
    /// What they are called, if the rule is about one identity.
    pub name: Option<Box<str>>,
}

/// The list.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Whether whoever can connect is a caller.
    #[must_use]
    pub fn know_anyone(&self) -> bool {
        let mut rules = self.0.iter();
        rules.any(|rule| rule.matcher == Matcher::Anyone)
    }

    /// Whether client certificates are looked at.
    #[must_use]
    pub fn know_certificates(&self) -> bool {
        self.0.iter().any(|rule| {
            matches!(
                rule.matcher,
                Matcher::Spiffe(_) | Matcher::Dns(_) | Matcher::Subject(_)
            )
        })
    }

    /// The caller that somebody is. Without a rule that matches, they are known, and may do nothing.
    ///
    /// `bound` are the tenants that their credential names, if it is to name any.
    pub(super) fn caller(&self, identity: &Identity, bound: Option<Vec<TenantId>>) -> Caller {
        let matching = || self.0.iter().filter(|rule| rule.matcher.takes(identity));
        let named = matching().find_map(|rule| rule.name.clone());
        let name = named.unwrap_or_else(|| {
            let shown = matching().find_map(|rule| rule.matcher.shown(identity));
            shown.unwrap_or_else(|| identity.name()).into()
        });
        let allowances = matching().map(|rule| rule.allowance.clone());
        Caller::new(name, allowances.collect(), bound)
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl Matcher {
    fn takes(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Anyone, _) => true,
            (
                Self::Jwt { source, subject },
                Identity::Jwt {
                    source: own,
                    subject: who,
                },
            ) => source == own && subject.takes(who),
            (Self::ApiKey(name), Identity::ApiKey(own)) => name == own,
            (_, Identity::Certificate(certificate)) => self.shown_by(certificate).is_some(),
            _ => false,
        }
    }

    /// The name in a certificate that the rule is about.
    fn shown_by(&self, certificate: &PeerCertificate) -> Option<String> {
        match self {
            Self::Spiffe(pattern) => {
                let id = certificate.spiffe_id();
                id.filter(|id| pattern.takes(id)).map(str::to_owned)
            }
            Self::Dns(name) => {
                let mut names = certificate.dns_names().iter();
                names.any(|own| own == name).then(|| dns_name(name))
            }
            Self::Subject(name) => (certificate.subject() == &**name).then(|| subject_name(name)),
            Self::Anyone | Self::Jwt { .. } | Self::ApiKey(_) => None,
        }
    }

    fn shown(&self, identity: &Identity) -> Option<String> {
        match identity {
            Identity::Certificate(certificate) => self.shown_by(certificate),
            _ => None,
        }
    }
}

impl Identity {
    /// What presignd calls whoever has no name of the operator's.
    fn name(&self) -> String {
        match self {
            Self::Anyone => "anyone".to_owned(),
            Self::Jwt { source, subject } => format!("jwt.{source}.{subject}"),
            Self::ApiKey(name) => format!("key.{name}"),
            Self::Certificate(certificate) => {
                match (certificate.spiffe_id(), certificate.dns_names()) {
                    (Some(id), _) => id.to_owned(),
                    (None, [name, ..]) => dns_name(name),
                    (None, []) => subject_name(certificate.subject()),
                }
            }
        }
    }
}

fn dns_name(name: &str) -> String {
    format!("dns.{name}")
}

fn subject_name(name: &str) -> String {
    format!("subject.{name}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::authenticate::caller::Right;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    pub(in crate::authenticate::rules) fn rule(
        matcher: Matcher,
        tenant: &str,
        name: Option<&str>,
    ) -> Rule {
        Rule {
            matcher,
            allowance: Allowance {
                tenants: [Pattern::exactly(tenant)].into(),
                may: [Right::Sign].into_iter().collect(),
            },
            name: name.map(Into::into),
        }
    }

    fn jwt(source: &str, subject: &str) -> Identity {
        Identity::Jwt {
            source: source.into(),
            subject: subject.to_owned(),
        }
    }

    fn subjects(source: &str, subject: Pattern) -> Matcher {
        Matcher::Jwt {
            source: source.into(),
            subject,
        }
    }

    fn certificate(spiffe: &str, dns: &[&str], cn: &str) -> Identity {
        let mut params = CertificateParams::default();
        if !spiffe.is_empty() {
            params
                .subject_alt_names
                .push(SanType::URI(spiffe.try_into().unwrap()));
        }
        for name in dns {
            params
                .subject_alt_names
                .push(SanType::DnsName((*name).try_into().unwrap()));
        }
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Identity::Certificate(PeerCertificate::read(signed.der()).unwrap())
    }

    /// The name, and which of the tenants the caller may sign for.
    fn seen(rules: &[Rule], identity: &Identity) -> (String, String) {
        let rules: Rules = rules.iter().cloned().collect();
        let caller = rules.caller(identity, None);
        let tenants = ["a", "b", "c"].map(|id| {
            let id = TenantId::parse(id).unwrap();
            if caller.may(Right::Sign, &id) {
                id.to_string()
            } else {
                String::new()
            }
        });
        (caller.name().to_owned(), tenants.concat())
    }

    #[test]
    fn every_rule_that_matches_adds_and_the_first_name_counts() {
        let media = || Pattern::starting("system:serviceaccount:media:");
        let rules = [
            rule(subjects("k8s", media()), "a", None),
            rule(
                subjects("k8s", Pattern::exactly("system:serviceaccount:media:api")),
                "b",
                Some("api"),
            ),
            rule(subjects("users", Pattern::exactly("ann")), "a", Some("ann")),
            rule(Matcher::ApiKey("media".into()), "b", None),
            rule(Matcher::Anyone, "c", None),
        ];
        for (identity, name, tenants) in [
            (jwt("k8s", "system:serviceaccount:media:api"), "api", "abc"),
            (
                jwt("k8s", "system:serviceaccount:media:web"),
                "jwt.k8s.system:serviceaccount:media:web",
                "ac",
            ),
            (
                jwt("k8s", "system:serviceaccount:media2:api"),
                "jwt.k8s.system:serviceaccount:media2:api",
                "c",
            ),
            (
                jwt("users", "system:serviceaccount:media:api"),
                "jwt.users.system:serviceaccount:media:api",
                "c",
            ),
            (jwt("users", "ann"), "ann", "ac"),
            (jwt("users", "Ann"), "jwt.users.Ann", "c"),
            (jwt("k8s", "ann"), "jwt.k8s.ann", "c"),
            (Identity::ApiKey("media".into()), "key.media", "bc"),
            (Identity::ApiKey("ann".into()), "key.ann", "c"),
            (jwt("users", "media"), "jwt.users.media", "c"),
            (Identity::Anyone, "anyone", "c"),
        ] {
            assert_eq!(
                seen(&rules, &identity),
                (name.to_owned(), tenants.to_owned()),
                "{identity:?}"
            );
        }
    }

    #[test]
    fn certificates_are_matched_by_each_of_their_names() {
        let id = "spiffe://cluster.local/ns/media/sa/api";
        let below = Pattern::starting("spiffe://cluster.local/ns/media/");
        let rules = [
            rule(Matcher::Dns("api.media.example".into()), "a", None),
            rule(Matcher::Spiffe(below), "b", None),
            rule(Matcher::Subject("CN=api".into()), "c", Some("legacy")),
        ];
        for (identity, name, tenants) in [
            (certificate(id, &[], ""), id, "b"),
            // The rule that matches first names its caller by what it matched.
            (
                certificate(id, &["other.example", "API.media.example"], ""),
                "dns.api.media.example",
                "ab",
            ),
            (certificate(id, &["other.example"], "api"), "legacy", "bc"),
            (
                certificate("", &["api.media.example.evil"], "api2"),
                "dns.api.media.example.evil",
                "",
            ),
            (
                certificate("spiffe://cluster.local/ns/media", &[], ""),
                "spiffe://cluster.local/ns/media",
                "",
            ),
            (
                certificate("spiffe://evil/ns/media/sa/api", &[], ""),
                "spiffe://evil/ns/media/sa/api",
                "",
            ),
            (certificate("", &[], "API"), "subject.CN=API", ""),
            (jwt("k8s", id), &*format!("jwt.k8s.{id}"), ""),
            (Identity::Anyone, "anyone", ""),
        ] {
            assert_eq!(
                seen(&rules, &identity),
                (name.to_owned(), tenants.to_owned()),
                "{identity:?}"
            );
        }
    }

    #[test]
    fn two_identities_never_share_a_name() {
        let identities = [
            Identity::Anyone,
            jwt("a", "b"),
            jwt("a", "b.c"),
            jwt("b", "c"),
            jwt("a", "key.b"),
            Identity::ApiKey("a".into()),
            Identity::ApiKey("b".into()),
            Identity::ApiKey("anyone".into()),
            Identity::ApiKey("jwt".into()),
            certificate("spiffe://a/b", &[], ""),
            certificate("", &["a"], ""),
            certificate("", &["key.a"], ""),
            certificate("", &[], "a"),
            certificate("", &[], "a,CN=b"),
            jwt("spiffe", "//a/b"),
        ];
        let mut names: Vec<String> = identities.iter().map(Identity::name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{names:#?}");
    }
}
