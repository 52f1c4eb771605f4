//! Forms, from a request to what a store and a browser read of them.

mod laws;
mod rules;

use super::*;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::proto::v1::form_condition::Rule as Condition;
use crate::proto::v1::presign_post_request::{ContentTypeRule, KeyRule as AskedKey};
use crate::proto::v1::{ContentLengthRange, FormCondition, PresignPostRequest};
use crate::sign::hex::hex;
use crate::sign::post_policy::bind::bind;
use crate::sign::samples::{credentials, endpoint, seconds};
use hmac::Mac as _;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2026-11-25T15:58:09Z
const NOW: u64 = 1_795_622_289;

fn form(key: AskedKey) -> PresignPostRequest {
    PresignPostRequest {
        bucket: "files".to_owned(),
        key_rule: Some(key),
        ..Default::default()
    }
}

fn key(key: &str) -> PresignPostRequest {
    form(AskedKey::Key(key.to_owned()))
}

fn condition(field: &str, rule: Condition) -> FormCondition {
    FormCondition {
        field: field.to_owned(),
        rule: Some(rule),
    }
}

fn equals(field: &str, value: &str) -> FormCondition {
    condition(field, Condition::Equals(value.to_owned()))
}

fn starts_with(field: &str, prefix: &str) -> FormCondition {
    condition(field, Condition::StartsWith(prefix.to_owned()))
}

/// What a form says, as a store reads it.
struct Read {
    url: String,
    fields: Vec<(String, String)>,
    to_fill: Vec<(String, String)>,
    conditions: Vec<Value>,
    expiration: String,
    html: String,
}

impl Read {
    fn field(&self, name: &str) -> &str {
        let mut values = self.fields.iter().filter(|(n, _)| n == name);
        let value = values
            .next()
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.fields));
        assert_eq!(values.next(), None, "{name} stands once");
        &value.1
    }

    /// What the client chooses from: exact values by name, and beginnings.
    fn rules(&self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let (mut exact, mut open) = (BTreeMap::new(), BTreeMap::new());
        for condition in &self.conditions {
            match condition {
                Value::Object(one) => {
                    assert_eq!(one.len(), 1, "{condition}");
                    for (name, value) in one {
                        let before = exact.insert(name.clone(), value.as_str().unwrap().to_owned());
                        assert_eq!(before, None, "{condition}");
                    }
                }
                Value::Array(parts) if parts[0] == "starts-with" => {
                    let name = parts[1].as_str().unwrap().strip_prefix('$').unwrap();
                    let before =
                        open.insert(name.to_owned(), parts[2].as_str().unwrap().to_owned());
                    assert_eq!((before, parts.len()), (None, 3), "{condition}");
                }
                other => assert_eq!(other[0], "content-length-range"),
            }
        }
        (exact, open)
    }
}

/// Signs a form with a session, and reads it with an HMAC of the whole policy and a JSON parser.
fn read_with(request: &PresignPostRequest, token: Option<&str>) -> Read {
    let bound = bind(request).unwrap_or_else(|violations| panic!("{violations}: {request:?}"));
    let credentials = credentials(SECRET, token);
    let endpoint = endpoint("http://127.0.0.1:9000", "/files");
    let (now, end) = (seconds(NOW), seconds(NOW + 900));
    let signed = presign_post(&bound, &endpoint, &credentials, now, end);
    assert_eq!(format!("{signed:?}"), "PresignedForm(..)");
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let fields: Vec<_> = signed.fields().map(owned).collect();
    let value = |name: &str| fields.iter().find(|(n, _)| n == name).unwrap().1.clone();

    let policy = value("policy");
    let mut mac = signed.key.mac();
    mac.update(policy.as_bytes());
    let whole = hex(&mac.finalize().into_bytes().into());
    assert_eq!(value("x-amz-signature"), whole.as_str());

    let json = base64_simd::STANDARD.decode_to_vec(&policy).unwrap();
    let mut policy: Value = serde_json::from_slice(&json).unwrap();
    let conditions = match policy["conditions"].take() {
        Value::Array(conditions) => conditions,
        other => panic!("{other}"),
    };
    assert_eq!(policy.as_object().unwrap().len(), 2);
    Read {
        url: signed.url(),
        to_fill: signed.fields_to_fill().map(owned).collect(),
        html: signed.html(),
        expiration: policy["expiration"].as_str().unwrap().to_owned(),
        fields,
        conditions,
    }
}

fn read(request: &PresignPostRequest) -> Read {
    read_with(request, Some("TOKEN/+="))
}

/// Amazon S3's API reference, "Example: Browser-based upload using HTTP POST". Its policy has CRLF at the ends of its lines.
#[test]
fn the_published_example_is_met() {
    let policy = r#"{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}"#;
    let encoded = base64_simd::STANDARD.encode_to_string(policy.replace('\n', "\r\n"));
    assert!(encoded.starts_with("eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0K"));
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE".into(), SECRET.into(), None, None);
    let day = SigningTime::new(seconds(1_451_347_200)).day;
    let endpoint = SigningEndpoint {
        region: "us-east-1".to_owned(),
        ..endpoint("http://127.0.0.1:9000", "")
    };
    let key = credentials.signing_key(day, &endpoint);
    assert_eq!(
        key.scope.credential,
        "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"
    );
    assert_eq!(
        policy::signature(key.mac(), &encoded).as_str(),
        "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
    );
}

#[test]
fn everything_that_is_asked_becomes_a_field_with_its_condition() {
    let request = PresignPostRequest {
        content_type_rule: Some(ContentTypeRule::ContentTypeStartsWith("image/".into())),
        success_action_status: Some(201),
        content_length_range: Some(ContentLengthRange {
            min: 1,
            max: 1 << 40,
        }),
        acl: Some("private".into()),
        tagging: [("team".into(), "a & <b>".into())].into(),
        metadata: [("User".into(), "\"u\\1\"".into())].into(),
        bucket_key_enabled: Some(true),
        fields: [("cache-control".into(), "no-cache".into())].into(),
        conditions: vec![equals("Expires", "0"), starts_with("x-amz-meta-tag", "")],
        ..form(AskedKey::KeyStartsWith("user/é/".into()))
    };
    let read = read(&request);
    assert_eq!(read.url, "http://127.0.0.1:9000/files");
    assert_eq!(read.expiration, "2026-11-25T16:13:09Z");
    assert_eq!(
        read.conditions,
        [
            json!({"x-amz-security-token": "TOKEN/+="}),
            json!({"x-amz-algorithm": "AWS4-HMAC-SHA256"}),
            json!({"x-amz-credential": "AKIDEXAMPLE/20261125/eu-west-1/s3/aws4_request"}),
            json!({"x-amz-date": "20261125T155809Z"}),
            json!({"bucket": "files"}),
            json!(["starts-with", "$key", "user/é/"]),
            json!({"acl": "private"}),
            json!({"x-amz-server-side-encryption-bucket-key-enabled": "true"}),
            json!({"success_action_status": "201"}),
            json!({"tagging": "<Tagging><TagSet><Tag><Key>team</Key><Value>a &amp; &lt;b&gt;</Value></Tag></TagSet></Tagging>"}),
            json!({"x-amz-meta-user": "\"u\\1\""}),
            json!({"Cache-Control": "no-cache"}),
            json!(["starts-with", "$Content-Type", "image/"]),
            json!({"Expires": "0"}),
            json!(["starts-with", "$x-amz-meta-tag", ""]),
            json!(["content-length-range", 1, 1_u64 << 40]),
        ]
    );
    let names: Vec<&str> = read.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "key",
            "acl",
            "x-amz-server-side-encryption-bucket-key-enabled",
            "success_action_status",
            "tagging",
            "x-amz-meta-user",
            "Cache-Control",
            "Expires",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-security-token",
            "policy",
            "x-amz-signature",
        ]
    );
    assert_eq!(read.field("key"), "user/é/${filename}");
    assert_eq!(
        read.to_fill,
        [
            ("Content-Type".to_owned(), "image/".to_owned()),
            ("x-amz-meta-tag".to_owned(), String::new())
        ]
    );
    let html = &read.html;
    assert!(
        html.contains(r#"<input type="hidden" name="x-amz-meta-user" value="&quot;u\1&quot;">"#),
        "{html}"
    );
    assert!(
        html.contains(
            r#"<label>Content-Type <input type="text" name="Content-Type" value="image/"></label>"#
        ),
        "{html}"
    );
    let file = html.find(r#"name="file""#).unwrap();
    assert_eq!(
        html.rfind(" name="),
        Some(file - 1),
        "the file is the last that is sent: {html}"
    );
}

#[test]
fn a_form_without_a_session_has_no_token() {
    let read = read_with(&key("k"), None);
    assert_eq!(
        read.conditions[0],
        json!({"x-amz-algorithm": "AWS4-HMAC-SHA256"})
    );
    assert!(
        !read
            .fields
            .iter()
            .any(|(name, _)| name == "x-amz-security-token")
    );
}

#[test]
fn a_bucket_in_the_host_keeps_the_slash_of_its_root() {
    let (request, credentials) = (key("k"), credentials(SECRET, None));
    let bound = bind(&request).unwrap();
    for (origin, base_path, url) in [
        (
            "https://files.s3.eu-west-1.amazonaws.com",
            "",
            "https://files.s3.eu-west-1.amazonaws.com/",
        ),
        (
            "http://127.0.0.1:9000",
            "/files",
            "http://127.0.0.1:9000/files",
        ),
        (
            "http://127.0.0.1:9000",
            "/s3/files",
            "http://127.0.0.1:9000/s3/files",
        ),
    ] {
        let endpoint = endpoint(origin, base_path);
        let signed = presign_post(&bound, &endpoint, &credentials, seconds(NOW), seconds(NOW));
        assert_eq!(signed.url(), url);
    }
}

#[test]
fn the_size_that_s3_takes_counts_what_surrounds_each_field() {
    let request = key("k");
    let bound = bind(&request).unwrap();
    let (endpoint, token) = (endpoint("http://s3.test", "/files"), "t".repeat(1000));
    let credentials = credentials(SECRET, Some(&token));
    let signed = presign_post(&bound, &endpoint, &credentials, seconds(NOW), seconds(NOW));
    let policy = signed.policy.len();
    assert!(policy > 1333 && signed.bytes() > policy + 1000 + 8 * BYTES_AROUND_FIELD);
    assert!(signed.bytes() < MAX_FORM_BYTES / 4);
}
