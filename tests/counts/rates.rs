//! So many at once, and one every so often.

use std::time::Duration;

use presignd::admit::quota::Measure;
use presignd::admit::quota::arithmetic::MOST;
use presignd::admit::quota::limit::Terms;

use super::terms::{commands, cost, get, limit, rate};
use super::world::{ACME, MINUTE, Store, World};

pub(super) async fn a_burst_is_there_at_once_and_then_one_comes_after_each_interval(store: Store) {
    let world = World::with(store, vec![limit("all", rate(1, 5))]).await;
    world.take_each(ACME, 5).await;
    world.later(ACME, 1, "all", MINUTE).await;
    for passed in [1, 3, 2] {
        world.advance(MINUTE * passed).await;
        world.take_each(ACME, passed.into()).await;
        world.later(ACME, 1, "all", MINUTE).await;
    }
}

pub(super) async fn more_than_a_burst_is_never_there(store: Store) {
    let world = World::with(store, vec![limit("all", rate(1, 5))]).await;
    for _ in 0..3 {
        world.never(ACME, 6, "all", 5).await;
        world.never(ACME, u64::MAX, "all", 5).await;
    }
    world.take(ACME, 5).await;
    world.never(ACME, 6, "all", 5).await;
}

pub(super) async fn a_refusal_says_when_there_is_room_for_so_much(store: Store) {
    let world = World::with(store, vec![limit("all", rate(1, 5))]).await;
    world.take(ACME, 4).await;
    world.later(ACME, 3, "all", MINUTE * 2).await;
    world.later(ACME, 5, "all", MINUTE * 4).await;
    world.advance(MINUTE).await;
    world.later(ACME, 3, "all", MINUTE).await;
    world.advance(MINUTE).await;
    world.take(ACME, 3).await;
    world.later(ACME, 1, "all", MINUTE).await;
}

pub(super) async fn a_rate_comes_back_to_its_burst_and_no_further(store: Store) {
    let world = World::with(store, vec![limit("all", rate(1, 5))]).await;
    world.take(ACME, 5).await;
    world.advance(MINUTE * 1000).await;
    assert_eq!(world.left(ACME).await, [5]);
    world.take(ACME, 5).await;
    world.later(ACME, 1, "all", MINUTE).await;
}

pub(super) async fn what_weighs_nothing_is_not_counted(store: Store) {
    let terms = Terms {
        weights: vec![(commands(&["list"])[0], 0)],
        ..limit("all", rate(1, 2))
    };
    let world = World::with(store, vec![terms]).await;
    let (list, nothing) = (cost("ListObjectsV2", 1000), get(0));
    for _ in 0..3 {
        for free in [list, nothing] {
            let made = world.charge(ACME, &[free]).await.expect("it is free");
            world.give_back(&made).await;
        }
    }
    world.take(ACME, 2).await;
    world.charge(ACME, &[list]).await.expect("also then");
    world.refused(ACME, 1).await;
}

pub(super) async fn the_slowest_and_the_largest_rates_are_exact(store: Store) {
    let year = 366 * 24;
    let slow = Measure::Rate {
        interval: Duration::from_hours(1),
        burst: year,
    };
    let world = World::with(store, vec![limit("slow", slow)]).await;
    world.take(ACME, year - 1).await;
    assert_eq!(world.left(ACME).await, [1]);
    world.later(ACME, 2, "slow", MINUTE * 60).await;
    world.take(ACME, 1).await;
    world
        .later(ACME, year, "slow", MINUTE * 60 * 366 * 24)
        .await;
    world.never(ACME, MOST, "slow", year).await;
    // A thousand million a second come back while one waits for them: only the burst can be held against it.
    let fast = Measure::Rate {
        interval: Duration::from_nanos(1),
        burst: 1_000_000_000,
    };
    let world = World::with(store, vec![limit("fast", fast)]).await;
    world
        .never(ACME, 1_000_000_001, "fast", 1_000_000_000)
        .await;
    world.take(ACME, 1_000_000_000).await;
    world.advance(Duration::from_secs(1)).await;
    world.take(ACME, 1_000_000_000).await;
}
