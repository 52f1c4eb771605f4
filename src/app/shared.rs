//! What replicas share, from the settings: the connection to Redis, and the counts in it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::Context as _;

use crate::admit::quota::SharedCounts;
use crate::admit::quota::redis::{Leasing, RedisCounts};
use crate::clock::SharedClock;
use crate::config::{Redis, RedisMode};
use crate::redis::{Connection, Identity, Login, Mode, Options, Tls};

/// A connection, which is made in the background.
///
/// # Errors
/// If a file of authorities, a certificate or a key cannot be read, or holds none.
pub(super) async fn connection(settings: &Redis) -> anyhow::Result<Arc<Connection>> {
    let tls = match &settings.tls {
        None => None,
        Some(tls) => {
            let authorities = match &tls.ca {
                None => None,
                Some(path) => Some(read("ca", path).await?),
            };
            let identity = match &tls.identity {
                None => None,
                Some((certificate, key)) => Some(Identity {
                    certificate: read("certificate", certificate).await?,
                    key: String::from_utf8(read("key", key).await?)
                        .with_context(|| format!("`state.redis.tls.key`: {}", key.display()))?
                        .into(),
                }),
            };
            Some(Tls {
                authorities,
                identity,
            })
        }
    };
    let mode = match &settings.mode {
        RedisMode::Single => Mode::Single,
        RedisMode::Cluster => Mode::Cluster,
        RedisMode::Sentinel {
            master,
            username,
            password,
        } => Mode::Sentinel {
            master: master.clone(),
            login: Login {
                username: username.clone(),
                password: password.clone(),
            },
        },
    };
    let options = Options {
        servers: settings.servers.clone(),
        mode,
        login: Login {
            username: settings.username.clone(),
            password: settings.password.clone(),
        },
        tls,
        database: settings.database,
        prefix: settings.prefix.clone(),
        timeout: settings.timeout,
    };
    Ok(Arc::new(
        Connection::start(options).context("`state.redis`")?,
    ))
}

async fn read(key: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = tokio::fs::read(path).await;
    read.with_context(|| format!("`state.redis.tls.{key}`: {}", path.display()))
}

/// The counts that it keeps.
pub(super) fn counts(
    settings: &Redis,
    redis: Arc<Connection>,
    clock: &SharedClock,
) -> Arc<dyn SharedCounts> {
    let leasing = Leasing {
        share: settings.lease.share,
        life: settings.lease.life,
    };
    let offset = Arc::new(AtomicI64::new(0));
    Arc::new(RedisCounts::new(redis, leasing, Arc::clone(clock), offset))
}
