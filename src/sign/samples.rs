//! Commands, endpoints and credentials for this module's tests, fixed ones and random ones.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::bind::Bind;
use super::command::{BoundCommand, Header, Operation, QueryParameter, Value};
use super::{Algorithm, Credentials, SigningEndpoint};
use crate::proto::s3;

pub(super) const GET_OBJECT: &Operation = <s3::GetObject as Bind>::OPERATION;
pub(super) const PUT_OBJECT: &Operation = <s3::PutObject as Bind>::OPERATION;
pub(super) const LIST_BUCKETS: &Operation = <s3::ListBuckets as Bind>::OPERATION;
pub(super) const GET_BUCKET_ACL: &Operation = <s3::GetBucketAcl as Bind>::OPERATION;
pub(super) const LIST_OBJECTS_V2: &Operation = <s3::ListObjectsV2 as Bind>::OPERATION;
pub(super) const WRITE_GET_OBJECT_RESPONSE: &Operation =
    <s3::WriteGetObjectResponse as Bind>::OPERATION;

/// The operation without any values.
pub(super) fn command<'a>(operation: &'static Operation) -> BoundCommand<'a> {
    BoundCommand {
        operation,
        bucket: None,
        key: None,
        reference: None,
        query: [].into_iter().collect(),
        headers: [].into_iter().collect(),
        host_label: None,
        needed_actions: 0,
        unknown_to_aws: Vec::new(),
        left_open: None,
        headers_in_query: false,
    }
}

pub(super) fn header<'a>(name: &'static str, suffix: &'a str, value: &'a str) -> Header<'a> {
    Header {
        name,
        suffix: Cow::Borrowed(suffix),
        value: Value::Text(Cow::Borrowed(value)),
    }
}

pub(super) fn parameter<'a>(name: &'static str, value: &'a str) -> QueryParameter<'a> {
    QueryParameter {
        name,
        value: Value::Text(Cow::Borrowed(value)),
    }
}

/// An endpoint in region `eu-west-1` for service `s3`.
pub(super) fn endpoint(origin: &str, base_path: &str) -> SigningEndpoint {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    SigningEndpoint {
        origin: origin.to_owned(),
        host: host.to_owned(),
        base_path: base_path.to_owned(),
        algorithm: Algorithm::HmacSha256,
        region: "eu-west-1".to_owned(),
        service: "s3".to_owned(),
    }
}

pub(super) fn credentials(secret: &str, token: Option<&str>) -> Credentials {
    Credentials::new(
        "AKIDEXAMPLE".to_owned(),
        secret.into(),
        token.map(Into::into),
        None,
    )
}

pub(super) fn seconds(since_1970: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(since_1970)
}

/// A token such as STS gives: base64, of this many characters.
pub(super) fn session_token(length: usize) -> String {
    "IQoJb3JpZ2luX2VjE/+="
        .chars()
        .cycle()
        .take(length)
        .collect()
}

/// An object command with everything that can vary, as owned values.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) put: bool,
    pub(super) path_style: bool,
    pub(super) key: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) headers_in_query: bool,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) signed_at: u64,
    pub(super) expires_in: u32,
}

impl Sample {
    pub(super) fn command(&self) -> BoundCommand<'_> {
        let operation = if self.put { PUT_OBJECT } else { GET_OBJECT };
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| header(name, "", value));
        let metadata = self
            .metadata
            .iter()
            .map(|(suffix, value)| header("x-amz-meta-", suffix, value));
        BoundCommand {
            bucket: Some("files"),
            key: Some(&self.key),
            query: self
                .query
                .iter()
                .map(|(name, value)| parameter(name, value))
                .collect(),
            headers: metadata.chain(headers).collect(),
            headers_in_query: self.headers_in_query,
            ..command(operation)
        }
    }

    /// Every header by its whole name: those that the client sends, and those that travel in the query.
    pub(super) fn placed_headers(&self) -> [Vec<(String, &str)>; 2] {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str()));
        let metadata = self
            .metadata
            .iter()
            .map(|(suffix, value)| (format!("x-amz-meta-{suffix}"), value.as_str()));
        let (moved, sent) = headers.chain(metadata).partition(|(name, _)| {
            self.headers_in_query
                && (name == "x-amz-request-payer" || name.starts_with("x-amz-meta-"))
        });
        [sent, moved]
    }

    pub(super) fn endpoint(&self) -> SigningEndpoint {
        if self.path_style {
            endpoint("http://127.0.0.1:9000", "/files")
        } else {
            endpoint("https://files.s3.eu-west-1.amazonaws.com", "")
        }
    }

    pub(super) fn credentials(&self) -> Credentials {
        credentials(&self.secret, self.token.as_deref())
    }

    pub(super) fn signed_at(&self) -> SystemTime {
        seconds(self.signed_at)
    }
}

/// Keys with everything that paths trip over: slashes at every place, dots, escapes, spaces, and other scripts.
fn keys() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "/",
            "//",
            "a",
            "%2F",
            "%",
            " ",
            "+",
            "?",
            "#",
            "&",
            "=",
            "~",
            "é",
            "\u{1f9ca}",
            "."
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-z0-9]{1,12}",
    ];
    vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

pub(super) fn samples() -> impl Strategy<Value = Sample> {
    const QUERY: &[&str] = &[
        "versionId",
        "response-content-type",
        "response-content-disposition",
        "partNumber",
        "uploadId",
        "x-id",
        "Before-X-Amz",
        "X-After",
    ];
    const HEADERS: &[&str] = &[
        "content-type",
        "cache-control",
        "if-none-match",
        "range",
        "x-amz-acl",
        "x-amz-meta",
        "x-amz-request-payer",
        "x-amz-tagging",
        "x-amz-server-side-encryption",
    ];
    let values = "[ -~]{0,20}";
    let query = subsequence(QUERY, 0..=QUERY.len()).prop_shuffle();
    let headers = subsequence(HEADERS, 0..=HEADERS.len()).prop_shuffle();
    (
        any::<[bool; 3]>(),
        keys(),
        (query, vec(any::<String>(), QUERY.len())),
        (headers, vec(values, HEADERS.len())),
        btree_map("[a-z0-9-]{1,8}", values, 0..4),
        "[A-Za-z0-9/+]{40}",
        proptest::option::of("[A-Za-z0-9/+=]{1,200}"),
        (0..4_000_000_000_u64, 1..=604_800_u32),
    )
        .prop_map(
            |(
                [put, path_style, headers_in_query],
                key,
                query,
                headers,
                metadata,
                secret,
                token,
                (at, expires_in),
            )| {
                Sample {
                    put,
                    path_style,
                    key,
                    query: query.0.into_iter().zip(query.1).collect(),
                    headers: headers.0.into_iter().zip(headers.1).collect(),
                    metadata: metadata.into_iter().collect(),
                    headers_in_query,
                    secret,
                    token,
                    signed_at: at,
                    expires_in,
                }
            },
        )
}
