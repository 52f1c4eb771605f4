//! What presignd signs is what others sign: botocore for every S3 operation, and aws-sdk-s3 for those that it presigns.
//!
//! The vectors of `tests/vectors/botocore` come from `tools/commands/vectors.py`, which says how botocore was made to sign as a
//! presigner must. Each case goes the way of a request: protobuf JSON, the message, its binding, the endpoint rules, the signer. The
//! stages are compared in their order, so that a failure names the first one that went wrong.

mod aws_sdk;
mod endpoints;
mod every_operation;
mod hard_cases;
mod moving;
mod operations;
mod reference;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use presignd::endpoint::options::Options;
use presignd::endpoint::{Endpoints, TenantEndpoint};
use presignd::proto::{FILE_DESCRIPTOR_SET, v1};
use presignd::sign::command::BoundCommand;
use presignd::sign::operations::{OPERATIONS, message};
use presignd::sign::{self, Credentials};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde::Deserialize;

use crate::harness::tools::repository;

/// One request, and what botocore makes of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    endpoint: EndpointOfCase,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    time: String,
    expires_in: u32,
    request: serde_json::Value,
    method: String,
    headers: BTreeMap<String, String>,
    canonical_request: String,
    string_to_sign: String,
    url: String,
    /// Why botocore's answer is not what S3 asks for.
    differs: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointOfCase {
    url: Option<String>,
    path_style: bool,
}

/// Where presignd leaves botocore, case by case: what botocore writes in its canonical request and URL, and what presignd does.
const DIFFERENCES: [(&str, &str, Replacements); 4] = [
    // S3's endpoint rules put the bucket into the host for GetBucketLocation as for all others.
    ("GetBucketLocation", "minimal", BUCKET_IN_HOST),
    ("GetBucketLocation", "full", BUCKET_IN_HOST),
    ("GetBucketLocation", "hard on AWS", BUCKET_IN_HOST),
    // `io-cell1-001.127.0.0.1` is no host: nobody could send the request.
    (
        "WriteGetObjectResponse",
        "hard with path style",
        &[("io-cell1-001.127.0.0.1:9000", "127.0.0.1:9000")],
    ),
];

/// Texts of botocore, and what presignd has in their place.
type Replacements = &'static [(&'static str, &'static str)];

const BUCKET_IN_HOST: Replacements = &[
    ("GET\n/acme-files\n", "GET\n/\n"),
    (
        "//s3.eu-west-1.amazonaws.com/acme-files?",
        "//acme-files.s3.eu-west-1.amazonaws.com/?",
    ),
    (
        "host:s3.eu-west-1.amazonaws.com\n",
        "host:acme-files.s3.eu-west-1.amazonaws.com\n",
    ),
];

/// What a signing of the case must come to.
struct Expected {
    canonical_request: String,
    string_to_sign: String,
    url: Url,
}

/// A URL without the order of its query, in which botocore has a taste of its own.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    scheme: String,
    host: String,
    path: String,
    query: BTreeSet<String>,
}

impl Url {
    fn parse(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let (target, query) = rest.split_once('?').expect("a presigned URL has a query");
        let at = target.find('/').expect("a URL has a path");
        let parameters: Vec<&str> = query.split('&').collect();
        // botocore writes a parameter without a value as it was given, with or without its `=`: both are the same to a server.
        let with_sign = |p: &&str| {
            if p.contains('=') {
                (*p).to_owned()
            } else {
                format!("{p}=")
            }
        };
        let set: BTreeSet<String> = parameters.iter().map(with_sign).collect();
        assert_eq!(set.len(), parameters.len(), "a parameter twice: {url}");
        Self {
            scheme: scheme.to_owned(),
            host: target[..at].to_owned(),
            path: target[at..].to_owned(),
            query: set,
        }
    }
}

impl Case {
    fn signed_at(&self) -> SystemTime {
        let time: jiff::Timestamp = self.time.parse().expect("a vector's time is RFC 3339");
        let seconds = u64::try_from(time.as_second()).expect("it is after 1970");
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(
            self.access_key_id.clone(),
            self.secret_access_key.clone().into(),
            self.session_token.clone().map(Into::into),
            None,
        )
    }

    /// What is listed for this case in [`DIFFERENCES`].
    fn difference(&self, operation: &str) -> Option<Replacements> {
        let listed = DIFFERENCES
            .iter()
            .find(|(of, name, _)| *of == operation && *name == self.name);
        listed.map(|(.., replacements)| *replacements)
    }

    fn expected(&self, operation: &str) -> Expected {
        let Some(replacements) = self.difference(operation) else {
            return Expected {
                canonical_request: self.canonical_request.clone(),
                string_to_sign: self.string_to_sign.clone(),
                url: Url::parse(&self.url),
            };
        };
        // The hash and the signature of what presignd should sign instead come from a signer that shares no code with it.
        let replace = |text: &str| {
            replacements
                .iter()
                .fold(text.to_owned(), |text, (theirs, ours)| {
                    text.replace(theirs, ours)
                })
        };
        let canonical_request = replace(&self.canonical_request);
        let head = self
            .string_to_sign
            .rsplit_once('\n')
            .expect("it ends in a hash")
            .0;
        let string_to_sign = format!("{head}\n{}", reference::sha256(&canonical_request));
        let signature = reference::signature(&self.secret_access_key, &string_to_sign);
        let (url, _) = self
            .url
            .split_once("&X-Amz-Signature=")
            .expect("it is signed");
        Expected {
            canonical_request,
            string_to_sign,
            url: Url::parse(&format!("{}&X-Amz-Signature={signature}", replace(url))),
        }
    }

    /// The command as a caller sends it.
    fn dynamic_command(&self, pool: &DescriptorPool) -> DynamicMessage {
        let descriptor = pool
            .get_message_by_name("presignd.v1.Command")
            .expect("the contract has Command");
        DynamicMessage::deserialize(descriptor, &self.request)
            .unwrap_or_else(|e| panic!("not a Command: {e}: {}", self.request))
    }

    /// The command as presignd reads it.
    fn command(&self, pool: &DescriptorPool) -> v1::Command {
        let command = self.dynamic_command(pool).transcode_to();
        command.expect("the message is of the generated type")
    }
}

/// The headers that the client must send.
fn headers(command: &BoundCommand<'_>) -> BTreeMap<String, String> {
    let named = command.headers.iter().map(|header| {
        let name = format!("{}{}", header.name, header.suffix);
        (name, header.value.as_str().to_owned())
    });
    let headers: BTreeMap<_, _> = named.collect();
    assert_eq!(
        headers.len(),
        command.headers.len(),
        "a header stands twice"
    );
    headers
}

/// Two texts are the same; if not, the failure shows the first line that is not.
fn assert_same(own: &str, expected: &str, what: &str) {
    for (number, (own, expected)) in (1..).zip(own.lines().zip(expected.lines())) {
        assert_eq!(own, expected, "{what}, line {number}");
    }
    assert_eq!(own, expected, "{what}");
}

/// The cases of every operation.
fn vectors() -> BTreeMap<String, Vec<Case>> {
    let folder = repository().join("tests/vectors/botocore");
    let files = std::fs::read_dir(&folder).expect("the vectors are checked in");
    files
        .map(|file| {
            let path = file.expect("a readable folder").path();
            let name = path.file_stem().expect("a file has a name");
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let cases =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (name.to_string_lossy().into_owned(), cases)
        })
        .collect()
}

#[tokio::test]
async fn every_command_is_signed_as_botocore_signs_it() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is valid");
    let endpoints = Endpoints::default();
    let mut compared = 0;
    for (name, cases) in vectors() {
        for case in cases {
            let at = format!("{name}, {}", case.name);
            let listed = case.difference(&name).is_some();
            assert_eq!(case.differs.is_some(), listed, "{at}: see DIFFERENCES");

            let command = case.command(&pool);
            let variant = command.command.as_ref().expect("a request has a command");
            let bound = message(variant)
                .to_bound()
                .unwrap_or_else(|e| panic!("{at}: refused: {e}"));
            assert_eq!(bound.operation.name, name, "{at}: operation");
            assert_eq!(bound.operation.method, case.method, "{at}: method");
            assert_eq!(headers(&bound), case.headers, "{at}: headers to send");

            let EndpointOfCase { url, path_style } = &case.endpoint;
            let tenant = TenantEndpoint::new(case.region.clone(), url.clone(), *path_style);
            let endpoint = endpoints
                .resolve(&tenant, bound.operation, bound.bucket, Options::default())
                .await
                .unwrap_or_else(|e| panic!("{at}: {e}"));
            let (credentials, time) = (case.credentials(), case.signed_at());
            let seconds = case.expires_in;
            let expected = case.expected(&name);
            assert_same(
                &sign::canonical_request(&bound, &endpoint, &credentials, time, seconds),
                &expected.canonical_request,
                &format!("{at}: canonical request"),
            );
            assert_same(
                &sign::string_to_sign(&bound, &endpoint, &credentials, time, seconds),
                &expected.string_to_sign,
                &format!("{at}: string to sign"),
            );
            let url = sign::presign(&bound, &endpoint, &credentials, time, seconds);
            assert_eq!(Url::parse(url.as_str()), expected.url, "{at}: URL");
            compared += 1;
        }
    }
    assert_eq!(compared, 480, "cases");
}

#[test]
fn every_operation_has_its_vectors() {
    let vectors = vectors();
    let with_vectors: Vec<&str> = vectors.keys().map(String::as_str).collect();
    let operations: Vec<&str> = OPERATIONS.iter().map(|o| o.name).collect();
    assert_eq!(operations, with_vectors);
    assert_eq!(operations.len(), 116);
    for (name, cases) in &vectors {
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        for required in ["minimal", "full", "hard on AWS", "hard with path style"] {
            assert!(names.contains(required), "{name} has no case {required:?}");
        }
    }
    let listed = DIFFERENCES.map(|(operation, name, _)| (operation, name));
    for (operation, name) in listed {
        let cases = &vectors[operation];
        assert!(
            cases.iter().any(|case| case.name == name),
            "{operation}, {name}"
        );
    }
}
