//! Counts that only grow.

use super::reading::{Attributes, Kind, Metric, Point, Reading, number};
use super::shard::Sharded;

/// A count that only grows, for each of `N` places.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    name: &'static str,
    description: &'static str,
    unit: &'static str,
    labels: Labels<N>,
    counts: Sharded<N>,
}

/// The attributes of places.
#[derive(Debug, Clone, Copy)]
enum Labels<const N: usize> {
    /// One attribute, and its values.
    Values(&'static str, [&'static str; N]),
    /// Those that this says; of places where nothing was counted, none are read, save where there is only one.
    Of(fn(usize) -> Attributes),
}

impl<const N: usize> Counter<N> {
    /// Counts by the value of one attribute.
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        attribute: &'static str,
        values: [&'static str; N],
    ) -> Self {
        Self {
            name,
            description,
            unit: "1",
            labels: Labels::Values(attribute, values),
            counts: Sharded::new(),
        }
    }

    /// Counts by places whose attributes `labels` says.
    pub(super) const fn of_places(
        name: &'static str,
        description: &'static str,
        unit: &'static str,
        labels: fn(usize) -> Attributes,
    ) -> Self {
        Self {
            name,
            description,
            unit,
            labels: Labels::Of(labels),
            counts: Sharded::new(),
        }
    }

    /// Counts one more in this place.
    pub fn count(&self, place: usize) {
        self.add(place, 1);
    }

    /// Counts so many more in this place.
    pub fn add(&self, place: usize, number: u64) {
        self.counts.add(place, number);
    }

    /// Raises the count to what was counted elsewhere. To be called from one thread at a time.
    pub fn raise_to(&self, place: usize, count: u64) {
        self.add(place, count.saturating_sub(self.of(place)));
    }

    /// The count in this place.
    #[must_use]
    pub fn of(&self, place: usize) -> u64 {
        self.counts.sum(place)
    }

    /// The counts, by the values of the attribute.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let values = match self.labels {
            Labels::Values(_, values) => values,
            Labels::Of(_) => [""; N],
        };
        let counts = values.into_iter().enumerate();
        counts.map(|(place, value)| (value, self.of(place)))
    }
}

impl<const N: usize> Metric for Counter<N> {
    fn read(&self) -> Reading {
        let point = |place: usize| {
            let count = self.of(place);
            let attributes = match &self.labels {
                Labels::Values(attribute, values) => {
                    Attributes::from_slice(&[(*attribute, *values.get(place)?)])
                }
                Labels::Of(_) if count == 0 && N > 1 => return None,
                Labels::Of(labels) => labels(place),
            };
            let value = number(count);
            Some(Point { attributes, value })
        };
        Reading {
            name: self.name,
            description: self.description,
            unit: self.unit,
            kind: Kind::Counter,
            points: (0..N).filter_map(point).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reading::Value;
    use super::*;

    #[test]
    fn every_value_is_read_and_of_many_places_those_that_count() {
        let few: Counter<2> = Counter::new("a", "", "presignd.b", ["x", "y"]);
        few.count(1);
        few.count(2);
        assert_eq!(few.counts().collect::<Vec<_>>(), [("x", 0), ("y", 1)]);
        let points = few.read().points;
        assert_eq!(points.len(), 2);
        assert_eq!(points[1].attributes.as_slice(), [("presignd.b", "y")]);
        assert_eq!(points[1].value, Value::Number(1));

        let many: Counter<9> = Counter::of_places("a", "", "1", |_| Attributes::new());
        assert!(many.read().points.is_empty());
        many.add(8, 4);
        assert_eq!(many.read().points[0].value, Value::Number(4));
    }

    #[test]
    fn what_is_counted_elsewhere_never_sinks() {
        let count: Counter<1> = Counter::of_places("a", "", "1", |_| Attributes::new());
        for (told, expected) in [(3, 3), (3, 3), (7, 7), (2, 7)] {
            count.raise_to(0, told);
            assert_eq!(count.of(0), expected);
        }
    }
}
