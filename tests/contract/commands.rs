//! What a command may hold, and which commands need more than a grant of their class.

use std::collections::HashMap;

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use tonic::Code;

use super::{READ, acme, assert_recorded};
use crate::harness::presignd::{
    Presignd, get_object, put_object, request, static_credentials, static_tenant,
};
use crate::harness::refusal::refused;
use crate::harness::sts::FakeSts;
use crate::harness::url::Presigned;

fn put() -> s3::PutObject {
    s3::PutObject {
        bucket: Some("acme-files".into()),
        key: Some("k".into()),
        ..s3::PutObject::default()
    }
}

#[tokio::test]
async fn members_that_s3_or_http_would_misread_are_named() {
    const KEY: &[&str] = &["command.get_object.key"];
    const DISPOSITION: &[&str] = &["command.put_object.content_disposition"];
    let header = |value: &str| {
        Variant::PutObject(s3::PutObject {
            content_disposition: Some(value.into()),
            ..put()
        })
    };
    let metadata = |name: &str, value: &str| {
        Variant::PutObject(s3::PutObject {
            metadata: HashMap::from([(name.into(), value.into())]),
            ..put()
        })
    };
    let upload = |upload_id, part_number| {
        Variant::UploadPart(s3::UploadPart {
            bucket: Some("acme-files".into()),
            key: Some("k".into()),
            part_number,
            upload_id,
            ..s3::UploadPart::default()
        })
    };
    let cases: Vec<(Variant, &[&str])> = vec![
        (
            Variant::GetObject(s3::GetObject::default()),
            &["command.get_object.bucket", "command.get_object.key"],
        ),
        (get_object("", "k"), &["command.get_object.bucket"]),
        (get_object("a/b", "k"), &["command.get_object.bucket"]),
        (get_object("a?b", "k"), &["command.get_object.bucket"]),
        (get_object("acme-files", ""), KEY),
        (get_object("acme-files", ".."), KEY),
        (get_object("acme-files", "a/../b"), KEY),
        (get_object("acme-files", "a/./b"), KEY),
        (get_object("acme-files", &"k".repeat(1025)), KEY),
        (upload(None, Some(1)), &["command.upload_part.upload_id"]),
        (
            upload(Some("u".into()), None),
            &["command.upload_part.part_number"],
        ),
        (header("a\r\nx-amz-acl: public-read"), DISPOSITION),
        (header("a\nb"), DISPOSITION),
        (header("a\tb"), DISPOSITION),
        (header("a\0"), DISPOSITION),
        (header("ü"), DISPOSITION),
        (header(" a"), DISPOSITION),
        (
            metadata("a b", "v"),
            &["command.put_object.metadata[\"a b\"]"],
        ),
        (
            metadata("a", "v\r\n"),
            &["command.put_object.metadata[\"a\"]"],
        ),
        (
            Variant::PutObject(s3::PutObject {
                checksum_algorithm: Some("SHA256".into()),
                ..put()
            }),
            &["command.put_object.checksum_algorithm"],
        ),
        (
            Variant::WriteGetObjectResponse(s3::WriteGetObjectResponse {
                request_route: Some("evil.example/".into()),
                request_token: Some("t".into()),
                ..s3::WriteGetObjectResponse::default()
            }),
            &["command.write_get_object_response.request_route"],
        ),
        (
            Variant::CopyObject(s3::CopyObject {
                bucket: Some("acme-files".into()),
                key: Some("k".into()),
                copy_source: Some("acme-files/a/../b".into()),
                ..s3::CopyObject::default()
            }),
            &["command.copy_object.copy_source"],
        ),
    ];
    let presignd = acme().await;
    for (command, fields) in cases {
        let refused = refused(presignd.presign(request("acme", command.clone())).await);
        let why = (Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(refused.why(), why, "{command:?}");
        assert_eq!(refused.fields, fields, "{command:?}");
        assert_recorded(&presignd, &refused);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_checksum_algorithm_with_its_checksum_is_signed() {
    let presignd = acme().await;
    let command = Variant::PutObject(s3::PutObject {
        checksum_algorithm: Some("SHA256".into()),
        checksum_sha256: Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into()),
        ..put()
    });
    let issued = presignd.presign(request("acme", command)).await.unwrap();
    let url = Presigned::read(&issued.url);
    assert!(
        url.signed_headers().contains(&"x-amz-checksum-sha256"),
        "{url:?}"
    );
    presignd.shutdown().await.unwrap();
}

/// One tenant on AWS, and one on a store of its own.
#[tokio::test]
async fn values_unknown_to_s3_are_refused_only_for_aws() {
    let aws = format!("region: eu-west-1\n{}", static_credentials(READ));
    let presignd = Presignd::with_tenant("aws", &aws)
        .with_tenant("store", &static_tenant(READ))
        .start()
        .await;
    let with_class = |class: &str| {
        Variant::PutObject(s3::PutObject {
            storage_class: Some(class.into()),
            acl: Some("private".into()),
            ..put()
        })
    };

    let known = request("aws", with_class("GLACIER"));
    let issued = presignd.presign(known).await.unwrap();
    let url = Presigned::read(&issued.url);
    assert_eq!(url.origin, "https://acme-files.s3.eu-west-1.amazonaws.com");
    assert_eq!(issued.headers["x-amz-storage-class"], "GLACIER");

    let refused = refused(presignd.presign(request("aws", with_class("COLD"))).await);
    assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(refused.fields, ["command.put_object.storage_class"]);
    assert_recorded(&presignd, &refused);

    let issued = presignd
        .presign(request("store", with_class("COLD")))
        .await
        .unwrap();
    assert_eq!(issued.headers["x-amz-storage-class"], "COLD");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_bucket_that_s3_has_no_endpoint_for_is_refused() {
    let grants = r#"grants: [{ commands: [read], resources: ["acme--x-s3/*"] }]"#;
    let aws = format!("region: eu-west-1\n{}", static_credentials(grants));
    let presignd = Presignd::with_tenant("acme", &aws).start().await;
    let command = get_object("acme--x-s3", "k");
    let refused = refused(presignd.presign(request("acme", command)).await);
    assert_eq!(refused.why(), (Code::InvalidArgument, "NO_ENDPOINT"));
    assert_recorded(&presignd, &refused);
    presignd.shutdown().await.unwrap();
}

fn delete_objects() -> Variant {
    Variant::DeleteObjects(s3::DeleteObjects {
        bucket: Some("acme-files".into()),
        ..s3::DeleteObjects::default()
    })
}

#[tokio::test]
async fn deleting_many_under_a_prefix_needs_a_session() {
    let prefix = r#"grants: [{ commands: [delete], resources: ["acme-files/tmp/*"] }]"#;
    let bucket = r#"grants: [{ commands: [delete], resources: ["acme-files/*"] }]"#;
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "role", "", prefix)
        .with_tenant("keys", &static_tenant(prefix))
        .with_tenant("keys-of-bucket", &static_tenant(bucket))
        .start()
        .await;
    let refused = refused(presignd.presign(request("keys", delete_objects())).await);
    assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
    assert_recorded(&presignd, &refused);

    for tenant in ["role", "keys-of-bucket"] {
        let issued = presignd.presign(request(tenant, delete_objects())).await;
        assert_eq!(issued.unwrap().method, "POST", "{tenant}");
    }
    let policy = &sts.calls()[0].form["Policy"];
    assert!(policy.contains("acme-files/tmp/*"), "{policy}");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn handing_out_credentials_is_granted_by_name_only() {
    let grants = |commands: &str| {
        static_tenant(&format!(
            "grants: [{{ commands: [{commands}], resources: [\"acme-files/*\"] }}]"
        ))
    };
    let presignd = Presignd::with_tenant("classes", &grants("read, write, delete, list, admin"))
        .with_tenant("name", &grants("CreateSession"))
        .start()
        .await;
    let command = Variant::CreateSession(s3::CreateSession {
        bucket: Some("acme-files".into()),
        ..s3::CreateSession::default()
    });
    let refused = refused(presignd.presign(request("classes", command.clone())).await);
    assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
    let issued = presignd.presign(request("name", command)).await.unwrap();
    let url = Presigned::read(&issued.url);
    assert_eq!(url.parameter("session"), "");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_source_of_a_copy_needs_a_grant_of_its_own() {
    let grants = r#"grants:
  - { commands: [write], resources: ["acme-files/*"] }
  - { commands: [read], resources: ["acme-in/public/*"], max_expiry: 2m }"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    let copy = |source: &str| {
        Variant::CopyObject(s3::CopyObject {
            bucket: Some("acme-files".into()),
            key: Some("k".into()),
            copy_source: Some(source.into()),
            ..s3::CopyObject::default()
        })
    };
    for source in ["acme-in/secret/k", "globex-files/public/k", "acme-files/k"] {
        let refused = refused(presignd.presign(request("acme", copy(source))).await);
        let why = (Code::PermissionDenied, "COMMAND_DENIED");
        assert_eq!(refused.why(), why, "{source}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["copy_source"], source);
    }
    let issued = presignd
        .presign(request("acme", copy("acme-in/public/k")))
        .await
        .unwrap();
    assert_eq!(issued.headers["x-amz-copy-source"], "acme-in/public/k");
    // The source's cap holds as well as the destination's.
    assert_eq!(Presigned::read(&issued.url).expires_in(), 120);
    let plain = request("acme", put_object("acme-files", "k"));
    let issued = presignd.presign(plain).await.unwrap();
    assert_eq!(Presigned::read(&issued.url).expires_in(), 900);
    presignd.shutdown().await.unwrap();
}
