//! The role session name: who asked, in AWS's own logs.
//!
//! `presignd-TENANT.CALLER`, within STS's rule of 2 to 64 of `[\w+=,.@-]`. A tenant's id has no dot, so the first one ends it. What has to
//! be shortened or replaced ends in a hash of the whole, so that two callers never share a name.

use sha2::{Digest as _, Sha256};

use crate::names::TenantId;

const MAX: usize = 64;
const HASH_DIGITS: usize = 12;

/// The session name for a caller of a tenant.
#[must_use]
pub fn role_session_name(tenant: &TenantId, caller: &str) -> String {
    let plain = format!("presignd-{tenant}.{caller}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if plain.len() <= MAX && plain.chars().all(allowed) {
        return plain;
    }
    let hash: String = Sha256::digest(plain.as_bytes())
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .take(HASH_DIGITS)
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    let mut name: String = plain
        .chars()
        .map(|c| if allowed(c) { c } else { '.' })
        .take(MAX - HASH_DIGITS - 1)
        .collect();
    name.push('-');
    name.push_str(&hash);
    name
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
