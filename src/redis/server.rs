//! One server, or the master that Sentinels name: the connections to it, and whether it answers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::aio::ConnectionLike as _;
use ::redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::dial::{Address, Dial, Line};
use super::keeper;

/// The connections that there are. None: nobody answers.
#[derive(Clone, Default)]
pub(super) struct Lines(pub(super) Arc<[Line]>);

/// The handle. The connections end with it.
#[derive(Debug)]
pub(super) struct Server {
    lines: watch::Receiver<Lines>,
    /// Which line is next.
    turn: AtomicUsize,
    kept: Arc<Kept>,
    keeping: JoinHandle<()>,
    /// Until then it may be that nobody has had the time to connect.
    young: Instant,
}

/// What its keeper has to know.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) dial: Arc<Dial>,
    /// What only somebody who serves can answer.
    pub(super) probe: ArcSwap<Cmd>,
    /// Something did not come, or was an error: have a look.
    pub(super) doubts: Notify,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// Which of several it is.
    pub(super) name: Option<Address>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Away,
    Late(Late),
    Error(RedisError),
}

/// An answer that did not come in time, and may still come.
pub(super) struct Late(pub(super) Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>);

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Late").finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to connect, in the background.
    pub(super) fn start(
        dial: Arc<Dial>,
        probe: Cmd,
        patience: Duration,
        name: Option<Address>,
    ) -> Self {
        let kept = Arc::new(Kept {
            dial,
            probe: ArcSwap::from_pointee(probe),
            doubts: Notify::new(),
            patience,
            name,
        });
        let (said, lines) = watch::channel(Lines::default());
        Self {
            lines,
            turn: AtomicUsize::new(0),
            keeping: tokio::spawn(keeper::keep(Arc::clone(&kept), said)),
            kept,
            young: Instant::now() + patience,
        }
    }

    /// Its host, of one of several.
    pub(super) fn host(&self) -> &str {
        self.kept.name.as_ref().map_or("", |(host, _)| host)
    }

    /// Asks it this from now on, to find out whether it serves.
    pub(super) fn probe_with(&self, probe: Cmd) {
        self.kept.probe.store(Arc::new(probe));
    }

    /// Whether it answers, as far as is known.
    pub(super) fn is_here(&self) -> bool {
        !self.lines.borrow().0.is_empty()
    }

    /// Waits until it answers for the first time, if that may be soon.
    pub(super) async fn settled(&self, deadline: Instant) {
        if !self.is_here() {
            let mut lines = self.lines.clone();
            let here = lines.wait_for(|lines| !lines.0.is_empty());
            // Whether it did is asked next.
            let _ = timeout_at(deadline.min(self.young), here).await;
        }
    }

    /// Sends a command, and waits for the answer. `asking`: though the slot is still another's, of whom it takes over.
    pub(super) async fn ask(
        &self,
        command: &Arc<Cmd>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let line = {
            let lines = self.lines.borrow();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            lines.0.get(turn % lines.0.len().max(1)).cloned()
        };
        let line = line.ok_or(Failure::Away)?;
        let mut sent = Box::pin(send(line, Arc::clone(command), asking));
        let Ok(answer) = timeout_at(deadline, sent.as_mut()).await else {
            self.kept.doubts.notify_one();
            return Err(Failure::Late(Late(sent)));
        };
        answer.and_then(Value::extract_error).map_err(|error| {
            // The server's errors may mean that it cannot serve any more, such as a master that is a replica now.
            if !is_usual(&error) {
                self.kept.doubts.notify_one();
            }
            Failure::Error(error)
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

async fn send(mut line: Line, command: Arc<Cmd>, asking: bool) -> RedisResult<Value> {
    if !asking {
        return line.req_packed_command(&command).await;
    }
    // Together: what others send on this line would use it up in between.
    let mut both = Pipeline::with_capacity(2);
    both.cmd("ASKING").add_command((*command).clone());
    let mut answers = line.req_packed_commands(&both, 0, 2).await?;
    let answer = answers.pop().unwrap_or(Value::Nil);
    answers
        .into_iter()
        .try_for_each(|asking| asking.extract_error().map(drop))?;
    Ok(answer)
}

/// Whether a server that is well says so too.
pub(super) fn is_usual(error: &RedisError) -> bool {
    matches!(
        error.code(),
        Some("NOSCRIPT" | "MOVED" | "ASK" | "TRYAGAIN")
    )
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lines").field(&self.0.len()).finish()
    }
}
