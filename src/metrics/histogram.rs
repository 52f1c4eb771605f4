//! How long things take.

use std::time::Duration;

use super::reading::{Attributes, Distribution, Kind, Metric, Point, Reading, Value};
use super::shard::Sharded;

/// The upper bounds of the buckets, in seconds: what is decided in memory takes microseconds, and what waits for STS, seconds.
pub const BOUNDS: [f64; 18] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// The same, in nanoseconds.
const NANOS: [u64; BOUNDS.len()] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// With the one of what is beyond.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations in buckets, for each of `N` places.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    name: &'static str,
    description: &'static str,
    labels: fn(usize) -> Attributes,
    /// For each place the buckets, and at last the sum in nanoseconds.
    places: [Sharded<{ BUCKETS + 1 }>; N],
}

impl<const N: usize> Histogram<N> {
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        labels: fn(usize) -> Attributes,
    ) -> Self {
        Self {
            name,
            description,
            labels,
            places: [const { Sharded::new() }; N],
        }
    }

    /// Something took so long, in this place.
    pub fn took(&self, place: usize, time: Duration) {
        let Some(of_place) = self.places.get(place) else {
            return;
        };
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // What is fast is found first.
        let bucket = NANOS.iter().position(|bound| nanos <= *bound);
        of_place.add(bucket.unwrap_or(BOUNDS.len()), 1);
        of_place.add(BUCKETS, nanos);
    }
}

impl<const N: usize> Metric for Histogram<N> {
    fn read(&self) -> Reading {
        let point = |(place, numbers): (usize, &Sharded<{ BUCKETS + 1 }>)| {
            let counts: Vec<u64> = (0..BUCKETS).map(|bucket| numbers.sum(bucket)).collect();
            let some = counts.iter().any(|count| *count > 0);
            some.then(|| Point {
                attributes: (self.labels)(place),
                value: Value::Distribution(Distribution {
                    counts,
                    sum: Duration::from_nanos(numbers.sum(BUCKETS)).as_secs_f64(),
                }),
            })
        };
        Reading {
            name: self.name,
            description: self.description,
            unit: "s",
            kind: Kind::Histogram,
            points: self.places.iter().enumerate().filter_map(point).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_same_in_both_units_and_rise() {
        for (seconds, nanos) in BOUNDS.iter().zip(NANOS) {
            assert_eq!(
                Duration::from_secs_f64(*seconds),
                Duration::from_nanos(nanos)
            );
        }
        assert!(NANOS.is_sorted());
    }

    #[test]
    fn a_duration_is_in_the_bucket_that_ends_with_it_or_after_it() {
        static TIMES: Histogram<2> = Histogram::new("a", "", |_| Attributes::new());
        for nanos in [0, 25_000, 25_001, 10_000_000_000, 10_000_000_001] {
            TIMES.took(1, Duration::from_nanos(nanos));
        }
        TIMES.took(2, Duration::from_secs(1));
        let points = TIMES.read().points;
        assert_eq!(
            points.len(),
            1,
            "where nothing was counted, nothing is said"
        );
        let Value::Distribution(times) = &points[0].value else {
            panic!("{points:?}");
        };
        let mut expected = [0; BUCKETS];
        (expected[0], expected[1], expected[17], expected[18]) = (2, 1, 1, 1);
        assert_eq!(times.counts, expected);
        assert!((times.sum - 20.000_050_002).abs() < 1e-9, "{}", times.sum);
    }
}
