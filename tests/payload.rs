//! Bodies that a URL binds: the store takes this one and no other, and the answer says what is left to the client.

use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::payload::Kind;
use presignd::proto::v1::{BatchPresignRequest, Body, BodyKind, Command, Payload, PresignRequest};
use sha2::{Digest as _, Sha256};
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::{command, delete, head, list};
use crate::harness::presignd::{Presignd, fetch, lasting, request, static_tenant};
use crate::harness::refusal::Refused;

const BUCKET: &str = "acme-files";
const GRANTS: &str =
    r#"[{ commands: [read, write, delete], resources: ["acme-files", "acme-files/*"] }]"#;
const TAGGING: &str =
    "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>";

fn content(body: &str) -> Payload {
    Payload {
        kind: Some(Kind::Content(body.as_bytes().to_vec())),
    }
}

fn hash(body: &str) -> Payload {
    Payload {
        kind: Some(Kind::Sha256(Sha256::digest(body).to_vec())),
    }
}

fn bound(command: Variant, payload: Payload) -> PresignRequest {
    PresignRequest {
        command: Some(Box::new(Command {
            payload: Some(payload),
            ..*request("", command.clone()).command.expect("it has one")
        })),
        ..lasting(300, request("acme", command))
    }
}

fn put(key: &str) -> Variant {
    command!(PutObject {
        bucket: BUCKET,
        key: key
    })
}

#[tokio::test]
async fn a_store_takes_the_body_that_is_bound_and_no_other() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    for (key, payload) in [
        ("payload/content", content("bound")),
        ("payload/hash", hash("bound")),
    ] {
        let issued = presignd.presign(bound(put(key), payload)).await.unwrap();
        let sha256 = Sha256::digest("bound").to_vec();
        let body = Body {
            kind: BodyKind::Bytes.into(),
            sha256,
        };
        assert_eq!(issued.body, Some(body));
        assert!(!issued.checksum_required);

        // As long, and not the same.
        let other = fetch(&issued, "other").await;
        assert!((400..500).contains(&other.status), "{other:?}");
        assert_eq!(Ceph::shared().object(BUCKET, key).await, None);
        // Nor is it said to be unsigned.
        let mut unsigned = issued.clone();
        let named = unsigned.headers.get_mut("x-amz-content-sha256").unwrap();
        "UNSIGNED-PAYLOAD".clone_into(named);
        let unsigned = fetch(&unsigned, "other").await;
        assert_eq!(unsigned.status, 403, "{unsigned:?}");

        let taken = fetch(&issued, "bound").await;
        assert_eq!(taken.status, 200, "{taken:?}");
        let object = Ceph::shared().object(BUCKET, key).await;
        assert_eq!(object.as_deref(), Some(&b"bound"[..]));
    }
}

/// Of the operations that require a checksum, Ceph 16 holds some to the body that was signed, and takes any for others.
#[tokio::test]
async fn a_required_checksum_is_signed_with_the_body() {
    let presignd = Presignd::with_ceph_owner("acme", GRANTS).start().await;
    let ceph = Ceph::shared();
    for (kept, gone, payload) in [
        (
            "payload/kept-1",
            "payload/gone-1",
            content as fn(&str) -> Payload,
        ),
        ("payload/kept-2", "payload/gone-2", hash),
    ] {
        for key in [kept, gone] {
            ceph.put_object(BUCKET, key, "some").await;
        }
        let naming = |key: &str| format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
        let delete = command!(DeleteObjects { bucket: BUCKET });
        let asked = bound(delete, payload(&naming(gone)));
        let issued = presignd.presign(asked).await.unwrap();
        assert!(!issued.checksum_required);
        assert!(issued.headers.contains_key("x-amz-checksum-sha256"));

        let other = fetch(&issued, naming(kept)).await;
        assert!((400..500).contains(&other.status), "{other:?}");
        let taken = fetch(&issued, naming(gone)).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        assert!(ceph.object(BUCKET, kept).await.is_some());
        assert_eq!(ceph.object(BUCKET, gone).await, None);
    }

    ceph.put_object(BUCKET, "payload/tagged", "some").await;
    let tagging = command!(PutObjectTagging {
        bucket: BUCKET,
        key: "payload/tagged"
    });
    let issued = presignd.presign(bound(tagging, hash(TAGGING))).await;
    let taken = fetch(&issued.unwrap(), TAGGING).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let tags = command!(GetObjectTagging {
        bucket: BUCKET,
        key: "payload/tagged"
    });
    assert!(presignd.run("acme", tags, "").await.text().contains("blue"));
}

#[tokio::test]
async fn what_is_left_to_the_client_is_told() {
    let grants = r#"grants: [{ commands: [read, write, delete, list, admin, PutBucketPolicy], resources: ["acme-files/*", "acme-files"] }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    let tagging = || command!(PutBucketTagging { bucket: BUCKET });
    let with_md5 = command!(PutBucketTagging {
        bucket: BUCKET,
        content_md5: "JfnnlDI7RTiF9RgfG2JNCw==",
    });
    for (command, kind, checksum) in [
        (head(BUCKET, "k"), BodyKind::None, false),
        (delete(BUCKET, "k"), BodyKind::None, false),
        (list(BUCKET, ""), BodyKind::None, false),
        (put("k"), BodyKind::Bytes, false),
        (tagging(), BodyKind::Xml, true),
        (with_md5, BodyKind::Xml, false),
        (
            command!(PutBucketPolicy { bucket: BUCKET }),
            BodyKind::Json,
            true,
        ),
    ] {
        let issued = presignd.issue("acme", command.clone()).await;
        let body = Body {
            kind: kind.into(),
            sha256: Vec::new(),
        };
        assert_eq!(issued.body, Some(body), "{command:?}");
        assert_eq!(issued.checksum_required, checksum, "{command:?}");
        assert!(!issued.headers.contains_key("x-amz-content-sha256"));
    }
}

#[tokio::test]
async fn what_contradicts_the_body_is_named_in_a_batch_too() {
    let grants = r#"grants: [{ commands: [read, write], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    let long = command!(PutObject {
        bucket: BUCKET,
        key: "k",
        content_length: 9,
        content_md5: "JfnnlDI7RTiF9RgfG2JNCw==",
    });
    let short = Payload {
        kind: Some(Kind::Sha256(vec![0; 31])),
    };
    let cases = [
        (bound(head(BUCKET, "k"), content("")), vec!["payload"]),
        (bound(put("k"), Payload::default()), vec!["payload"]),
        (bound(put("k"), short), vec!["payload.sha256"]),
        (
            bound(long, content("another")),
            vec!["put_object.content_length", "put_object.content_md5"],
        ),
    ];
    let mut commands = Vec::new();
    for (asked, fields) in &cases {
        let refused = Refused::read(&presignd.presign(asked.clone()).await.unwrap_err());
        assert_eq!(refused.code, Code::InvalidArgument);
        let expected: Vec<String> = fields.iter().map(|f| format!("command.{f}")).collect();
        assert_eq!(refused.fields, expected);
        commands.extend(asked.command.as_deref().cloned());
    }
    commands.extend(
        bound(put("k"), content("fine"))
            .command
            .map(|command| *command),
    );
    let asked = BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands,
        ..BatchPresignRequest::default()
    };
    let results = presignd.presign_batch(asked).await.unwrap();
    let issued = results.iter().map(|result| match result {
        presignd::proto::v1::batch_presign_result::Result::Response(issued) => {
            Ok(issued.headers["content-length"].as_str())
        }
        presignd::proto::v1::batch_presign_result::Result::Error(error) => Err(error.code),
    });
    let issued: Vec<_> = issued.collect();
    assert_eq!(issued, [Err(3), Err(3), Err(3), Err(3), Ok("4")]);
}

#[tokio::test]
async fn content_is_a_bounded_upload_and_a_hash_is_none() {
    let grants =
        r#"grants: [{ commands: [PutObject], resources: ["acme-files/*"], max_upload: 8 }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    presignd
        .presign(bound(put("k"), content("12345678")))
        .await
        .unwrap();
    for payload in [content("123456789"), hash("12345678")] {
        let refused = presignd
            .presign(bound(put("k"), payload))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    let declared = command!(PutObject {
        bucket: BUCKET,
        key: "k",
        content_length: 8
    });
    let issued = presignd.presign(bound(declared, hash("12345678"))).await;
    assert_eq!(issued.unwrap().headers["content-length"], "8");
}
