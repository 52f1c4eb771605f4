//! Metrics in OTLP's words.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/metrics/data-model/>. All that accumulates does so from the start of the process.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric, number_data_point,
};
use prost::encoding::message;

use crate::metrics::{Attributes, BOUNDS, Distribution, Kind, Point, Reading, Value};

/// Field 2 of a `ScopeMetrics`.
const METRICS: u32 = 2;

/// Fields `metrics` of a `ScopeMetrics`.
pub(super) fn encoded(
    readings: impl Iterator<Item = Reading>,
    began: SystemTime,
    now: SystemTime,
) -> Vec<u8> {
    let times = [began, now].map(nanos);
    let mut bytes = Vec::new();
    for reading in readings {
        // One without a point is not valid.
        if !reading.points.is_empty() {
            message::encode(METRICS, &metric(&reading, times), &mut bytes);
        }
    }
    bytes
}

fn metric(reading: &Reading, times: [u64; 2]) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let points = reading.points.iter();
    let numbers = points.clone().filter_map(|point| number(point, times));
    let data = match reading.kind {
        Kind::Counter | Kind::Level => metric::Data::Sum(Sum {
            data_points: numbers.collect(),
            aggregation_temporality: cumulative,
            is_monotonic: reading.kind == Kind::Counter,
        }),
        Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers.collect(),
        }),
        Kind::Histogram => metric::Data::Histogram(Histogram {
            data_points: points.filter_map(|point| durations(point, times)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: reading.name.to_owned(),
        description: reading.description.to_owned(),
        unit: reading.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(point: &Point, [began, now]: [u64; 2]) -> Option<NumberDataPoint> {
    let Value::Number(number) = point.value else {
        return None;
    };
    Some(NumberDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: began,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsInt(number)),
        ..NumberDataPoint::default()
    })
}

fn durations(point: &Point, [began, now]: [u64; 2]) -> Option<HistogramDataPoint> {
    let Value::Distribution(Distribution { counts, sum }) = &point.value else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: began,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(attributes: &Attributes) -> Vec<KeyValue> {
    let pair = |(name, value): &(&str, &str)| KeyValue {
        key: (*name).to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue((*value).to_owned())),
        }),
        ..KeyValue::default()
    };
    attributes.iter().map(pair).collect()
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
