//! Taking connections in, in one place, and handing each to a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::connection::{self, Peer, Shared};
use super::workers::Workers;

/// How long to wait where a connection cannot be taken in: out of file descriptors, say, and others that close are what helps.
const RESPITE: Duration = Duration::from_millis(100);

/// Takes connections in.
#[derive(Debug)]
pub(super) struct Acceptor<'a> {
    pub(super) listener: TcpListener,
    pub(super) workers: &'a Workers,
    pub(super) shared: Arc<Shared>,
    /// The connections that are open.
    pub(super) open: TaskTracker,
}

impl Acceptor<'_> {
    /// Takes in whoever comes, for as long as this is awaited.
    pub(super) async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => self.take_in(stream, address),
                Err(error) => {
                    tracing::warn!("a connection cannot be taken in: {error}");
                    tokio::time::sleep(RESPITE).await;
                }
            }
        }
    }

    /// Takes in those who have connected already, and listens no more.
    pub(super) fn close(self) {
        while let Some(Ok((stream, address))) = self.listener.accept().now_or_never() {
            self.take_in(stream, address);
        }
    }

    fn take_in(&self, stream: TcpStream, address: SocketAddr) {
        match movable(stream) {
            Ok(stream) => self.workers.run(|place| {
                let peer = Peer { address };
                let serving = connection::serve(stream, peer, Arc::clone(&self.shared), place);
                self.open.track_future(serving)
            }),
            // The client has gone already.
            Err(error) => tracing::debug!(peer = %address, "a connection was lost: {error}"),
        }
    }
}

/// The connection, ready to be served on another thread.
fn movable(stream: TcpStream) -> io::Result<std::net::TcpStream> {
    // Answers are written whole: waiting for more to send only delays them.
    stream.set_nodelay(true)?;
    stream.into_std()
}
