//! JSON Web Tokens of trusted issuers (RFC 7519, RFC 8725).
//!
//! A token is verified once, and then known by its hash. Invariant: a token is believed only while its issuer's keys are those that it was
//! verified with, and never beyond its end.

mod claims;
mod fetch;
mod key_set;
mod keys;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Validation};
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use self::claims::Claim;
pub use self::fetch::{Location, Trust};
use self::key_set::{Found, KeySet};
use self::keys::Keys;
use super::caller::Caller;
use super::rules::{Identity, Rules};
use crate::clock::SharedClock;

/// The longest token, in bytes.
const MAX_TOKEN: usize = 16 << 10;
/// How many tokens are known.
const MAX_KNOWN: u64 = 10_000;
/// For how long one is known that nobody shows.
const IDLE: Duration = Duration::from_mins(10);

/// An issuer whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name in the configuration, without a dot.
    pub name: Arc<str>,
    /// Its name in tokens: the claim `iss`.
    pub issuer: String,
    /// Whom tokens are for: one of these in the claim `aud`.
    pub audiences: Vec<String>,
    /// How tokens are signed; none of them symmetric.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub location: Location,
    /// How much its clock may differ.
    pub leeway: Duration,
    /// Where tokens say who the caller is.
    pub caller: Claim,
    /// Where tokens say which tenants the caller is bound to, if they do.
    pub tenant: Option<Claim>,
}

impl Issuer {
    /// Whether its keys are those of another one, by where they come from.
    fn has_keys_of(&self, other: &Self) -> bool {
        let place = |issuer: &Self| (Arc::clone(&issuer.name), issuer.issuer.clone());
        place(self) == place(other) && self.location == other.location
    }
}

/// What is wrong with a token. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WrongToken {
    #[error("the token is longer than {} KiB", MAX_TOKEN >> 10)]
    TooLong,
    #[error("the token is no signed JSON Web Token")]
    Malformed,
    #[error("the token's issuer is not one that is accepted")]
    Issuer,
    #[error("the token's algorithm is not one that is accepted from its issuer")]
    Algorithm,
    #[error("the token has critical headers")]
    Critical,
    #[error("the token's key is not among its issuer's")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has no expiry (`exp`)")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token does not name its caller where it should")]
    NoCaller,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotVerified {
    /// It is wrong.
    Wrong(WrongToken),
    /// Its issuer's keys are not at hand.
    NoKeys,
}

impl From<WrongToken> for NotVerified {
    fn from(wrong: WrongToken) -> Self {
        Self::Wrong(wrong)
    }
}

/// Verifies tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    issuers: Vec<Trusted>,
    known: Cache<[u8; 32], Known>,
    clock: SharedClock,
}

#[derive(Debug)]
struct Trusted {
    settings: Issuer,
    keys: Arc<Keys>,
    validation: Validation,
}

/// A token that was verified.
#[derive(Debug, Clone)]
struct Known {
    caller: Caller,
    /// In seconds since 1970.
    good_until: u64,
    /// The place of its issuer.
    issuer: usize,
    keys: Arc<KeySet>,
}

impl Tokens {
    /// Begins to fetch the issuers' keys, on the current runtime; of those who were there `before`, in the same place, the keys stay. No token
    /// is known yet.
    pub(super) fn new(issuers: Vec<Issuer>, before: Option<&Self>, clock: &SharedClock) -> Self {
        let fetch = |issuer: &Issuer| {
            let location = issuer.location.clone();
            let keys = Keys::fetch(&issuer.name, &issuer.issuer, location, Arc::clone(clock));
            Arc::new(keys)
        };
        let known = |issuer: &Issuer| {
            let mut before = before?.issuers.iter();
            let same = before.find(|known| known.settings.has_keys_of(issuer))?;
            Some(Arc::clone(&same.keys))
        };
        let trusted = |settings: Issuer| Trusted {
            keys: known(&settings).unwrap_or_else(|| fetch(&settings)),
            validation: validation(&settings),
            settings,
        };
        Self {
            issuers: issuers.into_iter().map(trusted).collect(),
            known: Cache::builder()
                .max_capacity(MAX_KNOWN)
                .time_to_idle(IDLE)
                .build(),
            clock: Arc::clone(clock),
        }
    }

    /// Whether there is any issuer.
    pub(super) fn are_accepted(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// The caller of a token that was verified before.
    pub(super) fn known(&self, token: &[u8]) -> Option<Caller> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let known = self.known.get(&digest(token))?;
        let keys = self.issuers[known.issuer].keys.now()?;
        let good = Arc::ptr_eq(&keys, &known.keys) && self.now() < known.good_until;
        good.then_some(known.caller)
    }

    /// Verifies a token, and finds its caller.
    pub(super) async fn verify(&self, token: &[u8], rules: &Rules) -> Result<Caller, NotVerified> {
        if token.len() > MAX_TOKEN {
            return Err(WrongToken::TooLong.into());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| WrongToken::Malformed)?;
        // RFC 7515, section 4.1.11: presignd understands none.
        if header.crit.is_some() {
            return Err(WrongToken::Critical.into());
        }
        let claimed: Claimed = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| WrongToken::Malformed)?;
        let mut issuers = self.issuers.iter().enumerate();
        let issuer = issuers.find(|(_, issuer)| issuer.settings.issuer == claimed.iss);
        let (place, issuer) = issuer.ok_or(WrongToken::Issuer)?;
        let settings = &issuer.settings;
        if !settings.algorithms.contains(&header.alg) {
            return Err(WrongToken::Algorithm.into());
        }
        let (keys, key) = issuer.key(header.kid.as_deref(), header.alg).await?;
        let validation = Validation {
            algorithms: vec![header.alg],
            ..issuer.validation.clone()
        };
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation);
        let claims = claims.map_err(|error| wrong(error.kind()))?.claims;
        let leeway = settings.leeway.as_secs();
        let good_until = claims::good_until(&claims, self.now(), leeway)?;
        let subject = claims::subject(&claims, &settings.caller)?;
        let bound = settings.tenant.as_ref();
        let bound = bound.map(|claim| claims::tenants(&claims, claim));
        let identity = Identity::Jwt {
            source: Arc::clone(&settings.name),
            subject,
        };
        let caller = rules.caller(&identity, bound);
        let known = Known {
            caller: caller.clone(),
            good_until,
            issuer: place,
            keys,
        };
        self.known.insert(digest(token), known);
        Ok(caller)
    }

    /// In seconds since 1970.
    fn now(&self) -> u64 {
        let since = self.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }
}

/// What a token says before it is verified: who is to be asked about it, and nothing else.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl Trusted {
    /// The key with which a token says that it was signed.
    async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<(Arc<KeySet>, DecodingKey), NotVerified> {
        let at_hand = self.keys.now();
        if let Some(keys) = &at_hand {
            match keys.find(id, algorithm) {
                Found::Key(key) => return Ok((Arc::clone(keys), key.clone())),
                Found::NoFit => return Err(WrongToken::UnknownKey.into()),
                Found::UnknownId => {}
            }
        }
        let Some(keys) = self.keys.newer().await else {
            return Err(NotVerified::NoKeys);
        };
        match keys.find(id, algorithm) {
            Found::Key(key) => Ok((Arc::clone(&keys), key.clone())),
            Found::NoFit | Found::UnknownId => Err(WrongToken::UnknownKey.into()),
        }
    }
}

/// All that the library is to check; times are presignd's own business, whose clock is an argument.
fn validation(issuer: &Issuer) -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.algorithms.clear();
    validation.required_spec_claims = HashSet::from(["iss", "aud"].map(str::to_owned));
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_issuer(&[&issuer.issuer]);
    validation.set_audience(&issuer.audiences);
    validation
}

fn wrong(error: &ErrorKind) -> WrongToken {
    match error {
        ErrorKind::InvalidAudience => WrongToken::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => WrongToken::Audience,
        ErrorKind::InvalidIssuer | ErrorKind::MissingRequiredClaim(_) => WrongToken::Issuer,
        ErrorKind::InvalidAlgorithm => WrongToken::Algorithm,
        ErrorKind::InvalidSignature | ErrorKind::InvalidRsaKey(_) | ErrorKind::InvalidEcdsaKey => {
            WrongToken::Signature
        }
        _ => WrongToken::Malformed,
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
