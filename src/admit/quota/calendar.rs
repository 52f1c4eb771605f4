//! Days and months of the calendar, as stretches of time. Pure.
//!
//! A day begins where the clocks of its time zone first show that date, so it has 23 to 25 hours where they change.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, ZonedDateTime};

use super::Period;

/// One of them, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Its first second. Names it.
    pub begins: i64,
    /// The first second of the next.
    pub ends: i64,
}

impl Stretch {
    /// The one that holds this time. `None`: beyond the year 9999.
    #[must_use]
    pub fn at(now: SystemTime, period: Period, zone: &TimeZone) -> Option<Self> {
        let now = Timestamp::from_second(seconds(now)).ok()?;
        let begins = first_moment(&now.to_zoned_datetime(zone.clone()), period)?;
        let next = match period {
            Period::Day => begins.checked_add(1.day()),
            Period::Month => begins.checked_add(1.month()),
        };
        // Where the day began late, the next need not.
        let ends = first_moment(&next.ok()?, period)?;
        Some(Self {
            begins: begins.timestamp().as_second(),
            ends: ends.timestamp().as_second(),
        })
    }

    /// Whether the time is past its end.
    #[must_use]
    pub fn is_over(self, now: SystemTime) -> bool {
        seconds(now) >= self.ends
    }

    /// How long until it ends.
    #[must_use]
    pub fn left(self, now: SystemTime) -> Duration {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let ends = Duration::from_secs(u64::try_from(self.ends).unwrap_or(0));
        ends.saturating_sub(since.unwrap_or_default())
    }
}

fn first_moment(time: &ZonedDateTime, period: Period) -> Option<ZonedDateTime> {
    match period {
        Period::Day => time.start_of_day().ok(),
        Period::Month => time.first_of_month().ok()?.start_of_day().ok(),
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().try_into().unwrap()
    }

    #[test]
    fn days_and_months_are_those_of_their_time_zone() {
        use Period::{Day, Month};
        let cases = [
            (
                "UTC",
                Day,
                "2026-01-02T03:04:05Z",
                "2026-01-02T00:00:00Z",
                "2026-01-03T00:00:00Z",
            ),
            (
                "UTC",
                Day,
                "2026-01-02T00:00:00Z",
                "2026-01-02T00:00:00Z",
                "2026-01-03T00:00:00Z",
            ),
            (
                "UTC",
                Month,
                "2028-02-29T23:59:59Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                "UTC",
                Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                "Europe/Berlin",
                Day,
                "2026-01-01T23:30:00Z",
                "2026-01-01T23:00:00Z",
                "2026-01-02T23:00:00Z",
            ),
            // The clocks go forward: 23 hours.
            (
                "Europe/Berlin",
                Day,
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // And back: 25 hours.
            (
                "Europe/Berlin",
                Day,
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "America/New_York",
                Month,
                "2026-04-01T03:59:59Z",
                "2026-03-01T05:00:00Z",
                "2026-04-01T04:00:00Z",
            ),
            (
                "Asia/Kathmandu",
                Day,
                "2026-05-05T18:14:59Z",
                "2026-05-04T18:15:00Z",
                "2026-05-05T18:15:00Z",
            ),
            // Midnight itself is skipped here.
            (
                "America/Santiago",
                Day,
                "2026-09-06T12:00:00Z",
                "2026-09-06T04:00:00Z",
                "2026-09-07T03:00:00Z",
            ),
        ];
        for (zone, period, now, begins, ends) in cases {
            let zone = TimeZone::get(zone).unwrap();
            let stretch = Stretch::at(time(now), period, &zone).unwrap();
            let expected = Stretch {
                begins: seconds(time(begins)),
                ends: seconds(time(ends)),
            };
            assert_eq!(stretch, expected, "{zone:?} {now}");
        }
    }

    proptest::proptest! {
        /// Every second is in one stretch, and where it ends the next begins.
        #[test]
        fn stretches_follow_one_another(second in 0_i64..4_000_000_000, month: bool) {
            let zone = TimeZone::get("America/Santiago").unwrap();
            let period = if month { Period::Month } else { Period::Day };
            let at = |second: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(second.cast_unsigned());
            let stretch = Stretch::at(at(second), period, &zone).unwrap();
            proptest::prop_assert!((stretch.begins..stretch.ends).contains(&second));
            proptest::prop_assert_eq!(Stretch::at(at(stretch.ends - 1), period, &zone).unwrap(), stretch);
            proptest::prop_assert_eq!(Stretch::at(at(stretch.ends), period, &zone).unwrap().begins, stretch.ends);
        }
    }
}
