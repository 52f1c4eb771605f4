//! Which headers travel in the query if that is asked for, over every header of every operation, and what the SDKs for Go and JavaScript move.

use std::collections::BTreeSet;

use presignd::proto::FILE_DESCRIPTOR_SET;
use presignd::proto::v1::HeaderPlacement;
use presignd::sign::operations::message;
use prost_reflect::DescriptorPool;

use super::{headers, vectors};
use crate::harness::tools::node;

/// What the SDK for Go signs as a header of a URL, whatever the operation: `RequiredSignedHeaders` of aws-sdk-go-v2,
/// `aws/signer/internal/v4/headers.go`, in lower case. The last two are patterns. It moves every other `x-amz-` header.
const SIGNED_BY_GO: &str = "x-amz-acl x-amz-copy-source x-amz-copy-source-if-match x-amz-copy-source-if-modified-since \
    x-amz-copy-source-if-none-match x-amz-copy-source-if-unmodified-since x-amz-copy-source-range \
    x-amz-copy-source-server-side-encryption-customer-algorithm x-amz-copy-source-server-side-encryption-customer-key \
    x-amz-copy-source-server-side-encryption-customer-key-md5 x-amz-grant-full-control x-amz-grant-read x-amz-grant-read-acp \
    x-amz-grant-write x-amz-grant-write-acp x-amz-metadata-directive x-amz-mfa x-amz-server-side-encryption \
    x-amz-server-side-encryption-aws-kms-key-id x-amz-server-side-encryption-context \
    x-amz-server-side-encryption-customer-algorithm x-amz-server-side-encryption-customer-key \
    x-amz-server-side-encryption-customer-key-md5 x-amz-storage-class x-amz-website-redirect-location x-amz-content-sha256 \
    x-amz-tagging x-amz-object-lock- x-amz-meta-";

/// Signs by the SDK for JavaScript as its presigner does, which leaves the headers of encryption where they are, and tells what moved.
const MOVE_JS: &str = r#"
const fs = require("fs");
const { SignatureV4 } = require("@smithy/signature-v4");
const { S3Client } = require("@aws-sdk/client-s3");
const { HttpRequest } = require("@smithy/core/protocols");
const headers = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
const client = new S3Client({ region: "us-east-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } });
const signer = new SignatureV4({ region: "us-east-1", service: "s3", uriEscapePath: false, applyChecksum: false,
  credentials: { accessKeyId: "a", secretAccessKey: "b" }, sha256: client.config.sha256 });
const request = new HttpRequest({ method: "PUT", hostname: "s3.test", path: "/k", headers: { host: "s3.test", ...headers } });
const unhoistableHeaders = new Set(Object.keys(headers).filter((name) => name.startsWith("x-amz-server-side-encryption")));
signer.presign(request, { unhoistableHeaders }).then(({ query }) => console.log(JSON.stringify(Object.keys(query))));
"#;

/// The names of all headers of all operations, and of those that presignd moves.
fn own() -> (BTreeSet<String>, BTreeSet<String>) {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
    let (mut all, mut moved) = (BTreeSet::new(), BTreeSet::new());
    for (name, cases) in vectors() {
        let case = cases.iter().find(|case| case.name == "full");
        let case = case.expect("every operation has a full case");
        let command = case.command(&pool);
        let variant = command.command.as_ref().expect("a request has a command");
        let mut bound = message(variant).to_bound().expect("it is valid");
        let with_all: BTreeSet<String> = headers(&bound).into_keys().collect();
        let placement = HeaderPlacement::Query.into();
        bound.place_headers(placement).expect("they are known");
        let sent = bound.headers_to_send().into_iter().map(|(name, _)| name);
        let sent: BTreeSet<String> = sent.collect();
        assert!(sent.is_subset(&with_all), "{name}");
        moved.extend(with_all.difference(&sent).cloned());
        all.extend(with_all);
    }
    (all, moved)
}

#[tokio::test]
async fn others_move_what_presignd_moves_and_more() {
    let (all, moved) = own();
    assert!(all.len() > 100, "{all:?}");
    let named: Vec<&str> = moved.iter().map(String::as_str).collect();
    let expected = [
        "x-amz-checksum-mode",
        "x-amz-meta-project",
        "x-amz-meta-reviewed-by",
        "x-amz-request-payer",
    ];
    assert_eq!(named, expected);

    let of_go = |name: &str| {
        let mut kept = SIGNED_BY_GO.split_whitespace();
        let is_kept =
            kept.any(|kept| kept == name || (kept.ends_with('-') && name.starts_with(kept)));
        name.starts_with("x-amz-") && !is_kept
    };
    let unlike_go: Vec<&str> = named.iter().copied().filter(|name| !of_go(name)).collect();
    // S3 keeps the names of metadata as the query spells them, and Go spells them with capitals.
    assert_eq!(unlike_go, ["x-amz-meta-project", "x-amz-meta-reviewed-by"]);

    let file = tempfile::NamedTempFile::new().unwrap();
    let headers: serde_json::Map<_, _> =
        all.iter().map(|name| (name.clone(), "v".into())).collect();
    std::fs::write(file.path(), serde_json::Value::from(headers).to_string()).unwrap();
    let output = node(MOVE_JS, file.path()).await;
    assert!(output.status.success(), "{output:?}");
    let by_js: BTreeSet<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(moved.is_subset(&by_js), "{by_js:?}");
    assert!(by_js.contains("x-amz-acl") && by_js.contains("x-amz-tagging"));
}
