//! What the contenders sign, in each one's own types, and the comparison of what comes out.

use std::array;
use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials as SdkCredentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use presignd::sign::command::{BoundCommand, Header, Operation, QueryParameter, Value};
use presignd::sign::operations;
use presignd::sign::{
    Algorithm, Credentials, SigningEndpoint, canonical_request, presign, string_to_sign,
};
use rusty_s3::{Bucket, S3Action, UrlStyle};

pub(crate) const KEYS: usize = 256;
pub(crate) const CREDENTIALS: usize = 16;
pub(crate) const TOKEN_CHARACTERS: usize = 900;
pub(crate) const EXPIRES_IN: u32 = 900;
const CONTENT_TYPE: &str = "application/pdf";
const REGION: &str = "eu-west-1";
pub(crate) const BUCKET: &str = "acme-files";
const HOST: &str = "acme-files.s3.eu-west-1.amazonaws.com";

/// The access key id of the credentials of this number.
fn id(n: usize) -> String {
    format!("ASIAIOSFODNN7EXAM{n:03}")
}

fn secret(n: usize) -> String {
    format!("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE{n:03}")
}

fn token(n: usize) -> String {
    let alphabet = "IQoJb3JpZ2luX2VjEJr3wEaCWV1LXdlc3QtMSJHMEUCIQDx7Kq2h9PbT4vZs0mYc/8gfAu6NnRoj5iBtULdOySk+zFQ";
    let characters = alphabet.chars().cycle().skip(n);
    characters.take(TOKEN_CHARACTERS).collect()
}

/// presignd's credentials of this number.
pub(crate) fn credentials(n: usize) -> Credentials {
    Credentials::new(id(n), secret(n).into(), Some(token(n).into()), None)
}

/// The key of this number.
pub(crate) fn key(n: usize) -> String {
    format!("reports/2026/11/23/{n:08}/summary.pdf")
}

/// Where all requests go.
pub(crate) fn endpoint() -> SigningEndpoint {
    SigningEndpoint {
        origin: format!("https://{HOST}"),
        host: HOST.to_owned(),
        base_path: String::new(),
        algorithm: Algorithm::HmacSha256,
        region: REGION.to_owned(),
        service: "s3".to_owned(),
    }
}

/// When all requests are signed.
pub(crate) fn signed_at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_473_001)
}

/// An operation of S3, by its name.
pub(crate) fn operation(name: &str) -> &'static Operation {
    operations::operation(name).expect("S3 has this operation")
}

/// What all contenders sign, in each one's own types.
pub(crate) struct Workload {
    keys: Vec<String>,
    endpoint: SigningEndpoint,
    credentials: [Credentials; CREDENTIALS],
    bucket: Bucket,
    rusty_credentials: [rusty_s3::Credentials; CREDENTIALS],
    identities: [Identity; CREDENTIALS],
    clients: [aws_sdk_s3::Client; CREDENTIALS],
    signed_at: SystemTime,
}

impl Workload {
    pub(crate) fn new() -> Self {
        let sdk = |n| SdkCredentials::new(id(n), secret(n), Some(token(n)), None, "bench");
        let client = |n| {
            let config = aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .credentials_provider(sdk(n))
                .build();
            aws_sdk_s3::Client::from_conf(config)
        };
        let host = format!("https://s3.{REGION}.amazonaws.com");
        Self {
            keys: (0..KEYS).map(key).collect(),
            endpoint: endpoint(),
            credentials: array::from_fn(credentials),
            bucket: Bucket::new(
                host.parse().expect("the host is a URL"),
                UrlStyle::VirtualHost,
                BUCKET,
                REGION,
            )
            .expect("the bucket has a valid name"),
            rusty_credentials: array::from_fn(|n| {
                rusty_s3::Credentials::new_with_token(id(n), secret(n), token(n))
            }),
            identities: array::from_fn(|n| sdk(n).into()),
            clients: array::from_fn(client),
            signed_at: signed_at(),
        }
    }

    fn key(&self, n: usize) -> &str {
        &self.keys[n % KEYS]
    }

    fn command<'a>(&'a self, operation: &'static Operation, n: usize) -> BoundCommand<'a> {
        let content_type = (operation.method == "PUT").then_some(Header {
            name: "content-type",
            suffix: Cow::Borrowed(""),
            value: Value::Text(Cow::Borrowed(CONTENT_TYPE)),
        });
        BoundCommand {
            operation,
            bucket: Some(BUCKET),
            key: Some(self.key(n)),
            reference: None,
            query: [].into_iter().collect(),
            headers: content_type.into_iter().collect(),
            host_label: None,
            needed_actions: 0,
            unknown_to_aws: Vec::new(),
            left_open: None,
            headers_in_query: false,
        }
    }

    fn sign(&self, command: &BoundCommand<'_>, n: usize, signed_at: SystemTime) -> String {
        let credentials = &self.credentials[n % CREDENTIALS];
        presign(command, &self.endpoint, credentials, signed_at, EXPIRES_IN).into_string()
    }

    fn presignd_at(
        &self,
        operation: &'static Operation,
        n: usize,
        signed_at: SystemTime,
    ) -> String {
        self.sign(&self.command(operation, n), n, signed_at)
    }

    pub(crate) fn presignd(&self, operation: &'static Operation, n: usize) -> String {
        self.presignd_at(operation, n, self.signed_at)
    }

    pub(crate) fn rusty_s3(&self, operation: &'static Operation, n: usize) -> String {
        let credentials = Some(&self.rusty_credentials[n % CREDENTIALS]);
        let expires_in = Duration::from_secs(EXPIRES_IN.into());
        let url = if operation.method == "PUT" {
            let mut action = self.bucket.put_object(credentials, self.key(n));
            action.headers_mut().insert("content-type", CONTENT_TYPE);
            action.sign(expires_in)
        } else {
            self.bucket
                .get_object(credentials, self.key(n))
                .sign(expires_in)
        };
        url.into()
    }

    pub(crate) async fn aws_sdk_s3(&self, operation: &'static Operation, n: usize) -> String {
        let client = &self.clients[n % CREDENTIALS];
        let config = PresigningConfig::builder()
            .start_time(self.signed_at)
            .expires_in(Duration::from_secs(EXPIRES_IN.into()))
            .build()
            .expect("the expiry is in range");
        let request = if operation.method == "PUT" {
            let put = client.put_object().bucket(BUCKET).key(self.key(n));
            let put = put.content_type(CONTENT_TYPE).presigned(config).await;
            put.expect("the SDK signs")
        } else {
            let get = client.get_object().bucket(BUCKET).key(self.key(n));
            get.presigned(config).await.expect("the SDK signs")
        };
        request.uri().to_owned()
    }

    /// Only the signature: aws-sigv4 leaves it to its caller to make a URL of it.
    pub(crate) fn aws_sigv4(&self, operation: &'static Operation, n: usize) -> String {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(EXPIRES_IN.into()));
        let params = v4::SigningParams::builder()
            .identity(&self.identities[n % CREDENTIALS])
            .region(REGION)
            .name("s3")
            .time(self.signed_at)
            .settings(settings)
            .build()
            .expect("the parameters are complete")
            .into();
        let headers = (operation.method == "PUT").then_some(("content-type", CONTENT_TYPE));
        let request = SignableRequest::new(
            operation.method,
            format!("https://{HOST}/{}", self.key(n)),
            headers.into_iter(),
            SignableBody::UnsignedPayload,
        )
        .expect("the request is valid");
        let signed = aws_sigv4::http_request::sign(request, &params).expect("aws-sigv4 signs");
        signed.signature().to_owned()
    }

    /// How many blocks SHA-256 has to compress for a URL when the signing key is at hand.
    pub(crate) fn blocks(&self, operation: &'static Operation) -> usize {
        let command = self.command(operation, 0);
        let credentials = &self.credentials[0];
        let canonical = canonical_request(
            &command,
            &self.endpoint,
            credentials,
            self.signed_at,
            EXPIRES_IN,
        );
        let to_sign = string_to_sign(
            &command,
            &self.endpoint,
            credentials,
            self.signed_at,
            EXPIRES_IN,
        );
        // Padding takes a byte, and the length eight. The outer hash of the HMAC is one block.
        let padded = |length: usize| (length + 9).div_ceil(64);
        padded(canonical.len()) + padded(to_sign.len()) + 1
    }

    /// All contenders have to agree before their speed means anything.
    pub(crate) async fn compare_signatures(&self) {
        for operation in ["GetObject", "PutObject"].map(operation) {
            for n in 0..KEYS {
                let own = self.presignd(operation, n);
                assert_eq!(signature(&own), self.aws_sigv4(operation, n), "aws-sigv4");
                let rusty = self.rusty_s3(operation, n);
                let own = self.presignd_at(operation, n, date(&rusty));
                assert_eq!(signature(&own), signature(&rusty), "rusty-s3");
            }
        }
        for n in 0..KEYS {
            let get = operation("GetObject");
            // The SDK also names the operation in the query.
            let mut command = self.command(get, n);
            command.query.push(QueryParameter {
                name: "x-id",
                value: Value::Text(Cow::Borrowed("GetObject")),
            });
            let own = self.sign(&command, n, self.signed_at);
            let sdk = self.aws_sdk_s3(get, n).await;
            assert_eq!(signature(&own), signature(&sdk), "aws-sdk-s3");
        }
    }
}

fn parameter<'a>(url: &'a str, name: &str) -> &'a str {
    let (_, query) = url.split_once('?').expect("a signed URL has a query");
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .expect("a signed URL has this parameter")
}

fn signature(url: &str) -> &str {
    parameter(url, "X-Amz-Signature")
}

fn date(url: &str) -> SystemTime {
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", parameter(url, "X-Amz-Date"))
        .and_then(|date| jiff::tz::Offset::UTC.to_timestamp(date))
        .expect("X-Amz-Date is a date");
    UNIX_EPOCH + Duration::from_secs(date.as_second().unsigned_abs())
}
