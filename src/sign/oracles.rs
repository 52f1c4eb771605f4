//! The signer against others: AWS's published example, and the SDK's own signer over random commands.

use std::fmt::Write;
use std::time::Duration;

use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use proptest::prelude::*;

use super::samples::{GET_OBJECT, Sample, command, samples, seconds};
use super::{
    BoundCommand, Credentials, SigningEndpoint, canonical_request, presign, string_to_sign,
};

/// Amazon S3's API reference, "Authenticating requests: using query parameters", the example of a `GET`.
#[test]
fn the_published_example_is_met_at_every_stage() {
    let command = BoundCommand {
        bucket: Some("examplebucket"),
        key: Some("test.txt"),
        ..command(GET_OBJECT)
    };
    let endpoint = SigningEndpoint {
        origin: "https://examplebucket.s3.amazonaws.com".to_owned(),
        host: "examplebucket.s3.amazonaws.com".to_owned(),
        base_path: String::new(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
    };
    let credentials = Credentials::new(
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        None,
        None,
    );
    let signed_at = seconds(1_369_353_600);
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
        &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
        &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host";

    assert_eq!(
        canonical_request(&command, &endpoint, &credentials, signed_at, 86_400),
        format!(
            "GET\n/test.txt\n{query}\nhost:examplebucket.s3.amazonaws.com\n\nhost\nUNSIGNED-PAYLOAD"
        )
    );
    assert_eq!(
        string_to_sign(&command, &endpoint, &credentials, signed_at, 86_400),
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
         3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04"
    );
    assert_eq!(
        presign(&command, &endpoint, &credentials, signed_at, 86_400).as_str(),
        format!(
            "https://examplebucket.s3.amazonaws.com/test.txt?{query}&X-Amz-Signature=\
             aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        )
    );
}

/// Percent-encoding of its own, so that the oracle shares nothing with what it judges.
fn encoded(text: &str, kept: &[u8]) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
        out
    })
}

/// The signature that aws-sigv4 gives the same request.
fn signature_of_the_sdk(sample: &Sample, payload_hash: Option<&str>) -> String {
    let identity = aws_credential_types::Credentials::new(
        "AKIDEXAMPLE",
        sample.secret.clone(),
        sample.token.clone(),
        None,
        "test",
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(sample.expires_in.into()));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("s3")
        .time(sample.signed_at())
        .settings(settings)
        .build()
        .unwrap()
        .into();

    let endpoint = sample.endpoint();
    let path = encoded(&sample.key, b"-._~/");
    let [sent, moved] = sample.placed_headers();
    let query: Vec<String> = sample
        .query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(moved.iter().map(|(name, value)| (name.as_str(), *value)))
        .map(|(name, value)| format!("{name}={}", encoded(value, b"-._~")))
        .collect();
    let url = format!(
        "{}{}/{path}?{}",
        endpoint.origin,
        endpoint.base_path,
        query.join("&")
    );
    let headers = sent.iter().map(|(name, value)| (name.as_str(), *value));
    let body = payload_hash.map_or(SignableBody::UnsignedPayload, |hash| {
        SignableBody::Precomputed(hash.to_owned())
    });
    let method = if sample.put { "PUT" } else { "GET" };
    let request = SignableRequest::new(method, url, headers, body).unwrap();
    sign(request, &params).unwrap().signature().to_owned()
}

fn own_signature(sample: &Sample) -> String {
    let url = presign(
        &sample.command(),
        &sample.endpoint(),
        &sample.credentials(),
        sample.signed_at(),
        sample.expires_in,
    );
    url.as_str().rsplit_once('=').unwrap().1.to_owned()
}

proptest! {
    #[test]
    fn signatures_equal_those_of_the_sdk(sample in samples()) {
        prop_assert_eq!(own_signature(&sample), signature_of_the_sdk(&sample, None));
    }

    #[test]
    fn signatures_of_bound_payloads_equal_those_of_the_sdk(mut sample in samples(), hash in "[0-9a-f]{64}") {
        sample.headers.push(("x-amz-content-sha256", hash.clone()));
        prop_assert_eq!(own_signature(&sample), signature_of_the_sdk(&sample, Some(&hash)));
    }
}
