//! S3 itself, over HTTP/1.1.
//!
//! What is sent is exactly what was signed. Invariant: a call takes [`TIMEOUT`] at most, name resolution and TLS included, reads
//! [`MAX_BYTES`] at most, and follows no redirection, because its signature is for one host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::sync::OnceCell;

use super::{BoxFuture, S3Answer, SignedCall, UploadError, Uploads, xml};

/// The longest that one call may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer, in bytes. S3's are of a few hundred.
const MAX_BYTES: usize = 64 << 10;

/// S3, and the stores that are like it.
#[derive(Default)]
pub struct S3 {
    /// Whom to believe; read when it is first needed.
    tls: OnceCell<ClientConfig>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3")
    }
}

impl Uploads for S3 {
    fn begin<'a>(&'a self, call: SignedCall<'a>) -> BoxFuture<'a, Result<String, UploadError>> {
        Box::pin(async move {
            let body = self.send(call).await?;
            xml::upload_id(&body)
                .ok_or_else(|| UploadError::unavailable(call.name, "its answer names no upload"))
        })
    }

    fn give_up<'a>(&'a self, call: SignedCall<'a>) -> BoxFuture<'a, Result<(), UploadError>> {
        Box::pin(async move { self.send(call).await.map(drop) })
    }
}

impl S3 {
    /// The body of the answer, if S3 did it.
    async fn send(&self, call: SignedCall<'_>) -> Result<Vec<u8>, UploadError> {
        match tokio::time::timeout(TIMEOUT, self.send_unhurried(call)).await {
            Ok(result) => result,
            Err(_) => Err(UploadError::unavailable(
                call.name,
                format!("it did not answer within {TIMEOUT:?}"),
            )),
        }
    }

    async fn send_unhurried(&self, call: SignedCall<'_>) -> Result<Vec<u8>, UploadError> {
        let failed = |why: String| UploadError::unavailable(call.name, why);
        let request = request(call).ok_or_else(|| failed("its URL is none to HTTP".to_owned()))?;
        // A connection for each call: calls are rare, what was sent on a kept one that had just ended could not be repeated safely, and
        // the workers' runtimes share none.
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(0);
        let answer = if request.uri().scheme() == Some(&Scheme::HTTP) {
            client.build_http().request(request).await
        } else {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(self.tls(call).await?.clone())
                .https_only()
                .enable_http1()
                .build();
            client.build(connector).request(request).await
        };
        let answer =
            answer.map_err(|error| failed(format!("it cannot be reached: {}", causes(&error))))?;
        let status = answer.status();
        match Limited::new(answer.into_body(), MAX_BYTES).collect().await {
            Ok(body) if status.is_success() => Ok(body.to_bytes().to_vec()),
            Ok(body) => Err(S3Answer {
                status: status.as_u16(),
                code: xml::error_code(&body.to_bytes()),
            }
            .error(call.name)),
            Err(error) if error.is::<LengthLimitError>() => Err(failed(format!(
                "its answer is larger than {} KiB",
                MAX_BYTES >> 10
            ))),
            Err(error) => Err(failed(format!("its answer broke off: {}", causes(&*error)))),
        }
    }

    async fn tls(&self, call: SignedCall<'_>) -> Result<&ClientConfig, UploadError> {
        let failed = |why: &dyn ToString| {
            let why = why.to_string();
            UploadError::unavailable(
                call.name,
                format!("the system's CA certificates cannot be used: {why}"),
            )
        };
        let made = self.tls.get_or_try_init(|| async {
            // The system's files are many, and reading them blocks.
            let reading = tokio::task::spawn_blocking(|| {
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let builder = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| error.to_string())?;
                let trusting = builder.with_native_roots();
                let trusting = trusting.map_err(|error| error.to_string())?;
                Ok::<_, String>(trusting.with_no_client_auth())
            });
            reading
                .await
                .map_err(|panic| failed(&panic))?
                .map_err(|why| failed(&why))
        });
        made.await
    }
}

fn request(call: SignedCall<'_>) -> Option<Request<Empty<&'static [u8]>>> {
    let uri: Uri = call.url.parse().ok()?;
    let mut request = Request::builder().method(call.method).uri(uri);
    for (name, value) in call.headers {
        let mut value = HeaderValue::try_from(value.as_str()).ok()?;
        value.set_sensitive(true);
        request = request.header(name.as_str(), value);
    }
    // RFC 9110, section 8.6; hyper leaves it out where there is no body, and stores refuse a POST without.
    let request = request.header(CONTENT_LENGTH, "0");
    request.body(Empty::new()).ok()
}

/// An error with its causes, which hyper leaves out of its own words.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
