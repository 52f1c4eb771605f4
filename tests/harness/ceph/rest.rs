//! Requests to RGW with the keys of a user, signed in their headers by the aws-sigv4 crate.
//!
//! Nothing of presignd is used, so that what the harness sets up cannot share a mistake with what it tests.

use std::{fmt::Write as _, time::SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4::SigningParams,
};
use hyper::body::Bytes;

use crate::harness::http::{self, Response};

/// A request to S3. An empty key names the bucket; the query is given encoded, and each of its parameters with a `=`.
pub(super) async fn s3(
    endpoint: &str,
    keys: &Credentials,
    method: &str,
    bucket: &str,
    key: &str,
    query: &str,
    body: impl Into<Bytes>,
) -> Response {
    let slash = if key.is_empty() { "" } else { "/" };
    let mark = if query.is_empty() { "" } else { "?" };
    let key = encode(key, "/");
    let url = format!("{endpoint}/{bucket}{slash}{key}{mark}{query}");
    signed(keys, "s3", method, &url, &[], body.into()).await
}

/// A request to IAM: a form.
pub(super) async fn iam(endpoint: &str, keys: &Credentials, form: &[(&str, &str)]) -> Response {
    let body = form
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value, "")))
        .collect::<Vec<_>>()
        .join("&");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{endpoint}/");
    signed(keys, "iam", "POST", &url, &headers, body.into()).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the store compares with its own clock"
)]
async fn signed(
    keys: &Credentials,
    service: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Response {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = keys.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .expect("all parameters are set")
        .into();
    let request = SignableRequest::new(
        method,
        url,
        headers.iter().copied(),
        SignableBody::Bytes(&body),
    )
    .unwrap_or_else(|e| panic!("{method} {url}: {e}"));
    let (instructions, _signature) = sign(request, &params)
        .unwrap_or_else(|e| panic!("{method} {url}: {e}"))
        .into_parts();
    let headers = headers.iter().copied().chain(instructions.headers());
    http::send(method, url, headers, body).await
}

/// Percent-encodes all but RFC 3986's unreserved characters and those of `also_kept`.
pub(super) fn encode(text: &str, also_kept: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let char = char::from(byte);
        if char.is_ascii_alphanumeric() || "-._~".contains(char) || also_kept.contains(char) {
            encoded.push(char);
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes it");
        }
    }
    encoded
}
