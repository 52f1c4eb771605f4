//! Durations, sizes and rates, as people write them.
//!
//! Invariant: a quantity always carries its unit in the text; a bare number is refused rather than guessed at. Durations are
//! whole seconds, but for those of a machine's answers, which may be milliseconds.

use std::num::NonZeroU32;
use std::time::Duration;

use super::mistake::quoted;

/// The most events that a rate may count in its period.
const RATE_COUNT: u32 = 1_000_000_000;

/// How many events are allowed in how much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events in one period, up to 1,000,000,000.
    pub count: NonZeroU32,
    /// The period.
    pub per: RatePeriod,
}

/// The period of a [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePeriod {
    /// `/s`
    Second,
    /// `/m`
    Minute,
    /// `/h`
    Hour,
}

impl RatePeriod {
    /// How long the period is, in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

impl std::fmt::Display for Rate {
    /// As the configuration writes it: `500/s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per = match self.per {
            RatePeriod::Second => 's',
            RatePeriod::Minute => 'm',
            RatePeriod::Hour => 'h',
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl Rate {
    /// What this rate allows in one second, rounded up.
    pub fn per_second(self) -> NonZeroU32 {
        // A count of at least 1, rounded up, is at least 1.
        NonZeroU32::new(self.count.get().div_ceil(self.per.seconds())).unwrap_or(NonZeroU32::MIN)
    }

    /// How long it takes to earn `events` at this rate, in whole seconds, rounded up.
    pub fn time_for(self, events: NonZeroU32) -> Duration {
        let seconds = u64::from(events.get()) * u64::from(self.per.seconds());
        Duration::from_secs(seconds.div_ceil(u64::from(self.count.get())))
    }
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// The duration that a text names: `15m`, `1h30m`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = "write it as `90s`, `15m`, `1h30m` or `7d`";
    let shown = quoted(text);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{shown} has no unit: {form}"));
    }
    if text.contains(['.', ',']) || text.ends_with("ms") {
        return Err(format!("{shown} is not in whole seconds: {form}"));
    }
    let too_long = || format!("{shown} is too long: {form}");
    let mut units = UNITS.iter();
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next();
        // Each unit once, the larger ones first: the search goes on where the last one ended.
        let seconds = units.find(|&&(name, _)| Some(name) == unit);
        let (Some(&(name, seconds)), false) = (seconds, number.is_empty()) else {
            return Err(format!("{shown} is not a duration: {form}"));
        };
        let number: u64 = number.parse().map_err(|_| too_long())?;
        total = number
            .checked_mul(seconds)
            .and_then(|seconds| total.checked_add(seconds))
            .ok_or_else(too_long)?;
        rest = &tail[name.len_utf8()..];
    }
    if text.is_empty() {
        return Err(format!("{shown} is not a duration: {form}"));
    }
    Ok(Duration::from_secs(total))
}

/// A duration that may be in milliseconds: `50ms`, or as [`duration`] has it.
pub(super) fn short_duration(text: &str) -> Result<Duration, String> {
    let Some(number) = text.strip_suffix("ms") else {
        return duration(text);
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits);
    number.map(Duration::from_millis).ok_or_else(|| {
        format!(
            "{} is not a duration: write it as `50ms` or `2s`",
            quoted(text)
        )
    })
}

/// A duration as [`duration`] reads it, in the fewest letters.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, seconds) in UNITS {
        if rest >= seconds {
            text.push_str(&(rest / seconds).to_string());
            text.push(name);
            rest %= seconds;
        }
    }
    text
}

/// `4MiB`, `512KiB`, or bytes as a bare number.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let form = "write it as `4MiB`, `512KiB` or a number of bytes";
    let shown = quoted(text);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1_u64 << 30,
        "TiB" => 1_u64 << 40,
        _ => return Err(format!("{shown} is not a size: {form}")),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{shown} is not a size: {form}"));
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("{shown} is too large: {form}"))
}

/// `500/s`, `30/m`, `1000/h`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let form = "write it as `500/s`, `30/m` or `1000/h`";
    let shown = quoted(text);
    let malformed = || format!("{shown} is not a rate: {form}");
    let (number, period) = text.split_once('/').ok_or_else(malformed)?;
    let per = match period {
        "s" => RatePeriod::Second,
        "m" => RatePeriod::Minute,
        "h" => RatePeriod::Hour,
        _ => return Err(malformed()),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count = number
        .parse::<u32>()
        .ok()
        .filter(|&count| count <= RATE_COUNT)
        .ok_or_else(|| format!("{shown} is too large: at most {RATE_COUNT}"))?;
    let count = NonZeroU32::new(count).ok_or_else(|| {
        format!("{shown} allows nothing: to forbid a command, leave it out of the grants")
    })?;
    Ok(Rate { count, per })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("15m", 900),
            ("1h", 3600),
            ("1h30m", 5400),
            ("7d", 604_800),
            ("1d2h3m4s", 93_784),
            ("1h0m5s", 3605),
            ("007s", 7),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn short_durations_may_be_in_milliseconds() {
        assert_eq!(short_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(short_duration("2s"), Ok(Duration::from_secs(2)));
        for text in [
            "ms",
            "+5ms",
            "1s50ms",
            "1.5ms",
            "99999999999999999999ms",
            "50",
        ] {
            assert!(short_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_explained() {
        for (text, why) in [
            ("900", "no unit"),
            ("0", "no unit"),
            ("1.5h", "not in whole seconds"),
            ("500ms", "not in whole seconds"),
            ("", "not a duration"),
            ("h", "not a duration"),
            ("-5m", "not a duration"),
            ("5 m", "not a duration"),
            ("5M", "not a duration"),
            ("30m1h", "not a duration"),
            ("1h1h", "not a duration"),
            ("5m3", "not a duration"),
            ("1w", "not a duration"),
            ("5µ", "not a duration"),
            ("99999999999999999999s", "too long"),
            ("18446744073709551615d", "too long"),
        ] {
            let message = duration(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("4MiB", 4_194_304),
            ("4194304", 4_194_304),
            ("64KiB", 65_536),
            ("1GiB", 1_073_741_824),
            ("2TiB", 2_199_023_255_552),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "4MB", "4 MiB", "4.5MiB", "-1", "4m", "0x10"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(size("99999999999GiB").unwrap_err().contains("too large"));
    }

    #[test]
    fn rates_are_read() {
        let rate_of = |text| rate(text).map(|rate| (rate.count.get(), rate.per));
        assert_eq!(rate_of("500/s"), Ok((500, RatePeriod::Second)));
        assert_eq!(rate_of("30/m"), Ok((30, RatePeriod::Minute)));
        assert_eq!(rate_of("1000/h"), Ok((1000, RatePeriod::Hour)));
        for text in [
            "", "500", "/s", "500/", "500/d", "1.5/s", "-1/s", "5 /s", "5/s/s", "0/s", "+5/s",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(rate("1000000001/s").unwrap_err().contains("too large"));
        assert!(rate("99999999999999/s").unwrap_err().contains("too large"));
    }

    #[test]
    fn a_rate_knows_its_share_of_a_second() {
        let share = |text| rate(text).unwrap().per_second().get();
        assert_eq!(share("500/s"), 500);
        assert_eq!(share("6000/m"), 100);
        assert_eq!(share("30/m"), 1);
        assert_eq!(share("1/h"), 1);
    }

    #[test]
    fn a_rate_knows_how_long_a_burst_takes() {
        let most = NonZeroU32::new(u32::MAX).unwrap();
        assert_eq!(
            rate("1/h").unwrap().time_for(most),
            Duration::from_secs(u64::from(u32::MAX) * 3600)
        );
        assert_eq!(
            rate("500/s")
                .unwrap()
                .time_for(NonZeroU32::new(501).unwrap()),
            Duration::from_secs(2)
        );
    }

    proptest! {
        #[test]
        fn a_duration_is_written_as_it_is_read(seconds in 0_u64..10_000_000_000) {
            let value = Duration::from_secs(seconds);
            prop_assert_eq!(duration(&duration_text(value)), Ok(value));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (duration(&text), size(&text), rate(&text));
        }
    }
}
