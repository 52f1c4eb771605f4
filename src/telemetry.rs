//! Where presignd's own signals go: spans to an OpenTelemetry collector, logs to standard error.
//!
//! Invariant: neither can hold up a request. A collector or a log reader that does not keep up loses spans or logs, which are
//! counted, and nothing else. Standard output belongs to the audit records.
//!
//! Environment: settings given here come first. Without them the SDK's `OTEL_EXPORTER_OTLP_[TRACES_]ENDPOINT`,
//! `.._TIMEOUT` and `.._HEADERS`, `OTEL_BSP_*`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SPAN_*_LIMIT` count.
//! `OTEL_TRACES_SAMPLER` does not: the spans are part of the record, so none is sampled away.

mod export;
mod logs;
mod panics;

use std::env;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE, Sampler, SdkTracer,
    SdkTracerProvider,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use export::SpanCounts;
use export::{BoundedProcessor, Counters, CountingExporter};
pub use logs::{LogFormat, LogGuard, start_logs};
pub use panics::log_panics;

const SERVICE_NAME: &str = "service.name";
const DEFAULT_SERVICE_NAME: &str = "presignd";
/// OTLP's own default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// About a second's spans of a busy core, and 20 MB at the most.
const DEFAULT_QUEUE: usize = 8_192;

/// How long exports take, at the most, to notice that they are given up.
const GIVING_UP: Duration = Duration::from_secs(1);

/// Why telemetry could not be set up or ended. Each names the setting to mend.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter refused its settings.
    #[error("the OTLP exporter cannot be built: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
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
}

/// How spans are sent over OTLP/gRPC. What is `None` comes from the environment, or is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Otlp {
    /// The collector, such as `http://127.0.0.1:4317`. Without one here or in the environment, no span is sent.
    pub endpoint: Option<String>,
    /// How long one export may take with its retries. 10 s by default.
    pub timeout: Option<Duration>,
    /// How many spans may wait; those beyond are dropped and counted. 8,192 by default.
    pub queue: Option<usize>,
    /// The resource's `service.name`. `presignd` by default.
    pub service_name: Option<String>,
}

/// The spans of this process. To be ended with [`shutdown`](Self::shutdown): dropping it blocks for up to 5 s.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    counters: Arc<Counters>,
    give_up: CancellationToken,
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
        let counters = Arc::new(Counters::default());
        let give_up = CancellationToken::new();
        let provider =
            SdkTracerProvider::builder().with_resource(resource(otlp.service_name.as_deref()));
        let Some(endpoint) = endpoint(otlp.endpoint.as_deref(), &environment) else {
            let provider = provider.with_sampler(Sampler::AlwaysOff).build();
            return Ok(Self {
                provider,
                counters,
                give_up,
            });
        };
        let timeout = otlp.timeout.unwrap_or_else(|| timeout(&environment));
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&endpoint)
            .with_timeout(timeout);
        if !endpoint.starts_with("http://") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
        }
        let exporter = CountingExporter::new(
            exporter.build()?,
            Arc::clone(&counters),
            Handle::try_current()?,
            timeout,
            give_up.clone(),
        );
        let queue = otlp
            .queue
            .or_else(|| number(environment(OTEL_BSP_MAX_QUEUE_SIZE)))
            .unwrap_or(DEFAULT_QUEUE)
            .max(1);
        let batches = BatchSpanProcessor::builder(exporter)
            .with_batch_config(
                BatchConfigBuilder::default()
                    .with_max_queue_size(queue)
                    .build(),
            )
            .build();
        let provider = provider
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(BoundedProcessor::new(batches, Arc::clone(&counters), queue))
            .build();
        Ok(Self {
            provider,
            counters,
            give_up,
        })
    }

    /// What makes the spans.
    pub fn tracer(&self) -> SdkTracer {
        let scope = InstrumentationScope::builder("presignd")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        self.provider.tracer_with_scope(scope)
    }

    /// What became of the spans so far.
    pub fn counts(&self) -> SpanCounts {
        self.counters.read()
    }

    /// Sends what waits, for at most `within`. Spans ended later have no identity and go nowhere.
    ///
    /// To be called before the runtime stops, since the connection lives on it.
    pub async fn shutdown(&self, within: Duration) -> Result<(), TelemetryError> {
        let provider = self.provider.clone();
        // The SDK blocks its caller while it exports. What it answers, `counts` say better.
        let mut ended = tokio::task::spawn_blocking(move || {
            let _ = provider.shutdown_with_timeout(within + GIVING_UP);
        });
        let in_time = tokio::time::timeout(within, &mut ended).await.is_ok();
        let unsent = self.counts().queued;
        if !in_time {
            // The SDK's thread must not outlive the runtime, whose timer it holds.
            self.give_up.cancel();
            let _ = tokio::time::timeout(GIVING_UP, ended).await;
        }
        match unsent {
            0 => Ok(()),
            _ => Err(TelemetryError::Unsent { unsent, within }),
        }
    }
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

fn endpoint(
    setting: Option<&str>,
    environment: &impl Fn(&str) -> Option<String>,
) -> Option<String> {
    [
        setting.map(str::to_owned),
        environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        environment("OTEL_EXPORTER_OTLP_ENDPOINT"),
    ]
    .into_iter()
    .flatten()
    .find(|endpoint| !endpoint.is_empty())
}

/// Milliseconds, as the specification has them.
fn timeout(environment: &impl Fn(&str) -> Option<String>) -> Duration {
    number(environment("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"))
        .or_else(|| number(environment("OTEL_EXPORTER_OTLP_TIMEOUT")))
        .map_or(DEFAULT_TIMEOUT, Duration::from_millis)
}

fn number<N: std::str::FromStr>(value: Option<String>) -> Option<N> {
    value?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
