//! What grants say of encryption, ACLs and storage classes: in commands, batches, forms and plans, and in headers that hold.

use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::start_multipart_upload_request::Extent;
use presignd::proto::v1::{PresignResponse, StartMultipartUploadRequest};
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::form::for_key;
use crate::harness::http::{self, Response};
use crate::harness::presignd::{Presignd, batch, request, static_tenant};
use crate::harness::refusal::{Refused, refused};

const BUCKET: &str = "acme-files";
const KMS_ALONE: &str = r#"headers: { server_side_encryption: { require: ["aws:kms"], kms_keys: [media] }, acl: forbid, storage_class: { allow: [STANDARD] } }"#;

/// One grant, with these rules.
async fn with_rules(rules: &str) -> Presignd {
    let grants = format!(
        r#"grants: [{{ commands: [write, admin, PutObjectAcl], resources: ["acme-files/*"], {rules} }}]"#
    );
    let tenant = static_tenant(&grants);
    Presignd::with_tenant("acme", &tenant).start().await
}

fn put(sse: Option<&str>, acl: Option<&str>) -> s3::PutObject {
    s3::PutObject {
        bucket: Some(BUCKET.to_owned()),
        key: Some("headers/k".to_owned()),
        server_side_encryption: sse.map(str::to_owned),
        ssekms_key_id: sse.map(|_| "media".to_owned()),
        acl: acl.map(str::to_owned),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_command_that_breaks_a_rule_is_refused_by_its_field() {
    let presignd = with_rules(KMS_ALONE).await;
    let kms = Some("aws:kms");
    let archived = s3::PutObject {
        storage_class: Some("GLACIER".to_owned()),
        ..put(kms, None)
    };
    let rows: [(Variant, &[&str]); 7] = [
        (Variant::PutObject(put(kms, None)), &[]),
        (
            Variant::PutObject(put(None, None)),
            &["put_object.server_side_encryption"],
        ),
        (
            Variant::PutObject(put(kms, Some("private"))),
            &["put_object.acl"],
        ),
        (
            Variant::PutObject(put(Some("AES256"), Some("public-read"))),
            &["put_object.server_side_encryption", "put_object.acl"],
        ),
        (Variant::PutObject(archived), &["put_object.storage_class"]),
        (
            command!(CreateMultipartUpload {
                bucket: BUCKET,
                key: "headers/k"
            }),
            &["create_multipart_upload.server_side_encryption"],
        ),
        (
            command!(PutObjectAcl {
                bucket: BUCKET,
                key: "headers/k"
            }),
            &["put_object_acl.acl"],
        ),
    ];
    for (command, fields) in &rows {
        let answer = presignd.presign(request("acme", command.clone())).await;
        if fields.is_empty() {
            let issued = answer.unwrap_or_else(|status| panic!("{command:?}: {status}"));
            assert_eq!(issued.headers["x-amz-server-side-encryption"], "aws:kms");
            continue;
        }
        let refused = refused(answer);
        let why = (Code::PermissionDenied, "COMMAND_DENIED");
        assert_eq!(refused.why(), why, "{command:?}");
        let fields: Vec<String> = fields
            .iter()
            .map(|field| format!("command.{field}"))
            .collect();
        assert_eq!(refused.fields, fields, "{command:?}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["detail"], refused.message.as_str());
    }
    let message = refused(presignd.presign(request("acme", rows[1].0.clone())).await).message;
    assert!(
        message.contains("server_side_encryption: is required, and one of aws:kms"),
        "{message}"
    );

    let both = [rows[0].0.clone(), rows[2].0.clone()];
    let mut results = presignd.presign_batch(batch("acme", both)).await.unwrap();
    let Some(ItemResult::Error(error)) = results.pop() else {
        panic!("issued");
    };
    let fields = Refused::read_item(&error).fields;
    assert_eq!(fields, ["commands[1].put_object.acl"]);
    assert!(matches!(results.pop(), Some(ItemResult::Response(_))));
}

#[tokio::test]
async fn forms_and_plans_keep_the_rules_too() {
    let presignd = with_rules(KMS_ALONE).await;
    let mut form = for_key(BUCKET, "headers/k");
    let answer = presignd.presign_post(form.clone()).await;
    assert_eq!(
        refused(answer).fields,
        ["fields[\"x-amz-server-side-encryption\"]"]
    );
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "media"),
    ] {
        form.fields.insert(name.to_owned(), value.to_owned());
    }
    presignd.presign_post(form.clone()).await.unwrap();
    form.fields
        .insert("acl".to_owned(), "public-read".to_owned());
    let answer = presignd.presign_post(form).await;
    assert_eq!(refused(answer).fields, ["fields[\"acl\"]"]);

    let plan = StartMultipartUploadRequest {
        tenant: "acme".to_owned(),
        create: Some(s3::CreateMultipartUpload {
            bucket: Some(BUCKET.to_owned()),
            key: Some("headers/k".to_owned()),
            acl: Some("private".to_owned()),
            ..Default::default()
        }),
        extent: Some(Extent::Size(1 << 20)),
        ..Default::default()
    };
    let answer = presignd.client.clone().start_multipart_upload(plan).await;
    assert_eq!(
        refused(answer).fields,
        ["create.server_side_encryption", "create.acl"]
    );
}

/// Sends an upload with these headers instead of those that it was signed with.
async fn send(issued: &PresignResponse, headers: &[(&str, &str)]) -> Response {
    http::send(&issued.method, &issued.url, headers.to_vec(), "body").await
}

#[tokio::test]
async fn what_a_rule_requires_is_signed_so_that_the_store_takes_nothing_else() {
    let grants = r#"[{ commands: [PutObject, PutObjectAcl], resources: ["acme-files/headers/*"], headers: { acl: { require: [private] } } }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let issued = presignd
        .issue("acme", Variant::PutObject(put(None, Some("private"))))
        .await;
    for others in [
        &[][..],
        &[("x-amz-acl", "public-read")],
        &[("x-amz-acl", "private, public-read")],
    ] {
        let answer = send(&issued, others).await;
        assert_eq!(answer.status, 403, "{others:?}: {answer:?}");
    }
    let ceph = Ceph::shared();
    assert_eq!(ceph.object(BUCKET, "headers/k").await, None);
    let answer = send(&issued, &[("x-amz-acl", "private")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
