//! Keeps connections: makes them, asks now and then whether they still answer, and makes others when they do not.
//!
//! Each switch between here and away is logged once, and counted.

use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike as _;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::dial::{CONNECTING, Dial, Line};
use crate::metrics;

/// How often it is asked whether they still answer, while nobody doubts it.
const PROBES: Duration = Duration::from_secs(1);
/// The first pause before another attempt to connect, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The most connections: each is served by a task of its own, so that no task is the bottleneck.
const LINES: usize = 4;

/// The connections that there are. None: nobody answers.
#[derive(Clone, Default)]
pub(super) struct Lines(pub(super) Arc<[Line]>);

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lines").field(&self.0.len()).finish()
    }
}

/// Hears of doubts.
#[derive(Debug, Default)]
pub(super) struct Keeper(Notify);

impl Keeper {
    /// Something did not come, or was an error: have a look.
    pub(super) fn doubt(&self) {
        self.0.notify_one();
    }
}

/// Keeps connections until it is dropped. `said` holds those that answer.
pub(super) async fn keep(
    keeper: Arc<Keeper>,
    dial: Arc<Dial>,
    prefix: String,
    patience: Duration,
    said: watch::Sender<Lines>,
) {
    let count = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(LINES));
    // `None`: not known yet.
    let mut here = None;
    let mut pause = PAUSES.0;
    loop {
        let lines = match connect(&dial, count, &prefix).await {
            Ok(lines) => lines,
            Err(problem) => {
                switch(&mut here, Err(&problem));
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        switch(&mut here, Ok(()));
        pause = PAUSES.0;
        said.send_replace(Lines(lines.clone().into()));
        let problem = loop {
            // Whichever comes first.
            let _ = timeout(PROBES, keeper.0.notified()).await;
            let mut problem = None;
            for line in &lines {
                if let Err(found) = probe(line.clone(), &prefix, patience).await {
                    problem = Some(found);
                    break;
                }
            }
            if let Some(problem) = problem {
                break problem;
            }
        };
        said.send_replace(Lines::default());
        switch(&mut here, Err(&problem));
    }
}

async fn connect(dial: &Dial, count: usize, prefix: &str) -> Result<Vec<Line>, String> {
    let lines = timeout(CONNECTING * 3, dial.lines(count));
    let lines = in_time(lines.await)?;
    if let Some(line) = lines.first() {
        probe(line.clone(), prefix, CONNECTING).await?;
    }
    Ok(lines)
}

/// Whether a line still leads to somebody who can write.
async fn probe(mut line: Line, prefix: &str, patience: Duration) -> Result<(), String> {
    let mut command = ::redis::cmd("SET");
    command.arg(format!("{prefix}:{{*}}:probe"));
    command.arg(1).arg("PX").arg(1000);
    let answer = timeout(patience, line.req_packed_command(&command)).await;
    let answer = answer.map(|answer| answer.and_then(::redis::Value::extract_error));
    in_time(answer).map(|_| ())
}

fn in_time<T>(answer: Result<RedisResult<T>, tokio::time::error::Elapsed>) -> Result<T, String> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Notes where it stands now, and says so if it stood otherwise.
fn switch(here: &mut Option<bool>, now: Result<(), &str>) {
    let before = here.replace(now.is_ok());
    match now {
        Ok(()) if before == Some(false) => {
            metrics::COUNTS_SWITCHES.count(metrics::BACK);
            tracing::info!("Redis is back");
        }
        Err(problem) if before != Some(false) => {
            metrics::COUNTS_SWITCHES.count(metrics::AWAY);
            tracing::warn!("Redis is away: {problem}");
        }
        _ => {}
    }
}
