//! What presignd answers to who asks for a form, and what it writes down.

use presignd::proto::v1::presign_post_request::ContentTypeRule;
use presignd::proto::v1::{ExpiryBound, ExpiryMode, PresignPostRequest};
use serde_json::json;
use tonic::Code;

use super::{everything, pairs};
use crate::harness::commands::command;
use crate::harness::form::{for_key, for_keys, of_bytes};
use crate::harness::presignd::{Presignd, lasting, request, static_tenant};
use crate::harness::refusal::refused;

const BUCKET: &str = "acme-files";

/// A tenant of a store that is never called.
async fn presignd(grants: &str) -> Presignd {
    let yaml = static_tenant(&format!("grants: {grants}"));
    Presignd::with_tenant("acme", &yaml).start().await
}

#[tokio::test]
async fn a_form_is_granted_as_the_upload_that_it_is() {
    let grants = r#"[{ commands: [PutObject], resources: ["acme-files/in/*", "acme-files/one"] }, { commands: [read], resources: ["acme-files/*"] }]"#;
    let presignd = presignd(grants).await;
    let with_acl = PresignPostRequest {
        acl: Some("private".to_owned()),
        ..for_key(BUCKET, "in/k")
    };
    for (request, granted) in [
        (for_key(BUCKET, "in/k"), true),
        (for_key(BUCKET, "one"), true),
        (for_keys(BUCKET, "in/"), true),
        (for_key(BUCKET, "in/deep/${filename}"), true),
        (for_key(BUCKET, "out/k"), false),
        (for_key(BUCKET, "one/more"), false),
        (for_key(BUCKET, "${filename}"), false),
        (for_keys(BUCKET, "in"), false),
        (for_keys(BUCKET, ""), false),
        (for_keys(BUCKET, "one"), false),
        (for_key("globex-files", "in/k"), false),
        (with_acl, false),
    ] {
        let asked = format!("{request:?}");
        let answer = presignd.presign_post(request).await;
        if granted {
            answer.unwrap_or_else(|status| panic!("{asked}: {status:?}"));
        } else {
            let refused = refused(answer);
            assert_eq!(
                refused.why(),
                (Code::PermissionDenied, "COMMAND_DENIED"),
                "{asked}"
            );
        }
    }
    let nobody = PresignPostRequest {
        tenant: "globex".to_owned(),
        ..for_key(BUCKET, "in/k")
    };
    let refused = refused(presignd.presign_post(nobody).await);
    assert_eq!(refused.why(), (Code::PermissionDenied, "TENANT_DENIED"));
}

#[tokio::test]
async fn broken_members_are_named_all_at_once() {
    let presignd = presignd("[]").await;
    let broken = PresignPostRequest {
        bucket: "a/b".to_owned(),
        success_action_status: Some(302),
        metadata: pairs(&[("a", "x\r\ny")]),
        ..for_key(BUCKET, "a/../b")
    };
    let said = refused(presignd.presign_post(broken).await);
    assert_eq!(said.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(
        said.fields,
        ["bucket", "key", "success_action_status", "metadata[\"a\"]"]
    );
    let record = presignd.records.of(&said.issuance_id);
    assert_eq!(record["outcome"], "denied");
    assert_eq!(record["command"], "PutObject");

    let mut broken = for_key(BUCKET, "k");
    broken.tenant = "../b".to_owned();
    broken.expires_in = Some(prost_types::Duration {
        seconds: 604_801,
        nanos: 0,
    });
    let said = refused(presignd.presign_post(broken).await);
    assert_eq!(said.fields, ["tenant", "expires_in"]);
}

#[tokio::test]
async fn a_form_that_s3_would_not_take_is_not_issued() {
    let presignd = presignd(r#"[{ commands: [PutObject], resources: ["acme-files/*"] }]"#).await;
    let long = |bytes| PresignPostRequest {
        metadata: pairs(&[("a", &"x".repeat(bytes))]),
        ..for_key(BUCKET, "k")
    };
    assert!(presignd.presign_post(long(6000)).await.is_ok());
    let said = refused(presignd.presign_post(long(8000)).await);
    assert_eq!(
        (said.code, said.fields.as_slice()),
        (Code::InvalidArgument, &["fields".to_owned()][..])
    );
    assert!(said.message.contains("20000"), "{}", said.message);
}

#[tokio::test]
async fn lives_and_limits_are_those_of_urls() {
    let yaml = r#"[{ commands: [PutObject], resources: ["acme-files/*"], max_expiry: 5m }]
limits: [{ name: uploads, commands: [PutObject], rate: 1/h, burst: 3 }]"#;
    let presignd = presignd(yaml).await;
    let asking = |seconds: Option<i64>, mode: ExpiryMode| PresignPostRequest {
        expires_in: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        expiry_mode: mode.into(),
        ..for_key(BUCKET, "k")
    };
    let said = refused(
        presignd
            .presign_post(asking(Some(301), ExpiryMode::Reject))
            .await,
    );
    assert_eq!(said.why(), (Code::InvalidArgument, "EXPIRY_ABOVE_CAP"));
    for (request, bound) in [
        (asking(Some(60), ExpiryMode::Reject), ExpiryBound::Request),
        (asking(Some(301), ExpiryMode::Clamp), ExpiryBound::GrantCap),
        (asking(None, ExpiryMode::Reject), ExpiryBound::GrantCap),
    ] {
        let issued = presignd.presign_post(request).await.unwrap();
        assert_eq!(issued.expiry_bound(), bound);
    }
    let said = refused(
        presignd
            .presign_post(asking(None, ExpiryMode::Reject))
            .await,
    );
    assert_eq!(said.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(said.quotas, ["tenant:acme/limit:uploads"]);
    let put = request(
        "acme",
        command!(PutObject {
            bucket: BUCKET,
            key: "k"
        }),
    );
    let said = refused(presignd.presign(lasting(60, put)).await);
    assert_eq!(
        said.quotas,
        ["tenant:acme/limit:uploads"],
        "a form is a PutObject to the limits"
    );
}

#[tokio::test]
async fn uploads_that_a_grant_cannot_bound_are_refused_with_what_to_do() {
    let grants = r#"[{ commands: [write], resources: ["acme-files/*"], max_upload: 1KiB }]"#;
    let presignd = presignd(grants).await;
    let put = |length: Option<i64>| {
        let mut put = presignd::proto::s3::PutObject {
            bucket: Some(BUCKET.into()),
            key: Some("k".into()),
            ..Default::default()
        };
        put.content_length = length;
        request(
            "acme",
            presignd::proto::v1::command::Command::PutObject(put),
        )
    };
    assert!(presignd.presign(put(Some(1024))).await.is_ok());
    for (length, advice) in [
        (None, ["content_length", "PresignPost"]),
        (Some(1025), ["1025", "1024"]),
    ] {
        let said = refused(presignd.presign(put(length)).await);
        assert_eq!(said.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
        for words in advice {
            assert!(said.message.contains(words), "{}", said.message);
        }
    }
    let part = command!(UploadPart {
        bucket: BUCKET,
        key: "k",
        upload_id: "u",
        part_number: 1
    });
    let said = refused(presignd.presign(request("acme", part)).await);
    assert!(said.message.contains("content_length"), "{}", said.message);
    let too_large = of_bytes(0, 1025, for_key(BUCKET, "k"));
    let said = refused(presignd.presign_post(too_large).await);
    assert!(said.message.contains("max_upload"), "{}", said.message);
    let smaller = presignd
        .presign_post(of_bytes(5, 6, for_key(BUCKET, "k")))
        .await
        .unwrap();
    let range = smaller.content_length_range.unwrap();
    assert_eq!((range.min, range.max), (5, 6));
}

#[tokio::test]
async fn records_say_what_was_bounded_and_nothing_that_could_be_used() {
    let grants = r#"[{ commands: [PutObject, PutObjectAcl, PutObjectTagging], resources: ["acme-files/*"] }]"#;
    let presignd = presignd(grants).await;
    let asked = PresignPostRequest {
        reason: "avatar".to_owned(),
        subject: "user-81".to_owned(),
        html_form: true,
        ..everything("in/")
    };
    let issued = presignd.presign_post(asked).await.unwrap();
    assert!(
        issued
            .html_form
            .contains("<form action=\"http://s3.test:9000/acme-files\"")
    );
    let record = presignd.records.of(&issued.issuance_id);
    for (name, value) in [
        ("outcome", json!("issued")),
        ("method", json!("presignd.v1.PresignService/PresignPost")),
        ("command", json!("PutObject")),
        ("bucket", json!(BUCKET)),
        ("key_starts_with", json!("in/")),
        ("content_length_range", json!([3, 10])),
        ("expires_in", json!(300)),
        ("reason", json!("avatar")),
        ("subject", json!("user-81")),
    ] {
        assert_eq!(record[name], value, "{record}");
    }
    assert_eq!(record.get("key"), None);
    let text = record.to_string();
    for field in issued
        .fields
        .iter()
        .filter(|f| matches!(f.name.as_str(), "policy" | "x-amz-signature"))
    {
        assert!(!text.contains(&field.value), "{record}");
    }

    let plain = presignd.presign_post(for_key(BUCKET, "k")).await.unwrap();
    assert_eq!(plain.html_form, "");
    let record = presignd.records.of(&plain.issuance_id);
    assert_eq!(
        (&record["key"], record.get("content_length_range")),
        (&json!("k"), None)
    );
    assert_eq!(record.get("key_starts_with"), None);
}

#[tokio::test]
async fn the_type_of_an_upload_is_the_grants_to_say() {
    let grants =
        r#"[{ commands: [PutObject], resources: ["acme-files/*"], content_types: ["image/*"] }]"#;
    let presignd = presignd(grants).await;
    let typed = |rule| PresignPostRequest {
        content_type_rule: rule,
        ..for_keys(BUCKET, "in/")
    };
    let exact = |text: &str| typed(Some(ContentTypeRule::ContentType(text.to_owned())));
    presignd.presign_post(exact("image/png")).await.unwrap();
    let open = ContentTypeRule::ContentTypeStartsWith("image/".to_owned());
    for (request, words) in [
        (exact("image/svg+xml"), "is not one of image/*"),
        (typed(None), "is required"),
        (typed(Some(open)), "left to the client"),
    ] {
        let said = refused(presignd.presign_post(request).await);
        assert_eq!(said.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
        assert_eq!(said.fields, ["content_type"]);
        assert!(said.message.contains(words), "{}", said.message);
    }
    // What becomes a header has to be fit for one.
    let disposed = PresignPostRequest {
        fields: pairs(&[("Content-Disposition", "attachment; filename=\"a")]),
        ..exact("image/png")
    };
    let said = refused(presignd.presign_post(disposed).await);
    assert_eq!(said.fields, ["fields[\"Content-Disposition\"]"]);
}

#[tokio::test]
async fn a_bucket_goes_by_the_tenants_name_for_it() {
    let yaml = r#"[{ commands: [PutObject], resources: ["media/in/*", "here/*"] }]
buckets:
  media: { bucket: acme-media-prod-7f }
  here: { bucket: acme-here, endpoint: { url: "http://other.test:9000", path_style: true } }"#;
    let presignd = presignd(yaml).await;
    for (name, key, url, bucket, alias) in [
        (
            "media",
            "in/k",
            "http://s3.test:9000/acme-media-prod-7f",
            "acme-media-prod-7f",
            json!("media"),
        ),
        (
            "acme-media-prod-7f",
            "in/k",
            "http://s3.test:9000/acme-media-prod-7f",
            "acme-media-prod-7f",
            json!(null),
        ),
        (
            "here",
            "k",
            "http://other.test:9000/acme-here",
            "acme-here",
            json!("here"),
        ),
    ] {
        let issued = presignd.presign_post(for_keys(name, key)).await.unwrap();
        assert_eq!(issued.url, url);
        let policy = issued.fields.iter().find(|field| field.name == "policy");
        let policy = base64_simd::STANDARD
            .decode_to_vec(&policy.unwrap().value)
            .unwrap();
        let policy: serde_json::Value = serde_json::from_slice(&policy).unwrap();
        let conditions = policy["conditions"].as_array().unwrap();
        assert!(
            conditions.contains(&json!({ "bucket": bucket })),
            "{policy}"
        );
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(
            (&record["bucket"], &record["bucket_alias"]),
            (&json!(bucket), &alias)
        );
    }
    let said = refused(presignd.presign_post(for_key("media", "out/k")).await);
    assert_eq!(said.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
    assert!(said.message.contains("\"media\""), "{}", said.message);
    assert!(!said.message.contains("prod-7f"), "{}", said.message);
    let record = presignd.records.of(&said.issuance_id);
    assert_eq!(record["bucket"], "acme-media-prod-7f");
}

#[tokio::test]
async fn addresses_that_nothing_would_hold_are_refused() {
    let presignd = presignd(r#"[{ commands: [PutObject], resources: ["acme-files/*"] }]"#).await;
    let from = |source_ip: &str| PresignPostRequest {
        source_ip: vec![source_ip.to_owned()],
        ..for_key(BUCKET, "k")
    };
    let said = refused(presignd.presign_post(from("10.0.0.0/8")).await);
    assert_eq!(said.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(said.fields, ["source_ip"]);
    let said = refused(presignd.presign_post(from("office")).await);
    assert_eq!(said.fields, ["source_ip[0]"]);
}
