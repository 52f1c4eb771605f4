//! What a metric says at a moment, for whoever sends it on.

use smallvec::SmallVec;

/// Names and values of attributes.
pub type Attributes = SmallVec<[(&'static str, &'static str); 4]>;

/// Something that is counted or measured.
pub trait Metric: Sync {
    /// What it says now.
    fn read(&self) -> Reading;
}

/// A metric at a moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The name, by the conventions of OpenTelemetry: `presignd.limits.refused`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// The unit in UCUM; in braces what is counted.
    pub unit: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Its values, each with other attributes.
    pub points: Vec<Point>,
}

/// How values behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, from the start of the process.
    Counter,
    /// They go up and down, and those of several processes add up.
    Level,
    /// They are what they are.
    Gauge,
    /// They are distributions, that only grow.
    Histogram,
}

/// One value.
#[derive(Debug, Clone)]
pub struct Point {
    /// What it is the value of.
    pub attributes: Attributes,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// Many durations.
    Distribution(Distribution),
}

/// How long things took.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// How many took no longer than each of [`BOUNDS`](super::BOUNDS) and longer than the one before; at last, those beyond.
    pub counts: Vec<u64>,
    /// All of it, in seconds.
    pub sum: f64,
}

/// A count, as it is sent: no process lives to count further.
pub(super) fn number(count: u64) -> Value {
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}
