//! Credentials with everything cached that repeats from one URL to the next.
//!
//! The session token is encoded once, signing keys are kept per day, region and service, and so is the one for several regions. Invariant: a cached key is used
//! only for the day, region and service it was derived for, so midnight and another region need no one to clear anything.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use smallvec::SmallVec;

use super::asymmetric_key::AsymmetricKey;
use super::encode::Kept;
use super::endpoint::SigningEndpoint;
use super::signing_key::SigningKey;
use super::signing_time::Day;
use super::sink::{Length, Sink};

/// Enough for a tenant in two regions on both sides of midnight; more only costs derivations.
const KEYS_KEPT: usize = 4;

/// What stands where a token would.
const REDACTED: &str = "REDACTED";

/// An access key, with the token of its session if it has one.
pub struct Credentials {
    access_key_id: String,
    secret_access_key: SecretString,
    /// Empty for credentials without a session.
    session_token: SecretString,
    /// `&X-Amz-Security-Token=` and its encoded value; empty for credentials without a session.
    token_parameter: SecretString,
    expires_at: Option<SystemTime>,
    /// Newest first.
    keys: ArcSwap<SmallVec<[Arc<SigningKey>; KEYS_KEPT]>>,
    /// For several regions at once; derived for the first URL that is.
    asymmetric_key: OnceLock<Box<AsymmetricKey>>,
}

impl Credentials {
    /// `expires_at` is when the session ends; `None` for credentials that last.
    pub fn new(
        access_key_id: String,
        secret_access_key: SecretString,
        session_token: Option<SecretString>,
        expires_at: Option<SystemTime>,
    ) -> Self {
        let token_parameter = session_token
            .as_ref()
            .map_or_else(SecretString::default, token_parameter);
        Self {
            access_key_id,
            secret_access_key,
            session_token: session_token.unwrap_or_default(),
            token_parameter,
            expires_at,
            keys: ArcSwap::default(),
            asymmetric_key: OnceLock::new(),
        }
    }

    /// The same name with no secret, and the word REDACTED for a token: for what is shown of a request before it is signed.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let token = (!self.session_token().is_empty()).then(|| REDACTED.into());
        let id = self.access_key_id.clone();
        Self::new(id, SecretString::default(), token, self.expires_at)
    }

    /// What stands for the credentials of a session that there is not yet.
    #[must_use]
    pub fn of_no_session_yet() -> Self {
        let nothing = SecretString::default();
        Self::new(REDACTED.to_owned(), nothing, Some(REDACTED.into()), None)
    }

    /// The access key id. Not a secret: every URL and every log of the store shows it.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// When the session ends.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The session token; empty for credentials without a session.
    pub(super) fn session_token(&self) -> &str {
        self.session_token.expose_secret()
    }

    /// `&X-Amz-Security-Token=` and its encoded value; empty for credentials without a session.
    pub(super) fn token_parameter(&self) -> &str {
        self.token_parameter.expose_secret()
    }

    /// Runs `sign` with the key of that day and place.
    pub(super) fn with_signing_key<T>(
        &self,
        day: Day,
        endpoint: &SigningEndpoint,
        sign: impl FnOnce(&SigningKey) -> T,
    ) -> T {
        let keys = self.keys.load();
        if let Some(key) = keys.iter().find(|key| key.is_for(day, endpoint)) {
            return sign(key);
        }
        drop(keys);
        sign(&self.derive(day, endpoint))
    }

    /// The key of that day and place, to keep for a while.
    pub(super) fn signing_key(&self, day: Day, endpoint: &SigningEndpoint) -> Arc<SigningKey> {
        let keys = self.keys.load();
        if let Some(key) = keys.iter().find(|key| key.is_for(day, endpoint)) {
            return Arc::clone(key);
        }
        drop(keys);
        self.derive(day, endpoint)
    }

    /// The key for several regions at once, on any day.
    pub(super) fn asymmetric_key(&self) -> &AsymmetricKey {
        self.asymmetric_key.get_or_init(|| {
            let key = AsymmetricKey::derive(&self.access_key_id, &self.secret_access_key);
            Box::new(key)
        })
    }

    /// Derives a key and keeps it in place of the oldest one.
    #[cold]
    fn derive(&self, day: Day, endpoint: &SigningEndpoint) -> Arc<SigningKey> {
        let key = Arc::new(SigningKey::derive(
            &self.access_key_id,
            &self.secret_access_key,
            day,
            endpoint,
        ));
        self.keys.rcu(|keys| {
            let others = keys.iter().filter(|key| !key.is_for(day, endpoint));
            std::iter::once(&key)
                .chain(others)
                .take(KEYS_KEPT)
                .cloned()
                .collect::<SmallVec<_>>()
        });
        key
    }

    #[cfg(test)]
    fn keys_kept(&self) -> usize {
        self.keys.load().len()
    }
}

fn token_parameter(token: &SecretString) -> SecretString {
    let token = token.expose_secret();
    let name = "&X-Amz-Security-Token=";
    // Of its very size, so that no copy of the token stays behind in a buffer that grew or shrank.
    let mut length = Length::default();
    length.put_encoded(token, Kept::Unreserved);
    let mut parameter = String::with_capacity(name.len() + length.0);
    parameter.push_str(name);
    parameter.put_encoded(token, Kept::Unreserved);
    parameter.into()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::sign::samples::{GET_OBJECT, command, credentials, endpoint, seconds};
    use crate::sign::{SigningEndpoint, presign};

    fn url(credentials: &Credentials, region: &str, service: &str, at: u64) -> String {
        let endpoint = SigningEndpoint {
            region: region.to_owned(),
            service: service.to_owned(),
            ..endpoint("http://127.0.0.1:9000", "/files")
        };
        presign(&command(GET_OBJECT), &endpoint, credentials, seconds(at), 1).into_string()
    }

    fn fresh() -> Credentials {
        credentials("wJalrXUtnFEMI/K7MDENG", Some("token"))
    }

    const MIDNIGHT: u64 = 20_000 * 86_400;

    #[test]
    fn a_key_is_derived_once_for_its_day_region_and_service() {
        let credentials = fresh();
        for (region, service, at, kept) in [
            ("eu-west-1", "s3", MIDNIGHT - 1, 1),
            ("eu-west-1", "s3", MIDNIGHT - 86_400, 1),
            ("eu-west-1", "s3", MIDNIGHT, 2),
            ("eu-west-1", "s3", MIDNIGHT + 86_399, 2),
            ("eu-west-1", "s3", MIDNIGHT - 1, 2),
            ("us-east-1", "s3", MIDNIGHT, 3),
            ("us-east-1", "s3express", MIDNIGHT, 4),
            ("us-east-2", "s3express", MIDNIGHT, KEYS_KEPT),
            ("us-east-1", "s3", MIDNIGHT, KEYS_KEPT),
        ] {
            let own = url(&credentials, region, service, at);
            assert_eq!(own, url(&fresh(), region, service, at));
            assert_eq!(credentials.keys_kept(), kept);
        }
    }

    proptest! {
        #[test]
        fn kept_keys_sign_like_fresh_ones(
            calls in proptest::collection::vec((0..3_usize, 0..2_usize, -2..2_i64, 0..86_400_u64), 1..20),
        ) {
            let credentials = fresh();
            for (region, service, day, second) in calls {
                let region = ["eu-west-1", "us-east-1", "auto"][region];
                let service = ["s3", "s3express"][service];
                let at = (MIDNIGHT + second).strict_add_signed(day * 86_400);
                prop_assert_eq!(url(&credentials, region, service, at), url(&fresh(), region, service, at));
            }
        }
    }

    #[test]
    fn threads_share_credentials_across_midnight_and_regions() {
        let regions = ["eu-west-1", "us-east-1", "us-west-2"];
        let times = [MIDNIGHT - 1, MIDNIGHT];
        let credentials = fresh();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let credentials = &credentials;
                scope.spawn(move || {
                    let expected =
                        regions.map(|region| times.map(|at| url(&fresh(), region, "s3", at)));
                    for round in thread..thread + 200 {
                        let (region, time) = (round % 3, round % 2);
                        let own = url(credentials, regions[region], "s3", times[time]);
                        assert_eq!(own, expected[region][time]);
                    }
                });
            }
        });
        assert!(credentials.keys_kept() <= KEYS_KEPT);
    }

    #[test]
    fn says_who_and_until_when() {
        let credentials = Credentials::new(
            "AKIDEXAMPLE".to_owned(),
            "secret".into(),
            Some("t/+=".into()),
            Some(seconds(5)),
        );
        assert_eq!(credentials.access_key_id(), "AKIDEXAMPLE");
        assert_eq!(credentials.expires_at(), Some(seconds(5)));
        assert_eq!(
            credentials.token_parameter(),
            "&X-Amz-Security-Token=t%2F%2B%3D"
        );
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { access_key_id: \"AKIDEXAMPLE\", .. }"
        );
    }
}
