//! Taking connections in, in one place, and handing each to a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::connection::{self, Ending, Peer, Shared};
use super::seats::{Full, Seats};
use super::workers::Workers;
use crate::metrics;

/// How long to wait where a connection cannot be taken in: out of file descriptors, say, and others that close are what helps.
const RESPITE: Duration = Duration::from_millis(100);
/// How often to say what was refused.
const NEWS: Duration = Duration::from_secs(1);

/// Takes connections in.
#[derive(Debug)]
pub(super) struct Acceptor<'a> {
    pub(super) listener: TcpListener,
    pub(super) workers: &'a Workers,
    pub(super) shared: Arc<Shared>,
    pub(super) seats: Arc<Seats>,
    /// The connections that are open.
    pub(super) open: TaskTracker,
}

/// What was refused and is not said yet.
#[derive(Debug, Default)]
struct News(Mutex<Refused>);

#[derive(Debug, Default)]
struct Refused {
    all: u64,
    peer: u64,
    /// Whom the last one came from.
    last: Option<SocketAddr>,
    /// Why the last one that could not be taken in at all was not.
    failure: Option<io::Error>,
}

impl Acceptor<'_> {
    /// Takes in whoever comes, for as long as this is awaited.
    pub(super) async fn accept(&self) {
        let refused = News::default();
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, address)) => self.take_in(stream, address, &refused),
                    Err(error) => {
                        refused.note(|refused| refused.failure = Some(error));
                        tokio::time::sleep(RESPITE).await;
                    }
                }
            }
        };
        let tell = async {
            loop {
                tokio::time::sleep(NEWS).await;
                refused.tell();
            }
        };
        futures_util::future::join(accept, tell).await;
    }

    /// Takes in those who have connected already, and listens no more.
    pub(super) fn close(self) {
        let refused = News::default();
        while let Some(Ok((stream, address))) = self.listener.accept().now_or_never() {
            self.take_in(stream, address, &refused);
        }
        refused.tell();
    }

    fn take_in(&self, stream: TcpStream, address: SocketAddr, refused: &News) {
        let seat = match self.seats.take(address.ip()) {
            Ok(seat) => seat,
            // Dropped, and so closed.
            Err(full) => return refused.note(|refused| refused.count(full, address)),
        };
        match movable(stream) {
            Ok(stream) => self.workers.run(|place| {
                let peer = Peer {
                    address,
                    certificate: None,
                    ending: Arc::new(Ending {
                        closing: self.shared.stopping.child_token(),
                        idle_timeout: self.shared.limits.idle_timeout,
                    }),
                };
                let serving = connection::serve(stream, peer, Arc::clone(&self.shared), place);
                self.open.track_future(async move {
                    let _seat = seat;
                    let _open = metrics::CONNECTIONS.hold();
                    serving.await;
                })
            }),
            // The client has gone already.
            Err(error) => tracing::debug!(peer = %address, "a connection was lost: {error}"),
        }
    }
}

impl News {
    fn note(&self, note: impl FnOnce(&mut Refused)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self) {
        let mut news = Refused::default();
        self.note(|refused| news = std::mem::take(refused));
        news.tell();
    }
}

impl Refused {
    fn count(&mut self, full: Full, address: SocketAddr) {
        match full {
            Full::All => self.all += 1,
            Full::Peer => self.peer += 1,
        }
        metrics::CONNECTIONS_REFUSED.count(match full {
            Full::All => metrics::ALL_SEATS,
            Full::Peer => metrics::SEATS_OF_PEER,
        });
        self.last = Some(address);
    }

    fn tell(self) {
        let last = self.last.map(|address| address.to_string());
        let last = last.as_deref().unwrap_or_default();
        if self.all > 0 {
            tracing::warn!(
                refused = self.all,
                last,
                "connections refused: as many are open as server.connections.max allows"
            );
        }
        if self.peer > 0 {
            tracing::warn!(
                refused = self.peer,
                last,
                "connections refused: their peers have as many open as server.connections.max_per_peer allows"
            );
        }
        if let Some(error) = self.failure {
            tracing::error!("connections cannot be taken in: {error}");
        }
    }
}

/// The connection, ready to be served on another thread.
fn movable(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    // Answers are written whole: waiting for more to send only delays them.
    stream.set_nodelay(true)?;
    stream.into_std()
}
