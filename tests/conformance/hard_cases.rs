//! Hard cases by name, each signed by five: presignd, botocore, aws-sdk-s3, the SDK for JavaScript, and aws-sigv4.
//!
//! All of presignd's are signed with the same credentials in the order of the table, so that signing keys are kept, used again, and
//! replaced as days pass. Who disagrees is listed with the reason, and has to disagree.

mod signers;

use std::collections::{BTreeMap, BTreeSet};

use presignd::endpoint::options::Options;
use presignd::endpoint::{Endpoints, TenantEndpoint};
use presignd::proto::FILE_DESCRIPTOR_SET;
use presignd::proto::v1::HeaderPlacement;
use presignd::sign::command::{BoundCommand, PathForm, QueryParameter, Value};
use presignd::sign::operations::message;
use presignd::sign::{Credentials, SigningEndpoint, presign};
use prost_reflect::DescriptorPool;
use serde_json::{Value as Json, json};

use super::every_operation::{self, signed_by_the_sdk};
use super::{Case, EndpointOfCase, Url, headers};

/// Where a case goes.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Aws,
    AwsByPath,
    Store,
}
use Place::{Aws, AwsByPath, Store};

const NOON: &str = "2026-01-02T12:00:00Z";
const BEFORE_MIDNIGHT: &str = "2026-01-02T23:59:59Z";
const MIDNIGHT: &str = "2026-01-03T00:00:00Z";
const LEAP_DAY: &str = "2028-02-29T23:59:59Z";
const NEW_YEAR: &str = "2027-01-01T00:00:00Z";

const BUCKET: &str = "acme-files";
const KEY_OF_CUSTOMER: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const MD5_OF_KEY: &str = "hRasmdxgYDKV3nvbahU1MA==";

/// A case: name, time, expiry, place, command and fields.
type Row = (&'static str, &'static str, u32, Place, &'static str, Json);

fn key(key: &str) -> Json {
    json!({ "bucket": BUCKET, "key": key })
}

fn object(fields: &Json) -> Json {
    let mut all = key("k");
    let given = fields.as_object().expect("fields").clone();
    all.as_object_mut().expect("fields").extend(given);
    all
}

#[rustfmt::skip]
fn table() -> Vec<Row> {
    vec![
        ("reserved characters", NOON, 900, Aws, "getObject", key("!\"#$&'()*+,:;<=>?@[\\]^_`{|}~")),
        ("what looks escaped", NOON, 900, Aws, "getObject", key("%41/%2F%2f/100%/%zz")),
        ("two slashes", NOON, 900, Aws, "getObject", key("a//b///c")),
        ("a slash first", NOON, 900, Aws, "getObject", key("/a")),
        ("a slash first, by path", NOON, 900, Store, "getObject", key("//a")),
        ("slashes alone", NOON, 900, Store, "putObject", key("///")),
        ("a slash last", NOON, 900, Aws, "putObject", key("folder/")),
        ("spaces and plus", NOON, 900, Aws, "getObject", key(" a +b  c ")),
        ("emoji", NOON, 900, Aws, "getObject", key("\u{1f980}/\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}")),
        ("composed and not", NOON, 900, Store, "getObject", key("é e\u{301}")),
        ("scripts", NOON, 900, Aws, "getObject", key("中文/العربية/עברית")),
        ("a query in the key", NOON, 900, Aws, "getObject", key("k?versionId=1&X-Amz-Expires=1#f")),
        ("dots that are no segment", NOON, 900, Aws, "getObject", key(".../.a/a./b..c")),
        ("control characters", NOON, 900, Store, "getObject", key("\u{1}/\t/\n/\u{7f}")),
        ("the longest key", NOON, 900, Aws, "getObject", key(&"é".repeat(512))),
        ("a bucket with dots", NOON, 900, Aws, "getObject", json!({ "bucket": "a.b.c", "key": "k" })),
        ("path style on AWS", NOON, 900, AwsByPath, "getObject", key("k")),
        ("a version id like a token", NOON, 900, Aws, "getObject", object(&json!({ "versionId": "3/L4+kq=&%" }))),
        ("an upload id like a token", NOON, 900, Aws, "uploadPart", object(&json!({ "uploadId": "/+==._-~%41", "partNumber": 10000 }))),
        ("list prefixes", NOON, 900, Aws, "listObjectsV2", json!({ "bucket": BUCKET, "prefix": "a/ +%2F&é", "delimiter": "/", "startAfter": "a//" })),
        ("a continuation token", NOON, 900, Store, "listObjectsV2", json!({ "bucket": BUCKET, "continuationToken": "1ueG/+==&?%25", "maxKeys": 0 })),
        ("an empty prefix", NOON, 900, Aws, "listObjects", json!({ "bucket": BUCKET, "prefix": "", "marker": " " })),
        ("list of versions", NOON, 900, Aws, "listObjectVersions", json!({ "bucket": BUCKET, "keyMarker": "a b", "versionIdMarker": "null" })),
        ("a subresource without value", NOON, 900, Aws, "getBucketAcl", json!({ "bucket": BUCKET })),
        ("a host of its own service", NOON, 900, Aws, "listBuckets", json!({ "prefix": "a+b" })),
        ("metadata to fold", NOON, 900, Aws, "putObject", object(&json!({ "metadata": { "two": "a  b   c", "Mixed-Case": "v", "empty": "" } }))),
        ("metadata that looks escaped", NOON, 900, Aws, "putObject", object(&json!({ "metadata": { "a": "%41+%2B;,\"=\\", "b.c_d~": "x" } }))),
        ("dates in headers and query", NOON, 900, Aws, "getObject", object(&json!({ "ifModifiedSince": "2028-02-29T23:59:59Z", "responseExpires": "1999-12-31T23:59:59Z" }))),
        ("Object Lock dates", NOON, 900, Aws, "putObject", object(&json!({ "objectLockMode": "COMPLIANCE", "objectLockRetainUntilDate": "2031-12-31T23:59:59Z", "objectLockLegalHoldStatus": "ON" }))),
        ("Expires", NOON, 900, Aws, "putObject", object(&json!({ "expires": "2030-01-01T00:00:00Z", "cacheControl": "max-age=60,  private" }))),
        ("the shortest life", NOON, 1, Aws, "getObject", key("k")),
        ("the longest life", NOON, 604_800, Aws, "getObject", key("k")),
        ("the second before midnight", BEFORE_MIDNIGHT, 900, Aws, "getObject", key("k")),
        ("midnight", MIDNIGHT, 900, Aws, "getObject", key("k")),
        ("back before midnight", BEFORE_MIDNIGHT, 900, Aws, "getObject", key("k")),
        ("a leap day", LEAP_DAY, 604_800, Aws, "getObject", key("k")),
        ("a new year", NEW_YEAR, 900, Store, "getObject", key("k")),
        ("a copy of a version", NOON, 900, Aws, "copyObject", object(&json!({ "copySource": "acme-archive/old/é +%41.pdf?versionId=3HL4kqtJlcpXroDTDmJrmSpXd3dIbrHY" }))),
        ("a copy of a part", NOON, 900, Store, "uploadPartCopy", object(&json!({ "copySource": "/acme-archive//a b", "copySourceRange": "bytes=0-5242879", "uploadId": "u", "partNumber": 1 }))),
        ("a copy on conditions", NOON, 900, Aws, "copyObject", object(&json!({ "copySource": "acme-archive/k", "copySourceIfUnmodifiedSince": "2026-01-01T00:00:00Z", "metadataDirective": "REPLACE" }))),
        ("SSE-C with MD5", NOON, 900, Aws, "putObject", object(&json!({ "sseCustomerAlgorithm": "AES256", "sseCustomerKey": KEY_OF_CUSTOMER, "sseCustomerKeyMd5": MD5_OF_KEY }))),
        ("SSE-C without MD5", NOON, 900, Aws, "getObject", object(&json!({ "sseCustomerAlgorithm": "AES256", "sseCustomerKey": KEY_OF_CUSTOMER }))),
        ("SSE-KMS with a context", NOON, 900, Aws, "putObject", object(&json!({ "serverSideEncryption": "aws:kms", "ssekmsKeyId": "arn:aws:kms:eu-west-1:111122223333:key/1234", "ssekmsEncryptionContext": "eyJhIjoiYiJ9", "bucketKeyEnabled": true }))),
        ("grants", NOON, 900, Aws, "putObjectAcl", object(&json!({ "grantRead": "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\", id=\"79a5\"", "grantFullControl": "id=\"1\"" }))),
        ("a canned ACL and tags", NOON, 900, Aws, "putObject", object(&json!({ "acl": "bucket-owner-full-control", "tagging": "a=b%20c&d=%C3%A9&e=" }))),
        ("quotes in entity tags", NOON, 900, Aws, "getObject", object(&json!({ "ifMatch": "\"5eb6\", W/\"x\"", "range": "bytes=-1" }))),
        ("a file's name for browsers", NOON, 900, Aws, "getObject", object(&json!({ "responseContentDisposition": "attachment; filename=\"a \\\"b\\\".txt\"; filename*=UTF-8''%C3%A9.txt" }))),
        ("an exact length and type", NOON, 900, Aws, "putObject", object(&json!({ "contentLength": "5368709120", "contentType": "text/plain; charset=utf-8", "contentMd5": "XrY7u+Ae7tCTyyK7j1rNww==" }))),
        ("a checksum that is given", NOON, 900, Aws, "putObject", object(&json!({ "checksumAlgorithm": "SHA256", "checksumSha256": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=" }))),
        ("a checksum that is asked for", NOON, 900, Aws, "headObject", object(&json!({ "checksumMode": "ENABLED" }))),
        ("attributes in a list", NOON, 900, Aws, "getObjectAttributes", object(&json!({ "objectAttributes": ["ETag", "Checksum", "ObjectSize"] }))),
        ("a bucket's place", NOON, 900, Aws, "getBucketLocation", json!({ "bucket": BUCKET })),
        ("who pays and who owns", NOON, 900, Store, "deleteObject", object(&json!({ "requestPayer": "requester", "expectedBucketOwner": "111122223333", "bypassGovernanceRetention": true, "versionId": "null" }))),
    ]
}

/// Who disagrees about which case, and why.
const DISAGREEMENTS: [(&str, &str, &str); 7] = [
    (
        "SSE-C without MD5",
        "JavaScript",
        "it computes the MD5 of the key, and presignd adds nothing to what is asked",
    ),
    (
        "SSE-C without MD5",
        "botocore",
        "it takes the key for raw bytes, encodes it again, and computes the MD5",
    ),
    (
        "a bucket's place",
        "botocore",
        "it uses path style for GetBucketLocation, whatever is set",
    ),
    (
        "a checksum that is asked for",
        "aws-sdk-s3",
        "its signer leaves x-amz-checksum-mode unsigned, and S3 refuses headers of its own that are",
    ),
    (
        "a checksum that is asked for",
        "aws-sigv4",
        "the same signer",
    ),
    (
        "a copy of a part",
        "botocore",
        "it leaves the slash before the bucket of a source, which S3 takes with or without",
    ),
    (
        "attributes in a list",
        "JavaScript",
        "it writes a space after each comma, which S3 takes with or without",
    ),
];

/// What one of them signs.
#[derive(Debug)]
struct Answer {
    url: String,
    headers: BTreeMap<String, String>,
}

/// What presignd signs, to be put in another's habits.
struct Own<'a> {
    bound: BoundCommand<'a>,
    endpoint: SigningEndpoint,
    case: &'a Case,
}

impl Own<'_> {
    fn sign(&self, credentials: &Credentials) -> String {
        let (time, life) = (self.case.signed_at(), self.case.expires_in);
        presign(&self.bound, &self.endpoint, credentials, time, life).into_string()
    }

    /// The same request as the SDKs write it: with the operation's name, and a slash after a bucket.
    fn like(&self, url: &str, credentials: &Credentials) -> String {
        let mut bound = self.bound.clone();
        if url.contains("x-id=") {
            bound.query.push(QueryParameter {
                name: "x-id",
                value: Value::Text(bound.operation.name.into()),
            });
        }
        let path = url.split('?').next().unwrap_or_default();
        if bound.operation.path == PathForm::Bucket && path.ends_with('/') {
            bound.bucket = None;
        }
        let own = Own {
            bound,
            endpoint: self.endpoint.clone(),
            case: self.case,
        };
        own.sign(credentials)
    }
}

fn case((name, time, expires_in, place, command, fields): Row) -> Case {
    Case {
        name: name.to_owned(),
        endpoint: EndpointOfCase {
            url: (place == Store).then(|| "http://127.0.0.1:9000".to_owned()),
            path_style: place != Aws,
        },
        region: "eu-west-1".to_owned(),
        access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: Some("IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1+/==".to_owned()),
        time: time.to_owned(),
        expires_in,
        request: json!({ command: fields }),
        method: String::new(),
        headers: BTreeMap::new(),
        canonical_request: String::new(),
        string_to_sign: String::new(),
        url: String::new(),
        differs: None,
    }
}

#[tokio::test]
async fn five_signers_sign_the_hard_cases_alike() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
    let endpoints = Endpoints::default();
    let mut cases: Vec<Case> = table().into_iter().map(case).collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(names.len() >= 50);
    // References travel encoded, and the SDKs leave that to their callers.
    for case in &mut cases {
        let command = case.command(&pool);
        let bound = message(command.command.as_ref().expect("a command")).to_bound();
        case.headers = headers(&bound.unwrap_or_else(|e| panic!("{}: {e}", case.name)));
    }
    let credentials = cases[0].credentials();
    let by_botocore = signers::botocore(&cases).await;
    let by_javascript = signers::javascript(&cases, &pool, &[]).await;

    let mut disagreements = BTreeSet::new();
    for (index, case) in cases.iter().enumerate() {
        let command = case.command(&pool);
        let variant = command.command.as_ref().expect("a command");
        let bound = message(variant).to_bound().expect("it bound before");
        let EndpointOfCase { url, path_style } = &case.endpoint;
        let tenant = TenantEndpoint::new(case.region.clone(), url.clone(), *path_style);
        let endpoint = endpoints
            .resolve(&tenant, bound.operation, bound.bucket, Options::default())
            .await;
        let endpoint = (*endpoint.expect("an endpoint")).clone();
        let own = Own {
            bound,
            endpoint,
            case,
        };
        let name = own.bound.operation.name;
        let url = own.sign(&credentials);

        let signature = signers::aws_sigv4(&own, &url);
        let by_sdk = signed_by_the_sdk(name, &every_operation::Case::new(case.clone())).await;
        let by_sdk = by_sdk.expect("the SDK knows the operation");
        let by_sdk = Answer {
            url: by_sdk.url,
            headers: by_sdk.headers,
        };
        let mut answers = vec![("botocore", &by_botocore[index]), ("aws-sdk-s3", &by_sdk)];
        answers.push(("JavaScript", &by_javascript[index]));
        for (who, answer) in answers {
            let like = Url::parse(&own.like(&answer.url, &credentials));
            if like != Url::parse(&answer.url) || answer.headers != case.headers {
                disagreements.insert((case.name.as_str(), who));
            }
        }
        if !url.ends_with(&format!("X-Amz-Signature={signature}")) {
            disagreements.insert((case.name.as_str(), "aws-sigv4"));
        }
    }
    let listed = DISAGREEMENTS.iter().map(|(name, who, _)| (*name, *who));
    assert_eq!(disagreements, listed.collect());
}

/// Who is told to move the same headers signs the same.
#[tokio::test]
async fn the_sdk_for_javascript_signs_what_moves_into_the_query_alike() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
    let metadata = json!({ "metadata": { "Team": "a  b+c/%41&d=", "a.b~c": "", "a": "1", "ab": "2" }, "acl": "private", "requestPayer": "requester" });
    let rows: [Row; 3] = [
        ("metadata", NOON, 900, Aws, "putObject", object(&metadata)),
        (
            "metadata by path",
            NOON,
            900,
            Store,
            "createMultipartUpload",
            object(&metadata),
        ),
        (
            "who pays",
            NOON,
            900,
            Aws,
            "getObject",
            object(
                &json!({ "requestPayer": "requester", "checksumMode": "ENABLED", "range": "bytes=0-1", "versionId": "v" }),
            ),
        ),
    ];
    let mut cases: Vec<Case> = rows.into_iter().map(case).collect();
    let mut own = Vec::new();
    for case in &mut cases {
        let command = case.command(&pool);
        let variant = command.command.as_ref().expect("a command");
        let mut bound = message(variant).to_bound().expect("it is valid");
        case.headers = headers(&bound);
        let placement = HeaderPlacement::Query.into();
        bound.place_headers(placement).expect("they are known");
        let EndpointOfCase { url, path_style } = &case.endpoint;
        let tenant = TenantEndpoint::new(case.region.clone(), url.clone(), *path_style);
        let endpoint = Endpoints::default();
        let endpoint = endpoint
            .resolve(&tenant, bound.operation, bound.bucket, Options::default())
            .await;
        let endpoint = endpoint.expect("an endpoint");
        let sent: BTreeMap<_, _> = bound.headers_to_send().into_iter().collect();
        // Its URL names the operation, save where a parameter does.
        if bound.operation.name != "CreateMultipartUpload" {
            bound.query.push(QueryParameter {
                name: "x-id",
                value: Value::Text(bound.operation.name.into()),
            });
        }
        let url = presign(
            &bound,
            &endpoint,
            &case.credentials(),
            case.signed_at(),
            900,
        );
        own.push((url.into_string(), sent));
    }
    let moved = [
        "x-amz-meta-team",
        "x-amz-meta-a.b~c",
        "x-amz-meta-a",
        "x-amz-meta-ab",
        "x-amz-request-payer",
        "x-amz-checksum-mode",
    ];
    let theirs = signers::javascript(&cases, &pool, &moved).await;
    for ((url, sent), theirs) in own.iter().zip(&theirs) {
        assert_eq!(&theirs.headers, sent);
        assert_eq!(Url::parse(&theirs.url), Url::parse(url));
    }
    assert_eq!(
        own.iter().map(|(_, sent)| sent.len()).collect::<Vec<_>>(),
        [1, 1, 1]
    );
}
