//! The two forms in which S3's commands carry a time.
//!
//! Times come as protobuf's `Timestamp` has them: seconds since 1970 UTC, and nanoseconds that always count forward.
//! Invariant: what is written lies within the years 1 to 9999, so it never needs more digits than its format has.

use std::fmt::Write;

use arrayvec::ArrayString;
use jiff::SignedDuration;
use jiff::civil::{DateTime, Weekday, datetime};

/// RFC 3339 in UTC: `1994-11-06T08:49:37Z`, with six or nine digits of a fraction if there is one.
///
/// `None` outside the years 1 to 9999, and where `nanos` is not below a second.
pub fn iso8601(seconds: i64, nanos: i32) -> Option<ArrayString<32>> {
    let time = civil(seconds, nanos)?;
    let mut text = ArrayString::new();
    write!(
        text,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
    .ok()?;
    if nanos % 1000 != 0 {
        write!(text, ".{nanos:09}").ok()?;
    } else if nanos != 0 {
        write!(text, ".{:06}", nanos / 1000).ok()?;
    }
    text.try_push('Z').ok()?;
    Some(text)
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`. The format has no fraction: it is cut off.
///
/// `None` outside the years 1 to 9999, and where `nanos` is not below a second.
pub fn http_date(seconds: i64, nanos: i32) -> Option<ArrayString<32>> {
    let time = civil(seconds, nanos)?;
    let weekday = match time.weekday() {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    };
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.get(usize::from(time.month().unsigned_abs()).checked_sub(1)?)?;
    let mut text = ArrayString::new();
    write!(
        text,
        "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
        time.day(),
        time.year(),
        time.hour(),
        time.minute(),
        time.second()
    )
    .ok()?;
    Some(text)
}

fn civil(seconds: i64, nanos: i32) -> Option<DateTime> {
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    // A jiff::Timestamp would end a day before the year 9999 does, to leave room for time zones.
    let time = datetime(1970, 1, 1, 0, 0, 0, 0)
        .checked_add(SignedDuration::from_secs(seconds))
        .ok()?;
    (time.year() >= 1).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_both_forms() {
        for (seconds, nanos, iso, http) in [
            (
                784_111_777,
                0,
                "1994-11-06T08:49:37Z",
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
            (
                0,
                0,
                "1970-01-01T00:00:00Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                0,
                120_000_000,
                "1970-01-01T00:00:00.120000Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                0,
                1,
                "1970-01-01T00:00:00.000000001Z",
                "Thu, 01 Jan 1970 00:00:00 GMT",
            ),
            (
                -1,
                500_000_000,
                "1969-12-31T23:59:59.500000Z",
                "Wed, 31 Dec 1969 23:59:59 GMT",
            ),
            (
                951_782_400,
                0,
                "2000-02-29T00:00:00Z",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                -62_135_596_800,
                0,
                "0001-01-01T00:00:00Z",
                "Mon, 01 Jan 0001 00:00:00 GMT",
            ),
            (
                253_402_300_799,
                0,
                "9999-12-31T23:59:59Z",
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ] {
            assert_eq!(iso8601(seconds, nanos).as_deref(), Some(iso));
            assert_eq!(http_date(seconds, nanos).as_deref(), Some(http));
        }
    }

    #[test]
    fn refuses_what_the_forms_cannot_say() {
        for (seconds, nanos) in [
            (-62_135_596_801, 0),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (253_402_300_800, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            assert_eq!(iso8601(seconds, nanos), None, "{seconds} {nanos}");
            assert_eq!(http_date(seconds, nanos), None, "{seconds} {nanos}");
        }
    }
}
