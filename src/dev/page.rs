//! The sandbox's page: a browser's side of presigned URLs, with what presignd was asked and answered beside every step.
//!
//! It is a caller like any other: whatever it wants, it asks the gRPC service for. Invariant: it listens on this machine, and no other
//! web page can have it ask anything ([`guard`]).

mod api;
mod assets;
mod guard;
mod policy;
pub mod store;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use super::connections::{self, Answers};

/// Asks presignd: a method of PresignService and its request in JSON. What comes back is the answer, or `google.rpc.Status`.
pub type Ask = Arc<dyn Fn(String, Value) -> Asking + Send + Sync>;

/// An answer on its way.
pub type Asking = Pin<Box<dyn Future<Output = Result<Value, Value>> + Send>>;

/// What the page shows besides.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Whether the store is the embedded one.
    pub sandbox: bool,
    /// presignd's address, and grpcurl's options for it.
    pub grpcurl: String,
    /// The tenants to choose from.
    pub tenants: Vec<ShownTenant>,
    /// Where the tenants' URLs lead, as sources of a content security policy.
    pub stores: Vec<String>,
    /// What became of the CORS rules that the page needs on the buckets.
    pub cors: String,
}

/// A tenant that the page can act for.
#[derive(Debug, Clone)]
pub struct ShownTenant {
    /// Its id.
    pub tenant: String,
    /// A bucket of its own.
    pub bucket: String,
    /// What its keys begin with.
    pub prefix: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[error(
    "the page cannot be served on {address}: {source}; name another address with --page (port 0 takes a free one)"
)]
pub struct PageError {
    /// The address asked for.
    address: SocketAddr,
    /// What the operating system said.
    source: io::Error,
}

/// A place for the page, not served yet.
#[derive(Debug)]
pub struct Place {
    listener: TcpListener,
    address: SocketAddr,
}

/// A page that is served; dropping it ends that.
pub struct Page {
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Place {
    /// Listens at this address, which is the machine's own.
    pub async fn take(address: SocketAddr) -> Result<Self, PageError> {
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        listening
            .await
            .map_err(|source| PageError { address, source })
    }

    /// The page's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The origins under which a browser may have the page.
    #[must_use]
    pub fn origins(&self) -> Vec<String> {
        let hosts = guard::hosts(self.address);
        hosts.iter().map(|host| format!("http://{host}")).collect()
    }

    /// Serves the page.
    #[must_use]
    pub fn serve(self, shown: &Shown, ask: Ask) -> Page {
        let stop = CancellationToken::new();
        let front = Front {
            guard: Guard::new(self.address),
            policy: policy::policy(&shown.stores),
            setup: api::setup(shown, &self.origins()),
            ask,
        };
        let server = tokio::spawn(connections::serve(
            self.listener,
            Arc::new(front),
            stop.clone(),
        ));
        Page { stop, server }
    }
}

impl Page {
    /// Stops accepting, and lets requests in flight finish for a short time.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        let _ = (&mut self.server).await;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

/// Answers the browser.
struct Front {
    guard: Guard,
    policy: HeaderValue,
    setup: Value,
    ask: Ask,
}

impl Answers for Front {
    type Body = Full<Bytes>;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let mut response = match self.guard.admit(request.method(), request.headers()) {
            Ok(()) => self.admitted(request).await,
            Err(why) => text(StatusCode::FORBIDDEN, why),
        };
        let headers = response.headers_mut();
        headers.insert("content-security-policy", self.policy.clone());
        for (name, value) in policy::HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

impl Front {
    async fn admitted(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/api/setup") => json(StatusCode::OK, &self.setup),
            (&Method::POST, "/api/ask") => match api::ask(&self.ask, request.into_body()).await {
                Ok(answer) => json(StatusCode::OK, &answer),
                Err(why) => text(StatusCode::BAD_REQUEST, &why),
            },
            (&Method::GET | &Method::HEAD, path) => match assets::at(path) {
                Some((kind, bytes)) => response(StatusCode::OK, kind, Bytes::from_static(bytes)),
                None => text(StatusCode::NOT_FOUND, "there is nothing here"),
            },
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "this is only read"),
        }
    }
}

fn json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    response(status, "application/json", value.to_string().into())
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.to_owned().into())
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
