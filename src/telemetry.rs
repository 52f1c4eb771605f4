//! Where presignd's own signals go: spans and metrics to an OpenTelemetry collector, metrics also to whoever fetches them, logs to
//! standard error.
//!
//! Invariant: none can hold up a request. A collector or a log reader that does not keep up loses spans or logs, which are
//! counted, and nothing else. Standard output belongs to the audit records.
//!
//! Environment: settings given here come first. Without them `OTEL_EXPORTER_OTLP_[TRACES_|METRICS_]ENDPOINT`, `.._TIMEOUT` and
//! `.._INSECURE` count, and `OTEL_METRIC_EXPORT_INTERVAL`; and always `.._HEADERS`, `OTEL_BSP_MAX_QUEUE_SIZE`,
//! `.._MAX_EXPORT_BATCH_SIZE` and `.._SCHEDULE_DELAY`, `OTEL_METRICS_EXPORTER` where it is `none`, and what the SDK reads: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. `OTEL_TRACES_SAMPLER` does not: the spans are part of the
//! record, so none is sampled away. Nor do `OTEL_SPAN_*_LIMIT`: a span has what its record has.

mod collector;
mod environment;
mod export;
mod logs;
mod metrics;
mod panics;
mod prometheus;
mod queue;

use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_sdk::Resource;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::collector::{Collector, Signal};
use self::environment::Environment;
use self::export::Exporter;
pub use self::logs::{LogFormat, LogGuard, start_logs};
pub use self::metrics::{Metrics, Observe};
pub use self::panics::log_panics;
pub use self::prometheus::Prometheus;
pub use self::queue::SpanCounts;
use self::queue::{Bounds, Nobody, SpanQueue};
use crate::audit::SpanSink;

const SERVICE_NAME: &str = "service.name";
const DEFAULT_SERVICE_NAME: &str = "presignd";
/// OTLP's own default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// About a third of a second's spans of a busy core, and some 8 MB.
const DEFAULT_QUEUE: u64 = 8_192;
/// The SDKs' defaults.
const DEFAULT_BATCH: u64 = 512;
const DEFAULT_DELAY: Duration = Duration::from_secs(5);

/// How long exports take, at the most, to notice that they are given up.
const GIVING_UP: Duration = Duration::from_secs(1);

/// Why telemetry could not be set up or ended. Each names the setting to mend.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The collector's address makes no sense, or there are no roots to verify it by.
    #[error("telemetry cannot be sent to {endpoint:?}: {reason}")]
    Collector {
        /// The address.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The exporter's connection needs a runtime to live on.
    #[error("the OTLP exporter must be built within a tokio runtime")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
    /// The filter is not in the syntax of `tracing_subscriber::EnvFilter`.
    #[error(
        "the log filter {filter:?} is not valid, such as \"info\" or \"warn,presignd=debug\": {reason}"
    )]
    LogFilter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process writes its logs elsewhere already.
    #[error("logs were set up before: {0}")]
    LogsTaken(#[from] tracing_subscriber::util::TryInitError),
    /// The thread that writes logs could not be started.
    #[error("the log writer cannot start: {0}")]
    LogThread(#[from] std::io::Error),
    /// Spans were left behind.
    #[error("{unsent} spans were not sent within {within:?} of shutting down")]
    Unsent {
        /// How many were still waiting.
        unsent: u64,
        /// How long was waited.
        within: Duration,
    },
    /// Metrics cannot be served there.
    #[error(
        "cannot listen on {address} for whoever fetches metrics: {source}: telemetry.prometheus.listen names another address"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The last metrics were not sent.
    #[error("the metrics were not sent within {within:?} of shutting down")]
    UnsentMetrics {
        /// How long was waited.
        within: Duration,
    },
}

/// How spans and metrics are sent over OTLP/gRPC. What is `None` comes from the environment, or is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Otlp {
    /// The collector, such as `http://127.0.0.1:4317`. Without one here or in the environment, nothing is sent.
    pub endpoint: Option<String>,
    /// How long one export may take with its retries. 10 s by default.
    pub timeout: Option<Duration>,
    /// How many spans may wait; those beyond are dropped and counted. 8,192 by default.
    pub queue: Option<u64>,
    /// How often metrics are sent. 60 s by default.
    pub interval: Option<Duration>,
    /// The resource's `service.name`. `presignd` by default.
    pub service_name: Option<String>,
}

/// The spans of this process. To be ended with [`shutdown`](Self::shutdown): what waits when it is dropped is lost.
#[derive(Debug)]
pub struct Traces(Option<Export>);

/// What sends spans, where there is a collector.
#[derive(Debug)]
struct Export {
    queue: Arc<SpanQueue>,
    stop: CancellationToken,
    give_up: CancellationToken,
    /// The task, until somebody waits for its end.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Sets up spans, to be sent if there is an endpoint. Without one they have identities, for the records, and no content.
    ///
    /// Must be called within the runtime that the exporter's connection is to live on.
    pub fn start(otlp: &Otlp) -> Result<Self, TelemetryError> {
        Self::start_with(otlp, |name| env::var(name).ok())
    }

    fn start_with(
        otlp: &Otlp,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TelemetryError> {
        let environment = Environment {
            signal: Signal::Spans,
            lookup: &environment,
        };
        let Some(collector) = collector(otlp, &environment)? else {
            return Ok(Self(None));
        };
        let runtime = Handle::try_current()?;
        let or = |given: Option<u64>, default: u64| given.unwrap_or(default).max(1);
        let queue = Arc::new(SpanQueue::new(Bounds {
            queue: or(otlp.queue.or_else(|| environment.queue()), DEFAULT_QUEUE),
            batch: or(environment.batch(), DEFAULT_BATCH),
        }));
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let timeout = otlp.timeout.or_else(|| environment.timeout());
        let exporter = Exporter {
            queue: Arc::clone(&queue),
            collector,
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            delay: environment.delay().unwrap_or(DEFAULT_DELAY),
            stop: stop.clone(),
            give_up: give_up.clone(),
        };
        let task = runtime.spawn(exporter.run());
        Ok(Self(Some(Export {
            queue,
            stop,
            give_up,
            task: Mutex::new(Some(task)),
        })))
    }

    /// What takes the spans.
    pub fn sink(&self) -> Arc<dyn SpanSink> {
        match &self.0 {
            Some(export) => Arc::clone(&export.queue) as _,
            None => Arc::new(Nobody),
        }
    }

    /// Whether there is a collector for them.
    #[must_use]
    pub const fn are_sent(&self) -> bool {
        self.0.is_some()
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> SpanCounts {
        let export = self.0.as_ref();
        export.map_or_else(SpanCounts::default, |export| export.queue.counts())
    }

    /// Whether the collector took any span of the last batch that came to its end; `None`: there was none yet.
    #[must_use]
    pub fn last_taken(&self) -> Option<bool> {
        self.0.as_ref()?.queue.last_taken()
    }

    /// Sends what waits, for at most `within`. Spans that end later are dropped.
    ///
    /// To be called before the runtime stops, since the connection lives on it.
    pub async fn shutdown(&self, within: Duration) -> Result<(), TelemetryError> {
        let Some(export) = &self.0 else {
            return Ok(());
        };
        export.queue.close();
        export.stop.cancel();
        let task = export
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut task) = task else {
            return Ok(());
        };
        let in_time = tokio::time::timeout(within, &mut task).await.is_ok();
        let unsent = self.counts().queued;
        if !in_time {
            export.give_up.cancel();
            let _ = tokio::time::timeout(GIVING_UP, task).await;
        }
        match unsent {
            0 => Ok(()),
            _ => Err(TelemetryError::Unsent { unsent, within }),
        }
    }
}

/// The collector of a signal, if there is one.
fn collector(
    otlp: &Otlp,
    environment: &Environment<'_>,
) -> Result<Option<Collector>, TelemetryError> {
    let given = otlp.endpoint.clone().filter(|url| !url.is_empty());
    let Some(endpoint) = given.or_else(|| environment.endpoint()) else {
        return Ok(None);
    };
    // The connection needs it.
    Handle::try_current()?;
    let scope = InstrumentationScope::builder("presignd")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let resource = resource(otlp.service_name.as_deref());
    let (signal, headers) = (environment.signal, environment.headers());
    match Collector::new(signal, &endpoint, headers, &resource, scope) {
        Ok(collector) => Ok(Some(collector)),
        Err(error) => Err(TelemetryError::Collector {
            endpoint,
            reason: with_causes(&error),
        }),
    }
}

/// An error in one line, since it is often the last cause that says what is wrong.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Who sends the spans. The name given comes first, then the environment's, which the SDK reads.
fn resource(service_name: Option<&str>) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version);
    if let Some(name) = service_name {
        return named.with_service_name(name.to_owned()).build();
    }
    let detected = Resource::builder()
        .build()
        .get(&Key::from_static_str(SERVICE_NAME))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if detected {
        named.build()
    } else {
        named.with_service_name(DEFAULT_SERVICE_NAME).build()
    }
}

#[cfg(test)]
mod tests;
