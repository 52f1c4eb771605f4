//! Metrics on their way: all of them, every so often, to the collector that spans go to.
//!
//! They are read from [`crate::metrics`] and put into OTLP's messages here, rather than by the SDK's instruments: those look a series
//! up by its attributes each time, which is more than a request is to pay. Invariant: one export at a time is in memory and under way, and it ends in
//! time; one that fails is counted and not kept, since the next has all that it had.

mod otlp;

use std::env;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::collector::{Collector, Signal};
use super::environment::Environment;
use super::{DEFAULT_TIMEOUT, Otlp, TelemetryError, collector};
use crate::metrics::{self, EXPORTED, EXPORTS, FAILED};

/// The specification's.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// However little is asked for.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Brings up to date what is counted elsewhere, and says what time it is.
pub type Observe = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The metrics of this process. To be ended with [`shutdown`](Self::shutdown), which sends them once more.
pub struct Metrics {
    stop: CancellationToken,
    /// The task, until somebody waits for its end; `None`: there is no collector.
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What sends them.
struct Exporter {
    collector: Collector,
    observe: Observe,
    /// When the process began to count.
    began: SystemTime,
    timeout: Duration,
    interval: Duration,
    stop: CancellationToken,
}

impl Metrics {
    /// Sends metrics from now on, if there is an endpoint. To be called within the runtime that the connection is to live on.
    pub fn start(otlp: &Otlp, observe: Observe) -> Result<Self, TelemetryError> {
        Self::start_with(otlp, observe, |name| env::var(name).ok())
    }

    fn start_with(
        otlp: &Otlp,
        observe: Observe,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TelemetryError> {
        let environment = Environment {
            signal: Signal::Metrics,
            lookup: &environment,
        };
        let stop = CancellationToken::new();
        let mut task = None;
        if !environment.declines_metrics()
            && let Some(collector) = collector(otlp, &environment)?
        {
            let timeout = otlp.timeout.or_else(|| environment.timeout());
            let interval = otlp.interval.or_else(|| environment.interval());
            let exporter = Exporter {
                collector,
                began: observe(),
                observe,
                timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
                interval: interval.unwrap_or(DEFAULT_INTERVAL).max(LEAST_INTERVAL),
                stop: stop.clone(),
            };
            task = Some(Handle::try_current()?.spawn(exporter.run()));
        }
        Ok(Self {
            stop,
            task: Mutex::new(task),
        })
    }

    /// Sends them once more, for at most `within`.
    pub async fn shutdown(&self, within: Duration) -> Result<(), TelemetryError> {
        self.stop.cancel();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else {
            return Ok(());
        };
        if tokio::time::timeout(within, &mut task).await.is_err() {
            task.abort();
            return Err(TelemetryError::UnsentMetrics { within });
        }
        Ok(())
    }
}

impl Exporter {
    async fn run(self) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // At once, so that whoever looks sees a process that has just started.
        let mut failures = 0u64;
        loop {
            let stopping = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            let exported = tokio::select! {
                exported = self.export() => Some(exported),
                // What is under way is not waited for: what is sent at last has it all.
                () = self.stop.cancelled(), if !stopping => None,
            };
            match exported {
                Some(Ok(())) => {
                    EXPORTS.count(EXPORTED);
                    failures = 0;
                }
                Some(Err(status)) => {
                    EXPORTS.count(FAILED);
                    failures += 1;
                    // So that an outage of hours is some lines of log.
                    if failures.is_power_of_two() {
                        tracing::warn!(failures, "metrics are not sent: {status}");
                    }
                }
                None => {}
            }
            if stopping {
                return;
            }
        }
    }

    async fn export(&self) -> Result<(), Status> {
        let now = (self.observe)();
        let readings = metrics::ALL.iter().map(|metric| metric.read());
        let batch = [otlp::encoded(readings, self.began, now).into()];
        let exported = tokio::time::timeout(self.timeout, self.collector.export(&batch)).await;
        let rejected =
            exported.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))?;
        match rejected {
            0 => Ok(()),
            _ => Err(Status::data_loss("the collector rejected some of them")),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
