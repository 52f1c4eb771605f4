//! `telemetry`: where spans and metrics go, who may fetch metrics, and how presignd logs.
//!
//! Invariant: spans and metrics are exported only where an endpoint for them is configured, and metrics are served
//! to other hosts only together with `insecure: true`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::quoted;
use super::reader::Reader;
use super::server;
use super::tree::Node;
use super::url::{BaseUrl, base_url};

/// The section `telemetry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Where spans and metrics are sent; `None`: nowhere.
    pub otlp: Option<Otlp>,
    /// Where metrics can be fetched; `None`: nowhere.
    pub prometheus: Option<Prometheus>,
    /// The resource attribute `service.name`.
    pub service_name: String,
    /// presignd's own log.
    pub log: Log,
}

/// `telemetry.otlp`: an OTLP/gRPC receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Its address.
    pub endpoint: BaseUrl,
    /// The longest that one export may take.
    pub timeout: Duration,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

/// `telemetry.prometheus`: metrics over HTTP, without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prometheus {
    /// The address and port.
    pub listen: SocketAddr,
    /// Whether other hosts may fetch them.
    pub insecure: bool,
}

/// `telemetry.log`: the log on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// And what may soon.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The name in the configuration, which is also that of `tracing`'s filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp: None,
            prometheus: None,
            service_name: "presignd".to_owned(),
            log: Log::default(),
        }
    }
}

const METRICS_INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);

pub(super) fn telemetry(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Telemetry> {
    let default = Telemetry::default();
    let mut section = reader.section(node)?;
    let otlp = section.optional("otlp", otlp);
    let prometheus = section.optional("prometheus", prometheus);
    let service_name = section.or("service_name", default.service_name, service_name);
    let log = section.or("log", default.log, log);
    section.finish();
    Some(Telemetry {
        otlp: otlp?,
        prometheus: prometheus?,
        service_name: service_name?,
        log: log?,
    })
}

fn otlp(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Otlp> {
    let mut section = reader.section(node)?;
    let endpoint = section.required("endpoint", |r, n| r.parsed(n, base_url));
    let timeout = section.or("timeout", Duration::from_secs(5), |r, n| {
        r.duration(n, &TIMEOUT)
    });
    let metrics_interval = section.or("metrics_interval", Duration::from_mins(1), |r, n| {
        r.duration(n, &METRICS_INTERVAL)
    });
    section.finish();
    Some(Otlp {
        endpoint: endpoint?,
        timeout: timeout?,
        metrics_interval: metrics_interval?,
    })
}

fn prometheus(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Prometheus> {
    let mut section = reader.section(node)?;
    let listen = section.required("listen", server::listen);
    let insecure = section.or("insecure", false, Reader::boolean);
    section.finish();
    let (listen, insecure) = (listen?, insecure?);
    if !insecure && !server::is_loopback(listen.value.ip()) {
        let message = format!(
            "{} can be reached by other hosts, and metrics are served in the clear to whoever asks: add \
             `telemetry.prometheus.insecure: true` if the network is trusted, or let it be a loopback address",
            quoted(&listen.value.to_string())
        );
        reader.mistake_in(&listen, message);
    }
    Some(Prometheus {
        listen: listen.value,
        insecure,
    })
}

fn service_name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    reader.parsed(node, |text| {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if (1..=255).contains(&text.len()) && printable {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "{} is not 1 to 255 printable ASCII characters without spaces",
                quoted(text)
            ))
        }
    })
}

fn log(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Log> {
    let default = Log::default();
    let mut section = reader.section(node)?;
    let format = section.or("format", default.format, |r, n| {
        r.choice(n, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let level = section.or("level", default.level, |r, n| {
        let levels = [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ];
        r.choice(n, &levels.map(|level| (level.name(), level)))
    });
    section.finish();
    Some(Log {
        format: format?,
        level: level?,
    })
}
