//! How connections come about, by what the servers are to each other.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline,
    RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use secrecy::ExposeSecret as _;

use super::{Options, Topology};

/// How long a connection may take, handshakes included.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection on which many questions are under way at once.
#[derive(Clone)]
pub(super) enum Lane {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl ConnectionLike for Lane {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Connects anew, to whoever takes writes now.
pub(super) async fn dial(options: &Options) -> RedisResult<Vec<Lane>> {
    match &options.topology {
        Topology::Single => {
            let mut last = None;
            for address in addresses(options) {
                match server_lanes(&client(options, address)?, options).await {
                    Ok(lanes) => return Ok(lanes),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| (redis::ErrorKind::Io, "no server is named").into()))
        }
        Topology::Sentinel { .. } => {
            let client = master(options).await?;
            server_lanes(&client, options).await
        }
        Topology::Cluster => cluster_lanes(options).await,
    }
}

fn addresses(options: &Options) -> impl Iterator<Item = ConnectionAddr> {
    let tls = options.tls.is_some();
    options.servers.iter().cloned().map(move |(host, port)| {
        if tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    })
}

fn certificates(options: &Options) -> Option<TlsCertificates> {
    options.tls.as_ref().map(|tls| TlsCertificates {
        client_tls: None,
        root_cert: tls.ca.clone(),
    })
}

fn client(options: &Options, address: ConnectionAddr) -> RedisResult<Client> {
    let info = address.into_connection_info()?;
    let mut login = info.redis_settings().clone();
    if let Some(username) = &options.username {
        login = login.set_username(username);
    }
    if let Some(password) = &options.password {
        login = login.set_password(password.expose_secret());
    }
    let info = info.set_redis_settings(login.set_db(i64::from(options.database)));
    match certificates(options) {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
}

fn config() -> AsyncConnectionConfig {
    // Answers are waited for by whoever asked.
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
}

async fn server_lanes(client: &Client, options: &Options) -> RedisResult<Vec<Lane>> {
    let mut lanes = Vec::with_capacity(options.connections);
    for _ in 0..options.connections.max(1) {
        let connection = client
            .get_multiplexed_async_connection_with_config(&config())
            .await?;
        lanes.push(Lane::Server(connection));
    }
    Ok(lanes)
}

/// The master, as the sentinels know it now.
async fn master(options: &Options) -> RedisResult<Client> {
    let Topology::Sentinel {
        master,
        username,
        password,
    } = &options.topology
    else {
        return Err((redis::ErrorKind::InvalidClientConfig, "no sentinels").into());
    };
    let mut builder =
        SentinelClientBuilder::new(addresses(options), master, SentinelServerType::Master)?
            .set_client_to_redis_db(i64::from(options.database));
    if let Some(certificates) = certificates(options) {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates);
    }
    if let Some(username) = &options.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &options.password {
        builder = builder.set_client_to_redis_password(password.expose_secret());
    }
    if let Some(username) = username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_sentinel_password(password.expose_secret());
    }
    builder.build()?.async_get_client().await
}

async fn cluster_lanes(options: &Options) -> RedisResult<Vec<Lane>> {
    // It keeps a multiplexed connection to every node, finds new ones, and follows where slots move.
    let mut builder = ClusterClient::builder(addresses(options))
        .retries(2)
        .connection_timeout(CONNECT)
        .response_timeout(CONNECT);
    if let Some(certificates) = certificates(options) {
        builder = builder.tls(TlsMode::Secure).certs(certificates);
    }
    if let Some(username) = &options.username {
        builder = builder.username(username);
    }
    if let Some(password) = &options.password {
        builder = builder.password(password.expose_secret());
    }
    let client = builder.build()?;
    let mut lanes = Vec::with_capacity(options.connections);
    for _ in 0..options.connections.max(1) {
        lanes.push(Lane::Cluster(client.get_async_connection().await?));
    }
    Ok(lanes)
}
