//! Turns the section `server` into the server's own options.

use std::num::NonZeroUsize;

use crate::config;
use crate::grpc::server::{ConnectionLimits, ServerOptions, TlsFiles};

/// The options of a server with these settings.
pub(super) fn options(server: &config::Server) -> ServerOptions {
    let connections = &server.connections;
    ServerOptions {
        listen: server.listen,
        workers: server.workers.unwrap_or_else(cores),
        max_request_bytes: server.max_request_bytes,
        max_requests_in_flight: server.max_requests_in_flight,
        max_connections: connections.max,
        max_connections_per_peer: connections.max_per_peer,
        connections: ConnectionLimits {
            max_streams: connections.max_streams,
            max_header_bytes: connections.max_header_bytes,
            handshake_timeout: connections.handshake_timeout,
            idle_timeout: connections.idle_timeout,
            keepalive_interval: connections.keepalive_interval,
            keepalive_timeout: connections.keepalive_timeout,
            max_age: connections.max_age,
            max_age_grace: connections.max_age_grace,
        },
        tls: server.tls.as_ref().map(tls_files),
        grace: server.grace,
    }
}

/// The files of a certificate and its key.
#[must_use]
pub fn tls_files(tls: &config::Tls) -> TlsFiles {
    TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
    }
}

/// As many as presignd may use: in a container, as many as its CPU quota is worth.
fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or_else(|error| {
        tracing::warn!("the number of cores is not known, so one is used: {error}");
        NonZeroUsize::MIN
    })
}
