//! A store that replicas share: Redis or Valkey, alone, behind Sentinel or as a Cluster.
//!
//! Whoever asks waits for [`Options::timeout`] at most, and not at all while nobody is known to be there: the first question that fails
//! takes the connections away from everybody, and a task in the background dials until somebody answers. Invariant: nothing here waits
//! for the store without a bound, and no start of presignd waits for it at all.

mod dial;
pub mod script;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::ConnectionLike as _;
use redis::{Cmd, FromRedisValue, Value};
use secrecy::SecretString;
use tokio::sync::Notify;

use self::dial::Lane;
use crate::metrics;

/// How to reach a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where servers are: of Sentinel the sentinels, of a Cluster some of the nodes.
    pub servers: Vec<(String, u16)>,
    /// What they are.
    pub topology: Topology,
    /// As whom, where not as the default user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// Whether the connections are encrypted, and whom to trust.
    pub tls: Option<Tls>,
    /// The number of the database.
    pub database: u32,
    /// What all keys begin with.
    pub prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many connections there are. They are multiplexed: one for each core is plenty.
    pub connections: usize,
}

/// What the servers are to each other.
#[derive(Debug, Clone)]
pub enum Topology {
    /// One, or several of which any will do.
    Single,
    /// Sentinels, who know the master.
    Sentinel {
        /// The name of the master.
        master: String,
        /// As whom sentinels are asked.
        username: Option<String>,
        /// The password.
        password: Option<SecretString>,
    },
    /// Nodes of a Cluster.
    Cluster,
}

/// How connections are encrypted.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The CAs to trust, in PEM, instead of those of the machine.
    pub ca: Option<Vec<u8>>,
}

/// Nobody answered in time, or not with sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// The store. Clones share the connections; the last one that goes closes them.
#[derive(Debug, Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    /// None while nobody is known to be there.
    lanes: ArcSwapOption<Vec<Lane>>,
    next: AtomicUsize,
    /// Somebody has reason to ask whether the store is still there.
    doubt: Arc<Notify>,
}

impl Redis {
    /// Begins to connect, in a task on the current runtime.
    #[must_use]
    pub fn connect(options: Options) -> Self {
        let shared = Arc::new(Shared {
            options,
            lanes: ArcSwapOption::empty(),
            next: AtomicUsize::new(0),
            doubt: Arc::default(),
        });
        tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        Self { shared }
    }

    /// What all keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.shared.options.prefix
    }

    /// Whether somebody was there when last asked.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.shared.lanes.load().is_some()
    }

    /// All fields of a hash, none if there is no such key.
    ///
    /// # Errors
    /// If the store is away.
    pub async fn fields(&self, key: &str) -> Result<BTreeMap<String, String>, Away> {
        self.ask(redis::cmd("HGETALL").arg(key)).await
    }

    /// Sets one field of a hash.
    ///
    /// # Errors
    /// If the store is away: the field may be set or not.
    pub async fn set_field(&self, key: &str, field: &str, value: &str) -> Result<(), Away> {
        self.ask(redis::cmd("HSET").arg(key).arg(field).arg(value))
            .await
    }

    /// Removes one field of a hash, if it is there.
    ///
    /// # Errors
    /// If the store is away: the field may be removed or not.
    pub async fn remove_field(&self, key: &str, field: &str) -> Result<(), Away> {
        self.ask(redis::cmd("HDEL").arg(key).arg(field)).await
    }

    /// The fields of a hash as they change: looked at so often, and kept as they were while the store is away. `None` until they were
    /// read once. Ends with the last receiver.
    #[must_use]
    pub fn follow(
        &self,
        key: String,
        every: Duration,
    ) -> tokio::sync::watch::Receiver<Option<BTreeMap<String, String>>> {
        let (sender, receiver) = tokio::sync::watch::channel(None);
        let redis = self.clone();
        tokio::spawn(async move {
            while !sender.is_closed() {
                if let Ok(fields) = redis.fields(&key).await {
                    sender.send_if_modified(|known| {
                        let changes = known.as_ref() != Some(&fields);
                        *known = Some(fields);
                        changes
                    });
                }
                tokio::time::sleep(every).await;
            }
        });
        receiver
    }

    /// Asks one thing, for so long as the options say.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let value = self
            .answer(command)
            .await?
            .map_err(|error| Away(said(&error)))?;
        redis::from_redis_value(value).map_err(|error| Away(error.to_string()))
    }

    /// What the store says to a command, be it an error of its own. What tells that nobody is there takes the connections away.
    async fn answer(&self, command: &Cmd) -> Result<redis::RedisResult<Value>, Away> {
        let shared = &*self.shared;
        let lanes = shared.lanes.load_full();
        let Some(lane) = lanes.as_deref().and_then(|lanes| {
            let turn = shared.next.fetch_add(1, Ordering::Relaxed);
            lanes.get(turn % lanes.len().max(1))
        }) else {
            return Err(Away("nobody is there".to_owned()));
        };
        let mut lane = lane.clone();
        let answer = lane.req_packed_command(command);
        let away = match tokio::time::timeout(shared.options.timeout, answer).await {
            Ok(Err(error)) if tells_of_absence(&error) => said(&error),
            Ok(answer) => return Ok(answer),
            Err(_) => format!("no answer within {:?}", shared.options.timeout),
        };
        if let Topology::Cluster = shared.options.topology {
            // One node of many: the others go on, and whoever watches asks them all.
            shared.doubt.notify_one();
        } else {
            shared.leave(lanes.as_ref(), &away);
        }
        Err(Away(away))
    }
}

impl Shared {
    /// Takes these connections away, once: nobody is asked any more until somebody answers anew.
    fn leave(&self, lanes: Option<&Arc<Vec<Lane>>>, why: &str) {
        let previous = self.lanes.compare_and_swap(&lanes.cloned(), None);
        let was_current = match (&*previous, lanes) {
            (Some(previous), Some(lanes)) => Arc::ptr_eq(previous, lanes),
            _ => false,
        };
        if was_current {
            metrics::COUNTS_SWITCHES.count(metrics::AWAY);
            tracing::warn!("the shared store is away: {why}");
            self.doubt.notify_one();
        }
    }
}

/// Whether an error is about reaching a server that takes writes, rather than about the command.
fn tells_of_absence(error: &redis::RedisError) -> bool {
    let states = [
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "NOREPLICAS",
        "NOAUTH",
        "WRONGPASS",
        "NOPERM",
        "OOM",
        "MISCONF",
    ];
    error.is_io_error()
        || error.is_timeout()
        || error.is_connection_dropped()
        || error.code().is_some_and(|code| states.contains(&code))
}

/// An error in a line. The crate's errors repeat what a server says, never what it was told.
fn said(error: &redis::RedisError) -> String {
    let said = error.to_string();
    said.lines().next().unwrap_or_default().to_owned()
}
