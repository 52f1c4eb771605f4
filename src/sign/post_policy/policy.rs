//! The policy: the JSON that says what a form may upload, and its signature.
//!
//! It begins with the conditions that all forms of a signing key share, the longest of them first. They fill whole groups of
//! base64, so that their encoding and their part of the hash are done once for a key, and a form only adds its own.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{FormField, KeyRule, LengthRange, PostForm, Rule};
use crate::sign::hex::{Hex, hex};
use crate::sign::signing_time::SigningTime;

/// The value of `x-amz-algorithm`.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Room for most policies' own parts.
const TYPICAL_BYTES: usize = 512;

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
        let mut json = Zeroizing::new(String::with_capacity(2 * token.len() + 512));
        json.push_str("{\"conditions\":[");
        if !token.is_empty() {
            put_exact(&mut json, "x-amz-security-token", token);
            json.push(',');
        }
        put_exact(&mut json, "x-amz-algorithm", ALGORITHM);
        json.push(',');
        put_exact(&mut json, "x-amz-credential", credential);
        json.push(',');
        // Spaces, so that what follows starts a group of three bytes of its own.
        let last = format!("{{\"x-amz-date\":\"{date}T");
        while !(json.len() + last.len()).is_multiple_of(3) {
            json.push(' ');
        }
        json.push_str(&last);
        let encoded = base64_simd::STANDARD.encode_to_string(json.as_bytes());
        mac.update(encoded.as_bytes());
        Self {
            encoded: encoded.into(),
            mac,
        }
    }

    /// The policy with this rest, in base64, and its signature.
    pub(super) fn signed(&self, tail: &str) -> (String, Hex) {
        let head = self.encoded.expose_secret();
        let length = head.len() + base64_simd::STANDARD.encoded_length(tail.len());
        let mut policy = String::with_capacity(length);
        policy.push_str(head);
        base64_simd::STANDARD.encode_append(tail.as_bytes(), &mut policy);
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
pub(super) fn tail(form: &PostForm<'_>, signed_at: SigningTime, expires_at: SigningTime) -> String {
    let mut text = String::with_capacity(TYPICAL_BYTES);
    let json = &mut text;
    json.push_str(&signed_at.time_of_day());
    json.push_str("\"},{\"bucket\":");
    put_string(json, form.command.bucket.unwrap_or_default());
    json.push_str("},");
    match &form.key {
        KeyRule::Exact(key) => put_exact(json, "key", key),
        KeyRule::StartsWith { prefix, .. } => put_starts_with(json, "key", prefix),
    }
    for FormField { name, rule } in &form.fields {
        json.push(',');
        match rule {
            Rule::Exact(value) => put_exact(json, name, value),
            Rule::StartsWith { prefix, .. } => put_starts_with(json, name, prefix),
        }
    }
    if let Some(LengthRange { min, max }) = form.content_length() {
        json.push_str(",[\"content-length-range\",");
        json.push_str(itoa::Buffer::new().format(min));
        json.push(',');
        json.push_str(itoa::Buffer::new().format(max));
        json.push(']');
    }
    json.push_str("],\"expiration\":\"");
    json.push_str(&expires_at.extended());
    json.push_str("\"}");
    text
}

/// As an object, whose value every store takes literally: in a list, some read one that starts with `$` as a field's name.
fn put_exact(json: &mut String, name: &str, value: &str) {
    json.push('{');
    put_string(json, name);
    json.push(':');
    put_string(json, value);
    json.push('}');
}

fn put_starts_with(json: &mut String, name: &str, prefix: &str) {
    json.push_str("[\"starts-with\",\"$");
    // Names are ASCII without quotes.
    json.push_str(name);
    json.push_str("\",");
    put_string(json, prefix);
    json.push(']');
}

/// A text as a JSON string. What is not ASCII stays as it is: every store reads UTF-8, and not every one pairs of escapes.
fn put_string(json: &mut String, text: &str) {
    let plain = |b: u8| b >= b' ' && b != b'"' && b != b'\\';
    json.push('"');
    // Without a way out, so that many bytes are looked at at once.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        json.push_str(text);
    } else {
        for c in text.chars() {
            if u8::try_from(c).is_ok_and(|byte| !plain(byte)) {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            } else {
                json.push(c);
            }
        }
    }
    json.push('"');
}
