//! Metrics in Prometheus' text format, by the names that OpenTelemetry's own exporters give them. Pure.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>.

use std::fmt::Write as _;

use crate::metrics::{Attributes, BOUNDS, Kind, Reading, Value};

/// All of them. What is written here are names and words of the code: nothing in them needs to be escaped.
pub(super) fn of(readings: impl Iterator<Item = Reading>) -> String {
    let mut text = String::new();
    for reading in readings {
        // To write into a string cannot fail.
        let _ = write(&mut text, &reading);
    }
    text
}

fn write(text: &mut String, reading: &Reading) -> std::fmt::Result {
    let name = name(reading);
    let kind = match reading.kind {
        Kind::Counter => "counter",
        Kind::Level | Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(text, "# HELP {name} {}", reading.description)?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for point in &reading.points {
        let labels = labels(&point.attributes);
        match &point.value {
            Value::Number(number) if labels.is_empty() => writeln!(text, "{name} {number}")?,
            Value::Number(number) => writeln!(text, "{name}{{{labels}}} {number}")?,
            Value::Distribution(times) => {
                let comma = if labels.is_empty() { "" } else { "," };
                let bounds = BOUNDS.iter().map(ToString::to_string);
                let bounds = bounds.chain(["+Inf".to_owned()]);
                let mut all = 0;
                for (bound, count) in bounds.zip(&times.counts) {
                    all += count;
                    writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {all}")?;
                }
                writeln!(text, "{name}_sum{{{labels}}} {}", times.sum)?;
                writeln!(text, "{name}_count{{{labels}}} {all}")?;
            }
        }
    }
    Ok(())
}

/// `presignd.audit.bytes`, a counter, is `presignd_audit_bytes_total`.
fn name(reading: &Reading) -> String {
    let mut name = reading.name.replace('.', "_");
    let unit = match reading.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "By" => "bytes",
        _ => "",
    };
    if !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    if reading.kind == Kind::Counter {
        name.push_str("_total");
    }
    name
}

fn labels(attributes: &Attributes) -> String {
    let pair = |(name, value): &(&str, &str)| format!("{}=\"{value}\"", name.replace('.', "_"));
    let pairs: Vec<String> = attributes.iter().map(pair).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use crate::metrics::{ALL, Distribution, Point};

    use super::*;

    fn reading(name: &'static str, unit: &'static str, kind: Kind, points: Vec<Point>) -> Reading {
        Reading {
            name,
            description: "What it is",
            unit,
            kind,
            points,
        }
    }

    #[test]
    fn each_kind_has_its_form() {
        let attributes = Attributes::from_slice(&[("presignd.result", "ok"), ("b", "c")]);
        let counter = Point {
            attributes: attributes.clone(),
            value: Value::Number(7),
        };
        let gauge = Point {
            attributes: Attributes::new(),
            value: Value::Number(-2),
        };
        let mut counts = vec![0; BOUNDS.len() + 1];
        (counts[0], counts[17], counts[18]) = (2, 1, 1);
        let times = Point {
            attributes,
            value: Value::Distribution(Distribution { counts, sum: 12.5 }),
        };
        let readings = [
            reading("presignd.a.bytes", "By", Kind::Counter, vec![counter]),
            reading("presignd.skew", "ms", Kind::Gauge, vec![gauge]),
            reading("presignd.call.duration", "s", Kind::Histogram, vec![times]),
        ];
        let text = of(readings.into_iter());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "# HELP presignd_a_bytes_total What it is",
                "# TYPE presignd_a_bytes_total counter",
                "presignd_a_bytes_total{presignd_result=\"ok\",b=\"c\"} 7",
                "# HELP presignd_skew_milliseconds What it is",
                "# TYPE presignd_skew_milliseconds gauge",
                "presignd_skew_milliseconds -2",
            ]
        );
        let histogram = "presignd_call_duration_seconds";
        for (line, expected) in [
            (
                8,
                "_bucket{presignd_result=\"ok\",b=\"c\",le=\"0.000025\"} 2",
            ),
            (24, "_bucket{presignd_result=\"ok\",b=\"c\",le=\"5\"} 2"),
            (25, "_bucket{presignd_result=\"ok\",b=\"c\",le=\"10\"} 3"),
            (26, "_bucket{presignd_result=\"ok\",b=\"c\",le=\"+Inf\"} 4"),
            (27, "_sum{presignd_result=\"ok\",b=\"c\"} 12.5"),
            (28, "_count{presignd_result=\"ok\",b=\"c\"} 4"),
        ] {
            assert_eq!(lines[line], format!("{histogram}{expected}"));
        }
        assert_eq!(lines.len(), 29);
    }

    #[test]
    fn nothing_of_the_code_needs_to_be_escaped() {
        let text = of(ALL.iter().map(|metric| metric.read()));
        assert!(!text.contains('\\'), "{text}");
        let names = ALL.map(|metric| name(&metric.read()));
        for name in names {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain) && !name.ends_with('_'), "{name}");
        }
    }
}
