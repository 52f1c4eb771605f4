//! What limits say, and what is asked of them.

use std::time::Duration;

use jiff::tz::TimeZone;
use presignd::admit::grant::CommandSelector;
use presignd::admit::quota::limit::{Cost, Terms, Unit, WhenAway};
use presignd::admit::quota::{Measure, Period};
use presignd::admit::upload::Upload;
use presignd::sign::operations::operation;

/// Signing `GetObject` so often.
pub(super) fn get(urls: u64) -> Cost {
    cost("GetObject", urls)
}

/// Signing this so often.
pub(super) fn cost(name: &str, urls: u64) -> Cost {
    Cost {
        operation: operation(name).expect("an operation"),
        urls,
        upload: Upload::Nothing,
    }
}

pub(super) fn commands(names: &[&str]) -> Vec<CommandSelector> {
    let parse = |name: &&str| CommandSelector::parse(name).expect("a command");
    names.iter().map(parse).collect()
}

/// A limit of URLs that counts all commands, for the whole tenant.
pub(super) fn limit(name: &str, measure: Measure) -> Terms {
    Terms {
        name: name.into(),
        commands: Vec::new(),
        weights: Vec::new(),
        unit: Unit::Urls,
        measure,
        each_caller: false,
        shadow: false,
        when_away: WhenAway::Closed,
    }
}

pub(super) fn shadow(name: &str, measure: Measure) -> Terms {
    Terms {
        shadow: true,
        ..limit(name, measure)
    }
}

pub(super) fn each_caller(name: &str, measure: Measure) -> Terms {
    Terms {
        each_caller: true,
        ..limit(name, measure)
    }
}

/// One every so many minutes.
pub(super) fn rate(minutes: u64, burst: u64) -> Measure {
    let interval = Duration::from_mins(minutes);
    Measure::Rate { interval, burst }
}

pub(super) fn daily(most: u64) -> Measure {
    window(most, Period::Day, "UTC")
}

pub(super) fn monthly(most: u64) -> Measure {
    window(most, Period::Month, "UTC")
}

pub(super) fn window(most: u64, period: Period, zone: &str) -> Measure {
    let zone = TimeZone::get(zone).expect("a time zone");
    Measure::Window { most, period, zone }
}
