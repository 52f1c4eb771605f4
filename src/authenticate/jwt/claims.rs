//! What a token claims, once its signature holds: when it is good, and for whom.
//!
//! Invariant: pure, with the time as an argument. A token without an end is none.

use serde_json::Value;

use super::WrongToken;
use crate::names::TenantId;

/// The longest name of a caller, in bytes. The subject of a Kubernetes service account has at most 339.
const MAX_SUBJECT: usize = 512;

/// Where a token says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// In the claim of this name.
    Named(String),
    /// Where this JSON pointer (RFC 6901) leads, such as `/kubernetes.io/namespace`.
    Pointer(String),
}

impl Claim {
    fn of<'c>(&self, claims: &'c Value) -> Option<&'c Value> {
        match self {
            Self::Named(name) => claims.get(name),
            Self::Pointer(pointer) => claims.pointer(pointer),
        }
    }
}

/// Until when the token is good, in seconds since 1970, if it is good now.
pub(super) fn good_until(claims: &Value, now: u64, leeway: u64) -> Result<u64, WrongToken> {
    let expires = claims.get("exp").and_then(seconds);
    let until = expires.ok_or(WrongToken::NoExpiry)?.saturating_add(leeway);
    if now >= until {
        return Err(WrongToken::Expired);
    }
    if let Some(begins) = claims.get("nbf").filter(|begins| !begins.is_null()) {
        let begins = seconds(begins).ok_or(WrongToken::Malformed)?;
        if begins > now.saturating_add(leeway) {
            return Err(WrongToken::NotYet);
        }
    }
    Ok(until)
}

/// A `NumericDate` (RFC 7519, section 2) in whole seconds, which may be written with a fraction.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a finite number ends at the bounds of the integer, as is meant"
        )]
        Some(seconds as u64)
    })
}

/// Who the caller is to the issuer.
pub(super) fn subject(claims: &Value, claim: &Claim) -> Result<String, WrongToken> {
    match claim.of(claims).and_then(Value::as_str) {
        Some(subject) if (1..=MAX_SUBJECT).contains(&subject.len()) => Ok(subject.to_owned()),
        _ => Err(WrongToken::NoCaller),
    }
}

/// The tenants that the token names: in one text, or in a list of them. What is no tenant's id counts for nothing.
pub(super) fn tenants(claims: &Value, claim: &Claim) -> Vec<TenantId> {
    let named = match claim.of(claims) {
        Some(Value::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    let texts = named.iter().filter_map(Value::as_str);
    texts
        .filter_map(|name| TenantId::parse(name).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_767_323_045;

    #[test]
    fn a_token_is_good_from_its_beginning_to_its_end_give_or_take() {
        for (claims, good) in [
            (json!({"exp": NOW + 1}), Ok(NOW + 31)),
            (json!({"exp": NOW}), Ok(NOW + 30)),
            (json!({"exp": NOW - 29}), Ok(NOW + 1)),
            (json!({"exp": NOW - 30}), Err(WrongToken::Expired)),
            (json!({"exp": 1}), Err(WrongToken::Expired)),
            (json!({"exp": -1}), Err(WrongToken::Expired)),
            (json!({"exp": 1_767_323_100.9}), Ok(1_767_323_130)),
            (json!({"exp": u64::MAX}), Ok(u64::MAX)),
            (json!({"exp": 1e300}), Ok(u64::MAX)),
            (json!({}), Err(WrongToken::NoExpiry)),
            (json!({"exp": null}), Err(WrongToken::NoExpiry)),
            (json!({"exp": "1767323100"}), Err(WrongToken::NoExpiry)),
            (json!({"exp": [NOW + 1]}), Err(WrongToken::NoExpiry)),
            (json!({"exp": NOW + 1, "nbf": NOW + 30}), Ok(NOW + 31)),
            (json!({"exp": NOW + 1, "nbf": null}), Ok(NOW + 31)),
            (
                json!({"exp": NOW + 1, "nbf": NOW + 31}),
                Err(WrongToken::NotYet),
            ),
            (
                json!({"exp": NOW + 1, "nbf": "soon"}),
                Err(WrongToken::Malformed),
            ),
        ] {
            assert_eq!(good_until(&claims, NOW, 30), good, "{claims}");
        }
        assert_eq!(
            good_until(&json!({"exp": NOW}), NOW, 0),
            Err(WrongToken::Expired)
        );
    }

    #[test]
    fn the_caller_is_where_the_claim_says() {
        let claims = json!({
            "sub": "system:serviceaccount:media:api",
            "https://example.com/user": "u",
            "kubernetes.io": {"namespace": "media"},
            "empty": "", "number": 7, "long": "x".repeat(513), "longest": "x".repeat(512),
        });
        let named = |name: &str| subject(&claims, &Claim::Named(name.to_owned()));
        assert_eq!(named("sub").unwrap(), "system:serviceaccount:media:api");
        assert_eq!(named("https://example.com/user").unwrap(), "u");
        assert_eq!(named("longest").unwrap().len(), 512);
        let pointer = Claim::Pointer("/kubernetes.io/namespace".to_owned());
        assert_eq!(subject(&claims, &pointer).unwrap(), "media");
        for without in ["empty", "number", "long", "kubernetes.io", "missing"] {
            assert_eq!(named(without), Err(WrongToken::NoCaller), "{without}");
        }
    }

    #[test]
    fn tenants_are_one_or_many() {
        let claims = json!({
            "one": "acme", "many": ["acme", "../b", 7, "globex"], "bad": "Acme", "number": 7, "none": [],
        });
        let named = |name: &str| {
            let tenants = tenants(&claims, &Claim::Named(name.to_owned()));
            tenants
                .iter()
                .map(|id| id.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(named("one"), ["acme"]);
        assert_eq!(named("many"), ["acme", "globex"]);
        for without in ["bad", "number", "none", "missing"] {
            assert!(named(without).is_empty(), "{without}");
        }
    }
}
