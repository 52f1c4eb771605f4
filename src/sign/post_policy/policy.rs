//! The policy: the JSON that says what a form may upload, and its signature.
//!
//! It begins with the conditions that all forms of a signing key share, the longest of them first. They fill whole groups of
//! base64, so that their encoding and their part of the hash are done once for a key, and a form only adds its own.

use std::fmt::Write as _;

use arrayvec::ArrayString;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::{FormField, KeyRule, LengthRange, PostForm, Rule};
use crate::sign::hex::{Hex, hex};
use crate::sign::signing_time::SigningTime;

/// The value of `x-amz-algorithm`.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A piece of JSON; most policies' own parts fit without the heap.
pub(super) type Json = SmallVec<[u8; 1024]>;

/// What all policies of a signing key begin with.
pub(in crate::sign) struct PolicyHead {
    /// In base64, without padding. It holds the session token.
    encoded: SecretString,
    /// Keyed, and fed with that.
    mac: Hmac<Sha256>,
}

impl PolicyHead {
    /// The beginning for this key, up to the `T` of the date.
    pub(in crate::sign) fn new(
        token: &str,
        credential: &str,
        date: &str,
        mut mac: Hmac<Sha256>,
    ) -> Self {
        let mut json = Zeroizing::new(Vec::with_capacity(2 * token.len() + 512));
        let mut put = |text: &[u8]| json.extend_from_slice(text);
        put(b"{\"conditions\":[");
        let escaped = |text: &str| {
            let mut json = Json::new();
            put_string(&mut json, text);
            Zeroizing::new(json.to_vec())
        };
        if !token.is_empty() {
            put(b"{\"x-amz-security-token\":");
            put(&escaped(token));
            put(b"},");
        }
        put(b"{\"x-amz-algorithm\":");
        put(&escaped(ALGORITHM));
        put(b"},{\"x-amz-credential\":");
        put(&escaped(credential));
        put(b"},");
        // Spaces, so that what follows starts a group of three bytes of its own.
        let last = format!("{{\"x-amz-date\":\"{date}T");
        let spaces = (3 - (json.len() + last.len()) % 3) % 3;
        json.extend(std::iter::repeat_n(b' ', spaces));
        json.extend_from_slice(last.as_bytes());
        let encoded = base64_simd::STANDARD.encode_to_string(&*json);
        mac.update(encoded.as_bytes());
        Self {
            encoded: encoded.into(),
            mac,
        }
    }

    /// The policy with this rest, in base64, and its signature.
    pub(super) fn signed(&self, tail: &[u8]) -> (String, Hex) {
        let head = self.encoded.expose_secret();
        let length = head.len() + base64_simd::STANDARD.encoded_length(tail.len());
        let mut policy = String::with_capacity(length);
        policy.push_str(head);
        base64_simd::STANDARD.encode_append(tail, &mut policy);
        let rest = policy.get(head.len()..).unwrap_or_default();
        let signature = signature(self.mac.clone(), rest);
        (policy, signature)
    }
}

/// The signature of a policy, of which this much was not yet fed.
pub(super) fn signature(mut mac: Hmac<Sha256>, rest: &str) -> Hex {
    mac.update(rest.as_bytes());
    hex(&mac.finalize().into_bytes().into())
}

/// What a policy ends with, from the time of its date on.
pub(super) fn tail(
    form: &PostForm<'_>,
    content_length: Option<LengthRange>,
    signed_at: SigningTime,
    expires_at: SigningTime,
) -> Json {
    let mut json = Json::new();
    put(&mut json, &signed_at.time_of_day());
    put(&mut json, "\"},{\"bucket\":");
    put_string(&mut json, form.command.bucket.unwrap_or_default());
    put(&mut json, "},");
    match &form.key {
        KeyRule::Exact(key) => put_exact(&mut json, "key", key),
        KeyRule::StartsWith { prefix, .. } => put_starts_with(&mut json, "key", prefix),
    }
    for FormField { name, rule } in &form.fields {
        put(&mut json, ",");
        match rule {
            Rule::Exact(value) => put_exact(&mut json, name, value),
            Rule::StartsWith { prefix, .. } => put_starts_with(&mut json, name, prefix),
        }
    }
    if let Some(LengthRange { min, max }) = content_length {
        put(&mut json, ",[\"content-length-range\",");
        put(&mut json, itoa::Buffer::new().format(min));
        put(&mut json, ",");
        put(&mut json, itoa::Buffer::new().format(max));
        put(&mut json, "]");
    }
    put(&mut json, "],\"expiration\":\"");
    put(&mut json, &expires_at.extended());
    put(&mut json, "\"}");
    json
}

/// As an object, whose value every store takes literally: in a list, some read one that starts with `$` as a field's name.
fn put_exact(json: &mut Json, name: &str, value: &str) {
    put(json, "{");
    put_string(json, name);
    put(json, ":");
    put_string(json, value);
    put(json, "}");
}

fn put_starts_with(json: &mut Json, name: &str, prefix: &str) {
    put(json, "[\"starts-with\",\"$");
    // Names are ASCII without quotes.
    put(json, name);
    put(json, "\",");
    put_string(json, prefix);
    put(json, "]");
}

fn put(json: &mut Json, text: &str) {
    json.extend_from_slice(text.as_bytes());
}

/// A text as a JSON string. What is not ASCII stays as it is: every store reads UTF-8, and not every one pairs of escapes.
fn put_string(json: &mut Json, text: &str) {
    let plain = |b: u8| b >= b' ' && b != b'"' && b != b'\\';
    put(json, "\"");
    if text.bytes().all(plain) {
        put(json, text);
    } else {
        for byte in text.bytes() {
            if plain(byte) {
                json.push(byte);
            } else {
                let mut escape = ArrayString::<6>::new();
                // Six characters fit.
                let _ = write!(escape, "\\u{byte:04x}");
                put(json, &escape);
            }
        }
    }
    put(json, "\"");
}
