//! What the environment says about spans and metrics, in the names that OpenTelemetry gives it.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::collector::Signal;

/// Looks variables up, for one signal. An empty one counts as none.
pub(super) struct Environment<'a> {
    pub(super) signal: Signal,
    pub(super) lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A setting of the OTLP exporter: that of the signal comes before that of all.
    fn otlp(&self, name: &str) -> Option<String> {
        let [own, of_all] = self.names(name);
        self.text(&own).or_else(|| self.text(&of_all))
    }

    fn names(&self, name: &str) -> [String; 2] {
        let signal = match self.signal {
            Signal::Spans => "TRACES",
            Signal::Metrics => "METRICS",
        };
        [
            format!("OTEL_EXPORTER_OTLP_{signal}_{name}"),
            format!("OTEL_EXPORTER_OTLP_{name}"),
        ]
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.trim().parse().ok()
    }

    /// The collector's URL. A scheme that is left out is `https`, unless the environment says that it is not.
    pub(super) fn endpoint(&self) -> Option<String> {
        let endpoint = self.otlp("ENDPOINT")?;
        if endpoint.contains("://") {
            return Some(endpoint);
        }
        let insecure = self.otlp("INSECURE");
        let insecure = insecure.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let scheme = if insecure { "http" } else { "https" };
        Some(format!("{scheme}://{endpoint}"))
    }

    /// How long an export may take: milliseconds, as the specification has them.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let millis = self.names("TIMEOUT");
        let mut millis = millis.iter().filter_map(|name| self.number(name));
        millis.next().map(Duration::from_millis)
    }

    /// What is sent along with each export: `name=value` with commas between, the values percent-encoded. What is no header is
    /// left out.
    pub(super) fn headers(&self) -> HeaderMap {
        let given = self.otlp("HEADERS").unwrap_or_default();
        let header = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let value: Vec<u8> = percent_decode_str(value.trim()).collect();
            let mut value = HeaderValue::from_bytes(&value).ok()?;
            // It may hold a key: it is shown nowhere.
            value.set_sensitive(true);
            let name: HeaderName = name.trim().parse().ok()?;
            Some((name, value))
        };
        given.split(',').filter_map(header).collect()
    }

    /// Spans that may wait.
    pub(super) fn queue(&self) -> Option<u64> {
        self.number("OTEL_BSP_MAX_QUEUE_SIZE")
    }

    /// Spans that are sent at once.
    pub(super) fn batch(&self) -> Option<u64> {
        self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
    }

    /// How often metrics are sent.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.number("OTEL_METRIC_EXPORT_INTERVAL")
            .map(Duration::from_millis)
    }

    /// Whether metrics are not to be sent.
    pub(super) fn declines_metrics(&self) -> bool {
        self.text("OTEL_METRICS_EXPORTER").as_deref() == Some("none")
    }

    /// How long a batch waits to be full.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.number("OTEL_BSP_SCHEDULE_DELAY")
            .map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let mut variables = variables.iter();
            let found = variables.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    fn of(lookup: &dyn Fn(&str) -> Option<String>) -> Environment<'_> {
        Environment {
            signal: Signal::Spans,
            lookup,
        }
    }

    #[test]
    fn metrics_have_names_of_their_own() {
        let given = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ];
        let lookup = lookup(&given);
        let metrics = Environment {
            signal: Signal::Metrics,
            lookup: &lookup,
        };
        assert_eq!(metrics.endpoint().as_deref(), Some("http://all:4317"));
        assert_eq!(metrics.timeout(), Some(Duration::from_millis(1500)));
        assert_eq!(metrics.interval(), Some(Duration::from_millis(500)));
        assert!(metrics.declines_metrics());
    }

    #[test]
    fn what_is_said_of_spans_comes_before_what_is_said_of_all() {
        let all = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ];
        let traces = Some("http://traces:4317".to_owned());
        assert_eq!(of(&lookup(&all)).endpoint(), traces);
        let all_signals = Some("http://all:4317".to_owned());
        assert_eq!(of(&lookup(&all[..1])).endpoint(), all_signals);
        let timeout = Some(Duration::from_millis(2_500));
        assert_eq!(of(&lookup(&all)).timeout(), timeout);
        assert_eq!(of(&lookup(&[])).endpoint(), None);
        let nonsense = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ];
        assert_eq!(of(&lookup(&nonsense)).endpoint(), None);
        assert_eq!(of(&lookup(&nonsense)).timeout(), None);
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_encrypted_unless_that_is_declined() {
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
        let encrypted = Some("https://collector:4317".to_owned());
        assert_eq!(of(&lookup(&variables)).endpoint(), encrypted);
        variables.push(("OTEL_EXPORTER_OTLP_INSECURE", "true"));
        let plain = Some("http://collector:4317".to_owned());
        assert_eq!(of(&lookup(&variables)).endpoint(), plain);
    }

    #[test]
    fn headers_are_decoded_and_kept_out_of_sight() {
        let given = "api-key=a%20b%3D%2C, x-tenant = c ,no header,bad name=d,=e";
        let headers = of(&lookup(&[("OTEL_EXPORTER_OTLP_HEADERS", given)])).headers();
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers["api-key"], "a b=,");
        assert_eq!(headers["x-tenant"], "c");
        assert!(!format!("{headers:?}").contains("a b"), "{headers:?}");
    }

    #[test]
    fn the_batches_are_as_large_and_as_late_as_asked() {
        let given = [
            ("OTEL_BSP_MAX_QUEUE_SIZE", "7"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", " 5 "),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ];
        assert_eq!(of(&lookup(&given)).queue(), Some(7));
        assert_eq!(of(&lookup(&given)).batch(), Some(5));
        let delay = Some(Duration::from_millis(250));
        assert_eq!(of(&lookup(&given)).delay(), delay);
    }
}
