//! The sandbox's identities: presignd's own, and the sessions that it obtained by assuming roles.
//!
//! A session token belongs to one access key and to one tenant; whoever presents another one is turned away before
//! any signature is computed. Sessions live in memory only, and their number is bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use s3s::{S3Error, s3_error};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::policy::Policy;
use super::presented::Presented;

/// Sessions held at once; beyond it, `AssumeRole` answers that it is throttled.
const MAX_SESSIONS: usize = 10_000;
/// For how long an expired session is remembered, so that its use is called expired rather than unknown.
const REMEMBER_EXPIRED: Duration = Duration::from_hours(1);
/// Random bytes that make one identity: an access key id, a secret and a session token.
pub(super) const RANDOM_LEN: usize = 16 + 40 + 160;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Secrets and tokens use the characters of AWS's own, so that `+`, `/` and `=` are met in practice.
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Credentials made of random bytes. `Debug` shows the access key id only.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: SecretString,
    pub(super) session_token: SecretString,
}

impl Identity {
    /// `prefix` is `AKIA` for an identity that lasts and `ASIA` for a session.
    pub(super) fn new(prefix: &str, random: &[u8; RANDOM_LEN]) -> Self {
        let (id, rest) = random.split_at(16);
        let (secret, token) = rest.split_at(40);
        // Both alphabets' sizes divide 256: every character is equally likely.
        let base32 = |bytes: &[u8]| -> String {
            bytes
                .iter()
                .map(|b| char::from(BASE32[usize::from(b & 31)]))
                .collect()
        };
        let base64 = |bytes: &[u8]| -> String {
            bytes
                .iter()
                .map(|b| char::from(BASE64[usize::from(b & 63)]))
                .collect()
        };
        Self {
            access_key_id: format!("{prefix}{}", base32(id)),
            secret_access_key: base64(secret).into(),
            session_token: format!("{}==", base64(token)).into(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity")
            .field(&self.access_key_id)
            .finish()
    }
}

/// One assumed role.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) identity: Identity,
    /// Index of the tenant whose role it is.
    pub(super) tenant: usize,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub(super) arn: String,
    /// The first instant at which it is no longer valid.
    pub(super) expires_at: SystemTime,
    /// Narrows what the role may do; `None` leaves the role's own rights.
    pub(super) policy: Option<Policy>,
}

/// Who a request says it is. Proven once its signature was verified with the same access key.
#[derive(Debug, Clone)]
pub(super) enum Principal {
    /// presignd itself: may assume roles and nothing else.
    Presignd,
    /// An assumed role.
    Session(Arc<Session>),
}

/// Every identity that the sandbox knows.
#[derive(Debug)]
pub(super) struct Sessions {
    presignd: Identity,
    by_access_key: Mutex<HashMap<String, Arc<Session>>>,
}

/// As many sessions are alive as the sandbox holds.
#[derive(Debug)]
pub(super) struct TooManySessions;

impl Sessions {
    pub(super) fn new(presignd: Identity) -> Self {
        Self {
            presignd,
            by_access_key: Mutex::default(),
        }
    }

    pub(super) fn presignd(&self) -> &Identity {
        &self.presignd
    }

    /// Keeps a new session, and forgets those that expired long ago.
    pub(super) fn insert(
        &self,
        session: Session,
        now: SystemTime,
    ) -> Result<Arc<Session>, TooManySessions> {
        let mut sessions = self
            .by_access_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| now < session.expires_at + REMEMBER_EXPIRED);
        if sessions.len() >= MAX_SESSIONS {
            sessions.retain(|_, session| now < session.expires_at);
        }
        if sessions.len() >= MAX_SESSIONS {
            return Err(TooManySessions);
        }
        let session = Arc::new(session);
        sessions.insert(session.identity.access_key_id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// The secret to verify a signature with; presignd's own included.
    pub(super) fn secret(&self, access_key_id: &str) -> Option<SecretString> {
        if access_key_id == self.presignd.access_key_id {
            return Some(self.presignd.secret_access_key.clone());
        }
        Some(self.find(access_key_id)?.identity.secret_access_key.clone())
    }

    /// Who presents these credentials, if the session token belongs to the access key and is alive; `None` is anonymous.
    ///
    /// The errors are S3's: a temporary access key without its token is as unknown as one that never existed.
    pub(super) fn claim(
        &self,
        presented: &Presented,
        now: SystemTime,
    ) -> Result<Option<Principal>, S3Error> {
        let Some(signature) = &presented.signature else {
            return Ok(None);
        };
        if signature.access_key_id == self.presignd.access_key_id {
            return if presented.tokens.is_empty() {
                Ok(Some(Principal::Presignd))
            } else {
                Err(invalid_token())
            };
        }
        let session = self
            .find(&signature.access_key_id)
            .filter(|_| !presented.tokens.is_empty());
        let Some(session) = session else {
            return Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            ));
        };
        let expected = session.identity.session_token.expose_secret().as_bytes();
        let matches = |token: &String| bool::from(token.as_bytes().ct_eq(expected));
        if !presented.tokens.iter().all(matches) {
            return Err(invalid_token());
        }
        if now >= session.expires_at {
            return Err(s3_error!(ExpiredToken, "The provided token has expired."));
        }
        Ok(Some(Principal::Session(session)))
    }

    fn find(&self, access_key_id: &str) -> Option<Arc<Session>> {
        let sessions = self
            .by_access_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.get(access_key_id).cloned()
    }
}

fn invalid_token() -> S3Error {
    s3_error!(
        InvalidToken,
        "The provided token is malformed or otherwise invalid."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::presented::{Carrier, Signature};

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn identity(prefix: &str, seed: u8) -> Identity {
        Identity::new(prefix, &[seed; RANDOM_LEN])
    }

    fn session(seed: u8, life: u64) -> Session {
        Session {
            identity: identity("ASIA", seed),
            tenant: 0,
            arn: String::new(),
            expires_at: START + Duration::from_secs(life),
            policy: None,
        }
    }

    fn presented(access_key_id: &str, tokens: &[&SecretString]) -> Presented {
        Presented {
            signature: Some(Signature {
                carrier: Carrier::Query,
                access_key_id: access_key_id.to_owned(),
                region: String::new(),
                service: String::new(),
                signed_headers: Vec::new(),
                validity: None,
            }),
            tokens: tokens
                .iter()
                .map(|token| token.expose_secret().to_owned())
                .collect(),
        }
    }

    #[test]
    fn a_token_belongs_to_its_access_key() {
        let sessions = Sessions::new(identity("AKIA", 0));
        let a = sessions.insert(session(1, 900), START).unwrap();
        let b = sessions.insert(session(2, 900), START).unwrap();
        let code = |presented: &Presented, at: u64| {
            let claim = sessions.claim(presented, START + Duration::from_secs(at));
            claim
                .map_err(|error| error.code().as_str().to_owned())
                .map(|principal| principal.is_some())
        };
        let id = a.identity.access_key_id.as_str();
        let (own, foreign) = (&a.identity.session_token, &b.identity.session_token);
        assert_eq!(code(&presented(id, &[own]), 899), Ok(true));
        assert_eq!(
            code(&presented(id, &[own]), 900),
            Err("ExpiredToken".to_owned())
        );
        assert_eq!(
            code(&presented(id, &[foreign]), 0),
            Err("InvalidToken".to_owned())
        );
        assert_eq!(
            code(&presented(id, &[own, foreign]), 0),
            Err("InvalidToken".to_owned())
        );
        assert_eq!(
            code(&presented(id, &[]), 0),
            Err("InvalidAccessKeyId".to_owned())
        );
        assert_eq!(
            code(&presented("ASIAUNKNOWN", &[own]), 0),
            Err("InvalidAccessKeyId".to_owned())
        );
        let presignd = sessions.presignd().access_key_id.as_str();
        assert_eq!(code(&presented(presignd, &[]), 0), Ok(true));
        assert_eq!(
            code(&presented(presignd, &[own]), 0),
            Err("InvalidToken".to_owned())
        );
    }

    #[test]
    fn sessions_are_bounded_and_the_expired_make_room() {
        let sessions = Sessions::new(identity("AKIA", 0));
        let insert = |n: usize, life: u64, now: u64| {
            let mut session = session(1, life);
            session.identity.access_key_id = format!("ASIA{n}");
            sessions
                .insert(session, START + Duration::from_secs(now))
                .is_ok()
        };
        assert!((0..MAX_SESSIONS).all(|n| insert(n, 900, 0)));
        assert!(!insert(MAX_SESSIONS, 900, 899));
        assert!(insert(MAX_SESSIONS, 2000, 900));
        assert!(sessions.secret("ASIA0").is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        let session = session(7, 900);
        let text = format!("{session:?}");
        assert!(!text.contains(session.identity.secret_access_key.expose_secret()));
        assert!(!text.contains(session.identity.session_token.expose_secret()));
    }
}
