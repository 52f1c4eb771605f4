//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::services::Services;
use super::turns::gathering;
use super::workers::Place;

/// Who is at the other end of a connection: an extension of each of its requests.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Peer {
    /// Where they call from.
    pub(in crate::grpc) address: SocketAddr,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    /// What is served.
    pub(super) services: Services,
    /// No new requests: those under way are answered, then the connection closes.
    pub(super) stopping: CancellationToken,
}

/// Serves a connection until its end.
pub(super) async fn serve(
    stream: std::net::TcpStream,
    peer: Peer,
    shared: Arc<Shared>,
    place: Place,
) {
    // Only where the connection is served is the runtime whose events it waits for.
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(peer = %peer.address, "a connection cannot be served: {error}");
            return;
        }
    };
    let services = shared.services.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let under_way = place.request();
        request.extensions_mut().insert(peer);
        let answering = services.answer(request);
        async move {
            let _under_way = under_way;
            answering.await as Result<_, Infallible>
        }
    });
    let (stream, outgoing) = gathering(stream);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // A connection's failure is its client's affair.
    tokio::select! {
        _ = outgoing.along(connection.as_mut()) => return,
        () = shared.stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = outgoing.along(connection.as_mut()).await;
}
