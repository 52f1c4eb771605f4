//! So much in each day or month of the calendar.

use std::time::Duration;

use presignd::admit::quota::Period;
use presignd::admit::quota::arithmetic::MOST;

use super::terms::{daily, get, limit, monthly, window};
use super::world::{ACME, MINUTE, Store, World};

const HALF: Duration = Duration::from_secs(30);
const DAY: u64 = 24;

/// Half a minute less than so many hours: where scenarios begin, so much is left of them.
const fn nearly(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600 - 30)
}

/// A minute less.
const fn not_quite(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600 - 60)
}

pub(super) async fn a_day_holds_so_much_until_its_midnight(store: Store) {
    let world = World::with(store, vec![limit("daily", daily(10))]).await;
    let midnight = nearly(DAY / 2);
    world.take(ACME, 7).await;
    world.later(ACME, 4, "daily", midnight).await;
    world.never(ACME, 11, "daily", 10).await;
    world.take(ACME, 3).await;
    world.later(ACME, 1, "daily", midnight).await;
    let left = world.look(ACME, get(1)).await;
    assert!(world.near(left[0].retry_after.expect("none is left"), midnight));
    world.advance(not_quite(DAY / 2)).await;
    world.later(ACME, 1, "daily", HALF).await;
    world.advance(MINUTE).await;
    assert_eq!(world.left(ACME).await, [10]);
    world.take(ACME, 10).await;
    world.later(ACME, 1, "daily", nearly(DAY)).await;
    // One day later, nobody having asked meanwhile, and more.
    world.advance(Duration::from_hours(DAY * 3)).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "daily", nearly(DAY)).await;
}

pub(super) async fn a_month_ends_with_its_last_day(store: Store) {
    // A year with a day more.
    let start = "2028-02-27T12:00:30Z";
    let world = World::starting(store, start, vec![limit("monthly", monthly(10))]).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "monthly", nearly(DAY * 5 / 2)).await;
    world.advance(not_quite(DAY * 5 / 2)).await;
    world.later(ACME, 1, "monthly", HALF).await;
    world.advance(MINUTE).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "monthly", nearly(DAY * 31)).await;
}

/// Uses a day up half a minute after it began, and looks when the next one does.
async fn day_of(store: Store, start: &str, zone: &str, length: u64) {
    let limits = vec![limit("daily", window(10, Period::Day, zone))];
    let world = World::starting(store, start, limits).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "daily", nearly(length)).await;
    world.advance(not_quite(length)).await;
    world.later(ACME, 1, "daily", HALF).await;
    world.advance(MINUTE).await;
    assert_eq!(world.left(ACME).await, [10]);
    world.take(ACME, 10).await;
    world.refused(ACME, 1).await;
}

pub(super) async fn midnight_is_that_of_the_time_zone(store: Store) {
    day_of(store, "2026-05-04T18:15:30Z", "Asia/Kathmandu", DAY).await;
}

pub(super) async fn a_day_has_23_hours_where_clocks_go_forward(store: Store) {
    day_of(store, "2026-03-28T23:00:30Z", "Europe/Berlin", 23).await;
}

pub(super) async fn a_day_has_25_hours_where_clocks_go_back(store: Store) {
    day_of(store, "2026-10-24T22:00:30Z", "Europe/Berlin", 25).await;
}

pub(super) async fn a_day_begins_late_where_midnight_is_skipped(store: Store) {
    day_of(store, "2026-09-06T04:00:30Z", "America/Santiago", 23).await;
}

pub(super) async fn a_month_is_an_hour_short_where_clocks_go_forward(store: Store) {
    let limits = vec![limit(
        "monthly",
        window(10, Period::Month, "America/New_York"),
    )];
    let world = World::starting(store, "2026-03-01T05:00:30Z", limits).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "monthly", nearly(DAY * 31 - 1)).await;
    world.advance(not_quite(DAY * 31 - 1)).await;
    world.later(ACME, 1, "monthly", HALF).await;
    world.advance(MINUTE).await;
    world.take(ACME, 10).await;
}

pub(super) async fn days_of_two_time_zones_end_apart(store: Store) {
    let limits = vec![
        limit("there", window(10, Period::Day, "Europe/Berlin")),
        limit("here", daily(15)),
    ];
    let world = World::starting(store, "2026-06-10T21:59:30Z", limits).await;
    world.take(ACME, 10).await;
    world.later(ACME, 1, "there", HALF).await;
    world.advance(MINUTE).await;
    assert_eq!(world.left(ACME).await, [10, 5]);
    world.later(ACME, 6, "here", nearly(2)).await;
    world.take(ACME, 5).await;
    world.advance(MINUTE * 120).await;
    assert_eq!(world.left(ACME).await, [5, 15]);
}

pub(super) async fn a_day_of_nothing_never_has_room(store: Store) {
    let world = World::with(store, vec![limit("daily", daily(0))]).await;
    world.never(ACME, 1, "daily", 0).await;
    world.take(ACME, 0).await;
    world.advance(Duration::from_hours(DAY)).await;
    world.never(ACME, 1, "daily", 0).await;
}

pub(super) async fn numbers_are_exact_up_to_the_largest(store: Store) {
    for most in [MOST, MOST - 1, MOST / 2 + 1] {
        let world = World::with(store, vec![limit("daily", daily(most))]).await;
        let made = world.take(ACME, most - 1).await;
        assert_eq!(world.left(ACME).await, [1]);
        world.refused(ACME, 2).await;
        world.take(ACME, 1).await;
        assert_eq!(world.left(ACME).await, [0]);
        world.give_back(&made).await;
        assert_eq!(world.left(ACME).await, [most - 1]);
        world.never(ACME, u64::MAX, "daily", most).await;
    }
    let world = World::with(store, vec![limit("daily", daily(u64::MAX))]).await;
    world.take(ACME, MOST).await;
    match store {
        Store::InProcess | Store::InFolder => {
            world.take(ACME, u64::MAX - MOST - 1).await;
            world.refused(ACME, 2).await;
            world.take(ACME, 1).await;
        }
        // What no double holds exactly is not counted.
        Store::Redis | Store::Leased => {}
    }
    world.refused(ACME, 1).await;
    assert_eq!(world.left(ACME).await, [0]);
}
