//! Headers that move into the URL, for clients that can send none: what a store makes of them, and what others move.

use std::collections::{BTreeMap, HashMap};

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{
    Command, HeaderPlacement, PresignRequest, PresignResponse, SigningOptions,
};
use prost::Message as _;
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::http::{self, NO_HEADERS};
use crate::harness::presignd::{Presignd, lasting, request, static_tenant};
use crate::harness::refusal::Refused;

const BUCKET: &str = "acme-files";

fn placed(command: Variant, placement: u8) -> PresignRequest {
    PresignRequest {
        command: Some(Box::new(Command {
            // Field 1, also with values that the contract does not know.
            options: Some(SigningOptions::decode(&[8, placement][..]).expect("a message")),
            ..*request("", command.clone()).command.expect("it has one")
        })),
        ..lasting(300, request("acme", command))
    }
}

async fn moved(presignd: &Presignd, command: Variant) -> PresignResponse {
    let asked = placed(command, HeaderPlacement::Query as u8);
    presignd.presign(asked).await.expect("it is issued")
}

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn put(key: &str) -> s3::PutObject {
    s3::PutObject {
        bucket: Some(BUCKET.to_owned()),
        key: Some(key.to_owned()),
        metadata: map(&[("team", "blue"), ("Note", "a b+c/%41&d=")]),
        ..Default::default()
    }
}

/// The parameters of a URL's query that are no part of the signature, decoded.
fn parameters(url: &str) -> BTreeMap<String, String> {
    let (_, query) = url.split_once('?').expect("it has a query");
    let parsed = form_urlencoded::parse(query.as_bytes()).into_owned();
    parsed
        .filter(|(name, _)| !name.starts_with("X-Amz-"))
        .collect()
}

#[tokio::test]
async fn a_store_reads_metadata_and_who_pays_from_the_url() {
    let grants = r#"[{ commands: [read, write], resources: ["acme-files/placement/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let ceph = Ceph::shared();
    let key = "placement/put";
    let put = s3::PutObject {
        request_payer: Some("requester".to_owned()),
        ..put(key)
    };
    let issued = moved(&presignd, Variant::PutObject(put)).await;
    assert!(issued.headers.is_empty(), "{:?}", issued.headers);
    let stored = http::send("PUT", &issued.url, NO_HEADERS, "some").await;
    assert_eq!(stored.status, 200, "{stored:?}");
    let head = ceph.as_owner("HEAD", BUCKET, key, "", "").await;
    assert_eq!(head.header("x-amz-meta-team"), "blue");
    assert_eq!(head.header("x-amz-meta-note"), "a b+c/%41&d=");

    let get = command!(GetObject {
        bucket: BUCKET,
        key: key,
        request_payer: "requester",
        checksum_mode: "ENABLED",
    });
    let issued = moved(&presignd, get).await;
    assert!(issued.headers.is_empty(), "{:?}", issued.headers);
    let got = http::send("GET", &issued.url, NO_HEADERS, "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "some"));
    // They are signed.
    for (theirs, other) in [("=requester", "=somebody"), ("=ENABLED", "=OTHER")] {
        assert!(issued.url.contains(theirs));
        let changed = issued.url.replace(theirs, other);
        let refused = http::send("GET", &changed, NO_HEADERS, "").await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
}

#[tokio::test]
async fn what_may_not_be_overlooked_stays_with_the_client() {
    let grants = r#"grants: [{ commands: [read, write, admin], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    let protected = s3::PutObject {
        acl: Some("private".to_owned()),
        cache_control: Some("no-store".to_owned()),
        content_length: Some(4),
        content_type: Some("text/plain".to_owned()),
        checksum_sha256: Some("FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=".to_owned()),
        expected_bucket_owner: Some("111122223333".to_owned()),
        grant_read: Some("id=a".to_owned()),
        if_none_match: Some("*".to_owned()),
        object_lock_mode: Some("GOVERNANCE".to_owned()),
        server_side_encryption: Some("aws:kms".to_owned()),
        sse_customer_key: Some("key".to_owned()),
        storage_class: Some("STANDARD_IA".to_owned()),
        tagging: Some("team=blue".to_owned()),
        ..put("k")
    };
    let unmoved = presignd
        .issue("acme", Variant::PutObject(protected.clone()))
        .await;
    let issued = moved(&presignd, Variant::PutObject(protected)).await;
    let mut together: BTreeMap<_, _> = issued.headers.clone().into_iter().collect();
    assert_eq!(together.len(), 13, "{together:?}");
    let moved = parameters(&issued.url);
    let names: Vec<&String> = moved.keys().collect();
    assert_eq!(names, ["x-amz-meta-note", "x-amz-meta-team"]);
    together.extend(moved);
    assert_eq!(together, unmoved.headers.into_iter().collect());
    assert_eq!(parameters(&unmoved.url), BTreeMap::new());
}

#[tokio::test]
async fn nothing_moves_unless_it_is_asked_for() {
    let grants = r#"grants: [{ commands: [write], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(grants))
        .start()
        .await;
    for placement in [
        HeaderPlacement::Unspecified as u8,
        HeaderPlacement::Headers as u8,
    ] {
        let asked = placed(Variant::PutObject(put("k")), placement);
        let issued = presignd.presign(asked).await.unwrap();
        assert_eq!(issued.headers.len(), 2);
        assert_eq!(parameters(&issued.url), BTreeMap::new());
    }
    let unknown = placed(Variant::PutObject(put("k")), 7);
    let refused = Refused::read(&presignd.presign(unknown).await.unwrap_err());
    assert_eq!(refused.code, Code::InvalidArgument);
    assert_eq!(refused.fields, ["command.options.header_placement"]);
}
