//! The sandbox's HTTP server: reads what a request presents, then hands it to the S3 server of the tenant it claims.
//!
//! Every tenant has an S3 server and a folder of its own, so that no path, copy or upload id leads from one tenant's
//! files to another's; the claim only chooses the server, which then verifies it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header::CONTENT_LENGTH, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::S3Service;
use s3s::{Body, HttpError, S3Error, s3_error};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::SandboxClock;
use super::access::Claim;
use super::assume_role::{is_sts, restate_error};
use super::presented::{Presented, form_fields};
use super::sessions::{Principal, Sessions};

/// The largest POST form, in bytes, its file included: forms are held in memory.
pub(super) const MAX_FORM: usize = 64 << 20;
/// Connections served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// For how long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For how long requests in flight may go on after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(2);

/// Answers requests for S3 and STS.
pub(super) struct Front {
    /// By tenant index.
    pub(super) services: Vec<S3Service>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) clock: SandboxClock,
}

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let sts = is_sts(request.method(), request.uri());
        let response = match self.claim(request.map(Body::from)).await {
            Ok((service, request)) => service.call(request).await?,
            Err(error) => error
                .to_http_response()
                .map_err(|error| HttpError::new(Box::new(error)))?,
        };
        let failed = sts && !response.status().is_success();
        let text = response.body().bytes().filter(|_| failed);
        let text = text
            .and_then(|bytes| restate_error(&String::from_utf8_lossy(&bytes), response.status()));
        let Some(text) = text else {
            return Ok(response);
        };
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        Ok(Response::from_parts(parts, Body::from(text)))
    }

    async fn claim(
        &self,
        mut request: Request<Body>,
    ) -> Result<(&S3Service, Request<Body>), S3Error> {
        let form = form_of(&mut request).await?;
        let presented = Presented::read(request.uri(), request.headers(), form.as_deref());
        let principal = self.sessions.claim(&presented, (self.clock)())?;
        let tenant = match &principal {
            Some(Principal::Session(session)) => session.tenant,
            // Any tenant's server refuses them, or leads to STS.
            Some(Principal::Presignd) | None => 0,
        };
        let service = self
            .services
            .get(tenant)
            .ok_or_else(|| s3_error!(InternalError))?;
        request.extensions_mut().insert(Claim {
            principal,
            presented: Arc::new(presented),
        });
        Ok((service, request))
    }
}

/// Reads a POST form's fields, leaving the body as it was.
async fn form_of(request: &mut Request<Body>) -> Result<Option<Vec<(String, String)>>, S3Error> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_form = |value: &&str| {
        value
            .to_ascii_lowercase()
            .trim_start()
            .starts_with("multipart/form-data")
    };
    let Some(content_type) = content_type
        .filter(is_form)
        .filter(|_| request.method() == Method::POST)
    else {
        return Ok(None);
    };
    let content_type = content_type.to_owned();
    let body = request.body_mut().store_all_limited(MAX_FORM).await;
    let body = body.map_err(|_| {
        s3_error!(
            EntityTooLarge,
            "The sandbox takes POST forms of at most {MAX_FORM} bytes"
        )
    })?;
    let fields = form_fields(&content_type, &body);
    fields.map(Some).ok_or_else(|| {
        s3_error!(
            MalformedPOSTRequest,
            "The body is not a well-formed POST form"
        )
    })
}

/// Accepts connections until `stop`, then lets those in flight finish within a short time.
pub(super) async fn serve(listener: TcpListener, front: Arc<Front>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&front), stop.clone()));
                }
                // Out of file descriptors, say: closing connections is what helps, so wait for that.
                Err(error) => {
                    tracing::warn!(%error, "the sandbox could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What is left is aborted as the set is dropped.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

async fn connection(stream: TcpStream, front: Arc<Front>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { front.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A connection's failure is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
