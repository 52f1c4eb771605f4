//! What STS is asked for, on the request's own bytes: for what Ceph does not know, and for what must not be asked at all.
//!
//! The STS is a fake: a real one shows neither.

use presignd::proto::v1::{ExpiryBound, PresignPostRequest};
use serde_json::{Value, json};
use tonic::Code;

use crate::harness::commands::{command, list};
use crate::harness::form::{for_key, for_keys, of_bytes};
use crate::harness::presignd::{Presignd, clamped, get_object, lasting, put_object, request};
use crate::harness::refusal::Refused;
use crate::harness::sts::FakeSts;
use crate::harness::url::Presigned;

const GRANTS: &str = r#"grants: [{ commands: [read, list, delete], resources: ["acme-files/*"] }]
kms_keys: ["arn:aws:kms:eu-west-1:111122223333:key/k"]"#;

/// The session policies that STS was sent, in order.
fn policies(sts: &FakeSts) -> Vec<Value> {
    let calls = sts.calls();
    let policy = |form: &std::collections::BTreeMap<String, String>| {
        assert!(form["Policy"].len() <= 2048 && form["Policy"].is_ascii());
        serde_json::from_str(&form["Policy"]).expect("a policy is JSON")
    };
    calls.iter().map(|call| policy(&call.form)).collect()
}

async fn start(sts: &FakeSts, session: &str) -> Presignd {
    let rest = format!("{GRANTS}\n{session}");
    Presignd::with_sts_tenant(sts, "acme", "", &rest)
        .start()
        .await
}

#[tokio::test]
async fn every_request_asks_for_itself_and_the_same_one_shares_its_session() {
    let sts = FakeSts::start().await;
    let presignd = start(&sts, "session: { scope: object }").await;
    let get = |key| request("acme", get_object("acme-files", key));
    for key in ["a", "b", "a"] {
        presignd.presign(get(key)).await.unwrap();
    }
    let version = command!(GetObject {
        bucket: "acme-files",
        key: "a",
        version_id: "v"
    });
    presignd.presign(request("acme", version)).await.unwrap();
    let listed = request("acme", list("acme-files", "in/"));
    presignd.presign(listed).await.unwrap();
    let kms = json!({"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "arn:aws:kms:eu-west-1:111122223333:key/k"});
    let object = |action: &str, key: &str| {
        let resource = format!("arn:aws:s3:::acme-files/{key}");
        json!({"Effect": "Allow", "Action": action, "Resource": resource})
    };
    let list = json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::acme-files",
        "Condition": {"StringEquals": {"s3:prefix": "in/"}}});
    let expected = [
        object("s3:GetObject", "a"),
        object("s3:GetObject", "b"),
        object("s3:GetObjectVersion", "a"),
        list,
    ];
    let sent = policies(&sts);
    assert_eq!(sent.len(), expected.len(), "{sent:?}");
    for (sent, expected) in sent.iter().zip(expected) {
        assert_eq!(sent["Statement"], json!([expected, kms]));
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_with_addresses_has_a_session_that_no_other_request_gets() {
    let sts = FakeSts::start().await;
    let presignd = start(&sts, "session: { scope: tenant }").await;
    let get = || request("acme", get_object("acme-files", "a"));
    let mut from = get();
    from.source_ip = vec!["10.0.1.0/24".to_owned(), "10.0.0.0/24".to_owned()];
    let mut same = get();
    same.source_ip = vec!["10.0.0.0/23".to_owned()];
    for request in [get(), from.clone(), get(), from, same] {
        presignd.presign(request).await.unwrap();
    }
    let sent = policies(&sts);
    assert_eq!(
        sent.len(),
        2,
        "one for the tenant, one for the addresses: {sent:?}"
    );
    assert!(!sent[0].to_string().contains("SourceIp"));
    let statement = &sent[1]["Statement"][0];
    assert_eq!(statement["Action"], "s3:GetObject");
    assert_eq!(statement["Resource"], "arn:aws:s3:::acme-files/a");
    assert_eq!(
        statement["Condition"],
        json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/23"}})
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_form_has_a_session_for_the_keys_that_it_lets_through() {
    let sts = FakeSts::start().await;
    let yaml = r#"grants: [{ commands: [PutObject, PutObjectTagging], resources: ["acme-files/*"] }]
session: { scope: object }"#;
    let builder = Presignd::with_sts_tenant(&sts, "acme", "", yaml);
    let presignd = builder.start().await;
    let tagged = PresignPostRequest {
        tagging: [("team".to_owned(), "x".to_owned())].into(),
        ..for_keys("acme-files", "in/*")
    };
    let from = PresignPostRequest {
        source_ip: vec!["10.0.1.0/24".to_owned(), "10.0.0.0/24".to_owned()],
        ..for_key("acme-files", "k")
    };
    for request in [
        for_key("acme-files", "k"),
        for_key("acme-files", "in/${filename}"),
        // For the same keys.
        of_bytes(1, 2, for_keys("acme-files", "in/")),
        tagged,
        from.clone(),
    ] {
        presignd.presign_post(request).await.unwrap();
    }
    // A URL for the object has the session of the form.
    let put = request("acme", put_object("acme-files", "k"));
    presignd.presign(put).await.unwrap();
    let object = |action: Value, key: &str| {
        let resource = format!("arn:aws:s3:::acme-files/{key}");
        json!({"Effect": "Allow", "Action": action, "Resource": resource})
    };
    let mut addressed = object(json!("s3:PutObject"), "k");
    addressed["Condition"] = json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/23"}});
    let expected = [
        object(json!("s3:PutObject"), "k"),
        object(json!("s3:PutObject"), "in/*"),
        object(json!(["s3:PutObject", "s3:PutObjectTagging"]), "in/${*}*"),
        addressed,
    ];
    let sent = policies(&sts);
    assert_eq!(sent.len(), expected.len(), "{sent:?}");
    for (sent, expected) in sent.iter().zip(expected) {
        assert_eq!(sent["Statement"], json!([expected]));
    }
    let issued = presignd.presign_post(from).await.unwrap();
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["source_ip"], json!(["10.0.0.0/23"]));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn names_that_make_a_policy_too_long_are_refused_before_sts_is_asked() {
    let sts = FakeSts::start().await;
    let presignd = start(&sts, "session: { scope: object }").await;
    // As many bytes as S3 takes: 1,024.
    for (key, fits) in [
        ("k".repeat(1024), true),
        ("é".repeat(512), false),
        ("😀".repeat(256), false),
        ("$".repeat(1024), false),
        ("*".repeat(400), true),
        ("\"".repeat(1024), false),
    ] {
        let before = sts.calls().len();
        let asked = presignd
            .presign(request("acme", get_object("acme-files", &key)))
            .await;
        let first = key.chars().next();
        let Err(status) = asked else {
            assert!(fits, "{first:?}");
            continue;
        };
        assert!(!fits, "{first:?}: {status}");
        let refused = Refused::read(&status);
        assert_eq!(
            refused.why(),
            (Code::FailedPrecondition, "SESSION_POLICY_TOO_LONG")
        );
        assert!(status.message().contains("2048"), "{status}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["outcome"], "denied", "{record}");
        assert_eq!(sts.calls().len(), before, "{first:?}");
    }
    // The policy of a tenant does not name the key.
    let wide = start(&sts, "session: { scope: bucket }").await;
    let long = request("acme", get_object("acme-files", &"é".repeat(512)));
    assert!(wide.presign(long).await.is_ok());
    presignd.shutdown().await.unwrap();
    wide.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_signatures_age_is_in_the_policy_and_caps_the_url() {
    let sts = FakeSts::start().await;
    let session = "session: { signature_age: 10m }\nexpiry: { backdate: 30s }";
    let presignd = start(&sts, session).await;
    let get = || request("acme", get_object("acme-files", "a"));
    let issued = presignd
        .presign(clamped(lasting(3600, get())))
        .await
        .unwrap();
    assert_eq!(issued.expiry_bound(), ExpiryBound::TenantCap);
    let url = Presigned::read(&issued.url);
    // From the signature's own date: what the store counts from, too.
    assert_eq!(url.expires_in(), 600);
    let status = presignd.presign(lasting(571, get())).await.unwrap_err();
    let refused = Refused::read(&status);
    assert_eq!(refused.why(), (Code::InvalidArgument, "EXPIRY_ABOVE_CAP"));
    let said = "session.signature_age less its expiry.backdate of 570 s";
    assert!(status.message().contains(said), "{status}");
    presignd.presign(lasting(570, get())).await.unwrap();

    let age = json!({"s3:signatureAge": "600000"});
    let sent = policies(&sts);
    for statement in sent[0]["Statement"].as_array().unwrap() {
        let about_s3 = !statement.to_string().contains("kms:");
        let condition = &statement["Condition"]["NumericLessThanEquals"];
        assert_eq!(*condition == age, about_s3, "{statement}");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_operators_statements_are_in_every_policy_and_count() {
    let statement = json!({"Sid": "legal", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::acme-files/legal/*"});
    for scope in ["tenant", "bucket", "object"] {
        let sts = FakeSts::start().await;
        let session = format!("session: {{ scope: {scope}, deny: '{statement:#}' }}");
        let presignd = start(&sts, &session).await;
        let mut from = request("acme", get_object("acme-files", "a"));
        presignd.presign(from.clone()).await.unwrap();
        from.source_ip = vec!["10.0.0.1".to_owned()];
        presignd.presign(from).await.unwrap();
        for policy in policies(&sts) {
            let last = policy["Statement"].as_array().unwrap().last();
            assert_eq!(last, Some(&statement), "{scope}");
        }
        presignd.shutdown().await.unwrap();
    }
}
