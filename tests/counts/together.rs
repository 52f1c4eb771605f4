//! Several limits of one request, and whose counts they are.

use presignd::admit::quota::NoRoom;
use presignd::admit::quota::limit::{Cost, Terms, Unit};
use presignd::admit::upload::Upload;

use super::terms::{commands, cost, daily, each_caller, get, limit, monthly, rate, shadow};
use super::world::{ACME, Asking, MINUTE, Store, World};

const GLOBEX: Asking<'static> = Asking {
    tenant: "globex",
    caller: "media",
};

pub(super) async fn all_limits_are_charged_or_none(store: Store) {
    let limits = vec![
        limit("daily", daily(10)),
        limit("rate", rate(1, 3)),
        limit("monthly", monthly(5)),
    ];
    let world = World::with(store, limits).await;
    world.take(ACME, 2).await;
    assert_eq!(world.left(ACME).await, [8, 1, 3]);
    for _ in 0..5 {
        // Each of them refuses, and nothing is taken of those before it and after it.
        world.later(ACME, 2, "rate", MINUTE).await;
        world.never(ACME, 4, "rate", 3).await;
        world.never(ACME, 11, "daily", 10).await;
    }
    assert_eq!(world.left(ACME).await, [8, 1, 3]);
    world.advance(MINUTE * 2).await;
    world.take(ACME, 3).await;
    world.advance(MINUTE * 3).await;
    let refused = world.refused(ACME, 1).await;
    assert_eq!(&*refused.limit().name, "monthly");
    assert_eq!(world.left(ACME).await, [5, 3, 0]);
}

pub(super) async fn a_refusal_names_the_first_limit_that_has_no_room(store: Store) {
    let limits = vec![
        limit("wide", daily(9)),
        limit("one", daily(3)),
        each_caller("other", daily(3)),
    ];
    let mut world = World::with(store, limits).await;
    world.take(ACME, 3).await;
    let refused = world.refused(ACME, 1).await;
    assert_eq!(&*refused.limit().subject, "tenant:acme/limit:one");
    assert_eq!(refused.limit().scope, "tenant");
    assert!(matches!(refused, NoRoom::Later { window: true, .. }));
    world.set("acme", vec![each_caller("other", daily(3))]);
    let refused = world.refused(ACME, 1).await;
    assert_eq!(&*refused.limit().subject, "tenant:acme/limit:other");
    assert_eq!(refused.limit().scope, "caller");
    // Those of the service go first.
    world.set_service(vec![limit("service", daily(2))]);
    let refused = world.refused(ACME, 3).await;
    assert_eq!(&*refused.limit().subject, "service/limit:service");
    assert_eq!(refused.limit().scope, "service");
}

pub(super) async fn a_shadow_holds_nobody_up_and_takes_nothing_it_would_refuse(store: Store) {
    let limits = vec![shadow("dry", daily(4)), limit("wet", daily(8))];
    let world = World::with(store, limits).await;
    assert!(world.take(ACME, 3).await.shadows().is_empty());
    assert_eq!(world.left(ACME).await, [1, 5]);
    // Neither for now nor for ever.
    assert_eq!(world.take(ACME, 2).await.shadows(), ["dry"]);
    assert_eq!(world.left(ACME).await, [1, 3]);
    assert_eq!(world.take(ACME, 1).await.shadows(), [""; 0]);
    assert_eq!(world.take(ACME, 1).await.shadows(), ["dry"]);
    assert_eq!(world.left(ACME).await, [0, 1]);
    let looked = world.look(ACME, get(1)).await;
    assert!(looked[0].shadow && !looked[1].shadow);
    assert!(looked[0].retry_after.is_some());
    world.advance(MINUTE * 24 * 60).await;
    assert_eq!(world.take(ACME, 5).await.shadows(), ["dry"]);
    assert_eq!(world.left(ACME).await, [4, 3]);
}

pub(super) async fn a_shadow_is_not_charged_for_what_another_refuses(store: Store) {
    let limits = vec![
        shadow("before", daily(4)),
        limit("wet", daily(2)),
        shadow("after", daily(4)),
    ];
    let world = World::with(store, limits).await;
    world.take(ACME, 1).await;
    for _ in 0..3 {
        let refused = world.refused(ACME, 2).await;
        assert_eq!(&*refused.limit().name, "wet");
    }
    assert_eq!(world.left(ACME).await, [3, 1, 3]);
}

pub(super) async fn a_limit_of_the_service_holds_for_all_tenants_together(store: Store) {
    let mut world = World::with(store, vec![limit("own", daily(3))]).await;
    world.set("globex", vec![limit("own", daily(3))]);
    world.set_service(vec![limit("all", daily(5))]);
    world.take_each(ACME, 3).await;
    for _ in 0..5 {
        let refused = world.refused(ACME, 1).await;
        assert_eq!(refused.limit().scope, "tenant");
    }
    // What it was charged for those was given back.
    assert_eq!(world.left(ACME).await, [2, 0]);
    world.take_each(GLOBEX, 2).await;
    for _ in 0..5 {
        let refused = world.refused(GLOBEX, 1).await;
        assert_eq!(refused.limit().scope, "service");
    }
    assert_eq!(world.left(GLOBEX).await, [0, 1]);
    // A tenant without limits has those of the service.
    world.set("initech", Vec::new());
    let initech = Asking {
        tenant: "initech",
        ..ACME
    };
    let refused = world.refused(initech, 1).await;
    assert_eq!(refused.limit().scope, "service");
}

pub(super) async fn tenants_and_callers_have_counts_of_their_own(store: Store) {
    let limits = || {
        vec![
            each_caller("each", daily(2)),
            each_caller("often", rate(1, 3)),
        ]
    };
    let mut world = World::with(store, limits()).await;
    world.set("globex", limits());
    let long = ["1", "2"].map(|last| format!("{}{last}", "x".repeat(200)));
    let callers = ["a", "A", "a:b", "a%3ab", "a}b", "", &long[0], &long[1]];
    for tenant in ["acme", "globex"] {
        for caller in callers {
            let who = Asking { tenant, caller };
            assert_eq!(world.left(who).await, [2, 3], "{who:?}");
            world.take(who, 2).await;
            assert_eq!(world.left(who).await, [0, 1], "{who:?}");
        }
    }
    for caller in callers {
        let who = Asking { caller, ..GLOBEX };
        assert_eq!(world.refused(who, 1).await.limit().scope, "caller");
        let used = world.usage(caller).await;
        let used: Vec<_> = used.iter().map(|used| (used.left, used.most)).collect();
        assert_eq!(used, [(0, 2), (1, 3)], "{caller}");
    }
}

pub(super) async fn commands_count_by_their_class_and_weight(store: Store) {
    let writes = Terms {
        commands: commands(&["write"]),
        ..limit("writes", daily(3))
    };
    let weighed = Terms {
        weights: vec![
            (commands(&["DeleteObjects"])[0], 10),
            (commands(&["delete"])[0], 2),
        ],
        ..limit("weighed", daily(50))
    };
    let world = World::with(store, vec![writes, weighed]).await;
    let deletes = cost("DeleteObjects", 2);
    let costs = [
        get(2),
        deletes,
        cost("DeleteObject", 3),
        cost("PutObject", 2),
    ];
    world.charge(ACME, &costs).await.expect("there is room");
    let left = |left: Vec<presignd::admit::quota::Left>| -> Vec<(u64, u64)> {
        left.iter()
            .map(|limit| (limit.left, limit.charged))
            .collect()
    };
    let looked = world.look(ACME, cost("PutObject", 1)).await;
    assert_eq!(left(looked), [(1, 1), (20, 1)]);
    // Reads are no writes.
    assert_eq!(left(world.look(ACME, deletes).await), [(20, 20)]);
    let refused = world.charge(ACME, &[cost("PutObject", 2)]).await;
    let (refused, _) = refused.expect_err("two more are too many");
    assert_eq!(&*refused.limit().name, "writes");
    world.charge(ACME, &[deletes]).await.expect("all of it");
    let (refused, _) = world.charge(ACME, &[get(1)]).await.expect_err("it is full");
    assert_eq!(&*refused.limit().name, "weighed");
}

pub(super) async fn bytes_count_as_declared_and_undeclared_ones_are_refused(store: Store) {
    let bytes = Terms {
        unit: Unit::UploadBytes,
        ..limit("bytes", daily(5_000_000_000))
    };
    let world = World::with(store, vec![limit("urls", daily(10)), bytes]).await;
    let put = |upload| Cost {
        upload,
        ..cost("PutObject", 1)
    };
    for _ in 0..2 {
        let costs = [put(Upload::AtMost(2_000_000_000))];
        world.charge(ACME, &costs).await.expect("there is room");
    }
    let (refused, _) = world
        .charge(ACME, &[put(Upload::AtMost(1_000_000_001))])
        .await
        .expect_err("a byte too many");
    assert!(matches!(
        refused,
        NoRoom::Later {
            asked: 1_000_000_001,
            ..
        }
    ));
    let (refused, _) = world
        .charge(ACME, &[put(Upload::Unbounded)])
        .await
        .expect_err("nobody knows how many");
    assert!(matches!(refused, NoRoom::Undeclared { .. }), "{refused:?}");
    world.take(ACME, 1).await;
    let looked = world.look(ACME, put(Upload::Unbounded)).await;
    assert_eq!((looked[0].left, looked[1].left), (7, 1_000_000_000));
    assert!(looked[1].undeclared && !looked[0].undeclared);
}

pub(super) async fn looking_takes_nothing(store: Store) {
    let limits = vec![limit("often", rate(2, 3)), limit("daily", daily(4))];
    let world = World::with(store, limits).await;
    for left in [[3, 4], [2, 3], [1, 2], [0, 1]] {
        for _ in 0..5 {
            assert_eq!(world.left(ACME).await, left);
            let used = world.usage("media").await;
            let used: Vec<u64> = used.iter().map(|used| used.left).collect();
            assert_eq!(used, left);
        }
        if left[0] > 0 {
            world.take(ACME, 1).await;
        }
    }
    let looked = world.look(ACME, get(1)).await;
    assert!(world.near(looked[0].retry_after.expect("none is left"), MINUTE * 2));
    assert_eq!(looked[1].retry_after, None);
    let used = world.usage("media").await;
    assert!(world.near(used[0].reset, MINUTE * 6), "{used:?}");
}

pub(super) async fn an_answer_says_where_the_limits_of_the_tenant_stand(store: Store) {
    let limits = vec![limit("daily", daily(9)), limit("often", rate(1, 3))];
    let world = World::with(store, limits).await;
    world.set_service(vec![limit("all", daily(100))]);
    let said = |told: presignd::admit::quota::Told| {
        let (policy, left) = told.metadata().expect("there are limits");
        let policy = String::from_utf8(policy.to_vec()).expect("text");
        assert_eq!(policy, r#""daily";q=9;w=86400, "often";q=3;w=180"#);
        let left = left.split(", ").map(|one| {
            let (one, wait) = one.split_once(";t=").expect("a wait");
            (one.to_owned(), wait.parse().expect("seconds"))
        });
        left.collect::<Vec<(String, u64)>>()
    };
    let near = |actual, expected| {
        let [actual, expected] = [actual, expected].map(std::time::Duration::from_secs);
        world.near(actual, expected)
    };
    let midnight = 12 * 3600 - 30;
    let stand = said(world.take(ACME, 2).await.told);
    assert_eq!(stand[0].0, r#""daily";r=7"#);
    assert_eq!(stand[1].0, r#""often";r=1"#);
    assert!(
        near(stand[0].1, midnight) && near(stand[1].1, 120),
        "{stand:?}"
    );
    let (_, told) = world
        .charge(ACME, &[get(2)])
        .await
        .expect_err("one is left");
    let stand = said(told);
    assert_eq!(stand.len(), 1);
    assert_eq!(stand[0].0, r#""often";r=0"#);
    assert!(near(stand[0].1, 60), "{stand:?}");
}
