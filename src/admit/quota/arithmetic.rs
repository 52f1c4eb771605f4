//! The arithmetic of counts that replicas share: what the script in Redis does, in Rust.
//!
//! A count is one number that is used up: units of a window, or time of a rate, which drains away as it passes (GCRA). Time is in
//! nanoseconds, or in microseconds where a burst is more than 104 days of it. Invariant: every number is below 2^53, so that a double
//! holds it exactly and the script and this file agree to the last unit. A `most` beyond that counts as that: nine petabytes.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use super::calendar::Stretch;
use super::{Level, Measure, Period, Short};

/// The largest number that is counted.
pub const MOST: u64 = (1 << 53) - 1;

/// What a measure allows at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// How much may be used.
    pub room: u64,
    /// What one unit uses: time of a rate, or 1 of a window.
    pub unit: u64,
    /// How much drains away in a microsecond: 1000 where time is in nanoseconds, 1 where it is in microseconds, and 0 of a window.
    pub drain: u64,
    /// Of a window: when it starts and ends, in microseconds since 1970.
    pub window: Option<(u64, u64)>,
}

/// What is used, as of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// How much of the room.
    pub used: u64,
    /// When, in microseconds since 1970.
    pub at: u64,
}

impl Bound {
    /// What the measure allows at a time, in microseconds since 1970.
    #[must_use]
    pub fn of(measure: &Measure, now: u64) -> Self {
        match measure {
            Measure::Rate { interval, burst } => {
                let nanoseconds = interval.as_nanos().max(1);
                let fits = nanoseconds.saturating_mul((*burst).into()) <= MOST.into();
                // Rounded up: never faster than it says.
                let (unit, drain) = if fits {
                    (whole(nanoseconds), 1000)
                } else {
                    (whole(nanoseconds.div_ceil(1000)), 1)
                };
                Self {
                    room: unit.saturating_mul(*burst).min(MOST),
                    unit,
                    drain,
                    window: None,
                }
            }
            Measure::Window { most, period, zone } => Self {
                room: (*most).min(MOST),
                unit: 1,
                drain: 0,
                window: Some(window(*period, zone, now)),
            },
        }
    }

    /// Whether the measure allows what it did when this was its bound, whatever the time is, if it counts the same days or months.
    #[must_use]
    pub fn is_still(&self, measure: &Measure) -> bool {
        match measure {
            Measure::Rate { .. } => *self == Self::of(measure, 0),
            Measure::Window { most, .. } => self.window.is_some() && self.room == (*most).min(MOST),
        }
    }

    /// What so many units use. More than [`MOST`] never fits anywhere, and is cut to one more than that.
    #[must_use]
    pub fn cost(&self, amount: u64) -> u64 {
        amount.saturating_mul(self.unit).min(MOST + 1)
    }

    /// How many units the whole room holds.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.room / self.unit
    }

    /// Whether what one bound counts is what the other does, however much room there is.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        (self.unit, self.drain, self.window) == (other.unit, other.drain, other.window)
    }

    /// Where a count stands of whose use so many units are only held.
    #[must_use]
    pub fn level_holding(&self, used: u64, held: u64, now: u64) -> Level {
        self.level(used.saturating_sub(self.cost(held)), now)
    }

    /// Whether this was of a window that has ended.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.window.is_some_and(|(_, end)| now >= end)
    }

    /// What is used at a later time.
    #[must_use]
    pub fn drained(&self, count: Used, now: u64) -> Used {
        let at = count.at.max(now);
        let drained = now.saturating_sub(count.at).saturating_mul(self.drain);
        let used = count.used.saturating_sub(drained);
        Used { used, at }
    }

    /// Where a count stands that is used as far as this, at this time.
    #[must_use]
    pub fn level(&self, used: u64, now: u64) -> Level {
        Level {
            left: self.room.saturating_sub(used) / self.unit,
            reset: self.ends(now, used),
        }
    }

    /// Why so much does not fit, now. `None`: it does.
    #[must_use]
    pub fn short(&self, used: u64, cost: u64, now: u64) -> Option<Short> {
        if used + cost <= self.room {
            return None;
        }
        Some(if cost > self.room {
            Short::Never
        } else {
            Short::Until(self.ends(now, used + cost - self.room))
        })
    }

    /// How long until so much has drained away: of a window, until it ends.
    fn ends(&self, now: u64, used: u64) -> Duration {
        match self.window {
            Some((_, end)) => Duration::from_micros(end.saturating_sub(now)),
            None if self.drain == 1 => Duration::from_micros(used),
            None => Duration::from_nanos(used),
        }
    }
}

/// The window of the calendar that a time is in, in microseconds since 1970. Where the calendar ends, the last window goes on.
fn window(period: Period, zone: &TimeZone, now: u64) -> (u64, u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(now.min(MOST));
    let whole = |seconds| {
        u64::try_from(seconds)
            .unwrap_or(0)
            .saturating_mul(1_000_000)
    };
    Stretch::at(time, period, zone).map_or((0, MOST), |stretch| {
        (whole(stretch.begins), whole(stretch.ends).min(MOST))
    })
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_the_calendars_and_end_with_it() {
        let noon = 1_781_092_800_000_000;
        let day = (noon - 43_200_000_000, noon + 43_200_000_000);
        assert_eq!(window(Period::Day, &TimeZone::UTC, noon), day);
        assert_eq!(window(Period::Day, &TimeZone::UTC, day.0), day);
        assert_eq!(window(Period::Day, &TimeZone::UTC, day.1 - 1), day);
        let most = window(Period::Day, &TimeZone::UTC, u64::MAX);
        assert!(most.0 < MOST && most.1 == MOST, "{most:?}");
        let measure = Measure::Window {
            most: 5,
            period: Period::Day,
            zone: TimeZone::UTC,
        };
        let bound = Bound::of(&measure, noon);
        let half = Duration::from_hours(12);
        assert_eq!(bound.short(3, 3, noon), Some(Short::Until(half)));
        let level = bound.level(3, noon);
        assert_eq!((level.left, level.reset), (2, half));
    }

    #[test]
    fn numbers_beyond_what_is_counted_exactly_are_cut() {
        let rate = |nanoseconds, burst| Measure::Rate {
            interval: Duration::from_nanos(nanoseconds),
            burst,
        };
        let bound = Bound::of(&rate(1, MOST), 0);
        assert_eq!((bound.room, bound.unit, bound.drain), (MOST, 1, 1000));
        assert_eq!(bound.short(0, bound.cost(u64::MAX), 0), Some(Short::Never));
        assert_eq!(bound.short(0, bound.cost(MOST), 0), None);
        let at_once = Some(Short::Until(Duration::from_nanos(1)));
        assert_eq!(bound.short(1, bound.cost(MOST), 0), at_once);
        // Slower ones are counted in microseconds: a year of one an hour fits.
        let hour = 3_600_000_000_000;
        let bound = Bound::of(&rate(hour, 366 * 24), 0);
        assert_eq!((bound.units(), bound.drain), (366 * 24, 1));
        let later = Some(Short::Until(Duration::from_hours(1)));
        assert_eq!(bound.short(bound.room, bound.unit, 0), later);
        assert_eq!(Bound::of(&rate(0, 5), 0).unit, 1);
        assert_eq!(Bound::of(&rate(1, u64::MAX), 0).room, MOST);
    }

    #[test]
    fn a_rate_drains_with_time_and_not_when_time_goes_back() {
        let second = Duration::from_secs(1);
        let bound = Bound::of(
            &Measure::Rate {
                interval: second,
                burst: 3,
            },
            0,
        );
        let count = Used {
            used: bound.cost(2),
            at: 10_000_000,
        };
        let used = |now| bound.drained(count, now);
        assert_eq!(used(10_500_000).used, 1_500_000_000);
        assert_eq!(used(99_000_000).used, 0);
        assert_eq!(used(3_000_000), count);
        let level = bound.level(1_500_000_000, 10_500_000);
        assert_eq!((level.left, level.reset), (1, second * 3 / 2));
    }
}
