//! The signer against others: AWS's published example, and the SDK's own signer over random commands.

use std::fmt::Write;
use std::time::Duration;

use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use proptest::prelude::*;

use super::samples::{GET_OBJECT, Sample, command, credentials, endpoint, samples, seconds};
use super::{
    Algorithm, BoundCommand, Credentials, SigningEndpoint, canonical_request, presign,
    string_to_sign,
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
        algorithm: Algorithm::HmacSha256,
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

/// The credentials of the test suite that AWS publishes for Signature Version 4A, and the public key that it gives for them.
const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SUITE_X: &str = "b6618f6a65740a99e650b33b6b4b5bd0d43b176d721a3edfea7e7d2d56d936b1";
const SUITE_Y: &str = "865ed22a7eadc9c5cb9d2cbaca1b3699139fedc5043dc6661864218330c8e518";

/// The suite's `get-vanilla` in the query: what is signed, and a signature of it.
const SUITE_STRING_TO_SIGN: &str = "AWS4-ECDSA-P256-SHA256\n20150830T123600Z\n20150830/service/aws4_request\n\
    890c4ed28c1a1ac10b5862719b537afbe392e987dc1aab1efa16fe7de41d3c81";
const SUITE_SIGNATURE: &str = "3045022100b3246f8e1442dd58e73292ae1294720c3256ee58f6cea50f3a3f83b4a4b0331a0220329693f7745c9008a588\
    7c0529ceccb0fae4e16d707b712ea66acdbaf963769a";

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// Whether the signature is one of the text with the private key of this public one, says aws-lc.
fn verifies(public_key: &[u8], text: &str, signature: &str) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key);
    key.verify(text.as_bytes(), &bytes(signature)).is_ok()
}

#[test]
fn keys_for_several_regions_are_those_of_the_published_suite() {
    let credentials = credentials(SUITE_SECRET, None);
    let public_key = credentials.asymmetric_key().public_key();
    assert_eq!(public_key, bytes(&format!("04{SUITE_X}{SUITE_Y}")));
    assert!(verifies(&public_key, SUITE_STRING_TO_SIGN, SUITE_SIGNATURE));
}

/// An access point for several regions.
fn everywhere() -> SigningEndpoint {
    SigningEndpoint {
        algorithm: Algorithm::EcdsaP256Sha256,
        region: "*".to_owned(),
        ..endpoint(
            "https://mfzwi23gnjvgw.mrap.accesspoint.s3-global.amazonaws.com",
            "",
        )
    }
}

#[test]
fn a_url_for_several_regions_is_written_as_the_suite_writes_them() {
    let command = BoundCommand {
        bucket: Some("arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap"),
        key: Some("test.txt"),
        ..command(GET_OBJECT)
    };
    let (endpoint, time) = (everywhere(), seconds(1_440_938_160));
    let credentials = credentials(SUITE_SECRET, Some("to/ken"));
    let query = "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fs3%2Faws4_request\
        &X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-Region-Set=%2A&X-Amz-Security-Token=to%2Fken&X-Amz-SignedHeaders=host";
    assert_eq!(
        canonical_request(&command, &endpoint, &credentials, time, 3600),
        format!(
            "GET\n/test.txt\n{query}\nhost:{}\n\nhost\nUNSIGNED-PAYLOAD",
            endpoint.host
        )
    );
    let text = string_to_sign(&command, &endpoint, &credentials, time, 3600);
    let (head, _) = SUITE_STRING_TO_SIGN.rsplit_once('\n').unwrap();
    let head = head.replace("/service/", "/s3/");
    assert_eq!(text.rsplit_once('\n').unwrap().0, head);

    let url = presign(&command, &endpoint, &credentials, time, 3600).into_string();
    let (unsigned, signature) = url.rsplit_once("&X-Amz-Signature=").unwrap();
    assert_eq!(unsigned, format!("{}/test.txt?{query}", endpoint.origin));
    let public_key = bytes(&format!("04{SUITE_X}{SUITE_Y}"));
    assert!(verifies(&public_key, &text, signature));
    assert!(!verifies(&public_key, SUITE_STRING_TO_SIGN, signature));
    // The core has no randomness.
    assert_eq!(
        url,
        presign(&command, &endpoint, &credentials, time, 3600).as_str()
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
    fn signatures_for_several_regions_verify(sample in samples()) {
        let (command, endpoint) = (sample.command(), everywhere());
        let (credentials, time) = (sample.credentials(), sample.signed_at());
        let url = presign(&command, &endpoint, &credentials, time, sample.expires_in);
        let text = string_to_sign(&command, &endpoint, &credentials, time, sample.expires_in);
        let signature = url.as_str().rsplit_once('=').unwrap().1;
        let public_key = credentials.asymmetric_key().public_key();
        prop_assert!(verifies(&public_key, &text, signature));
        prop_assert!(url.as_str().contains("&X-Amz-Region-Set=%2A&"));
    }

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
