//! Connects to whoever serves now: a server, or the master that Sentinels name.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::{Login, Options, Tls};

/// How long connecting may take, handshakes and all.
pub(super) const CONNECTING: Duration = Duration::from_secs(1);

/// One connection, shared by all who have a clone of it; what they ask is pipelined.
pub(super) type Line = MultiplexedConnection;

/// Where a server is.
pub(super) type Address = (String, u16);

/// How to speak to servers that keep data.
#[derive(Clone)]
pub(super) struct Manner {
    login: RedisConnectionInfo,
    tls: Option<TlsCertificates>,
}

/// Knows how to connect.
pub(super) enum Dial {
    Server(Box<Client>),
    /// Asking Sentinels remembers their connections.
    Sentinel(Box<Mutex<SentinelClient>>),
}

impl Manner {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            login: settings(&options.login, options.database),
            tls: options.tls.as_ref().map(certificates),
        }
    }

    /// A server there. Nothing is connected yet.
    pub(super) fn client(&self, address: &Address) -> RedisResult<Client> {
        let info = self.address(address).into_connection_info()?;
        let info = info.set_redis_settings(self.login.clone());
        match self.tls.clone() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn address(&self, (host, port): &Address) -> ConnectionAddr {
        let (host, port) = (host.clone(), *port);
        match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        }
    }
}

impl Dial {
    /// The server there.
    pub(super) fn server(manner: &Manner, address: &Address) -> RedisResult<Self> {
        Ok(Self::Server(Box::new(manner.client(address)?)))
    }

    /// The master of this name, whoever it is.
    pub(super) fn sentinel(
        manner: &Manner,
        options: &Options,
        master: &str,
        sentinels: &Login,
    ) -> RedisResult<Self> {
        let nodes = options.servers.iter();
        let nodes = nodes.map(|sentinel| manner.address(sentinel));
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(nodes, master, kind)?
            .set_client_to_redis_db(i64::from(options.database));
        if let Some(username) = &options.login.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &options.login.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(username) = &sentinels.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &sentinels.password {
            builder = builder.set_client_to_sentinel_password(password.expose_secret());
        }
        if let Some(certificates) = manner.tls.clone() {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates);
        }
        Ok(Self::Sentinel(Box::new(Mutex::new(builder.build()?))))
    }

    /// Who serves now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::Server(client) => Ok((**client).clone()),
            Self::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await,
        }
    }

    /// So many connections.
    pub(super) async fn lines(&self, count: usize) -> RedisResult<Vec<Line>> {
        let client = self.client().await?;
        // Whoever asks waits by a clock of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(None);
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            let line = client.get_multiplexed_async_connection_with_config(&config);
            lines.push(line.await?);
        }
        Ok(lines)
    }
}

impl std::fmt::Debug for Manner {
    /// Nothing: it holds passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manner").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Dial {
    /// Nothing: it holds passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

fn settings(login: &Login, database: u32) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default()
        .set_db(i64::from(database))
        // Who may do no more than is needed may not say so either.
        .set_skip_set_lib_name();
    if let Some(username) = &login.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password.expose_secret());
    }
    settings
}

fn certificates(tls: &Tls) -> TlsCertificates {
    TlsCertificates {
        client_tls: tls.identity.as_ref().map(|identity| ClientTlsConfig {
            client_cert: identity.certificate.clone(),
            client_key: identity.key.expose_secret().as_bytes().to_vec(),
        }),
        root_cert: tls.authorities.clone(),
    }
}
