//! A Redis or Valkey that replicas share: one handle, whoever serves behind it.
//!
//! Invariants: nobody waits longer than the timeout for an answer; while it is known that nobody answers, the error comes at once; and
//! what was lost is found again in the background, without anybody asking. Starting waits for nothing.

mod dial;
mod keeper;
mod notices;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::aio::ConnectionLike as _;
use ::redis::{Cmd, FromRedisValue, Value};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::dial::Line;
use self::keeper::{Keeper, Lines};

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

/// Whom to trust.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities in PEM. `None`: the system's.
    pub authorities: Option<Vec<u8>>,
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
pub struct Sent(Pin<Box<dyn Future<Output = ::redis::RedisResult<Value>> + Send>>);

/// The handle. The connections end with it.
#[derive(Debug)]
pub struct Connection {
    lines: watch::Receiver<Lines>,
    /// Which line is next.
    turn: AtomicUsize,
    keeper: Arc<Keeper>,
    prefix: String,
    timeout: Duration,
    tasks: [JoinHandle<()>; 2],
    notices: watch::Receiver<u64>,
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
        let dial = Arc::new(dial::Dial::new(&options)?);
        let (said, lines) = watch::channel(Lines::default());
        let keeper = Arc::new(Keeper::default());
        let kept = keeper::keep(
            Arc::clone(&keeper),
            Arc::clone(&dial),
            options.prefix.clone(),
            options.timeout,
            said,
        );
        let (heard, notices) = watch::channel(0);
        let listening = notices::listen(dial, options.prefix.clone(), heard);
        Ok(Self {
            lines,
            turn: AtomicUsize::new(0),
            keeper,
            prefix: options.prefix,
            timeout: options.timeout,
            tasks: [tokio::spawn(kept), tokio::spawn(listening)],
            notices,
        })
    }

    /// What the names of all keys start with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether somebody answers, as far as is known.
    #[must_use]
    pub fn is_here(&self) -> bool {
        !self.lines.borrow().0.is_empty()
    }

    /// Sends a command, and waits for the answer.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, NoAnswer> {
        let mut line = self.line()?;
        self.within_timeout(line.req_packed_command(command)).await
    }

    /// Sends a command whose answer is not lost when nobody waits for it any more: what there is of it can be kept, and heard later.
    ///
    /// # Errors
    /// If it is known that nobody answers.
    pub fn send(&self, command: Cmd) -> Result<Sent, NoAnswer> {
        let mut line = self.line()?;
        let answer = async move { line.req_packed_command(&command).await };
        Ok(Sent(Box::pin(answer)))
    }

    /// Waits for the answer to what was sent.
    ///
    /// # Errors
    /// If nothing came in time, or an error.
    pub async fn answer<T: FromRedisValue>(&self, sent: &mut Sent) -> Result<T, NoAnswer> {
        self.within_timeout(&mut sent.0).await
    }

    /// The next of the lines.
    fn line(&self) -> Result<Line, NoAnswer> {
        let lines = self.lines.borrow();
        if lines.0.is_empty() {
            return Err(NoAnswer::Away);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let line = lines.0.get(turn % lines.0.len()).cloned();
        line.ok_or(NoAnswer::Away)
    }

    async fn within_timeout<T: FromRedisValue>(
        &self,
        answer: impl Future<Output = ::redis::RedisResult<Value>>,
    ) -> Result<T, NoAnswer> {
        let answer = tokio::time::timeout(self.timeout, answer).await;
        let Ok(answer) = answer else {
            self.keeper.doubt();
            return Err(NoAnswer::Late(self.timeout));
        };
        let value = answer.and_then(Value::extract_error).map_err(|error| {
            // The server's errors may mean that it cannot serve any more, such as a master that is a replica now.
            if error.code() != Some("NOSCRIPT") {
                self.keeper.doubt();
            }
            no_answer(&error)
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
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Sent {
    /// Waits for the answer, however late it is.
    ///
    /// # Errors
    /// If it is an error, or there is nobody any more who could answer.
    pub async fn late<T: FromRedisValue>(self) -> Result<T, NoAnswer> {
        let answer = self.0.await.and_then(Value::extract_error);
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

fn no_answer(error: &::redis::RedisError) -> NoAnswer {
    NoAnswer::Error {
        code: error.code().map(str::to_owned),
        message: error.to_string(),
    }
}
