//! What was charged and came to nothing.

use super::terms::{cost, daily, each_caller, get, limit, monthly, rate, shadow};
use super::world::{ACME, MINUTE, Store, World};

const NEARLY_MIDNIGHT: &str = "2026-06-10T23:59:30Z";

pub(super) async fn what_came_to_nothing_is_there_again(store: Store) {
    let limits = vec![
        limit("daily", daily(9)),
        limit("often", rate(1, 4)),
        each_caller("each", monthly(7)),
    ];
    let world = World::with(store, limits).await;
    world.set_service(vec![limit("all", daily(8))]);
    for _ in 0..10 {
        let made = world.take(ACME, 4).await;
        assert_eq!(world.left(ACME).await, [4, 5, 0, 3]);
        world.give_back(&made).await;
        assert_eq!(world.left(ACME).await, [8, 9, 4, 7]);
    }
    world.take(ACME, 3).await;
    let made = world.take(ACME, 1).await;
    world.advance(MINUTE).await;
    world.give_back(&made).await;
    assert_eq!(world.left(ACME).await, [5, 6, 2, 4]);
    world.take(ACME, 2).await;
    world.later(ACME, 1, "often", MINUTE).await;
}

pub(super) async fn a_part_can_be_given_back(store: Store) {
    let limits = vec![limit("daily", daily(9)), limit("often", rate(1, 9))];
    let world = World::with(store, limits).await;
    let costs = [get(2), cost("PutObject", 1), get(3)];
    let made = world.charge(ACME, &costs).await.expect("there is room");
    world.give_back_of(&made, &costs[1..]).await;
    assert_eq!(world.left(ACME).await, [7, 7]);
    world.give_back_of(&made, &costs[..1]).await;
    assert_eq!(world.left(ACME).await, [9, 9]);
}

pub(super) async fn no_more_is_there_than_ever_was(store: Store) {
    let limits = vec![limit("daily", daily(9)), limit("often", rate(1, 4))];
    let world = World::with(store, limits).await;
    let made = world.take(ACME, 4).await;
    for _ in 0..5 {
        world.give_back(&made).await;
    }
    assert_eq!(world.left(ACME).await, [9, 4]);
    world.never(ACME, 5, "often", 4).await;
    world.take(ACME, 4).await;
    world.later(ACME, 1, "often", MINUTE).await;
    // Nor when it has come back by itself.
    world.advance(MINUTE * 60).await;
    world.give_back(&made).await;
    assert_eq!(world.left(ACME).await, [9, 4]);
    world.take(ACME, 4).await;
    world.later(ACME, 1, "often", MINUTE).await;
}

/// Charges before midnight, and again so many minutes later, and gives the first back.
async fn over_midnight(store: Store, minutes: u32) {
    let limits = vec![limit("daily", daily(9))];
    let world = World::starting(store, NEARLY_MIDNIGHT, limits).await;
    world.set_service(vec![limit("all", daily(8))]);
    let yesterday = world.take(ACME, 4).await;
    world.advance(MINUTE * minutes).await;
    // Before anything was charged, and after.
    world.give_back(&yesterday).await;
    assert_eq!(world.left(ACME).await, [8, 9]);
    let today = world.take(ACME, 6).await;
    world.give_back(&yesterday).await;
    assert_eq!(world.left(ACME).await, [2, 3]);
    world.give_back(&today).await;
    assert_eq!(world.left(ACME).await, [8, 9]);
}

pub(super) async fn nothing_is_given_back_to_a_day_that_began_since(store: Store) {
    over_midnight(store, 1).await;
}

pub(super) async fn nor_long_after_it_began(store: Store) {
    over_midnight(store, 60).await;
}

pub(super) async fn a_month_takes_back_what_its_day_does_not(store: Store) {
    let limits = vec![
        limit("daily", daily(9)),
        limit("monthly", monthly(20)),
        limit("often", rate(30, 6)),
    ];
    let world = World::starting(store, NEARLY_MIDNIGHT, limits).await;
    let yesterday = world.take(ACME, 4).await;
    world.advance(MINUTE).await;
    world.take(ACME, 2).await;
    world.give_back(&yesterday).await;
    assert_eq!(world.left(ACME).await, [7, 18, 4]);
}

pub(super) async fn a_shadow_that_was_not_charged_takes_nothing_back(store: Store) {
    let limits = vec![shadow("dry", daily(4)), limit("wet", daily(9))];
    let world = World::with(store, limits).await;
    let noted = world.take(ACME, 3).await;
    let refused = world.take(ACME, 3).await;
    assert_eq!(refused.shadows(), ["dry"]);
    world.give_back(&refused).await;
    assert_eq!(world.left(ACME).await, [1, 6]);
    world.give_back(&noted).await;
    assert_eq!(world.left(ACME).await, [4, 9]);
}
