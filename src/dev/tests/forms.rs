//! POST forms: the session token travels as a field.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::*;

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * n) & 63).unwrap();
            text.push(if n <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}

/// The fields of a form that lets `key` be uploaded to `bucket`, signed by the steps that AWS describes.
fn fields(
    stage: &Stage,
    credentials: &Credentials,
    bucket: &str,
    key: &str,
) -> Vec<(String, String)> {
    let time = jiff::Timestamp::try_from(now()).unwrap();
    let (date, region) = (
        time.strftime("%Y%m%d").to_string(),
        stage.tenant(ACME).region.as_str(),
    );
    let expiration = time + jiff::SignedDuration::from_secs(60);
    let scope = format!(
        "{}/{date}/{region}/s3/aws4_request",
        credentials.access_key_id()
    );
    let mut fields = vec![
        ("key".to_owned(), key.to_owned()),
        ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential".to_owned(), scope),
        (
            "x-amz-date".to_owned(),
            time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        ),
        (
            "x-amz-security-token".to_owned(),
            credentials.session_token().unwrap().to_owned(),
        ),
    ];
    let mut conditions: Vec<_> = fields
        .iter()
        .map(|(name, value)| serde_json::json!({ name: value }))
        .collect();
    conditions.push(serde_json::json!({ "bucket": bucket }));
    conditions.push(serde_json::json!(["content-length-range", 1, 10]));
    let expiration = expiration.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let policy = serde_json::json!({ "expiration": expiration, "conditions": conditions });
    let policy = base64(policy.to_string().as_bytes());
    let secret = format!("AWS4{}", credentials.secret_access_key());
    let signing_key = [&date, region, "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part));
    let signature: Vec<String> = hmac(&signing_key, &policy)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    fields.extend([
        ("policy".to_owned(), policy),
        ("x-amz-signature".to_owned(), signature.concat()),
    ]);
    fields
}

async fn post(stage: &Stage, bucket: &str, fields: &[(String, String)], file: &str) -> Answer {
    let mut parts = Vec::new();
    for (name, value) in fields {
        parts.push(format!(
            "--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    parts.push(format!(
        "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{file}\r\n--edge--\r\n"
    ));
    let request = Request::post(format!("{}/{bucket}", stage.sandbox.endpoint_url()));
    send(
        request
            .header("content-type", "multipart/form-data; boundary=edge")
            .body(parts.concat())
            .unwrap(),
    )
    .await
}

fn with(fields: &[(String, String)], name: &str, value: Option<&str>) -> Vec<(String, String)> {
    let kept = fields.iter().filter(|(field, _)| field != name).cloned();
    kept.chain(value.map(|value| (name.to_owned(), value.to_owned())))
        .collect()
}

#[tokio::test]
async fn a_form_uploads_to_the_tenants_own_bucket_with_its_own_token() {
    let stage = Stage::start().await;
    let (acme, other) = (stage.session(ACME).await, stage.session(ACME).await);
    let good = fields(&stage, &acme, "acme-files", "k");
    let answer = post(&stage, "acme-files", &good, "by form").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let answer = stage
        .ask((ACME, &acme), Method::GET, "/acme-files/k", &[], "")
        .await;
    assert_eq!(answer.body, "by form");

    let token = "x-amz-security-token";
    for (fields, file, expected) in [
        (
            with(&good, token, other.session_token()),
            "v",
            (400, "InvalidToken"),
        ),
        (with(&good, token, Some("x")), "v", (400, "InvalidToken")),
        (with(&good, token, None), "v", (403, "InvalidAccessKeyId")),
        (
            with(&good, "x-amz-signature", Some(&"0".repeat(64))),
            "v",
            (403, "SignatureDoesNotMatch"),
        ),
        (
            with(&good, "key", Some("other")),
            "v",
            (400, "InvalidPolicyDocument"),
        ),
        (
            with(&good, "x-amz-meta-extra", Some("1")),
            "v",
            (403, "AccessDenied"),
        ),
        (good.clone(), "far too large", (400, "EntityTooLarge")),
    ] {
        let answer = post(&stage, "acme-files", &fields, file).await;
        assert_eq!(answer.error(), expected, "{}", answer.body);
    }
    stage.advance(901);
    assert_eq!(
        post(&stage, "acme-files", &good, "v").await.error(),
        (400, "ExpiredToken")
    );
}

#[tokio::test]
async fn a_form_reaches_no_further_than_its_session() {
    let stage = Stage::start().await;
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::acme-files/team/*"}}"#;
    let session = stage.session_with(ACME, Some(policy)).await;
    for (bucket, key, expected) in [
        ("acme-files", "team/k", (204, "")),
        ("acme-files", "k", (403, "AccessDenied")),
        ("globex-files", "team/k", (403, "AccessDenied")),
        ("acme-files", "team/../k", (501, "NotImplemented")),
    ] {
        let fields = fields(&stage, &session, bucket, key);
        let answer = post(&stage, bucket, &fields, "v").await;
        assert_eq!(answer.error(), expected, "{bucket} {key}: {}", answer.body);
    }
    let endpoint = stage.sandbox.endpoint_url();
    let request = Request::post(format!("{endpoint}/acme-files"))
        .header("content-type", "multipart/form-data");
    assert_eq!(
        send(request.body(String::new()).unwrap()).await.error(),
        (400, "MalformedPOSTRequest")
    );
}
