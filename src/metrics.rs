//! What is counted of the process, for whoever watches it: names, and the numbers behind them.
//!
//! Counting is one addition, on no lock; telemetry reads the numbers when it sends them. Invariant: attributes come from short
//! lists that stand here, and never from a request, so that the number of series is bounded.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows, for each value of one attribute.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    /// The name, by the conventions of OpenTelemetry: `presignd.limits.refused`.
    pub name: &'static str,
    /// What is counted, in a sentence.
    pub description: &'static str,
    /// The attribute.
    pub attribute: &'static str,
    /// Its values.
    pub values: [&'static str; N],
    counts: [AtomicU64; N],
}

impl<const N: usize> Counter<N> {
    const fn new(
        name: &'static str,
        description: &'static str,
        attribute: &'static str,
        values: [&'static str; N],
    ) -> Self {
        Self {
            name,
            description,
            attribute,
            values,
            counts: [const { AtomicU64::new(0) }; N],
        }
    }

    /// Counts one more of the value in this place.
    pub fn count(&self, place: usize) {
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts, by the values.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        self.values.iter().copied().zip(counts)
    }
}

/// Configurations that were read while presignd served: [`GOOD`] ones that serve now, and [`BROKEN`] ones that do not.
pub static RELOADS: Counter<2> = Counter::new(
    "presignd.configuration.reloads",
    "Configurations that were read while presignd served",
    "result",
    ["good", "broken"],
);
/// The place in [`RELOADS`].
pub const GOOD: usize = 0;
/// The place in [`RELOADS`].
pub const BROKEN: usize = 1;

/// Requests that a limit had no room for: [`ENFORCED`] ones were refused, [`SHADOW`] ones let through.
pub static LIMITS_REFUSED: Counter<2> = Counter::new(
    "presignd.limits.refused",
    "Requests that a limit had no room for",
    "mode",
    ["enforced", "shadow"],
);
/// The place in [`LIMITS_REFUSED`].
pub const ENFORCED: usize = 0;
/// The place in [`LIMITS_REFUSED`].
pub const SHADOW: usize = 1;
