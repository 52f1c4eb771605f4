//! Connects to whoever serves now: the one server, the master that Sentinels name, or a Cluster.

use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::{ClusterClient, ClusterClientBuilder};
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    Pipeline, RedisConnectionInfo, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode,
    Value,
};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;

use super::{Login, Mode, Options, Tls};

/// How long connecting may take, handshakes and all.
pub(super) const CONNECTING: Duration = Duration::from_secs(1);

/// Knows how to connect.
pub(super) struct Dial {
    target: Target,
    /// Any of the servers that keep data, for what every one of them can tell; none where only Sentinels are known.
    servers: Vec<Client>,
}

enum Target {
    Single(Box<Client>),
    /// Asking Sentinels remembers their connections.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

/// One connection, shared by all who have a clone of it; what they ask is pipelined.
#[derive(Clone)]
pub(super) enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Dial {
    pub(super) fn new(options: &Options) -> RedisResult<Self> {
        let tls = options.tls.as_ref();
        let nodes = || options.servers.iter().map(|server| address(server, tls));
        let login = settings(&options.login, options.database);
        let certificates = tls.map(certificates);
        let clients = || -> RedisResult<Vec<Client>> {
            nodes()
                .map(|node| {
                    let info = node
                        .into_connection_info()?
                        .set_redis_settings(login.clone());
                    client(info, certificates.clone())
                })
                .collect()
        };
        let (target, servers) = match &options.mode {
            Mode::Single => {
                let servers = clients()?;
                let first = servers.first().cloned().ok_or_else(no_server)?;
                (Target::Single(Box::new(first)), servers)
            }
            Mode::Cluster => {
                let mut builder = ClusterClientBuilder::new(nodes())
                    .connection_timeout(CONNECTING)
                    .response_timeout(CONNECTING)
                    // Who waits has given up by then.
                    .retries(2);
                if let Some(username) = &options.login.username {
                    builder = builder.username(username);
                }
                if let Some(password) = &options.login.password {
                    builder = builder.password(password.expose_secret());
                }
                if let Some(certificates) = certificates.clone() {
                    builder = builder.tls(TlsMode::Secure).certs(certificates);
                }
                (Target::Cluster(Box::new(builder.build()?)), clients()?)
            }
            Mode::Sentinel {
                master,
                login: sentinels,
            } => {
                let nodes = options.servers.iter();
                let nodes = nodes.map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
                let kind = SentinelServerType::Master;
                let mut builder = SentinelClientBuilder::new(nodes, master.clone(), kind)?
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
                if let Some(certificates) = certificates {
                    builder = builder
                        .set_client_to_redis_tls_mode(TlsMode::Secure)
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                        .set_client_to_sentinel_certificates(certificates);
                }
                let sentinel = Box::new(Mutex::new(builder.build()?));
                (Target::Sentinel(sentinel), Vec::new())
            }
        };
        Ok(Self { target, servers })
    }

    /// So many connections.
    pub(super) async fn lines(&self, count: usize) -> RedisResult<Vec<Line>> {
        let one = match &self.target {
            Target::Cluster(client) => {
                let mut lines = Vec::with_capacity(count);
                for _ in 0..count {
                    lines.push(Line::Cluster(client.get_async_connection().await?));
                }
                return Ok(lines);
            }
            Target::Single(client) => (**client).clone(),
            Target::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await?,
        };
        // Whoever asks waits by a clock of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(None);
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            let line = one.get_multiplexed_async_connection_with_config(&config);
            lines.push(Line::One(line.await?));
        }
        Ok(lines)
    }

    /// A server where messages that are published anywhere arrive. `turn`: which, where there are several.
    pub(super) async fn listening_post(&self, turn: usize) -> RedisResult<Client> {
        if let Target::Sentinel(sentinel) = &self.target {
            return sentinel.lock().await.async_get_client().await;
        }
        let server = self.servers.get(turn % self.servers.len().max(1));
        server.cloned().ok_or_else(no_server)
    }
}

impl std::fmt::Debug for Dial {
    /// Nothing: it holds passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(line) => line.req_packed_command(command),
            Self::Cluster(line) => line.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(line) => line.req_packed_commands(commands, offset, count),
            Self::Cluster(line) => line.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(line) => line.get_db(),
            Self::Cluster(line) => line.get_db(),
        }
    }
}

fn address((host, port): &(String, u16), tls: Option<&Tls>) -> ConnectionAddr {
    match tls {
        None => ConnectionAddr::Tcp(host.clone(), *port),
        Some(_) => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
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
        client_tls: None,
        root_cert: tls.authorities.clone(),
    }
}

fn client(info: ConnectionInfo, certificates: Option<TlsCertificates>) -> RedisResult<Client> {
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn no_server() -> RedisError {
    RedisError::from((
        ::redis::ErrorKind::InvalidClientConfig,
        "no server is named",
    ))
}
