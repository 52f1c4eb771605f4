//! The signing key of one day, region and service, with every text that depends on nothing else.
//!
//! Deriving it costs four HMACs and a handful of allocations, so [`Credentials`](super::Credentials) keep it.
//! Invariant: key, scope and `X-Amz-Credential` always belong to the same day, region and service.
//!
//! Source: the AWS API reference of Amazon S3, "Authenticating requests: using query parameters (AWS Signature Version 4)".

use std::fmt;
use std::sync::OnceLock;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::credential_scope::{CredentialScope, TERMINATOR};
use super::credentials::Credentials;
use super::endpoint::SigningEndpoint;
use super::hex::{Hex, hex};
use super::post_policy::PolicyHead;
use super::signing_time::{Day, SigningTime};
use super::sink::Sink;

/// A derived key.
pub(super) struct SigningKey {
    day: Day,
    region: String,
    service: String,
    /// What it signs for.
    pub(super) scope: CredentialScope,
    /// Keyed, with nothing fed in: a clone starts with the inner and outer pads already compressed.
    mac: Hmac<Sha256>,
    /// What POST policies begin with; made for the first of them.
    policy_head: OnceLock<PolicyHead>,
}

impl SigningKey {
    pub(super) fn derive(
        access_key_id: &str,
        secret_access_key: &SecretString,
        day: Day,
        endpoint: &SigningEndpoint,
    ) -> Self {
        let (region, service) = (endpoint.region.as_str(), endpoint.service.as_str());
        let secret = Zeroizing::new(["AWS4", secret_access_key.expose_secret()].concat());
        let mut key = keyed(secret.as_bytes());
        for part in [&day.date(), region, service, TERMINATOR] {
            key.put(part);
            key = keyed(&key.finalize().into_bytes());
        }
        Self {
            day,
            region: region.to_owned(),
            service: service.to_owned(),
            scope: CredentialScope::new(access_key_id, day, endpoint),
            mac: key,
            policy_head: OnceLock::new(),
        }
    }

    pub(super) fn is_for(&self, day: Day, endpoint: &SigningEndpoint) -> bool {
        self.day == day && self.region == endpoint.region && self.service == endpoint.service
    }

    /// What POST policies of this key begin with. `credentials` are those that the key was derived from.
    pub(super) fn policy_head(&self, credentials: &Credentials) -> &PolicyHead {
        self.policy_head.get_or_init(|| {
            let (token, mac) = (credentials.session_token(), self.mac());
            PolicyHead::new(token, &self.scope.credential, &self.day.date(), mac)
        })
    }

    /// The key's HMAC, with nothing fed in.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.mac.clone()
    }

    /// The signature of a canonical request with this hash.
    pub(super) fn sign(&self, time: SigningTime, canonical_request_hash: &Hex) -> Hex {
        let mut mac = self.mac();
        self.scope
            .write_string_to_sign(&mut mac, time, canonical_request_hash);
        hex(&mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("scope", &self.scope.text())
            .finish_non_exhaustive()
    }
}

/// An HMAC with this key.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC accepts keys of any length")
}
