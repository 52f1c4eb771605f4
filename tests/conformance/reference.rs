//! Signature Version 4, plainly: the steps of the AWS documentation, for requests that botocore does not sign as S3 asks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The SHA-256 of a text, in hexadecimal.
pub(super) fn sha256(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

/// The signature of a string to sign, whose third line is the credential scope.
pub(super) fn signature(secret_access_key: &str, string_to_sign: &str) -> String {
    let scope = string_to_sign
        .lines()
        .nth(2)
        .expect("a string to sign has a scope");
    let secret = format!("AWS4{secret_access_key}").into_bytes();
    let key = scope.split('/').fold(secret, |key, part| hmac(&key, part));
    hexadecimal(&hmac(&key, string_to_sign))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// AWS API reference of Amazon S3, "Authenticating requests: using query parameters": the example's string to sign and signature.
#[test]
fn the_published_example_is_met() {
    let string_to_sign = "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n\
                          3bfa292879f6447bbcda7001decf97f4a54dc650c8942174ae0a9121cf58ad04";
    assert_eq!(
        signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", string_to_sign),
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    );
}
