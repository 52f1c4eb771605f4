//! The pure core: signs a bound command as a URL with AWS Signature Version 4, or 4A where several regions may serve it.
//!
//! Nothing here does I/O, reads a clock or can fail: a [`BoundCommand`](command::BoundCommand) says what is asked, a
//! [`SigningEndpoint`] where it goes, [`Credentials`] as whom, and the caller says when. A URL comes to be in four stages, one file
//! each, and each reads only what the one before it wrote:
//!
//! 1. `url` and `query` write the URL up to its signature, once;
//! 2. `canonical` feeds that path and query, and the headers, to SHA-256;
//! 3. `signing_key`, or `asymmetric_key` for several regions, signs the hash, with a key that `credentials` keeps;
//! 4. the signature is appended.
//!
//! `parts` signs the URLs of an upload's parts, which have most of these stages in common. `post_policy` signs forms instead of URLs, with the same keys.
//!
//! Invariant: path and query that are signed are the bytes that are sent. Headers move into the query only where the command says so, and
//! only those of `placement`: the client has to send all others. A URL costs one heap allocation, its own.
//!
//! Source: the AWS API reference of Amazon S3, "Authenticating requests: using query parameters (AWS Signature Version 4)".

mod asymmetric_key;
pub mod bind;
pub mod bucket;
mod canonical;
pub mod command;
mod credential_scope;
mod credentials;
pub mod encode;
mod endpoint;
mod hex;
pub mod operations;
pub mod parameterized;
mod parts;
pub mod payload;
mod placement;
pub mod post_policy;
mod query;
mod signing_key;
mod signing_time;
mod sink;
pub mod timestamp;
mod url;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod oracles;
#[cfg(test)]
mod samples;

use std::time::SystemTime;

use sha2::{Digest, Sha256};

use self::asymmetric_key::{AsymmetricKey, SIGNATURE_LENGTH};
use self::canonical::{SignedHeaders, write_canonical_request};
use self::command::BoundCommand;
use self::credential_scope::CredentialScope;
use self::hex::{HEX_LENGTH, Hex, hex};
use self::query::Query;
use self::signing_key::SigningKey;
use self::signing_time::SigningTime;
use self::sink::Sink;
use self::url::{Host, UnsignedUrl};

pub use self::credentials::Credentials;
pub use self::endpoint::{Algorithm, SigningEndpoint};
pub use self::parts::{PART_NUMBER, presign_parts};
pub use self::url::PresignedUrl;

/// The URL that lets its holder send `command` for `expires_in` seconds from `signed_at` on.
///
/// S3 takes 1 to 604,800 seconds, and cuts a session's URLs off when the session ends: to keep within both is the caller's part.
pub fn presign(
    command: &BoundCommand<'_>,
    endpoint: &SigningEndpoint,
    credentials: &Credentials,
    signed_at: SystemTime,
    expires_in: u32,
) -> PresignedUrl {
    with_draft(
        command,
        endpoint,
        credentials,
        signed_at,
        expires_in,
        |draft| {
            let (hash, time) = (draft.hash(), draft.time);
            match draft.signer {
                Signer::Symmetric(key) => draft.url.signed(&key.sign(time, &hash)),
                Signer::Asymmetric(key) => draft.url.signed(&key.sign(draft.scope, time, &hash)),
            }
        },
    )
}

/// The canonical request that [`presign`] hashes, to explain a signature that a store refuses. It holds the session token.
pub fn canonical_request(
    command: &BoundCommand<'_>,
    endpoint: &SigningEndpoint,
    credentials: &Credentials,
    signed_at: SystemTime,
    expires_in: u32,
) -> String {
    with_draft(
        command,
        endpoint,
        credentials,
        signed_at,
        expires_in,
        |draft| {
            let mut text = String::new();
            draft.write_canonical_request(&mut text);
            text
        },
    )
}

/// The string to sign that [`presign`] signs, to explain a signature that a store refuses.
pub fn string_to_sign(
    command: &BoundCommand<'_>,
    endpoint: &SigningEndpoint,
    credentials: &Credentials,
    signed_at: SystemTime,
    expires_in: u32,
) -> String {
    with_draft(
        command,
        endpoint,
        credentials,
        signed_at,
        expires_in,
        |draft| {
            let mut text = String::new();
            draft
                .scope
                .write_string_to_sign(&mut text, draft.time, &draft.hash());
            text
        },
    )
}

/// A URL before it is signed, and what its signature depends on.
struct Draft<'a, 'h> {
    method: &'static str,
    host: Host<'a>,
    headers: &'a SignedHeaders<'h>,
    url: UnsignedUrl,
    scope: &'a CredentialScope,
    signer: Signer<'a>,
    time: SigningTime,
}

/// What signs.
#[derive(Debug, Clone, Copy)]
enum Signer<'a> {
    /// For one region.
    Symmetric(&'a SigningKey),
    /// For several.
    Asymmetric(&'a AsymmetricKey),
}

impl Signer<'_> {
    /// The most that a signature has, in hexadecimal digits.
    fn length(self) -> usize {
        match self {
            Self::Symmetric(_) => HEX_LENGTH,
            Self::Asymmetric(_) => SIGNATURE_LENGTH,
        }
    }
}

impl Draft<'_, '_> {
    fn write_canonical_request(&self, sink: &mut impl Sink) {
        write_canonical_request(sink, self.method, &self.url, &self.host, self.headers);
    }

    /// The hash of the canonical request.
    fn hash(&self) -> Hex {
        let mut sha256 = Sha256::new();
        self.write_canonical_request(&mut sha256);
        hex(&sha256.finalize().into())
    }
}

fn with_draft<T>(
    command: &BoundCommand<'_>,
    endpoint: &SigningEndpoint,
    credentials: &Credentials,
    signed_at: SystemTime,
    expires_in: u32,
    finish: impl FnOnce(Draft<'_, '_>) -> T,
) -> T {
    let time = SigningTime::new(signed_at);
    let host = Host::new(command, endpoint);
    let headers = SignedHeaders::new(command);
    let draft = |scope: &CredentialScope, signer: Signer<'_>| {
        let query = Query::new(command, &headers, credentials, scope, time, expires_in);
        let length = signer.length();
        finish(Draft {
            method: command.operation.method,
            host,
            headers: &headers,
            url: UnsignedUrl::new(command, &endpoint.base_path, &host, &query, length),
            scope,
            signer,
            time,
        })
    };
    match endpoint.algorithm {
        Algorithm::HmacSha256 => credentials.with_signing_key(time.day, endpoint, |key| {
            draft(&key.scope, Signer::Symmetric(key))
        }),
        Algorithm::EcdsaP256Sha256 => {
            let scope = CredentialScope::new(credentials.access_key_id(), time.day, endpoint);
            draft(&scope, Signer::Asymmetric(credentials.asymmetric_key()))
        }
    }
}
