//! The sandbox over real HTTP: roles assumed through aws-sdk-sts, URLs signed by AWS's own signers.

mod assume_role;
mod forms;
mod lifecycle;
mod multipart;
mod objects;
mod session_policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode,
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;

use super::{Sandbox, SandboxClock, SandboxOptions, SandboxTenant};

const ACME: usize = 0;
const GLOBEX: usize = 1;
const MINUTE: Duration = Duration::from_mins(1);

/// A sandbox whose clock can be put forward; signers use the true time, as the S3 server does.
struct Stage {
    sandbox: Sandbox,
    ahead: Arc<AtomicU64>,
}

/// What a server answered.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    /// The status and the error code in the body.
    fn error(&self) -> (u16, &str) {
        let code = self
            .body
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        (self.status.as_u16(), code.map_or("", |(code, _)| code))
    }
}

fn loopback() -> SandboxOptions {
    SandboxOptions {
        s3_listen: ([127, 0, 0, 1], 0).into(),
        data: None,
    }
}

fn now() -> SystemTime {
    crate::clock::Clock::now(&crate::clock::SystemClock::new())
}

impl Stage {
    async fn start() -> Self {
        let ahead = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&ahead);
        let clock: SandboxClock =
            Arc::new(move || now() + Duration::from_secs(shared.load(Ordering::Relaxed)));
        Self {
            sandbox: Sandbox::start(loopback(), clock).await.unwrap(),
            ahead,
        }
    }

    fn advance(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    fn tenant(&self, index: usize) -> &SandboxTenant {
        &self.sandbox.tenants()[index]
    }

    fn presignd(&self) -> Credentials {
        let secret = self.sandbox.secret_access_key();
        Credentials::new(
            self.sandbox.access_key_id(),
            secret.expose_secret(),
            None,
            None,
            "test",
        )
    }

    /// The client that presignd has, with the given credentials.
    fn sts(&self, credentials: Credentials) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
            .endpoint_url(self.sandbox.endpoint_url())
            .region(aws_sdk_sts::config::Region::new("eu-west-1"))
            .credentials_provider(credentials)
            .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled())
            .build();
        aws_sdk_sts::Client::from_conf(config)
    }

    /// A session of a tenant's role, narrowed by a policy.
    async fn session_with(&self, tenant: usize, policy: Option<&str>) -> Credentials {
        let SandboxTenant {
            role_arn,
            external_id,
            ..
        } = self.tenant(tenant);
        let call = self
            .sts(self.presignd())
            .assume_role()
            .role_arn(role_arn)
            .external_id(external_id);
        let call = call
            .role_session_name("test")
            .duration_seconds(900)
            .set_policy(policy.map(str::to_owned));
        let answer = call.send().await.unwrap();
        let keys = answer.credentials().unwrap();
        let token = Some(keys.session_token().to_owned());
        Credentials::new(
            keys.access_key_id(),
            keys.secret_access_key(),
            token,
            None,
            "test",
        )
    }

    async fn session(&self, tenant: usize) -> Credentials {
        self.session_with(tenant, None).await
    }

    /// AWS's own S3 client, as one that can presign only.
    fn s3(&self, tenant: usize, credentials: &Credentials) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .endpoint_url(self.sandbox.endpoint_url())
            .force_path_style(true)
            .region(aws_sdk_s3::config::Region::new(
                self.tenant(tenant).region.clone(),
            ))
            .credentials_provider(credentials.clone())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// A request as a presigned URL, for the operations that the SDK does not presign.
    fn presign(
        &self,
        signer: &Signer<'_>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Request<String> {
        let url = format!("{}{path}", self.sandbox.endpoint_url());
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.signature_location = signer.location;
        settings.expires_in =
            (signer.location == SignatureLocation::QueryParams).then_some(signer.expires_in);
        let identity = signer.credentials.clone().into();
        let parameters = aws_sigv4::sign::v4::SigningParams::builder()
            .identity(&identity)
            .region(signer.region)
            .name(signer.service)
            .time(signer.time)
            .settings(settings)
            .build()
            .unwrap();
        let body = SignableBody::UnsignedPayload;
        let signable =
            SignableRequest::new(method.as_str(), &url, headers.iter().copied(), body).unwrap();
        let instructions = aws_sigv4::http_request::sign(signable, &parameters.into()).unwrap();
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(String::new()).unwrap();
        instructions
            .into_parts()
            .0
            .apply_to_request_http1x(&mut request);
        request
    }

    fn signer<'a>(&'a self, tenant: usize, credentials: &'a Credentials) -> Signer<'a> {
        Signer {
            credentials,
            region: &self.tenant(tenant).region,
            service: "s3",
            time: now(),
            expires_in: MINUTE,
            location: SignatureLocation::QueryParams,
        }
    }

    /// Presigns with AWS's signer and sends, with a body.
    async fn ask(
        &self,
        (tenant, credentials): (usize, &Credentials),
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let request = self.presign(&self.signer(tenant, credentials), method, path, headers);
        send(request.map(|_| body.to_owned())).await
    }
}

struct Signer<'a> {
    credentials: &'a Credentials,
    region: &'a str,
    service: &'a str,
    time: SystemTime,
    expires_in: Duration,
    location: SignatureLocation,
}

fn for_a_minute() -> PresigningConfig {
    PresigningConfig::expires_in(MINUTE).unwrap()
}

/// What a client makes of the SDK's presigned request.
fn request_of(presigned: &PresignedRequest, body: &str) -> Request<String> {
    let mut request = Request::builder()
        .method(presigned.method())
        .uri(presigned.uri());
    for (name, value) in presigned.headers() {
        request = request.header(name, value);
    }
    request.body(body.to_owned()).unwrap()
}

/// The same request with one stretch of its URL replaced.
fn tampered(request: &Request<String>, from: &str, to: &str) -> Request<String> {
    let uri = request.uri().to_string();
    assert!(uri.contains(from), "{from} is not in {uri}");
    let mut changed = request.clone();
    *changed.uri_mut() = uri.replacen(from, to, 1).parse().unwrap();
    changed
}

async fn send(request: Request<String>) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .request(request.map(|body| Full::new(Bytes::from(body))))
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn get(url: &str) -> Answer {
    send(Request::get(url).body(String::new()).unwrap()).await
}

/// The code of a failed AWS call.
fn code_of<T, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}
