//! As whom presignd comes to STS, and what the sessions that it gets there say of themselves.
//!
//! Tags and the source identity may name tenant and caller. Invariant: what is sent obeys STS's rules whatever a caller is called, and two
//! callers who are told apart by a value are never made alike by it.

use std::path::PathBuf;

use sha2::Sha256;

use super::fit::Alphabet;
use super::role::add;
use crate::names::TenantId;

/// As whom presignd comes to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// As itself: its own credentials sign the call.
    Own(OwnIdentity),
    /// As the bearer of a token in a file, where somebody else renews it.
    Web {
        /// The file.
        token_file: PathBuf,
    },
}

/// What presignd tells STS when it comes as itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnIdentity {
    /// The secret handshake between the role and presignd, if it asks for one.
    pub external_id: Option<String>,
    /// What sessions are tagged with.
    pub session_tags: Vec<SessionTag>,
    /// Where sessions come from.
    pub source_identity: Option<String>,
}

/// A tag of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether sessions that are begun from this one have it too.
    pub transitive: bool,
}

/// Rights that a role's trust policy has to give besides that of assuming the role.
pub type TrustRights = &'static [&'static str];

const TAG_SESSION: &str = "sts:TagSession";
const SET_SOURCE_IDENTITY: &str = "sts:SetSourceIdentity";

/// STS's rule for a source identity.
const SOURCE_IDENTITY: Alphabet = Alphabet {
    least: 2,
    most: 64,
    also: "_+=,.@-",
};
/// STS's rule for the value of a tag, as far as ASCII goes.
const TAG_VALUE: Alphabet = Alphabet {
    least: 0,
    most: 256,
    also: " _.:/=+-@",
};

/// What stands for a tenant's name.
const TENANT: &str = "{tenant}";
/// What stands for a caller's name.
const CALLER: &str = "{caller}";

impl Identity {
    /// The identity with the names of a tenant and a caller in it.
    #[must_use]
    pub fn naming(&self, tenant: &TenantId, caller: &str) -> Self {
        let Self::Own(own) = self else {
            return self.clone();
        };
        let named = |text: &str| named(text, tenant.as_str(), caller);
        let tag = |tag: &SessionTag| SessionTag {
            value: TAG_VALUE.fit(named(&tag.value)),
            ..tag.clone()
        };
        let source = own.source_identity.as_deref();
        Self::Own(OwnIdentity {
            external_id: own.external_id.clone(),
            session_tags: own.session_tags.iter().map(tag).collect(),
            source_identity: source.map(|text| SOURCE_IDENTITY.fit(named(text))),
        })
    }

    /// What the role's trust policy has to allow besides.
    #[must_use]
    pub fn rights(&self) -> TrustRights {
        let Self::Own(own) = self else {
            return &[];
        };
        match (own.session_tags.is_empty(), own.source_identity.is_some()) {
            (true, false) => &[],
            (false, false) => &[TAG_SESSION],
            (true, true) => &[SET_SOURCE_IDENTITY],
            (false, true) => &[TAG_SESSION, SET_SOURCE_IDENTITY],
        }
    }

    /// Adds everything that tells this identity from another to a digest.
    pub(super) fn add_to(&self, digest: &mut Sha256) {
        let mut part = |text: &str| add(digest, text);
        match self {
            Self::Own(own) => {
                part("own");
                part(own.external_id.as_deref().unwrap_or_default());
                part(own.source_identity.as_deref().unwrap_or_default());
                for tag in &own.session_tags {
                    part(if tag.transitive { "transitive" } else { "tag" });
                    part(&tag.key);
                    part(&tag.value);
                }
                part("end");
            }
            Self::Web { token_file } => {
                part("web");
                part(&token_file.to_string_lossy());
            }
        }
    }
}

/// What a tag's value looks like for every caller of a tenant: all of it, or its beginning where it names the caller.
#[must_use]
pub fn tag_value_pattern(text: &str, tenant: &TenantId) -> (String, bool) {
    pattern(text, tenant, &TAG_VALUE)
}

/// What a source identity looks like for every caller of a tenant.
#[must_use]
pub fn source_identity_pattern(text: &str, tenant: &TenantId) -> (String, bool) {
    pattern(text, tenant, &SOURCE_IDENTITY)
}

/// The whole value, and `true`; or what every value begins with, and `false`.
fn pattern(text: &str, tenant: &TenantId, alphabet: &Alphabet) -> (String, bool) {
    match text.split_once(CALLER) {
        None => (alphabet.fit(named(text, tenant.as_str(), "")), true),
        Some((before, _)) => {
            let mut start = named(before, tenant.as_str(), "");
            // All of it is ASCII: the text by the configuration's rule, and the name by the tenants'.
            start.truncate(alphabet.sure());
            (start, false)
        }
    }
}

/// Puts the names in, in one pass: what stands for a name inside a name is part of that name.
fn named(text: &str, tenant: &str, caller: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        out.push_str(before);
        rest = if let Some(rest) = brace.strip_prefix(TENANT) {
            out.push_str(tenant);
            rest
        } else if let Some(rest) = brace.strip_prefix(CALLER) {
            out.push_str(caller);
            rest
        } else {
            out.push('{');
            &brace[1..]
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    /// An identity with this text in both places.
    fn identity(text: &str) -> Identity {
        Identity::Own(OwnIdentity {
            external_id: None,
            session_tags: vec![SessionTag {
                key: "k".to_owned(),
                value: text.to_owned(),
                transitive: false,
            }],
            source_identity: Some(text.to_owned()),
        })
    }

    /// Tag value and source identity.
    fn values(text: &str, tenant_id: &str, caller: &str) -> (String, String) {
        let Identity::Own(own) = identity(text).naming(&tenant(tenant_id), caller) else {
            panic!("it was its own");
        };
        let value = own.session_tags[0].value.clone();
        (value, own.source_identity.unwrap())
    }

    fn digest(identity: &Identity) -> [u8; 32] {
        let mut digest = Sha256::new();
        identity.add_to(&mut digest);
        digest.finalize().into()
    }

    #[test]
    fn names_stand_where_they_are_asked_for() {
        let (tag, source) = values("{tenant}.{caller}", "acme", "ann");
        assert_eq!((tag.as_str(), source.as_str()), ("acme.ann", "acme.ann"));
        let (tag, _) = values("{caller}", "acme", "spiffe://a/b");
        assert_eq!(tag, "spiffe://a/b");
    }

    #[test]
    fn a_name_is_not_read_for_more_names() {
        let (tag, _) = values("{caller}", "acme", "{tenant}");
        assert!(tag.starts_with(".tenant.-"), "{tag}");
        assert_ne!(tag, values("{caller}", "acme", "acme").0);
    }

    #[test]
    fn every_part_of_an_identity_is_in_its_digest() {
        let own = |change: fn(&mut OwnIdentity)| {
            let Identity::Own(mut own) = identity("{caller}") else {
                panic!("it is its own");
            };
            change(&mut own);
            Identity::Own(own)
        };
        let all = [
            own(|_| {}),
            own(|own| own.external_id = Some("ab".to_owned())),
            own(|own| own.source_identity = None),
            own(|own| own.session_tags.clear()),
            own(|own| own.session_tags[0].key = "kk".to_owned()),
            own(|own| own.session_tags[0].value = "{tenant}".to_owned()),
            own(|own| own.session_tags[0].transitive = true),
            Identity::Web {
                token_file: "a".into(),
            },
            Identity::Web {
                token_file: "b".into(),
            },
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[..index] {
                assert_ne!(digest(one), digest(other), "{one:?} {other:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_value_obeys_the_rules_and_its_pattern(
            before in "[a-z{}]{0,20}", id in "[a-z0-9][a-z0-9_-]{0,62}", caller in ".{0,300}",
        ) {
            let text = format!("{}{{tenant}}{{caller}}", before.replace(['{', '}'], ""));
            let (tag, source) = values(&text, &id, &caller);
            prop_assert!(tag.len() <= 256 && (2..=64).contains(&source.len()));
            prop_assert!(tag.chars().all(|c| c.is_ascii_alphanumeric() || " _.:/=+-@".contains(c)), "{tag}");
            prop_assert!(source.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)), "{source}");
            let (start, whole) = tag_value_pattern(&text, &tenant(&id));
            prop_assert!(!whole && tag.starts_with(&start));
            let (start, whole) = source_identity_pattern(&text, &tenant(&id));
            prop_assert!(!whole && source.starts_with(&start));
        }

        #[test]
        fn callers_stay_apart(one in ".{0,80}", other in ".{0,80}") {
            let (a, b) = (values("{caller}", "acme", &one), values("{caller}", "acme", &other));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.1 == b.1, one == other);
        }
    }
}
