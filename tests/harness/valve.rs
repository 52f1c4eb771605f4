//! A TCP relay that keeps answers back until it is told to let them through: what was asked by then was asked without waiting.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay on a port of its own. It ends with this value.
pub(crate) struct Valve {
    address: SocketAddr,
    /// What was asked, by connection.
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    open: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Valve {
    /// Relays to this address. It is open.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (open, is_open) = watch::channel(true);
        let remembered = Arc::clone(&asked);
        let running = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (remembered, is_open) = (Arc::clone(&remembered), is_open.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        Box::pin(relay(client, server, &remembered, is_open)).await;
                    }
                });
            }
        });
        Self {
            address,
            asked,
            open,
            running,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keeps answers back from now on, or lets them through.
    pub(crate) fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// How often these words were asked, on each connection on which they were.
    pub(crate) fn asked(&self, words: &str) -> Vec<usize> {
        let asked = self.asked.lock().expect("no panic");
        let times = asked.iter().map(|bytes| {
            let found = bytes.windows(words.len());
            found.filter(|found| *found == words.as_bytes()).count()
        });
        times.filter(|times| *times > 0).collect()
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    asked: &Mutex<Vec<Vec<u8>>>,
    mut is_open: watch::Receiver<bool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let index = {
        let mut asked = asked.lock().expect("no panic");
        asked.push(Vec::new());
        asked.len() - 1
    };
    let forth = async {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            asked.lock().expect("no panic")[index].extend_from_slice(&buffer[..length]);
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            // Without its valve it stays as it is.
            let _ = is_open.wait_for(|open| *open).await;
            if to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.running.abort();
    }
}
