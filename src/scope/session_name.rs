//! The role session name: who asked, in AWS's own logs.
//!
//! `presignd-TENANT.CALLER`, within STS's rule of 2 to 64 of `[\w+=,.@-]`. A tenant's id has no dot, so the first one ends it. What has to
//! be shortened or replaced ends in a hash of the whole, so that two callers never share a name.

use super::fit::Alphabet;
use crate::names::TenantId;

/// STS's rule for session names.
const SESSION_NAME: Alphabet = Alphabet {
    least: 2,
    most: 64,
    also: "_+=,.@-",
};

/// The session name for a caller of a tenant.
#[must_use]
pub fn role_session_name(tenant: &TenantId, caller: &str) -> String {
    SESSION_NAME.fit(format!("presignd-{tenant}.{caller}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(tenant: &str, caller: &str) -> String {
        role_session_name(&TenantId::parse(tenant).unwrap(), caller)
    }

    #[test]
    fn short_names_are_readable() {
        assert_eq!(name("acme", "anyone"), "presignd-acme.anyone");
    }

    #[test]
    fn callers_that_shorten_alike_stay_apart() {
        let long = "x".repeat(80);
        let (a, b) = (
            name("acme", &format!("{long}a")),
            name("acme", &format!("{long}b")),
        );
        assert_ne!(a, b);
        assert_ne!(name("acme", "spiffe://a/b"), name("acme", "spiffe://a.b"));
    }

    #[test]
    fn a_tenant_and_its_caller_are_never_another_pair() {
        assert_ne!(name("acme", "media-api"), name("acme-media", "api"));
        assert_ne!(name("acme", "media.api"), name("acme-media", "api"));
    }

    proptest! {
        #[test]
        fn every_name_obeys_the_rule(tenant in "[a-z0-9][a-z0-9_-]{0,62}", caller in ".{0,200}") {
            let name = name(&tenant, &caller);
            prop_assert!((2..=64).contains(&name.len()));
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)), "{name}");
        }
    }
}
