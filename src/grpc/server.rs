//! Listening, health, and going away without dropping anybody.
//!
//! Connections are taken in in one place (`accept`), each is served from beginning to end on one core (`workers`, `connection`), and
//! what is served there is in `services`. Invariant: nothing that clients take is without a bound, and no client holds the server's end
//! beyond the grace period.

mod accept;
mod connection;
mod seats;
mod services;
mod stream;
mod tls;
mod turns;
mod workers;

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::server::HealthReporter;

pub use self::connection::ConnectionLimits;
pub(super) use self::connection::{Ending, Peer, Requests, idle};
pub use self::tls::{BadPair, TlsFiles, inspect};

use self::accept::Acceptor;
use self::connection::Shared;
use self::seats::Seats;
use self::services::Services;
use self::tls::LoadedTls;
use self::workers::Workers;
use super::door::Door;
use super::{OPERATIONS, PresignApi, SERVICE};

/// What to ask the health of to know whether to restart presignd: it is healthy as long as it answers. A server that is not ready, because
/// a clock is wrong, would not be after a restart.
pub const LIVENESS: &str = "liveness";

/// What to ask the health of to know whether the configuration that was found last is the one that serves. If not, it has mistakes, and the
/// one before goes on.
pub const CONFIGURATION: &str = "configuration";

/// What the health tells. Without a sender: what it said last.
#[derive(Debug)]
pub struct Signs {
    /// Whether requests can be answered.
    pub ready: watch::Receiver<bool>,
    /// Whether the configuration that was found last serves.
    pub configured: watch::Receiver<bool>,
}

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether clients may ask for the services' descriptions.
    pub reflection: bool,
    /// How many threads answer requests.
    pub workers: NonZeroUsize,
    /// The largest request message, in bytes.
    pub max_request_bytes: usize,
    /// Requests under way in the whole process.
    pub max_requests_in_flight: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections open at once from one address.
    pub max_connections_per_peer: usize,
    /// What a client may take on one connection.
    pub connections: ConnectionLimits,
    /// Without it, plaintext.
    pub tls: Option<TlsFiles>,
    /// How long requests under way may take to end, once the server is told to stop.
    pub grace: Duration,
}

/// A server that could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}: is another presignd running there? server.listen names another address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key is of no use.
    #[error(transparent)]
    Tls(#[from] BadPair),
    /// The descriptors for reflection do not fit together.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// There are no threads to answer requests.
    #[error("cannot start {count} threads: {source}: server.workers sets their number")]
    Workers {
        /// How many.
        count: NonZeroUsize,
        /// Why.
        source: std::io::Error,
    },
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct PresignServer {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
    tls: Option<LoadedTls>,
}

impl PresignServer {
    /// Reads the certificate, and listens.
    ///
    /// # Errors
    /// If the certificate cannot be served with, or the address is taken or not this machine's.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let tls = match options.tls.clone() {
            Some(files) => Some(LoadedTls::load(files).await?),
            None => None,
        };
        let address = options.listen;
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            options,
            tls,
        })
    }

    /// Where it listens: with the real port, if 0 was asked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` ends; then tells clients to go elsewhere, and waits for the requests under way, at most the grace
    /// period. Until then its health is what the signs say.
    ///
    /// # Errors
    /// If the server could not start.
    pub async fn serve(
        self,
        api: PresignApi,
        signs: Signs,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let options = self.options;
        let grace = options.grace;
        let (health, health_service) = tonic_health::server::health_reporter();
        let alive = tonic_health::ServingStatus::Serving;
        // Operators have to look just when requests cannot be answered.
        for service in [LIVENESS, OPERATIONS] {
            health.set_service_status(service, alive).await;
        }
        let clock = Arc::clone(&api.presigner().clock);
        let door = Door::new(
            api.clone(),
            options.max_request_bytes,
            options.max_requests_in_flight,
        );
        let services = Services::new(door.clone(), health_service, options.reflection)?;
        let count = options.workers;
        let workers =
            Workers::start(count).map_err(|source| ServerError::Workers { count, source })?;
        let stopping = CancellationToken::new();
        let open = TaskTracker::new();
        let acceptor = Acceptor {
            listener: self.listener,
            workers: &workers,
            shared: Arc::new(Shared {
                services,
                limits: options.connections,
                tls: self.tls.as_ref().map(LoadedTls::tls),
                stopping: stopping.clone(),
            }),
            seats: Seats::new(options.max_connections, options.max_connections_per_peer),
            open: open.clone(),
        };
        let reload = async {
            match self.tls {
                Some(tls) => tls.reload(clock).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = acceptor.accept() => {}
            () = follow(signs.ready, &health, &["", SERVICE]) => {}
            () = follow(signs.configured, &health, &[CONFIGURATION]) => {}
            () = door.tell() => {}
            () = reload => {}
            () = stop => {}
        }
        tracing::info!(
            ?grace,
            "stopping: no new connections, requests under way go on"
        );
        set_serving(&health, &["", SERVICE, OPERATIONS], false).await;
        acceptor.close();
        stopping.cancel();
        let drained = async {
            api.drained().await;
            end_watches(health).await;
            open.close();
            open.wait().await;
            // Those that came in meanwhile, and whose callers are gone.
            api.drained().await;
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            tracing::warn!("the grace period is over: connections that are still open are cut");
        }
        workers.end().await;
        Ok(())
    }
}

/// Keeps the health of these at what `sign` says. The empty name stands for the whole server.
async fn follow(mut sign: watch::Receiver<bool>, health: &HealthReporter, of: &[&str]) {
    loop {
        let serving = *sign.borrow_and_update();
        set_serving(health, of, serving).await;
        if sign.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Ends the streams of whoever watches the health: they were told, and would hold their connections for as long as they like.
async fn end_watches(mut health: HealthReporter) {
    for service in ["", SERVICE, OPERATIONS, LIVENESS, CONFIGURATION] {
        health.clear_service_status(service).await;
    }
}

async fn set_serving(health: &HealthReporter, services: &[&str], serving: bool) {
    let status = if serving {
        tonic_health::ServingStatus::Serving
    } else {
        tonic_health::ServingStatus::NotServing
    };
    for service in services {
        health.set_service_status(service, status).await;
    }
}
