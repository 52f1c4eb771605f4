//! From the request to the store: what presignd issues works there as the answer says, for every command on objects.
//!
//! What a client wrote is read back with the keys of the bucket's owner, and what it reads was written with them.

use std::collections::HashMap;

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::http;
use crate::harness::presignd::{Presignd, fetch, get_object, put_object};

const GRANTS: &str = r#"[{ commands: [read, write, list, delete], resources: ["acme-files/issuing/*"] },
         { commands: [PutBucketVersioning, PutObject, GetObject, DeleteObject, CopyObject], resources: ["acme-media/*"] }]"#;

async fn presignd() -> Presignd {
    Presignd::with_ceph_tenant("acme", GRANTS).start().await
}

#[tokio::test]
async fn an_upload_and_a_download_work_with_a_plain_client() {
    let presignd = presignd().await;
    let upload = presignd
        .issue("acme", put_object("acme-files", "issuing/a"))
        .await;
    assert_eq!(upload.method, "PUT");
    assert_eq!(fetch(&upload, "bytes of acme").await.status, 200);

    let download = presignd
        .issue("acme", get_object("acme-files", "issuing/a"))
        .await;
    assert_eq!(download.method, "GET");
    let got = fetch(&download, "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "bytes of acme"));
    assert_eq!(
        Ceph::shared()
            .object("acme-files", "issuing/a")
            .await
            .as_deref(),
        Some(&b"bytes of acme"[..])
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_upload_carries_what_its_headers_say() {
    let presignd = presignd().await;
    let key = "issuing/headers";
    let upload = presignd
        .issue(
            "acme",
            Variant::PutObject(s3::PutObject {
                bucket: Some("acme-files".to_owned()),
                key: Some(key.to_owned()),
                content_type: Some("text/csv; charset=utf-8".to_owned()),
                cache_control: Some("max-age=60, private".to_owned()),
                content_disposition: Some("attachment; filename=\"a b.csv\"".to_owned()),
                storage_class: Some("STANDARD".to_owned()),
                acl: Some("bucket-owner-full-control".to_owned()),
                tagging: Some("team=blue%20sky&kind=csv".to_owned()),
                metadata: HashMap::from([
                    ("Colour".to_owned(), "dark  red".to_owned()),
                    ("empty".to_owned(), String::new()),
                ]),
                ..s3::PutObject::default()
            }),
        )
        .await;
    let mut names: Vec<&str> = upload.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cache-control",
            "content-disposition",
            "content-type",
            "x-amz-acl",
            "x-amz-meta-colour",
            "x-amz-meta-empty",
            "x-amz-storage-class",
            "x-amz-tagging"
        ]
    );
    let put = fetch(&upload, "a,b").await;
    assert_eq!(put.status, 200, "{put:?}");

    let ceph = Ceph::shared();
    let head = ceph.as_owner("HEAD", "acme-files", key, "", "").await;
    assert_eq!(head.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(head.header("cache-control"), "max-age=60, private");
    assert_eq!(
        head.header("content-disposition"),
        "attachment; filename=\"a b.csv\""
    );
    // Runs of spaces count as one in a signature, and travel as they are.
    assert_eq!(head.header("x-amz-meta-colour"), "dark  red");
    let tags = ceph
        .as_owner("GET", "acme-files", key, "tagging=", "")
        .await
        .text();
    assert!(
        tags.contains("<Value>blue sky</Value>") && tags.contains("<Value>csv</Value>"),
        "{tags}"
    );
}

#[tokio::test]
async fn a_download_is_of_the_range_and_under_the_name_that_were_asked_for() {
    let presignd = presignd().await;
    let ceph = Ceph::shared();
    ceph.put_object("acme-files", "issuing/read", "0123456789")
        .await;
    let disposition = "attachment; filename=\"e.txt\"; filename*=UTF-8''%C3%A9%20%F0%9F%98%80.txt";
    let command = command!(GetObject {
        bucket: "acme-files",
        key: "issuing/read",
        range: "bytes=2-5",
        response_content_disposition: disposition,
        response_content_type: "text/plain; charset=utf-8",
    });
    let got = presignd.run("acme", command, "").await;
    assert_eq!((got.status, got.text().as_str()), (206, "2345"), "{got:?}");
    assert_eq!(got.header("content-range"), "bytes 2-5/10");
    assert_eq!(got.header("content-disposition"), disposition);
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_condition_holds() {
    let presignd = presignd().await;
    Ceph::shared()
        .put_object("acme-files", "issuing/condition", "there")
        .await;
    let new_only = command!(PutObject {
        bucket: "acme-files",
        key: "issuing/condition",
        if_none_match: "*",
    });
    let put = presignd.run("acme", new_only, "over it").await;
    assert_eq!(put.status, 412, "{put:?}");
    let other = command!(GetObject {
        bucket: "acme-files",
        key: "issuing/condition",
        if_match: "\"0\"",
    });
    assert_eq!(presignd.run("acme", other, "").await.status, 412);
}

#[tokio::test]
async fn a_version_is_read_and_deleted_by_its_id() {
    let presignd = presignd().await;
    let (bucket, key) = ("acme-media", "issuing/version");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let versioning = command!(PutBucketVersioning { bucket: bucket });
    let set = presignd.run("acme", versioning, enabled).await;
    assert_eq!(set.status, 200, "{set:?}");

    let mut versions = Vec::new();
    for body in ["first", "second"] {
        let put = presignd.run("acme", put_object(bucket, key), body).await;
        versions.push(put.header("x-amz-version-id").to_owned());
    }
    let first = || {
        command!(GetObject {
            bucket: bucket,
            key: key,
            version_id: versions[0].as_str(),
        })
    };
    assert_eq!(presignd.run("acme", first(), "").await.text(), "first");
    let latest = presignd.run("acme", get_object(bucket, key), "").await;
    assert_eq!(latest.text(), "second");

    let delete = command!(DeleteObject {
        bucket: bucket,
        key: key,
        version_id: versions[0].as_str(),
    });
    assert_eq!(presignd.run("acme", delete, "").await.status, 204);
    assert_eq!(presignd.run("acme", first(), "").await.status, 404);
    assert_eq!(
        Ceph::shared().object(bucket, key).await.as_deref(),
        Some(&b"second"[..])
    );
}

#[tokio::test]
async fn an_object_is_looked_at_and_deleted() {
    let presignd = presignd().await;
    let (bucket, key) = ("acme-files", "issuing/passing");
    let ceph = Ceph::shared();
    ceph.put_object(bucket, key, "here").await;
    let head = || {
        command!(HeadObject {
            bucket: bucket,
            key: key
        })
    };
    let looked = presignd.run("acme", head(), "").await;
    assert_eq!(
        (looked.status, looked.header("content-length")),
        (200, "4"),
        "{looked:?}"
    );
    let delete = command!(DeleteObject {
        bucket: bucket,
        key: key
    });
    assert_eq!(presignd.run("acme", delete, "").await.status, 204);
    assert_eq!(ceph.object(bucket, key).await, None);
    assert_eq!(presignd.run("acme", head(), "").await.status, 404);
}

#[tokio::test]
async fn many_objects_are_deleted_by_one_request_whose_body_names_them() {
    // Ceph 16 refuses DeleteObjects to every session that has a policy.
    let grants = r#"[{ commands: [delete], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_ceph_owner("acme", grants).start().await;
    let ceph = Ceph::shared();
    for key in ["issuing/many/a", "issuing/many/b+c", "issuing/many/d"] {
        ceph.put_object("acme-files", key, "x").await;
    }
    let issued = presignd
        .issue(
            "acme",
            command!(DeleteObjects {
                bucket: "acme-files"
            }),
        )
        .await;
    assert_eq!(issued.method, "POST");
    let body = "<Delete><Object><Key>issuing/many/a</Key></Object><Object><Key>issuing/many/b+c</Key></Object></Delete>";
    // The digest of the body is the client's to send: it is not signed.
    let md5 = ("content-md5", "f2/NzAmEAayrG+cCb+TnSg==");
    let signed = issued.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let deleted = http::send(&issued.method, &issued.url, signed.chain([md5]), body).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert!(!deleted.text().contains("<Error>"), "{deleted:?}");
    let left = ceph.objects("acme-files", "issuing/many/").await;
    assert_eq!(left.keys(), ["issuing/many/d"]);
}

#[tokio::test]
async fn lists_are_of_the_prefix_page_by_page() {
    let presignd = presignd().await;
    let ceph = Ceph::shared();
    for key in ["a", "b", "deep/c", "deep/d", "é & <x>"] {
        ceph.put_object("acme-files", &format!("issuing/list/{key}"), "x")
            .await;
    }
    let folders = command!(ListObjectsV2 {
        bucket: "acme-files",
        prefix: "issuing/list/",
        delimiter: "/",
    });
    let listed = presignd.run("acme", folders, "").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    assert_eq!(listed.xml("KeyCount").as_deref(), Some("4"));
    assert!(
        listed
            .text()
            .contains("<CommonPrefixes><Prefix>issuing/list/deep/</Prefix></CommonPrefixes>"),
        "{listed:?}"
    );

    let mut keys = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..5 {
        let page = Variant::ListObjectsV2(s3::ListObjectsV2 {
            bucket: Some("acme-files".to_owned()),
            prefix: Some("issuing/list/".to_owned()),
            max_keys: Some(2),
            encoding_type: Some("url".to_owned()),
            continuation_token: token.take(),
            ..s3::ListObjectsV2::default()
        });
        let page = presignd.run("acme", page, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        keys.extend(page.text().split("<Key>").skip(1).map(|rest| {
            let (key, _) = rest.split_once("</Key>").expect("a whole element");
            key.replace("%2F", "/")
        }));
        token = page.xml("NextContinuationToken");
        if token.is_none() {
            break;
        }
    }
    assert_eq!(
        keys,
        [
            "issuing/list/a",
            "issuing/list/b",
            "issuing/list/deep/c",
            "issuing/list/deep/d",
            "issuing/list/%C3%A9%20%26%20%3Cx%3E"
        ]
    );

    let first_version = command!(ListObjects {
        bucket: "acme-files",
        prefix: "issuing/list/",
        marker: "issuing/list/b",
        max_keys: 1,
    });
    let listed = presignd.run("acme", first_version, "").await;
    assert_eq!(listed.xml("Key").as_deref(), Some("issuing/list/deep/c"));
}

#[tokio::test]
async fn a_copy_is_of_its_source() {
    let presignd = presignd().await;
    let ceph = Ceph::shared();
    let source = "issuing/source é+%41";
    ceph.put_object("acme-files", source, "to be copied").await;
    let plain = command!(CopyObject {
        bucket: "acme-files",
        key: "issuing/copied",
        copy_source: format!("acme-files/{source}"),
    });
    let copied = presignd.run("acme", plain, "").await;
    assert_eq!(copied.status, 200, "{copied:?}");
    let object = ceph.object("acme-files", "issuing/copied").await;
    assert_eq!(object.as_deref(), Some(&b"to be copied"[..]));

    let replaced = Variant::CopyObject(s3::CopyObject {
        bucket: Some("acme-media".to_owned()),
        key: Some("issuing/copied".to_owned()),
        copy_source: Some(format!("/acme-files/{source}")),
        metadata_directive: Some("REPLACE".to_owned()),
        content_type: Some("text/plain".to_owned()),
        metadata: HashMap::from([("by".to_owned(), "copy".to_owned())]),
        ..s3::CopyObject::default()
    });
    let copied = presignd.run("acme", replaced, "").await;
    assert_eq!(copied.status, 200, "{copied:?}");
    let head = ceph
        .as_owner("HEAD", "acme-media", "issuing/copied", "", "")
        .await;
    assert_eq!(head.header("x-amz-meta-by"), "copy");
    assert_eq!(head.header("content-type"), "text/plain");
}

#[tokio::test]
async fn tags_are_written_and_read() {
    let presignd = presignd().await;
    let (bucket, key) = ("acme-files", "issuing/tags");
    Ceph::shared().put_object(bucket, key, "tagged").await;
    let tags = "<Tagging><TagSet><Tag><Key>team</Key><Value>blue</Value></Tag></TagSet></Tagging>";
    let put = command!(PutObjectTagging {
        bucket: bucket,
        key: key
    });
    let put = presignd.run("acme", put, tags).await;
    assert_eq!(put.status, 200, "{put:?}");
    let get = command!(GetObjectTagging {
        bucket: bucket,
        key: key
    });
    let got = presignd.run("acme", get, "").await;
    assert_eq!(got.xml("Value").as_deref(), Some("blue"), "{got:?}");
}
