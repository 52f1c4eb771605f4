//! The moment of signing, split where Signature Version 4 splits it: the day goes into the key, the time of day does not.
//!
//! Invariant: the two halves together are one UTC second between 1970 and 9999.

use std::time::{SystemTime, UNIX_EPOCH};

use arrayvec::ArrayString;
use jiff::Timestamp;
use jiff::tz::Offset;

const SECONDS_PER_DAY: u64 = 86_400;

/// A UTC second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SigningTime {
    /// The UTC day.
    pub(super) day: Day,
    /// Seconds since midnight.
    second: u32,
}

/// A UTC day, as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day(u32);

impl SigningTime {
    /// Fractions of a second are cut off. Times before 1970 count as 1970, and those after 9999 as its end: both lie outside
    /// what a signature can say, and every store refuses them as expired or skewed.
    pub(super) fn new(time: SystemTime) -> Self {
        let latest = Timestamp::MAX.as_second().unsigned_abs();
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().min(latest));
        Self {
            day: Day(u32::try_from(seconds / SECONDS_PER_DAY).unwrap_or(u32::MAX)),
            second: u32::try_from(seconds % SECONDS_PER_DAY).unwrap_or(0),
        }
    }

    /// What follows the `T` in `X-Amz-Date`: `hhmmssZ`.
    pub(super) fn time_of_day(self) -> ArrayString<7> {
        let [hour, minute, second] = self.clock();
        written([
            hour[0], hour[1], minute[0], minute[1], second[0], second[1], b'Z',
        ])
    }

    /// The basic format of ISO 8601: `yyyymmddThhmmssZ`.
    pub(super) fn basic(self) -> ArrayString<16> {
        let mut text = ArrayString::new();
        text.push_str(&self.day.date());
        text.push('T');
        text.push_str(&self.time_of_day());
        text
    }

    /// The extended format of ISO 8601: `yyyy-mm-ddThh:mm:ssZ`.
    pub(super) fn extended(self) -> ArrayString<20> {
        let [century, year, month, day] = self.day.calendar();
        let [hour, minute, second] = self.clock();
        let mut text = *b"yyyy-mm-ddThh:mm:ssZ";
        let parts = [century, year, month, day, hour, minute, second];
        for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
            text[at] = part[0];
            text[at + 1] = part[1];
        }
        written(text)
    }

    /// Hour, minute and second.
    fn clock(self) -> [[u8; 2]; 3] {
        [self.second / 3600, self.second / 60 % 60, self.second % 60].map(two_digits)
    }
}

impl Day {
    /// `yyyymmdd`.
    pub(super) fn date(self) -> ArrayString<8> {
        let [century, year, month, day] = self.calendar();
        written([
            century[0], century[1], year[0], year[1], month[0], month[1], day[0], day[1],
        ])
    }

    /// Century, year of it, month and day.
    fn calendar(self) -> [[u8; 2]; 4] {
        let seconds = i64::from(self.0) * SECONDS_PER_DAY.cast_signed();
        let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = Offset::UTC.to_datetime(timestamp).date();
        let year = u32::from(date.year().unsigned_abs());
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        [year / 100, year % 100, month.into(), day.into()].map(two_digits)
    }
}

/// The digits of a number below 100.
fn two_digits(number: u32) -> [u8; 2] {
    // Of a remainder of ten, nothing is cut off.
    #[expect(clippy::cast_possible_truncation, reason = "each is below ten")]
    [number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8)
}

/// ASCII as text.
fn written<const N: usize>(ascii: [u8; N]) -> ArrayString<N> {
    ArrayString::from_byte_string(&ascii).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    fn written(time: SystemTime) -> String {
        let time = SigningTime::new(time);
        time.basic().to_string()
    }

    #[test]
    fn writes_the_basic_format_of_iso_8601() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_369_353_600, "20130524T000000Z"),
            (1_369_353_599, "20130523T235959Z"),
            (1_735_689_599, "20241231T235959Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(written(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        let fraction = UNIX_EPOCH + Duration::from_millis(1_369_353_599_999);
        assert_eq!(written(fraction), "20130523T235959Z");
        assert_eq!(
            SigningTime::new(fraction).extended().as_str(),
            "2013-05-23T23:59:59Z"
        );
    }

    #[test]
    fn stays_within_what_the_format_can_say() {
        assert_eq!(
            written(UNIX_EPOCH - Duration::from_secs(1)),
            "19700101T000000Z"
        );
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(written(far).starts_with("9999"), "{}", written(far));
    }
}
