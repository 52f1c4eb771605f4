//! Buckets under names of the tenant's: callers use the name, and the store, the session and the record know the bucket.

use presignd::proto::v1::command::Command as Variant;
use serde_json::json;
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::{command, copy, list};
use crate::harness::presignd::{
    Presignd, ceph_tenant, fetch, get_object, put_object, request, static_credentials,
};
use crate::harness::refusal::refused;
use crate::harness::session::HeldSession;
use crate::harness::url::Presigned;

/// Ceph's buckets of acme by other names, in sessions of one bucket.
fn acme(grants: &str) -> String {
    let tenant = ceph_tenant(Ceph::shared().tenant("acme"), grants);
    format!(
        "{tenant}\nsession: {{ scope: bucket }}\nbuckets:\n  files: {{ bucket: acme-files }}\n  media: {{ bucket: acme-media }}"
    )
}

async fn start(grants: &str) -> Presignd {
    Presignd::with_tenant("acme", &acme(grants))
        .with_credentials(Ceph::shared().presignd_credentials().clone())
        .start()
        .await
}

const GRANTS: &str = r#"[{ commands: [read, write, list], resources: ["files/aliases/*", "acme-media/aliases/*"] }]"#;

#[tokio::test]
async fn a_bucket_is_reached_by_either_name() {
    let presignd = start(GRANTS).await;
    let ceph = Ceph::shared();
    for (name, bucket, alias) in [
        ("files", "acme-files", json!("files")),
        ("acme-files", "acme-files", json!(null)),
        ("media", "acme-media", json!("media")),
        ("acme-media", "acme-media", json!(null)),
    ] {
        let key = format!("aliases/{name}");
        let upload = presignd.issue("acme", put_object(name, &key)).await;
        assert_eq!(
            Presigned::read(&upload.url).path,
            format!("/{bucket}/{key}")
        );
        assert_eq!(fetch(&upload, name).await.status, 200);
        let object = ceph.object(bucket, &key).await;
        assert_eq!(object.as_deref(), Some(name.as_bytes()));
        let got = presignd.run("acme", get_object(name, &key), "").await;
        assert_eq!((got.status, got.text().as_str()), (200, name));
        let listed = presignd.run("acme", list(name, "aliases/"), "").await;
        assert!(listed.text().contains(&key), "{listed:?}");

        let record = presignd.records.of(&upload.issuance_id);
        assert_eq!(record["bucket"], bucket);
        assert_eq!(record["bucket_alias"], alias, "{record:#}");
    }
}

#[tokio::test]
async fn a_copy_names_both_its_buckets_as_it_likes() {
    let presignd = start(GRANTS).await;
    let ceph = Ceph::shared();
    let key = "aliases/a source é";
    ceph.put_object("acme-media", key, "of media").await;
    for (index, (source, to)) in [
        ("media", "files"),
        ("acme-media", "files"),
        ("media", "acme-files"),
        ("media", "media"),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("aliases/copied-{index}");
        let issued = presignd
            .issue("acme", copy(&format!("{source}/{key}"), to, &target))
            .await;
        let header = &issued.headers["x-amz-copy-source"];
        assert_eq!(header, "acme-media/aliases/a%20source%20%C3%A9");
        let copied = fetch(&issued, "").await;
        assert_eq!(copied.status, 200, "{copied:?}");
        let real = if to == "media" {
            "acme-media"
        } else {
            "acme-files"
        };
        let object = ceph.object(real, &target).await;
        assert_eq!(object.as_deref(), Some(&b"of media"[..]));
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["copy_source"], format!("acme-media/{key}"));
    }
}

#[tokio::test]
async fn a_session_of_one_bucket_is_of_the_bucket_and_not_of_its_name() {
    let presignd = start(GRANTS).await;
    let mut sessions = Vec::new();
    for name in ["files", "acme-files", "media"] {
        let issued = presignd.issue("acme", get_object(name, "aliases/k")).await;
        let record = presignd.records.of(&issued.issuance_id);
        sessions.push(record["access_key_id"].clone());
    }
    assert_eq!(sessions[0], sessions[1], "two names, one session");
    assert_ne!(sessions[0], sessions[2], "two buckets, two sessions");

    // The store enforces what the policy says of the bucket.
    let ceph = Ceph::shared();
    for bucket in ["acme-files", "acme-media"] {
        ceph.put_object(bucket, "aliases/k", "here").await;
        ceph.put_object(bucket, "aliases-not/k", "here").await;
    }
    let inside = get_object("acme-files", "aliases/k");
    let session = HeldSession::of("acme", &acme(GRANTS), &inside).await;
    assert_eq!(session.run(&inside, "").await.status, 200);
    for outside in [
        get_object("acme-files", "aliases-not/k"),
        get_object("acme-media", "aliases/k"),
    ] {
        assert_eq!(session.run(&outside, "").await.status, 403, "{outside:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_the_name_that_was_used_and_the_record_both() {
    let presignd = start(r#"[{ commands: [write], resources: ["files/aliases/*"] }]"#).await;
    for (command, name, real) in [
        (get_object("files", "aliases/k"), "\"files\"", "acme-files"),
        (list("media", "aliases/"), "\"media\"", "acme-media"),
        (
            copy("media/aliases/k", "files", "aliases/stolen"),
            "\"media\"",
            "acme-files",
        ),
    ] {
        let refused = refused(presignd.presign(request("acme", command)).await);
        assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
        assert!(refused.message.contains(name), "{}", refused.message);
        assert!(!refused.message.contains("acme-"), "{}", refused.message);
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["bucket"], real, "{record:#}");
        assert!(record["bucket_alias"].is_string(), "{record:#}");
    }
}

#[tokio::test]
async fn the_region_and_host_of_a_url_are_those_of_its_bucket() {
    let rest = r#"
buckets:
  media: { bucket: acme-media-prod-7f, region: eu-central-1 }
  china: { bucket: acme-china, region: cn-north-1 }
  here: { bucket: acme-here, endpoint: { url: "http://s3.test:9000", path_style: true } }
grants:
  - { commands: [read, write, list], resources: ["media/*", "china/*", "here/*", "acme-files/*"] }
  - { commands: [list], resources: ["*"] }"#;
    let aws = format!("region: eu-west-1\n{}", static_credentials(rest));
    let presignd = Presignd::with_tenant("acme", &aws).start().await;
    let media = "https://acme-media-prod-7f.s3.eu-central-1.amazonaws.com";
    let files = "https://acme-files.s3.eu-west-1.amazonaws.com";
    let china = "https://acme-china.s3.cn-north-1.amazonaws.com.cn";
    let buckets: Variant = command!(ListBuckets {});
    for (command, origin, path, region) in [
        (get_object("media", "k"), media, "/k", "eu-central-1"),
        (
            get_object("acme-media-prod-7f", "k"),
            media,
            "/k",
            "eu-central-1",
        ),
        (list("media", ""), media, "/", "eu-central-1"),
        (get_object("china", "k"), china, "/k", "cn-north-1"),
        (get_object("acme-files", "k"), files, "/k", "eu-west-1"),
        (
            get_object("here", "k"),
            "http://s3.test:9000",
            "/acme-here/k",
            "eu-west-1",
        ),
        // A copy is the destination's affair.
        (copy("media/a", "acme-files", "k"), files, "/k", "eu-west-1"),
        (
            copy("acme-files/a", "media", "k"),
            media,
            "/k",
            "eu-central-1",
        ),
        (
            buckets,
            "https://s3.eu-west-1.amazonaws.com",
            "/",
            "eu-west-1",
        ),
    ] {
        let what = format!("{command:?}");
        let issued = presignd.issue("acme", command).await;
        let url = Presigned::read(&issued.url);
        assert_eq!((url.origin.as_str(), url.path.as_str()), (origin, path));
        let scope = url.parameter("X-Amz-Credential");
        assert!(scope.contains(&format!("/{region}/s3/")), "{what}: {scope}");
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["region"], region, "{what}");
        assert_eq!(origin.split_once("://").unwrap().1, record["endpoint"]);
    }

    // What AWS does not know is refused for AWS, and let through where the bucket is elsewhere.
    let cold = |bucket: &str| {
        command!(PutObject {
            bucket: bucket,
            key: "k",
            storage_class: "COLD",
        })
    };
    let unknown = refused(presignd.presign(request("acme", cold("media"))).await);
    assert_eq!(unknown.fields, ["command.put_object.storage_class"]);
    presignd.issue("acme", cold("here")).await;

    // Of the same name there may be somebody else's bucket in the other store.
    for (source, to) in [("here/k", "media"), ("media/k", "here")] {
        let apart = copy(source, to, "k");
        let apart = refused(presignd.presign(request("acme", apart)).await);
        assert_eq!(apart.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(apart.fields, ["command.copy_object.copy_source"]);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn names_are_those_of_one_tenant() {
    let acme = "grants: [{ commands: [read], resources: [\"files/*\"] }]\nbuckets: { files: { bucket: acme-files } }";
    let globex = "grants: [{ commands: [read], resources: [\"files/*\"] }]";
    let aws = |rest: &str| format!("region: eu-west-1\n{}", static_credentials(rest));
    let presignd = Presignd::with_tenant("acme", &aws(acme))
        .with_tenant("globex", &aws(globex))
        .start()
        .await;
    for (tenant, origin) in [
        ("acme", "https://acme-files.s3.eu-west-1.amazonaws.com"),
        ("globex", "https://files.s3.eu-west-1.amazonaws.com"),
    ] {
        let issued = presignd.issue(tenant, get_object("files", "k")).await;
        assert_eq!(Presigned::read(&issued.url).origin, origin, "{tenant}");
    }
    // Without a tenant nothing is known of its names.
    let unknown = request("initech", get_object("files", "k"));
    let unknown = refused(presignd.presign(unknown).await);
    let record = presignd.records.of(&unknown.issuance_id);
    assert_eq!(record["bucket"], "files");
    assert!(record.get("bucket_alias").is_none(), "{record:#}");
    presignd.shutdown().await.unwrap();
}
