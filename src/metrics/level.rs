//! Numbers that go up and down.

use std::sync::atomic::{AtomicI64, Ordering};

use super::reading::{Attributes, Kind, Metric, Point, Reading, Value};
use super::shard::Sharded;

/// How many there are now of what comes and goes.
#[derive(Debug)]
pub struct Level {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    count: Sharded<1>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Held(&'static Level, u64);

impl Level {
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        unit: &'static str,
    ) -> Self {
        Self {
            name,
            description,
            unit,
            count: Sharded::new(),
        }
    }

    /// One more, for as long as this is held.
    #[must_use]
    pub fn hold(&'static self) -> Held {
        self.hold_many(1)
    }

    /// So many more, for as long as this is held.
    #[must_use]
    pub fn hold_many(&'static self, number: u64) -> Held {
        self.count.add(0, number);
        Held(self, number)
    }

    /// How many there are.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.count.sum(0).cast_signed()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.count.add(0, self.1.wrapping_neg());
    }
}

impl Metric for Level {
    fn read(&self) -> Reading {
        Reading {
            name: self.name,
            description: self.description,
            unit: self.unit,
            kind: Kind::Level,
            points: vec![Point {
                attributes: Attributes::new(),
                value: Value::Number(self.now()),
            }],
        }
    }
}

/// A number as it was found last.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    number: AtomicI64,
}

impl Gauge {
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        unit: &'static str,
    ) -> Self {
        Self {
            name,
            description,
            unit,
            number: AtomicI64::new(0),
        }
    }

    /// It is this now.
    pub fn set(&self, number: u64) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.number.store(number, Ordering::Relaxed);
    }
}

impl Metric for Gauge {
    fn read(&self) -> Reading {
        Reading {
            name: self.name,
            description: self.description,
            unit: self.unit,
            kind: Kind::Gauge,
            points: vec![Point {
                attributes: Attributes::new(),
                value: Value::Number(self.number.load(Ordering::Relaxed)),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_wherever_it_is_let_go() {
        static LEVEL: Level = Level::new("a", "", "1");
        let (one, many) = (LEVEL.hold(), LEVEL.hold_many(5));
        assert_eq!(LEVEL.now(), 6);
        std::thread::spawn(move || drop(many)).join().unwrap();
        assert_eq!(LEVEL.now(), 1);
        drop(one);
        assert_eq!(LEVEL.now(), 0);
    }
}
