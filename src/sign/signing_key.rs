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

use super::credentials::Credentials;
use super::encode::{Kept, encode};
use super::hex::{Hex, hex};
use super::post_policy::PolicyHead;
use super::signing_time::{Day, SigningTime};
use super::sink::Sink;

/// The last part of every credential scope and of every key's derivation.
const TERMINATOR: &str = "aws4_request";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A derived key.
pub(super) struct SigningKey {
    day: Day,
    region: String,
    service: String,
    /// The query's `X-Amz-Algorithm`, `X-Amz-Credential` and `X-Amz-Date`, the last one as far as its `T`.
    pub(super) parameters: String,
    /// The string to sign up to the `T` of its time.
    string_to_sign: String,
    /// The line with the credential scope: `yyyymmdd/region/service/aws4_request`, between line feeds.
    scope_line: String,
    /// `X-Amz-Credential`, not encoded.
    credential: String,
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
        region: &str,
        service: &str,
    ) -> Self {
        let date = day.date();
        let secret = Zeroizing::new(["AWS4", secret_access_key.expose_secret()].concat());
        let mut key = keyed(secret.as_bytes());
        for part in [&date, region, service, TERMINATOR] {
            key.put(part);
            key = keyed(&key.finalize().into_bytes());
        }

        let scope = format!("{date}/{region}/{service}/{TERMINATOR}");
        let mut parameters = format!("X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential=");
        for part in [access_key_id, "/", &scope] {
            encode(&mut parameters, part, Kept::Unreserved);
        }
        parameters.extend(["&X-Amz-Date=", &date, "T"]);
        Self {
            day,
            region: region.to_owned(),
            service: service.to_owned(),
            parameters,
            string_to_sign: format!("{ALGORITHM}\n{date}T"),
            scope_line: format!("\n{scope}\n"),
            credential: format!("{access_key_id}/{scope}"),
            mac: key,
            policy_head: OnceLock::new(),
        }
    }

    pub(super) fn is_for(&self, day: Day, region: &str, service: &str) -> bool {
        self.day == day && self.region == region && self.service == service
    }

    /// `X-Amz-Credential`: the access key id and the scope.
    pub(super) fn credential(&self) -> &str {
        &self.credential
    }

    /// What POST policies of this key begin with. `credentials` are those that the key was derived from.
    pub(super) fn policy_head(&self, credentials: &Credentials) -> &PolicyHead {
        self.policy_head.get_or_init(|| {
            let (token, mac) = (credentials.session_token(), self.mac());
            PolicyHead::new(token, &self.credential, &self.day.date(), mac)
        })
    }

    /// The key's HMAC, with nothing fed in.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        self.mac.clone()
    }

    /// Writes the string to sign for a canonical request with this hash.
    pub(super) fn write_string_to_sign(
        &self,
        sink: &mut impl Sink,
        time: SigningTime,
        canonical_request_hash: &Hex,
    ) {
        sink.put(&self.string_to_sign);
        sink.put(&time.time_of_day());
        sink.put(&self.scope_line);
        sink.put(canonical_request_hash);
    }

    /// The signature of a canonical request with this hash.
    pub(super) fn sign(&self, time: SigningTime, canonical_request_hash: &Hex) -> Hex {
        let mut mac = self.mac();
        self.write_string_to_sign(&mut mac, time, canonical_request_hash);
        hex(&mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("scope", &self.scope_line.trim())
            .finish_non_exhaustive()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC accepts keys of any length")
}
