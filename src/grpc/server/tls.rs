//! TLS from files that may change: a new certificate serves new handshakes, and connections that are open stay.
//!
//! Invariant: there is always a pair that was good. One that is broken, or that does not belong together, is told of and not used.

mod files;
mod reload;

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::files::{BadPair, TlsFiles};

use self::files::{Contents, Pair};
use crate::clock::SharedClock;

/// TLS as new connections find it.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

/// TLS as it was first found, before anybody looks for changes.
#[derive(Debug)]
pub(super) struct LoadedTls {
    tls: Arc<Tls>,
    contents: Contents,
}

impl LoadedTls {
    /// Reads the files.
    pub(super) async fn load(files: TlsFiles) -> Result<Self, BadPair> {
        let contents = files.read().await?;
        let pair = files.pair(&contents)?;
        let current = ArcSwap::new(config(pair, Clients::Anyone));
        let tls = Arc::new(Tls { files, current });
        Ok(Self { tls, contents })
    }

    pub(super) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Serves with what the files hold, as they change, for as long as this is awaited.
    pub(super) async fn reload(self, clock: SharedClock) {
        reload::reload(&self.tls, self.contents, &clock).await;
    }
}

impl Tls {
    /// The handshake of a connection.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full())
            .accept(stream)
            .await
    }

    /// Serves this pair to whoever connects from now on.
    fn replace(&self, pair: Pair) {
        self.current.store(config(pair, Clients::Anyone));
    }
}

/// Whose connections are taken.
#[derive(Debug, Clone, Copy)]
enum Clients {
    /// Certificates are not asked for.
    Anyone,
}

/// TLS 1.2 and 1.3 for HTTP/2 alone. A configuration of its own for each pair: what a session was begun with does not outlive it.
fn config(pair: Pair, clients: Clients) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions();
    // The provider is the one that these versions were written for.
    let builder = builder.expect("aws-lc-rs has TLS 1.2 and 1.3");
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Only(Arc::new(pair.key))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// One certificate, whatever name is asked for.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Only {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What the files hold, for a person to read, and what is wrong with it at this time without being a mistake.
///
/// # Errors
/// If they do not hold a certificate and its key.
pub async fn inspect(
    files: &TlsFiles,
    now: SystemTime,
) -> Result<(String, Option<String>), BadPair> {
    let contents = files.read().await?;
    let pair = files.pair(&contents)?;
    Ok((pair.description(), pair.warning(&files.certificate, now)))
}
