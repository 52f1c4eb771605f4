//! A TCP relay that counts and remembers: what passes through it shows whether presignd called somebody at all, and what it was told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay on a port of its own. It ends with this value.
pub(crate) struct Relay {
    url: String,
    connections: Arc<AtomicUsize>,
    /// What came back, by connection.
    answers: Arc<Mutex<Vec<Vec<u8>>>>,
    cut: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Relay {
    /// Relays to `http://{host}:{port}`.
    pub(crate) async fn to(url: &str) -> Self {
        let target = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let answers = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (counted, remembered) = (Arc::clone(&connections), Arc::clone(&answers));
        let (cut, is_cut) = watch::channel(false);
        let running = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (target, remembered) = (target.clone(), Arc::clone(&remembered));
                let mut is_cut = is_cut.clone();
                tokio::spawn(async move {
                    passes(&mut is_cut).await;
                    if let Ok(server) = TcpStream::connect(target).await {
                        Box::pin(relay(client, server, &remembered, is_cut)).await;
                    }
                });
            }
        });
        Self {
            url: format!("http://{address}"),
            connections,
            answers,
            cut,
            running,
        }
    }

    /// The relay's own base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Lets nothing through any more, without a word to either side; or lets it through again.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// How often somebody connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What came back on the connection on which these words did, from them on. Panics if they did not.
    pub(crate) fn answer_with(&self, words: &str) -> String {
        let answers = self.answers.lock().expect("no panic");
        let mut texts = answers.iter().map(|bytes| String::from_utf8_lossy(bytes));
        texts
            .find_map(|text| text.find(words).map(|at| text[at..].to_owned()))
            .unwrap_or_else(|| panic!("nobody answered {words}"))
    }
}

/// Passes bytes on both ways until either side ends.
async fn relay(
    client: TcpStream,
    server: TcpStream,
    answers: &Mutex<Vec<Vec<u8>>>,
    mut is_cut: watch::Receiver<bool>,
) {
    let mut is_cut_too = is_cut.clone();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let index = {
        let mut answers = answers.lock().expect("no panic");
        answers.push(Vec::new());
        answers.len() - 1
    };
    let back = async {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            passes(&mut is_cut).await;
            // Remembered first: whoever has the answer may ask for it.
            answers.lock().expect("no panic")[index].extend_from_slice(&buffer[..length]);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let forth = async {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            passes(&mut is_cut_too).await;
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}

/// Waits while nothing passes.
async fn passes(is_cut: &mut watch::Receiver<bool>) {
    // Without its relay nothing is cut.
    let _ = is_cut.wait_for(|cut| !cut).await;
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
    }
}
