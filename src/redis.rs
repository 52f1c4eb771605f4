//! A Redis or Valkey that replicas share: one handle, whoever serves behind it.
//!
//! Invariants: nobody waits longer than the timeout for an answer; while it is known that nobody answers, the error comes at once; and
//! what was lost is found again in the background, without anybody asking. Starting waits for nothing.

mod cluster;
mod dial;
mod keeper;
mod notices;
mod server;
mod slot;
mod slots;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, Value};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::cluster::Cluster;
use self::dial::{Dial, Manner};
use self::notices::Posts;
use self::server::{Failure, Late, Server};

/// Where it is, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port` of servers: the one, or Sentinels, or some of a Cluster's.
    pub servers: Vec<(String, u16)>,
    /// What they are.
    pub mode: Mode,
    /// Who asks the servers that keep data.
    pub login: Login,
    /// Only over TLS.
    pub tls: Option<Tls>,
    /// The number of the database. A Cluster has only 0.
    pub database: u32,
    /// What the names of all keys start with.
    pub prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What servers are.
#[derive(Debug, Clone)]
pub enum Mode {
    /// One server.
    Single,
    /// Sentinels, who know the master.
    Sentinel {
        /// The master's name.
        master: String,
        /// Who asks the Sentinels.
        login: Login,
    },
    /// A Cluster.
    Cluster,
}

/// A user of the servers' access control lists.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// `None`: the default user.
    pub username: Option<String>,
    /// `None`: no password is needed.
    pub password: Option<SecretString>,
}

/// Whom to trust, and who is there.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities in PEM. `None`: the system's.
    pub authorities: Option<Vec<u8>>,
    /// What is shown to servers that ask who is there.
    pub identity: Option<Identity>,
}

/// A certificate of this replica's own.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The chain, in PEM.
    pub certificate: Vec<u8>,
    /// Its key, in PEM.
    pub key: SecretString,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It is known already that nobody answers.
    #[error("Redis is away")]
    Away,
    /// Nothing came in time.
    #[error("Redis did not answer within {0:?}")]
    Late(Duration),
    /// What came is an error, or makes no sense; a script that the server does not know is one too.
    #[error("Redis answered with an error: {message}")]
    Error {
        /// The error's code, such as `NOSCRIPT`.
        code: Option<String>,
        /// The server's words, or the client's.
        message: String,
    },
}

/// A command that goes on its way with the first poll, and the answer that is to come.
pub struct Sent(Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>);

/// The handle. The connections end with it.
#[derive(Debug)]
pub struct Connection {
    serving: Arc<Serving>,
    prefix: String,
    timeout: Duration,
    listening: JoinHandle<()>,
    notices: watch::Receiver<u64>,
}

#[derive(Debug)]
enum Serving {
    One(Server),
    Cluster(Cluster),
}

impl Connection {
    /// Starts to connect, in the background.
    ///
    /// # Errors
    /// If the options do not add up, such as authorities that are none.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(options: Options) -> Result<Self, ::redis::RedisError> {
        let manner = Manner::new(&options);
        let one = |dial: &Arc<Dial>| {
            let probe = probe(&options.prefix, "*");
            Serving::One(Server::start(
                Arc::clone(dial),
                probe,
                options.timeout,
                None,
            ))
        };
        let (serving, posts) = match &options.mode {
            Mode::Single => {
                let address = options.servers.first().ok_or_else(no_server)?;
                let dial = Arc::new(Dial::server(&manner, address)?);
                (one(&dial), Posts::Dial(dial))
            }
            Mode::Sentinel { master, login } => {
                let dial = Arc::new(Dial::sentinel(&manner, &options, master, login)?);
                (one(&dial), Posts::Dial(dial))
            }
            Mode::Cluster => {
                let posts = Posts::Any(manner, options.servers.clone());
                (Serving::Cluster(Cluster::start(&options)?), posts)
            }
        };
        let (heard, notices) = watch::channel(0);
        let listening = notices::listen(posts, options.prefix.clone(), heard);
        Ok(Self {
            serving: Arc::new(serving),
            prefix: options.prefix,
            timeout: options.timeout,
            listening: tokio::spawn(listening),
            notices,
        })
    }

    /// What the names of all keys start with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it answers, as far as is known: of a Cluster, every master that has slots.
    #[must_use]
    pub fn is_here(&self) -> bool {
        match &*self.serving {
            Serving::One(server) => server.is_here(),
            Serving::Cluster(cluster) => cluster.is_here(),
        }
    }

    /// Whether whoever has this key answers, as far as is known.
    #[must_use]
    pub fn is_here_for(&self, key: &[u8]) -> bool {
        match &*self.serving {
            Serving::One(server) => server.is_here(),
            Serving::Cluster(cluster) => cluster.is_here_for(key),
        }
    }

    /// Sends a command, and waits for the answer. All its keys are in one slot.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, NoAnswer> {
        self.answer(&mut self.send(command.clone())).await
    }

    /// Sends a command whose answer is not lost when nobody waits for it any more: what there is of it can be kept, and heard later.
    pub fn send(&self, command: Cmd) -> Sent {
        let deadline = Instant::now() + self.timeout;
        let (serving, command) = (Arc::clone(&self.serving), Arc::new(command));
        Sent(Box::pin(async move {
            match &*serving {
                Serving::One(server) => server.ask(&command, false, deadline).await,
                Serving::Cluster(cluster) => cluster.ask(&command, deadline).await,
            }
        }))
    }

    /// Waits for the answer to what was sent.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn answer<T: FromRedisValue>(&self, sent: &mut Sent) -> Result<T, NoAnswer> {
        let value = (&mut sent.0).await.map_err(|failure| match failure {
            Failure::Away => NoAnswer::Away,
            Failure::Late(Late(answer)) => {
                sent.0 = Box::pin(async { answer.await.map_err(Failure::Error) });
                NoAnswer::Late(self.timeout)
            }
            Failure::Error(error) => no_answer(&error),
        })?;
        read(value)
    }

    /// The fields of a small hash, `prefix:{name}`. Empty if there is none.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn hash(&self, name: &str) -> Result<Vec<(String, String)>, NoAnswer> {
        self.ask(::redis::cmd("HGETALL").arg(self.key(name))).await
    }

    /// Sets a field of the hash `prefix:{name}`, or removes it. [`Self::tell`] tells others of it.
    ///
    /// # Errors
    /// If nothing came in time, or an error. It may have been done all the same.
    pub async fn set_field(
        &self,
        name: &str,
        field: &str,
        value: Option<&str>,
    ) -> Result<(), NoAnswer> {
        let key = self.key(name);
        let mut command = ::redis::cmd(if value.is_some() { "HSET" } else { "HDEL" });
        command.arg(key).arg(field);
        if let Some(value) = value {
            command.arg(value);
        }
        self.ask(&command).await
    }

    /// Tells every replica, this one too, that something changed.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn tell(&self) -> Result<(), NoAnswer> {
        let channel = notices::channel(&self.prefix);
        self.ask(::redis::cmd("PUBLISH").arg(channel).arg("")).await
    }

    /// Changes whenever somebody [tells](Self::tell) that something changed, or may have without this replica hearing of it. Who
    /// cannot afford to miss one looks now and then besides.
    #[must_use]
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.notices.clone()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{{{name}}}", self.prefix)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Sent {
    /// Waits for the answer, however late it is.
    ///
    /// # Errors
    /// If it is an error, or there is nobody any more who could answer.
    pub async fn late<T: FromRedisValue>(self) -> Result<T, NoAnswer> {
        let answer = match self.0.await {
            Err(Failure::Late(Late(answer))) => answer.await,
            Err(Failure::Error(error)) => Err(error),
            Err(Failure::Away) => return Err(NoAnswer::Away),
            Ok(answer) => Ok(answer),
        };
        let answer = answer.and_then(Value::extract_error);
        read(answer.map_err(|error| no_answer(&error))?)
    }
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sent").finish_non_exhaustive()
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, NoAnswer> {
    T::from_redis_value(value).map_err(|error| NoAnswer::Error {
        code: None,
        message: error.to_string(),
    })
}

/// What only somebody can do who has this tag's slot, and may write.
fn probe(prefix: &str, tag: &str) -> Cmd {
    let mut command = ::redis::cmd("SET");
    command.arg(format!("{prefix}:{{{tag}}}:probe"));
    command.arg(1).arg("PX").arg(1000);
    command
}

fn no_server() -> ::redis::RedisError {
    let kind = ::redis::ErrorKind::InvalidClientConfig;
    ::redis::RedisError::from((kind, "no server is named"))
}

fn no_answer(error: &::redis::RedisError) -> NoAnswer {
    NoAnswer::Error {
        code: error.code().map(str::to_owned),
        message: error.to_string(),
    }
}
