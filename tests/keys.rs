//! Keys that URLs could mistake for something else: each reaches its very object, by a plain client.

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::presignd::{Presignd, fetch, get_object, put_object, request};

const BUCKET: &str = "acme-files";

/// Keys as they are given and as they are to be in the store.
fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "a b+c",
        "%41",
        "%2F..%2f",
        "a//b",
        "//",
        "trailing/",
        "é😀",
        "e\u{301}", // Not the same as é.
        "*",
        "?",
        "#x",
        "${aws:username}",
        "a=b&c",
        "x;y,z:@!$'()",
        "\"<&>\\",
        "~-_.",
        "...",
        "?versionId=1&X-Amz-Expires=1",
    ]
    .map(|key| format!("keys/{key}"))
    .into();
    keys.push("/keys/leading".to_owned());
    keys.push("//keys/leading".to_owned());
    keys.push(format!("keys/{}", "l".repeat(1024 - 5)));
    // 1,024 bytes again, encoded 3,000 more.
    keys.push(format!("keys/e{}", "é".repeat(509)));
    keys
}

#[tokio::test]
async fn every_key_is_written_and_read_under_itself() {
    let grants = r#"[{ commands: [GetObject, PutObject], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let ceph = Ceph::shared();
    let keys = odd_keys();
    for key in &keys {
        let upload = presignd.issue("acme", put_object(BUCKET, key)).await;
        let put = fetch(&upload, key.clone()).await;
        assert_eq!(put.status, 200, "{key:?}: {put:?}");
        let read = ceph.object(BUCKET, key).await;
        assert_eq!(read.as_deref(), Some(key.as_bytes()), "{key:?}");
        let got = presignd.run("acme", get_object(BUCKET, key), "").await;
        assert_eq!((got.status, got.text()), (200, key.clone()), "{key:?}");
        assert_eq!(presignd.records.of(&upload.issuance_id)["key"], *key);
    }

    // The store's own idea of their names.
    let mut listed = Vec::new();
    for prefix in ["keys/", "/keys/", "//keys/"] {
        listed.extend(ceph.objects(BUCKET, prefix).await.keys());
    }
    listed.sort();
    let mut wanted = keys;
    wanted.sort();
    assert_eq!(listed, wanted);
}

#[tokio::test]
async fn every_key_is_copied_from() {
    let grants = r#"[{ commands: [GetObject, CopyObject], resources: ["acme-media/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let ceph = Ceph::shared();
    for (index, key) in odd_keys().iter().enumerate() {
        ceph.put_object("acme-media", key, key.clone()).await;
        let target = format!("keys-copied/{index}");
        let copy = command!(CopyObject {
            bucket: "acme-media",
            key: target.as_str(),
            copy_source: format!("acme-media/{key}"),
        });
        let Ok(issued) = presignd.presign(request("acme", copy)).await else {
            // Which version, and of which object, only the caller could tell.
            assert!(key.contains("?versionId="), "{key:?}");
            continue;
        };
        let copied = fetch(&issued, "").await;
        assert_eq!(copied.status, 200, "{key:?}: {copied:?}");
        let object = ceph.object("acme-media", &target).await;
        assert_eq!(object.as_deref(), Some(key.as_bytes()), "{key:?}");
    }
}
