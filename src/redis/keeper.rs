//! Keeps connections to a server: makes them, asks now and then whether they still answer, and makes others when they do not.
//!
//! Each switch between here and away is logged once, and counted.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::ConnectionLike as _;
use ::redis::{Cmd, RedisResult};
use tokio::sync::watch;
use tokio::time::timeout;

use super::dial::{CONNECTING, Dial, Line};
use super::server::{Kept, Lines, is_usual};
use crate::metrics;

/// How often it is asked whether they still answer, while nobody doubts it.
const PROBES: Duration = Duration::from_secs(1);
/// The first pause before another attempt to connect, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The most connections: each is served by a task of its own, so that no task is the bottleneck.
const LINES: usize = 4;

/// Keeps connections until it is dropped. `said` holds those that answer.
pub(super) async fn keep(kept: Arc<Kept>, said: watch::Sender<Lines>) {
    let count = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(LINES));
    let mut standing = Standing::new(
        kept.name
            .as_ref()
            .map(|(host, port)| format!("{host}:{port}")),
    );
    let mut pause = PAUSES.0;
    loop {
        let lines = match connect(&kept.dial, count, &kept.probe.load_full()).await {
            Ok(lines) => lines,
            Err(problem) => {
                standing.is(Err(&problem));
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        standing.is(Ok(()));
        pause = PAUSES.0;
        said.send_replace(Lines(lines.clone().into()));
        let problem = loop {
            // Whichever comes first.
            let _ = timeout(PROBES, kept.doubts.notified()).await;
            let mut problem = None;
            let command = kept.probe.load_full();
            for line in &lines {
                if let Err(found) = probe(line.clone(), &command, kept.patience).await {
                    problem = Some(found);
                    break;
                }
            }
            if let Some(problem) = problem {
                break problem;
            }
        };
        said.send_replace(Lines::default());
        standing.is(Err(&problem));
    }
}

async fn connect(dial: &Dial, count: usize, command: &Cmd) -> Result<Vec<Line>, String> {
    let lines = timeout(CONNECTING * 3, dial.lines(count));
    let lines = in_time(lines.await)?;
    if let Some(line) = lines.first() {
        probe(line.clone(), command, CONNECTING).await?;
    }
    Ok(lines)
}

/// Whether a line still leads to somebody who can write.
async fn probe(mut line: Line, command: &Cmd, patience: Duration) -> Result<(), String> {
    let answer = timeout(patience, line.req_packed_command(command)).await;
    let answer = answer.map(|answer| {
        let answer = answer.and_then(::redis::Value::extract_error);
        match answer {
            // Who says that it is another's serves.
            Err(error) if is_usual(&error) => Ok(()),
            answer => answer.map(drop),
        }
    });
    in_time(answer)
}

fn in_time<T>(answer: Result<RedisResult<T>, tokio::time::error::Elapsed>) -> Result<T, String> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Where it stands, as far as was said.
#[derive(Debug)]
pub(super) struct Standing {
    /// `None`: not known yet.
    here: Option<bool>,
    name: Option<String>,
}

impl Standing {
    /// Nothing is known yet. `name`: of which of several servers.
    pub(super) fn new(name: Option<String>) -> Self {
        Self { here: None, name }
    }

    /// Notes where it stands now, and says so if it stood otherwise.
    pub(super) fn is(&mut self, now: Result<(), &str>) {
        let server = self.name.as_deref();
        let before = self.here.replace(now.is_ok());
        match now {
            Ok(()) if before == Some(false) => {
                metrics::COUNTS_SWITCHES.count(metrics::BACK);
                tracing::info!(server, "Redis is back");
            }
            Err(problem) if before != Some(false) => {
                metrics::COUNTS_SWITCHES.count(metrics::AWAY);
                tracing::warn!(server, "Redis is away: {problem}");
            }
            _ => {}
        }
    }
}
