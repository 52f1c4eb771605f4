//! The six commands that aws-sdk-s3 presigns itself, against presignd.
//!
//! They are the same but for two habits of the SDK, neither of which S3 reads anything into: it names the operation in a parameter
//! `x-id`, and it ends a bucket's path in a slash.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption, StorageClass};
use presignd::endpoint::options::Options;
use presignd::endpoint::{Endpoints, TenantEndpoint};
use presignd::proto::s3;
use presignd::proto::v1::command::Command;
use presignd::sign::command::{BoundCommand, PathForm, QueryParameter, Value};
use presignd::sign::{Credentials, operations, presign};

use super::{Url, headers};

const REGION: &str = "eu-central-1";
const ID: &str = "ASIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEJr3//wEaCWV1+LXdlc3QtMSJHMEUCIQDx7Kq2h9PbT4vZs0mY==";

/// Buckets, whether they go into the path, and a store of one's own if it is not AWS.
const PLACES: [(&str, bool, Option<&str>); 5] = [
    ("acme-files", false, None),
    ("acme-files", true, None),
    ("dotted.acme.files", false, None),
    ("acme-files", true, Some("http://127.0.0.1:9000")),
    ("acme-files", false, Some("https://store.example:8443")),
];

const KEYS: [&str; 9] = [
    "reports/2026/november.pdf",
    "/leading//and/trailing/",
    "reserved !\"#$&'()*+,:;<=>?@[\\]^_`{|}~",
    "100%/%41/%2F",
    " spaces ",
    "é e\u{301} 中文 \u{1f980}",
    ".hidden/a..b/...",
    "k?versionId=x&X-Amz-Signature=0#f",
    "t\tn\nd\u{7f}",
];

const HARD: &str = "a b+c%41&d=e/f?g#h~*'() é\u{1f980}";

fn signed_at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_473_001)
}

fn client(path_style: bool, url: Option<&str>) -> Client {
    let credentials =
        aws_credential_types::Credentials::new(ID, SECRET, Some(TOKEN.to_owned()), None, "test");
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        // A URL for a body that nobody has seen cannot hold its checksum.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .force_path_style(path_style);
    config.set_endpoint_url(url.map(str::to_owned));
    Client::from_conf(config.build())
}

/// The same request in the SDK's terms and in presignd's.
#[expect(clippy::too_many_lines, reason = "one table")]
async fn requests(client: &Client, bucket: &str, key: &str) -> [(PresignedRequest, Command); 8] {
    let presigning = PresigningConfig::builder()
        .start_time(signed_at())
        .expires_in(Duration::from_mins(15))
        .build()
        .expect("a valid configuration");
    let signed = |result: Result<PresignedRequest, _>| -> PresignedRequest {
        result.unwrap_or_else(|e: aws_sdk_s3::Error| panic!("{bucket}, {key:?}: {e}"))
    };
    let (b, k) = (Some(bucket.to_owned()), Some(key.to_owned()));
    let some = |text: &str| Some(text.to_owned());
    macro_rules! presigned {
        ($request:expr) => {
            signed(
                $request
                    .presigned(presigning.clone())
                    .await
                    .map_err(Into::into),
            )
        };
    }
    [
        (
            presigned!(client.get_object().bucket(bucket).key(key)),
            Command::GetObject(s3::GetObject {
                bucket: b.clone(),
                key: k.clone(),
                ..Default::default()
            }),
        ),
        (
            presigned!(
                client
                    .get_object()
                    .bucket(bucket)
                    .key(key)
                    .version_id(HARD)
                    .part_number(7)
                    .range("bytes=0-1023")
                    .if_match("\"5eb63bbb\"")
                    .response_content_disposition("attachment; filename=\"a b.pdf\"")
                    .response_expires(aws_sdk_s3::primitives::DateTime::from_secs(1_800_000_000))
                    .if_modified_since(aws_sdk_s3::primitives::DateTime::from_secs(951_782_400))
            ),
            Command::GetObject(s3::GetObject {
                bucket: b.clone(),
                key: k.clone(),
                version_id: some(HARD),
                part_number: Some(7),
                range: some("bytes=0-1023"),
                if_match: some("\"5eb63bbb\""),
                response_content_disposition: some("attachment; filename=\"a b.pdf\""),
                response_expires: Some(timestamp(1_800_000_000)),
                if_modified_since: Some(timestamp(951_782_400)),
                ..Default::default()
            }),
        ),
        (
            presigned!(client.head_object().bucket(bucket).key(key).version_id("v")),
            Command::HeadObject(s3::HeadObject {
                bucket: b.clone(),
                key: k.clone(),
                version_id: some("v"),
                ..Default::default()
            }),
        ),
        (
            presigned!(
                client
                    .delete_object()
                    .bucket(bucket)
                    .key(key)
                    .version_id("v")
                    .bypass_governance_retention(true)
                    .mfa("arn:aws:iam::111122223333:mfa/operator 123456")
            ),
            Command::DeleteObject(s3::DeleteObject {
                bucket: b.clone(),
                key: k.clone(),
                version_id: some("v"),
                bypass_governance_retention: Some(true),
                mfa: some("arn:aws:iam::111122223333:mfa/operator 123456"),
                ..Default::default()
            }),
        ),
        (
            presigned!(client.put_object().bucket(bucket).key(key)),
            Command::PutObject(s3::PutObject {
                bucket: b.clone(),
                key: k.clone(),
                ..Default::default()
            }),
        ),
        (
            presigned!(
                client
                    .put_object()
                    .bucket(bucket)
                    .key(key)
                    .content_type("application/pdf")
                    .content_length(5)
                    .cache_control("max-age=60,  private")
                    .acl(ObjectCannedAcl::BucketOwnerFullControl)
                    .storage_class(StorageClass::StandardIa)
                    .server_side_encryption(ServerSideEncryption::AwsKms)
                    .ssekms_key_id("arn:aws:kms:eu-central-1:111122223333:key/1234abcd")
                    .tagging("team=finance&quarter=q1%2F2026")
                    .expires(aws_sdk_s3::primitives::DateTime::from_secs(1_800_000_000))
                    .object_lock_retain_until_date(aws_sdk_s3::primitives::DateTime::from_secs(
                        1_900_000_000
                    ))
                    .metadata("Reviewed-By", "ada  l")
                    .metadata("z", "")
            ),
            Command::PutObject(s3::PutObject {
                bucket: b.clone(),
                key: k.clone(),
                content_type: some("application/pdf"),
                content_length: Some(5),
                cache_control: some("max-age=60,  private"),
                acl: some("bucket-owner-full-control"),
                storage_class: some("STANDARD_IA"),
                server_side_encryption: some("aws:kms"),
                ssekms_key_id: some("arn:aws:kms:eu-central-1:111122223333:key/1234abcd"),
                tagging: some("team=finance&quarter=q1%2F2026"),
                expires: Some(timestamp(1_800_000_000)),
                object_lock_retain_until_date: Some(timestamp(1_900_000_000)),
                metadata: [("Reviewed-By", "ada  l"), ("z", "")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                ..Default::default()
            }),
        ),
        (
            presigned!(
                client
                    .upload_part()
                    .bucket(bucket)
                    .key(key)
                    .part_number(10_000)
                    .upload_id(HARD)
                    .content_md5("XrY7u+Ae7tCTyyK7j1rNww==")
            ),
            Command::UploadPart(s3::UploadPart {
                bucket: b.clone(),
                key: k,
                part_number: Some(10_000),
                upload_id: some(HARD),
                content_md5: some("XrY7u+Ae7tCTyyK7j1rNww=="),
                ..Default::default()
            }),
        ),
        (
            presigned!(
                client
                    .list_object_versions()
                    .bucket(bucket)
                    .prefix(key)
                    .delimiter("/")
                    .max_keys(5)
                    .key_marker(HARD)
            ),
            Command::ListObjectVersions(s3::ListObjectVersions {
                bucket: b,
                prefix: some(key),
                delimiter: some("/"),
                max_keys: Some(5),
                key_marker: some(HARD),
                ..Default::default()
            }),
        ),
    ]
}

fn timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// The command with the habits of the SDK.
fn as_the_sdk_asks<'a>(mut command: BoundCommand<'a>, url: &str) -> BoundCommand<'a> {
    let operation = command.operation;
    if url.contains("x-id=") {
        command.query.push(QueryParameter {
            name: "x-id",
            value: Value::Text(operation.name.into()),
        });
    }
    if operation.path == PathForm::Bucket {
        // The endpoint's path names the bucket already. A command that names none ends in a slash.
        command.bucket = None;
    }
    command
}

#[tokio::test]
async fn the_sdk_presigns_the_same() {
    let endpoints = Endpoints::default();
    let credentials = Credentials::new(ID.to_owned(), SECRET.into(), Some(TOKEN.into()), None);
    let mut compared = 0;
    for (bucket, path_style, url) in PLACES {
        let client = client(path_style, url);
        let tenant = TenantEndpoint::new(REGION.to_owned(), url.map(str::to_owned), path_style);
        for key in KEYS {
            for (theirs, command) in Box::pin(requests(&client, bucket, key)).await {
                let bound = operations::message(&command)
                    .to_bound()
                    .unwrap_or_else(|e| panic!("{key:?}: {e}"));
                let operation = bound.operation;
                let at = format!("{} of {key:?} in {bucket} at {url:?}", operation.name);
                assert_eq!(theirs.method(), operation.method, "{at}");

                let own = headers(&bound);
                let sent = theirs.headers().map(|(n, v)| (n.to_owned(), v.to_owned()));
                assert_eq!(own, sent.collect(), "{at}");

                let endpoint = endpoints
                    .resolve(&tenant, operation, bound.bucket, Options::default())
                    .await
                    .unwrap_or_else(|e| panic!("{at}: {e}"));
                let bound = as_the_sdk_asks(bound, theirs.uri());
                let own = presign(&bound, &endpoint, &credentials, signed_at(), 900);
                assert_eq!(Url::parse(own.as_str()), Url::parse(theirs.uri()), "{at}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, PLACES.len() * KEYS.len() * 8);
}
