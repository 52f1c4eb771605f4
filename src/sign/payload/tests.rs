//! Bodies, held against the commands that carry them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::proto::s3;

const BODY: &[u8] = b"123456789";
const SHA256: &str = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
const SHA256_BASE64: &str = "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=";
const MD5: &str = "JfnnlDI7RTiF9RgfG2JNCw==";

fn content(bytes: &[u8]) -> Payload {
    Payload {
        kind: Some(Kind::Content(bytes.to_vec())),
    }
}

fn sha256(bytes: &[u8]) -> Payload {
    Payload {
        kind: Some(Kind::Sha256(bytes.to_vec())),
    }
}

fn hash() -> Payload {
    sha256(&bytes_of_hex(SHA256).unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "fields of commands are optional")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn put() -> s3::PutObject {
    s3::PutObject {
        bucket: some("b"),
        key: some("k"),
        ..Default::default()
    }
}

fn tagging() -> s3::PutBucketTagging {
    s3::PutBucketTagging {
        bucket: some("b"),
        ..Default::default()
    }
}

/// The headers of a command with this body.
fn headers(message: &dyn BindAny, payload: &Payload) -> BTreeMap<String, String> {
    let command = bind(message, payload).unwrap();
    let headers: BTreeMap<_, _> = command.headers_to_send().into_iter().collect();
    assert_eq!(headers.len(), command.headers.len(), "each stands once");
    headers
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// The fields for which the body is refused.
fn refused(message: &dyn BindAny, payload: &Payload) -> Vec<String> {
    let violations = bind(message, payload).expect_err("it is refused").0;
    violations.iter().map(|v| v.field.to_string()).collect()
}

#[test]
fn the_hash_is_signed_and_the_length_of_content() {
    let hash_and_length = map(&[("x-amz-content-sha256", SHA256), ("content-length", "9")]);
    assert_eq!(headers(&put(), &content(BODY)), hash_and_length);
    assert_eq!(
        headers(&put(), &hash()),
        map(&[("x-amz-content-sha256", SHA256)])
    );
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        headers(&put(), &content(b"")),
        map(&[("x-amz-content-sha256", empty), ("content-length", "0")])
    );
}

#[test]
fn a_required_checksum_is_made_of_either_kind() {
    for payload in [content(BODY), hash()] {
        let headers = headers(&tagging(), &payload);
        assert_eq!(headers["x-amz-checksum-sha256"], SHA256_BASE64);
        assert_eq!(headers["x-amz-content-sha256"], SHA256);
    }
    let with_md5 = s3::PutBucketTagging {
        content_md5: some(MD5),
        ..tagging()
    };
    let headers = headers(&with_md5, &content(BODY));
    assert_eq!(headers["content-md5"], MD5);
    assert!(
        !headers.contains_key("x-amz-checksum-sha256"),
        "one is enough"
    );
}

#[test]
fn an_announced_checksum_is_made_if_it_can_be() {
    let announcing = |algorithm: &str| s3::PutBucketTagging {
        checksum_algorithm: some(algorithm),
        ..tagging()
    };
    for (algorithm, header, value) in [
        ("CRC32", "x-amz-checksum-crc32", "y/Q5Jg=="),
        ("SHA256", "x-amz-checksum-sha256", SHA256_BASE64),
        ("MD5", "x-amz-checksum-md5", MD5),
    ] {
        let headers = headers(&announcing(algorithm), &content(BODY));
        assert_eq!(headers[header], value);
        let checksums = headers.keys().filter(|n| n.starts_with("x-amz-checksum-"));
        assert_eq!(checksums.count(), 1);
    }
    let field = ["put_bucket_tagging.checksum_algorithm"];
    assert_eq!(refused(&announcing("CRC32"), &hash()), field);
    assert_eq!(refused(&announcing("XXHASH64"), &content(BODY)), field);
    headers(&announcing("SHA256"), &hash());
    // S3 takes one.
    let two = s3::PutObject {
        checksum_algorithm: some("CRC32"),
        checksum_sha256: some(SHA256_BASE64),
        ..put()
    };
    let field = ["put_object.checksum_algorithm"];
    assert_eq!(refused(&two, &content(BODY)), field);
}

#[test]
fn what_the_command_says_of_its_body_is_held_against_it() {
    let right = s3::PutObject {
        content_length: Some(9),
        content_md5: some(MD5),
        checksum_sha256: some(SHA256_BASE64),
        checksum_crc32: some("y/Q5Jg=="),
        // Only S3 knows.
        checksum_xxhash64: some("AAAAAAAAAAA="),
        ..put()
    };
    headers(&right, &content(BODY));
    let wrong = s3::PutObject {
        content_length: Some(8),
        content_md5: some("JfnnlDI7RTiF9RgfG2JNCw="),
        checksum_crc32: some("AAAAAA=="),
        checksum_crc32_c: some("AAAAAA=="),
        checksum_crc64_nvme: some("AAAAAAAAAAA="),
        checksum_sha1: some(""),
        checksum_sha256: some(SHA256),
        checksum_sha512: some("AAAA"),
        ..put()
    };
    let fields = [
        "content_length",
        "content_md5",
        "checksum_crc32",
        "checksum_crc32_c",
        "checksum_crc64_nvme",
        "checksum_sha1",
        "checksum_sha256",
        "checksum_sha512",
    ];
    let mut named = refused(&wrong, &content(BODY));
    let mut expected = fields.map(|field| format!("put_object.{field}")).to_vec();
    named.sort();
    expected.sort();
    assert_eq!(named, expected);
    // Of a hash alone, presignd knows no other.
    assert_eq!(refused(&wrong, &hash()), ["put_object.checksum_sha256"]);
}

#[test]
fn the_checksums_of_a_whole_object_are_not_those_of_the_body_that_completes_it() {
    let complete = s3::CompleteMultipartUpload {
        bucket: some("b"),
        key: some("k"),
        upload_id: some("u"),
        checksum_crc32: some("AAAAAA=="),
        ..Default::default()
    };
    let headers = headers(&complete, &content(BODY));
    assert_eq!(headers["x-amz-checksum-crc32"], "AAAAAA==");
}

#[test]
fn payloads_that_are_none_are_refused() {
    let get = s3::GetObject {
        bucket: some("b"),
        key: some("k"),
        ..Default::default()
    };
    let copy = s3::CopyObject {
        bucket: some("b"),
        key: some("k"),
        copy_source: some("b/s"),
        ..Default::default()
    };
    for payload in [content(b""), content(BODY), hash(), Payload::default()] {
        assert_eq!(refused(&get, &payload), ["payload"]);
        assert_eq!(refused(&copy, &payload), ["payload"]);
    }
    assert_eq!(refused(&put(), &Payload::default()), ["payload"]);
    for length in [0, 31, 33, 64] {
        let short = sha256(&vec![0; length]);
        assert_eq!(refused(&put(), &short), ["payload.sha256"], "{length}");
    }
    headers(&put(), &content(&vec![0; MAX_CONTENT_BYTES]));
    let long = content(&vec![0; MAX_CONTENT_BYTES + 1]);
    assert_eq!(refused(&put(), &long), ["payload.content"]);
    // With what else is wrong.
    let nameless = s3::PutObject { key: None, ..put() };
    let both = ["put_object.key", "payload.content"];
    assert_eq!(refused(&nameless, &long), both);
}

#[test]
fn what_is_left_to_the_client_is_told() {
    let told = |message: &dyn BindAny, payload: Option<Payload>| {
        let bound = match &payload {
            Some(payload) => bind(message, payload),
            None => message.to_bound(),
        };
        BodyToSend::of(&bound.unwrap())
    };
    let sha256 = bytes_of_hex(SHA256);
    let expected = |kind, sha256, wants_checksum| BodyToSend {
        kind,
        sha256,
        wants_checksum,
    };
    let list = s3::ListBuckets::default();
    assert_eq!(told(&list, None), expected(BodyKind::None, None, false));
    assert_eq!(told(&put(), None), expected(BodyKind::Bytes, None, false));
    let bound = told(&put(), Some(hash()));
    assert_eq!(bound, expected(BodyKind::Bytes, sha256, false));
    assert_eq!(told(&tagging(), None), expected(BodyKind::Xml, None, true));
    let bound = told(&tagging(), Some(content(BODY)));
    assert_eq!(bound, expected(BodyKind::Xml, sha256, false));
    let signed = s3::PutBucketPolicy {
        bucket: some("b"),
        content_md5: some(MD5),
        ..Default::default()
    };
    assert_eq!(told(&signed, None), expected(BodyKind::Json, None, false));
}

proptest! {
    /// A command with a body has all that it has without, and the body's headers beside.
    #[test]
    fn a_body_adds_headers_and_takes_none(body in proptest::collection::vec(any::<u8>(), 0..100), md5 in any::<bool>()) {
        let message = s3::PutObject {
            content_type: some("text/plain"),
            content_md5: md5.then(|| Algorithm::Md5.of(Some(&body), &[0; 32]).unwrap()),
            ..put()
        };
        let without = message.to_bound().unwrap().headers_to_send();
        let mut with = headers(&message, &content(&body));
        for (name, value) in without {
            prop_assert_eq!(with.remove(&name), Some(value));
        }
        let names: Vec<&String> = with.keys().collect();
        prop_assert_eq!(names, ["content-length", "x-amz-content-sha256"]);
        prop_assert_eq!(&with["content-length"], &body.len().to_string());
    }
}
