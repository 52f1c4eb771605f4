//! Metrics for whoever comes and fetches them: `GET /metrics` over HTTP/1.1, in Prometheus' text format.
//!
//! Invariant: whoever fetches costs requests nothing. Only so many connections are served at once, each for one answer and for so long
//! at most; others wait to be accepted.

mod text;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Observe, TelemetryError};
use crate::metrics;

/// Where they are.
const PATH: &str = "/metrics";
/// The format's own name: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Connections that are served at once.
const MOST: usize = 16;
/// How long one may take in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait where a connection cannot be taken in.
const RESPITE: Duration = Duration::from_millis(100);

/// Serves metrics until it is dropped.
pub struct Prometheus {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Prometheus {
    /// Listens, and serves from now on.
    ///
    /// # Errors
    /// If the address is taken or not this machine's.
    pub async fn start(listen: SocketAddr, observe: Observe) -> Result<Self, TelemetryError> {
        let failed = |source| TelemetryError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            address,
            serving: tokio::spawn(serve(listener, observe)),
        })
    }

    /// Where it listens: with the real port, if 0 was asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, observe: Observe) {
    let room = Arc::new(Semaphore::new(MOST));
    // It is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!("a connection for metrics was not taken in: {error}");
                tokio::time::sleep(RESPITE).await;
                continue;
            }
        };
        let observe = Arc::clone(&observe);
        tokio::spawn(async move {
            let _place = place;
            // Whatever becomes of it: the next one begins anew.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, observe)).await;
        });
    }
}

async fn answer(stream: TcpStream, observe: Observe) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<_>| {
        let response = respond(request.method(), request.uri().path(), &observe);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn respond(method: &Method, path: &str, observe: &Observe) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if path != PATH {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if ![Method::GET, Method::HEAD].contains(method) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
    } else {
        observe();
        let readings = metrics::ALL.iter().map(|metric| metric.read());
        *response.body_mut() = text::of(readings).into();
        response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    }
    response
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
