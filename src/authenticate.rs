//! Who asks.
//!
//! Every request passes here first and leaves with a [`Caller`]: the subject of a token, the holder of an API key or of a client
//! certificate, or, where the configuration says so in so many words, anyone. Invariant: a credential that is shown is judged, and what is
//! wrong with it is never made good by another one, nor by `anyone`.

pub mod api_key;
pub mod caller;
pub mod certificate;
pub mod failures;
pub mod jwt;
pub mod pattern;
mod presented;
pub mod rules;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use self::api_key::{ApiKeys, KeyHash};
pub use self::caller::{Caller, Right};
use self::failures::{FailureLimit, Failures};
use self::jwt::{Issuer, NotVerified, Tokens, WrongToken};
pub use self::presented::Presented;
use self::presented::Shown;
use self::rules::{Identity, Rules};
use crate::clock::SharedClock;
use crate::metrics;

/// Whom to believe.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Issuers of tokens.
    pub issuers: Vec<Issuer>,
    /// The hashes of API keys, by the name of their holder.
    pub api_keys: Vec<(Arc<str>, Vec<KeyHash>)>,
    /// How often an address may fail.
    pub failures: FailureLimit,
}

/// Finds out who asks.
#[derive(Debug)]
pub struct Authenticator {
    rules: Rules,
    tokens: Tokens,
    api_keys: ApiKeys<Caller>,
    /// Whoever shows nothing, if anyone may ask.
    anyone: Option<Caller>,
    failures: Option<Arc<Failures>>,
    limit: FailureLimit,
    accepted: Arc<str>,
    clock: SharedClock,
}

/// Whoever finds out who asks. May be replaced at any time; what was begun with one ends with it.
#[derive(Debug)]
pub struct Gate(ArcSwap<Authenticator>);

impl Gate {
    /// With this one, for now.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        Self(ArcSwap::from_pointee(authenticator))
    }

    /// The one for a request that begins now.
    #[must_use]
    pub fn authenticator(&self) -> Arc<Authenticator> {
        self.0.load_full()
    }

    /// From now on there is this one.
    pub fn replace(&self, authenticator: Authenticator) {
        self.0.store(Arc::new(authenticator));
    }
}

/// The caller could not be identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// What is shown, or that nothing is.
    #[error("the caller could not be identified: {why}; accepted is {accepted}")]
    Refused {
        /// What is wrong.
        why: Why,
        /// What would be right.
        accepted: Arc<str>,
    },
    /// A token cannot be verified at the moment.
    #[error(
        "the keys of the token's issuer are not at hand, so the token cannot be verified: try again later"
    )]
    NoKeys,
    /// This address has failed too often. Not for the records, which it would flood.
    #[error(
        "too many failed attempts to authenticate from this address: try again later, with a credential that works"
    )]
    TooManyFailures {
        /// When.
        retry_after: Duration,
    },
}

/// What is wrong with what a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing.
    #[error("the request holds no credential")]
    Missing,
    /// Too much.
    #[error("the request holds both a token and an API key")]
    TwoCredentials,
    /// A header is there more than once.
    #[error("the header with the credential is there more than once")]
    Repeated,
    /// The header `authorization` is of another scheme.
    #[error("the header `authorization` holds no bearer token")]
    NoBearer,
    /// A token.
    #[error(transparent)]
    Token(#[from] WrongToken),
    /// An API key.
    #[error("the API key is not known")]
    ApiKey,
}

impl Unauthenticated {
    /// The place in [`metrics::AUTHENTICATION_FAILURES`].
    fn place(&self) -> usize {
        match self {
            Self::Refused { why, .. } => match why {
                Why::Missing => 0,
                Why::TwoCredentials => 1,
                Why::Repeated => 2,
                Why::NoBearer => 3,
                Why::Token(_) => 4,
                Why::ApiKey => 5,
            },
            Self::NoKeys => 6,
            Self::TooManyFailures { .. } => 7,
        }
    }
}

impl Authenticator {
    /// Believes these, and knows the callers of these rules. Begins to fetch what the sources need, on the current runtime.
    #[must_use]
    pub fn new(sources: Sources, rules: Rules, clock: &SharedClock) -> Self {
        Self::after(None, sources, rules, clock)
    }

    /// Believes these, and knows the callers of these rules, from now on: nobody is known from before. The keys of issuers stay where those are
    /// as they were, and so does the memory of failures.
    #[must_use]
    pub fn renewed(&self, sources: Sources, rules: Rules) -> Self {
        Self::after(Some(self), sources, rules, &self.clock)
    }

    fn after(before: Option<&Self>, sources: Sources, rules: Rules, clock: &SharedClock) -> Self {
        let tokens = Tokens::new(sources.issuers, before.map(|before| &before.tokens), clock);
        let limit = sources.failures;
        let failures = match before.filter(|before| before.limit == limit) {
            Some(before) => before.failures.clone(),
            None => Failures::new(limit, Arc::clone(clock)).map(Arc::new),
        };
        let holder = |(name, hashes)| (rules.caller(&Identity::ApiKey(name), None), hashes);
        let api_keys: ApiKeys<Caller> = sources.api_keys.into_iter().map(holder).collect();
        let certificates = rules.know_certificates();
        let accepted = [
            (
                tokens.are_accepted(),
                "`authorization: Bearer` with a JSON Web Token",
            ),
            (!api_keys.is_empty(), "`x-api-key` with an API key"),
            (certificates, "a client certificate"),
        ];
        let accepted: Vec<&str> = accepted
            .into_iter()
            .filter_map(|(is, what)| is.then_some(what))
            .collect();
        Self {
            anyone: rules
                .know_anyone()
                .then(|| rules.caller(&Identity::Anyone, None)),
            accepted: accepted.join(", or ").into(),
            failures,
            limit,
            clock: Arc::clone(clock),
            tokens,
            api_keys,
            rules,
        }
    }

    /// The caller of a request.
    ///
    /// Needs no network, unless a token names a key of its issuer's that is not known yet.
    ///
    /// # Errors
    /// If the request does not say who asks, or not believably.
    pub async fn authenticate(&self, presented: &Presented) -> Result<Caller, Unauthenticated> {
        let judged = self.judge(presented).await;
        if let Err(unauthenticated) = &judged {
            metrics::AUTHENTICATION_FAILURES.count(unauthenticated.place());
        }
        if let (Err(Unauthenticated::Refused { .. }), Some(failures)) = (&judged, &self.failures) {
            let unrecorded = failures.note(presented.peer);
            if unrecorded > 0 {
                let peer = presented.peer.map(tracing::field::display);
                tracing::warn!(
                    peer,
                    unrecorded,
                    "failed attempts to authenticate were refused without a record"
                );
            }
        }
        judged
    }

    async fn judge(&self, presented: &Presented) -> Result<Caller, Unauthenticated> {
        let token = self
            .tokens
            .are_accepted()
            .then_some(&presented.authorization);
        let key = (!self.api_keys.is_empty()).then_some(&presented.api_key);
        match (
            token.unwrap_or(&Shown::Nothing),
            key.unwrap_or(&Shown::Nothing),
        ) {
            (Shown::Nothing, Shown::Nothing) => self.judge_connection(presented),
            (Shown::Once(header), Shown::Nothing) => {
                let Some(token) = bearer_token(header.as_bytes()) else {
                    return Err(self.refused(Why::NoBearer, presented));
                };
                if let Some(caller) = self.tokens.known(token) {
                    return Ok(caller);
                }
                // To verify a signature takes room, which nearly nobody needs.
                Box::pin(self.judge_token(token, presented)).await
            }
            (Shown::Nothing, Shown::Once(key)) => match self.api_keys.holder(key.as_bytes()) {
                Some(caller) => Ok(caller.clone()),
                None => Err(self.refused(Why::ApiKey, presented)),
            },
            (Shown::Often, _) | (_, Shown::Often) => Err(self.refused(Why::Repeated, presented)),
            (Shown::Once(_), Shown::Once(_)) => Err(self.refused(Why::TwoCredentials, presented)),
        }
    }

    fn judge_connection(&self, presented: &Presented) -> Result<Caller, Unauthenticated> {
        if let Some(certificate) = &presented.certificate
            && self.rules.know_certificates()
        {
            let identity = Identity::Certificate(certificate.clone());
            return Ok(self.rules.caller(&identity, None));
        }
        match &self.anyone {
            Some(anyone) => Ok(anyone.clone()),
            None => Err(self.refused(Why::Missing, presented)),
        }
    }

    async fn judge_token(
        &self,
        token: &[u8],
        presented: &Presented,
    ) -> Result<Caller, Unauthenticated> {
        // To verify a signature is work: not for an address that only ever makes it.
        if let Some(retry_after) = self.too_many(presented) {
            return Err(Unauthenticated::TooManyFailures { retry_after });
        }
        match self.tokens.verify(token, &self.rules).await {
            Ok(caller) => Ok(caller),
            Err(NotVerified::Wrong(wrong)) => Err(self.refused(wrong.into(), presented)),
            Err(NotVerified::NoKeys) => Err(Unauthenticated::NoKeys),
        }
    }

    /// Why not; or, from an address that has failed too often, that it has.
    fn refused(&self, why: Why, presented: &Presented) -> Unauthenticated {
        match self.too_many(presented) {
            Some(retry_after) => Unauthenticated::TooManyFailures { retry_after },
            None => Unauthenticated::Refused {
                why,
                accepted: Arc::clone(&self.accepted),
            },
        }
    }

    fn too_many(&self, presented: &Presented) -> Option<Duration> {
        let failures = self.failures.as_ref()?;
        failures.refused(presented.peer)
    }
}

/// RFC 6750, section 2.1. The scheme's name may be written in any case: RFC 9110, section 11.1.
fn bearer_token(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_what_stands_after_the_scheme() {
        for (header, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer  a.b.c ", Some("a.b.c")),
            ("BEARER a.b.c", Some("a.b.c")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Bearera.b.c", None),
            ("Basic YTpi", None),
            ("a.b.c", None),
            ("", None),
        ] {
            let read = bearer_token(header.as_bytes());
            assert_eq!(read, token.map(str::as_bytes), "{header:?}");
        }
    }
}
