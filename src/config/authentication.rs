//! `authentication`: whose word presignd takes for who a caller is.
//!
//! Invariant: a source has a name without a dot, which tells its callers from those of every other source.

mod api_keys;
mod jwt;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

pub use self::jwt::{ClaimPath, FetchTrust, Jwks, JwtAlgorithm, JwtIssuer};
use super::mistake::{Located, Mark, quoted};
use super::quantity::{Rate, RatePeriod, rate};
use super::reader::Reader;
use super::tree::Node;

/// The section `authentication`.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// Issuers of JSON Web Tokens, by the operator's name for them.
    pub jwt: BTreeMap<String, Located<JwtIssuer>>,
    /// The SHA-256 of API keys, by the name of their holder; each has at least one.
    pub api_keys: BTreeMap<String, Located<Vec<[u8; 32]>>>,
    /// How often an address may fail to authenticate.
    pub failures: FailureLimit,
}

/// How often an address may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimit {
    /// In the long run.
    pub rate: Rate,
    /// At once.
    pub burst: NonZeroU32,
}

impl Default for FailureLimit {
    fn default() -> Self {
        let thirty = NonZeroU32::MIN.saturating_add(29);
        Self {
            rate: Rate {
                count: thirty,
                per: RatePeriod::Minute,
            },
            burst: thirty,
        }
    }
}

pub(super) fn authentication(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Authentication> {
    let mut section = reader.section(node)?;
    let jwt = section.or("jwt", BTreeMap::new(), jwt::issuers);
    let api_keys = section.or("api_keys", BTreeMap::new(), api_keys::holders);
    let failures = section.or("failures", FailureLimit::default(), failures);
    section.finish();
    Some(Authentication {
        jwt: jwt?,
        api_keys: api_keys?,
        failures: failures?,
    })
}

/// Names stand before a dot in the names of callers, and so have none.
fn source_name(reader: &mut Reader<'_>, name: &str, at: Mark) -> Option<()> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        return Some(());
    }
    let message = format!(
        "{} is not 1 to 63 lower-case letters, digits, `_` or `-`",
        quoted(name)
    );
    reader.mistake(at, message);
    None
}

fn failures(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<FailureLimit> {
    let default = FailureLimit::default();
    let mut section = reader.section(node)?;
    let rate = section.or("rate", default.rate, |r, n| r.parsed(n, rate));
    let burst = section.or("burst", default.burst.get(), |r, n| {
        r.number(n, &(1..=100_000))
    });
    section.finish();
    Some(FailureLimit {
        rate: rate?,
        burst: NonZeroU32::new(burst?)?,
    })
}
