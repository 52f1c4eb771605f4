//! Limits that are changed while they count.

use presignd::admit::quota::Period;
use presignd::admit::quota::limit::{Cost, Terms, Unit};
use presignd::admit::upload::Upload;

use super::terms::{cost, daily, each_caller, limit, rate, shadow, window};
use super::world::{ACME, Asking, MINUTE, Store, World};

const OTHER: Asking<'static> = Asking {
    caller: "other",
    ..ACME
};

pub(super) async fn a_day_that_holds_more_or_less_keeps_its_use(store: Store) {
    let mut world = World::with(store, vec![limit("daily", daily(9))]).await;
    world.take(ACME, 6).await;
    world.set("acme", vec![limit("daily", daily(20))]);
    assert_eq!(world.left(ACME).await, [14]);
    world.take(ACME, 4).await;
    world.set("acme", vec![limit("daily", daily(7))]);
    assert_eq!(world.left(ACME).await, [0]);
    let refused = world.refused(ACME, 1).await;
    assert_eq!(&*refused.limit().name, "daily");
    world.set("acme", vec![shadow("daily", daily(12))]);
    assert_eq!(world.left(ACME).await, [2]);
    assert_eq!(world.take(ACME, 3).await.shadows(), ["daily"]);
    world.set("acme", vec![limit("daily", daily(12))]);
    assert_eq!(world.left(ACME).await, [2]);
}

pub(super) async fn a_rate_that_is_changed_keeps_its_use(store: Store) {
    let mut world = World::with(store, vec![limit("often", rate(2, 5))]).await;
    world.take(ACME, 4).await;
    world.advance(MINUTE * 2).await;
    world.set("acme", vec![limit("often", rate(2, 8))]);
    assert_eq!(world.left(ACME).await, [5]);
    world.take(ACME, 5).await;
    world.later(ACME, 1, "often", MINUTE * 2).await;
    world.set("acme", vec![limit("often", rate(2, 3))]);
    // Sixteen minutes are used, and there is room for six.
    world.later(ACME, 1, "often", MINUTE * 12).await;
    // What it counts is time: one unit of it is now four.
    world.set("acme", vec![limit("often", rate(4, 5))]);
    assert_eq!(world.left(ACME).await, [1]);
    world.take(ACME, 1).await;
    world.later(ACME, 1, "often", MINUTE * 4).await;
}

pub(super) async fn each_callers_count_is_kept_when_the_limit_is_changed(store: Store) {
    let limits = |most, burst| {
        vec![
            each_caller("each", daily(most)),
            each_caller("often", rate(1, burst)),
        ]
    };
    let mut world = World::with(store, limits(5, 5)).await;
    world.take(ACME, 4).await;
    world.take(OTHER, 2).await;
    world.set("acme", limits(7, 8));
    assert_eq!(world.left(ACME).await, [3, 4]);
    assert_eq!(world.left(OTHER).await, [5, 6]);
    world.set("acme", limits(4, 4));
    assert_eq!(world.left(ACME).await, [0, 0]);
    world.take(OTHER, 2).await;
    world.refused(OTHER, 1).await;
}

pub(super) async fn a_limit_of_the_service_keeps_its_use(store: Store) {
    let world = World::with(store, Vec::new()).await;
    world.set_service(vec![limit("all", daily(5)), limit("often", rate(1, 9))]);
    world.take(ACME, 3).await;
    // In another order, and beside another.
    world.set_service(vec![
        limit("often", rate(1, 9)),
        limit("more", daily(9)),
        limit("all", daily(6)),
    ]);
    assert_eq!(world.left(ACME).await, [6, 9, 3]);
    let refused = world.refused(ACME, 4).await;
    assert_eq!(&*refused.limit().name, "all");
}

pub(super) async fn what_is_given_back_goes_to_the_limits_that_it_was_taken_of(store: Store) {
    let world = World::with(store, Vec::new()).await;
    let (all, often) = (limit("all", daily(5)), limit("often", rate(1, 9)));
    world.set_service(vec![all.clone(), often.clone()]);
    let made = world.take(ACME, 3).await;
    // In another order by then.
    world.set_service(vec![often, all.clone()]);
    world.give_back(&made).await;
    assert_eq!(world.left(ACME).await, [9, 5]);
    // In another's place by then.
    world.set_service(vec![all]);
    let made = world.take(ACME, 3).await;
    world.set_service(vec![limit("other", daily(5))]);
    world.take(ACME, 4).await;
    world.give_back(&made).await;
    assert_eq!(world.left(ACME).await, [1]);
}

pub(super) async fn a_limit_of_another_name_or_kind_begins_anew(store: Store) {
    let mut world = World::with(store, vec![limit("one", daily(5))]).await;
    world.take(ACME, 3).await;
    let kinds = [
        limit("other", daily(5)),
        limit("one", rate(1, 5)),
        each_caller("one", daily(5)),
        limit("one", window(5, Period::Month, "UTC")),
        limit("one", window(5, Period::Day, "Europe/Berlin")),
        Terms {
            each_caller: true,
            ..limit("one", rate(1, 5))
        },
    ];
    for kind in kinds {
        world.set("acme", vec![kind]);
        assert_eq!(world.left(ACME).await, [5]);
        world.take(ACME, 2).await;
    }
}

pub(super) async fn what_counts_bytes_now_has_counted_no_urls(store: Store) {
    let bytes = |most| Terms {
        unit: Unit::UploadBytes,
        ..limit("one", daily(most))
    };
    let put = Cost {
        upload: Upload::AtMost(500),
        ..cost("PutObject", 1)
    };
    let mut world = World::with(store, vec![limit("one", daily(5))]).await;
    world.take(ACME, 3).await;
    world.set("acme", vec![bytes(1000)]);
    assert_eq!(world.look(ACME, put).await[0].left, 1000);
    world.charge(ACME, &[put]).await.expect("there is room");
    assert_eq!(world.look(ACME, put).await[0].left, 500);
}
