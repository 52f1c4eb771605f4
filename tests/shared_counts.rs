//! Counts in Redis do as the arithmetic says, all or none, and replicas together stay within a limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use presignd::admit::quota::arithmetic::{Bound, MOST, Used};
use presignd::admit::quota::redis::{Leasing, RedisCounts};
use presignd::admit::quota::{
    Charge, Charged, CountKey, Level, Measure, Period, SharedCounts as _, Short,
};
use presignd::clock::SystemClock;
use presignd::names::TenantId;
use presignd::redis::{Connection, Mode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::harness::redis::{Redis, is_here, options};

/// No leases: every charge is Redis's own.
const EXACT: Leasing = Leasing {
    share: 0,
    life: Duration::from_secs(2),
};
/// Half a minute past noon: everything here happens in whole minutes, and takes less than half of one.
const START: &str = "2026-06-10T12:00:30Z";
const MINUTE: u64 = 60_000_000;
/// How far times may differ: as long as a test takes.
const SLACK: Duration = Duration::from_secs(29);

/// Counts on a real Redis whose time a test moves.
struct Store {
    counts: RedisCounts,
    offset: Arc<AtomicI64>,
    /// The time, but for what really went by.
    now: u64,
}

async fn connected(redis: &Redis) -> Arc<Connection> {
    let connection = Connection::start(options(&[redis.address()], Mode::Single));
    let connection = Arc::new(connection.expect("good options"));
    is_here(&connection, true).await;
    connection
}

fn replica(connection: &Arc<Connection>, leasing: Leasing, offset: &Arc<AtomicI64>) -> RedisCounts {
    let clock = Arc::new(SystemClock::new());
    RedisCounts::new(Arc::clone(connection), leasing, clock, Arc::clone(offset))
}

impl Store {
    async fn on(redis: &Redis) -> Self {
        let connection = connected(redis).await;
        let offset = Arc::new(AtomicI64::new(0));
        let start: Timestamp = START.parse().expect("a time");
        let real = Timestamp::now().as_microsecond();
        offset.store(start.as_microsecond() - real, Ordering::SeqCst);
        let store = Self {
            counts: replica(&connection, EXACT, &offset),
            offset,
            now: u64::try_from(start.as_microsecond()).expect("after 1970"),
        };
        store.told_the_time().await;
        store
    }

    async fn advance(&mut self, minutes: u64) {
        let by = minutes * MINUTE;
        self.now += by;
        self.offset
            .fetch_add(i64::try_from(by).expect("not long"), Ordering::SeqCst);
        self.told_the_time().await;
    }

    /// Lets the replica hear of it: real time does not leap.
    async fn told_the_time(&self) {
        let acme = acme();
        let measure = daily(1);
        let charge = charge(&acme, "time", &measure, 0);
        self.counts.levels(&[charge]).await.expect("Redis answers");
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").expect("a tenant's id")
}

fn charge<'a>(
    tenant: &'a TenantId,
    limit: &'a str,
    measure: &'a Measure,
    amount: u64,
) -> Charge<'a> {
    Charge {
        key: CountKey {
            tenant: Some(tenant),
            limit,
            caller: None,
        },
        measure,
        amount,
        shadow: false,
    }
}

fn daily(most: u64) -> Measure {
    let period = Period::Day;
    let zone = TimeZone::UTC;
    Measure::Window { most, period, zone }
}

fn rate(minutes: u64, burst: u64) -> Measure {
    let interval = Duration::from_micros(minutes * MINUTE);
    Measure::Rate { interval, burst }
}

/// The same in this process: the arithmetic, and a map.
#[derive(Default)]
struct Model(HashMap<(String, Option<(u64, u64)>), Used>);

impl Model {
    fn used(&self, charge: &Charge<'_>, bound: &Bound, now: u64) -> Used {
        let held = self.0.get(&(charge.key.limit.to_owned(), bound.window));
        bound.drained(held.copied().unwrap_or_default(), now)
    }

    fn charge(&mut self, charges: &[Charge<'_>], now: u64) -> Charged {
        let mut made = Vec::new();
        for (index, charge) in charges.iter().enumerate() {
            let bound = Bound::of(charge.measure, now);
            let mut used = self.used(charge, &bound, now);
            let short = bound.short(used.used, bound.cost(charge.amount), now);
            match short {
                Some(short) if !charge.shadow => return Charged::Refused { index, short },
                Some(_) => {}
                None => used.used += bound.cost(charge.amount),
            }
            made.push((charge, bound, used, short));
        }
        let levels = made.into_iter().map(|(charge, bound, used, short)| {
            self.0
                .insert((charge.key.limit.to_owned(), bound.window), used);
            (bound.level(used.used, now), short)
        });
        Charged::Made(levels.collect())
    }

    fn refund(&mut self, charges: &[Charge<'_>], now: u64) {
        for charge in charges {
            let bound = Bound::of(charge.measure, now);
            let mut used = self.used(charge, &bound, now);
            // A window in its first minute takes nothing back.
            if bound.window.is_none_or(|(start, _)| now >= start + MINUTE) {
                used.used = used.used.saturating_sub(bound.cost(charge.amount));
            }
            self.0
                .insert((charge.key.limit.to_owned(), bound.window), used);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Of these limits, so much, and whether as a shadow.
    Charge(Vec<(usize, u64, bool)>),
    Refund(usize, u64),
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let charges =
        prop::collection::btree_map(0..LIMITS, (0_u64..7, prop::bool::weighted(0.2)), 1..4);
    let charges = charges.prop_map(|charges| {
        let each = charges.into_iter();
        Step::Charge(
            each.map(|(limit, (amount, shadow))| (limit, amount, shadow))
                .collect(),
        )
    });
    let refund = (0..LIMITS, 0_u64..7).prop_map(|(limit, amount)| Step::Refund(limit, amount));
    // A few minutes, and now and then half a day.
    let advance = prop_oneof![3 => 0_u64..9, 1 => Just(719)].prop_map(Step::Advance);
    let step = prop_oneof![4 => charges, 1 => refund, 2 => advance];
    prop::collection::vec(step, 1..30)
}

const LIMITS: usize = 4;

fn limits() -> [Measure; LIMITS] {
    let month = Measure::Window {
        most: 30,
        period: Period::Month,
        zone: TimeZone::get("Europe/Berlin").expect("a zone"),
    };
    [rate(1, 5), rate(3, 12), daily(20), month]
}

fn near(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) < SLACK
}

fn same_short(a: Option<Short>, b: Option<Short>) -> bool {
    match (a, b) {
        (Some(Short::Until(a)), Some(Short::Until(b))) => near(a, b),
        (a, b) => a == b,
    }
}

fn same_level(a: Level, b: Level) -> bool {
    a.left == b.left && near(a.reset, b.reset)
}

fn same(a: &Charged, b: &Charged) -> bool {
    match (a, b) {
        (Charged::Made(a), Charged::Made(b)) => {
            let both = || a.iter().zip(b);
            a.len() == b.len() && both().all(|(a, b)| same_level(a.0, b.0) && same_short(a.1, b.1))
        }
        (
            Charged::Refused { index: a, short },
            Charged::Refused {
                index: b,
                short: other,
            },
        ) => a == b && same_short(Some(*short), Some(*other)),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_counts_as_the_arithmetic_does() {
    let redis = Redis::start().await;
    let store = Arc::new(tokio::sync::Mutex::new(Store::on(&redis).await));
    let runtime = tokio::runtime::Handle::current();
    let case = AtomicU64::new(0);
    let law = move |steps: Vec<Step>| {
        let case = case.fetch_add(1, Ordering::SeqCst);
        runtime.block_on(async {
            let mut store = store.lock().await;
            let acme = acme();
            let names: Vec<String> = (0..LIMITS).map(|limit| format!("{case}-{limit}")).collect();
            let measures = limits();
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Advance(minutes) => store.advance(minutes).await,
                    Step::Refund(limit, amount) => {
                        let charges = [charge(&acme, &names[limit], &measures[limit], amount)];
                        model.refund(&charges, store.now);
                        store.counts.refund(&charges).await.expect("Redis answers");
                    }
                    Step::Charge(each) => {
                        let charges = each.into_iter().map(|(limit, amount, shadow)| Charge {
                            shadow,
                            ..charge(&acme, &names[limit], &measures[limit], amount)
                        });
                        let charges: Vec<Charge<'_>> = charges.collect();
                        let expected = model.charge(&charges, store.now);
                        let actual = store.counts.charge(&charges).await.expect("Redis answers");
                        prop_assert!(same(&actual, &expected), "{actual:?}\n{expected:?}");
                        let levels = store.counts.levels(&charges).await.expect("Redis answers");
                        for (charge, level) in charges.iter().zip(levels) {
                            let bound = Bound::of(charge.measure, store.now);
                            let used = model.used(charge, &bound, store.now).used;
                            let expected = bound.level(used, store.now);
                            prop_assert!(same_level(level, expected), "{level:?}\n{expected:?}");
                        }
                    }
                }
            }
            Ok::<(), TestCaseError>(())
        })
    };
    let ran = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases: 64,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config).run(&steps(), law)
    });
    ran.await
        .expect("no panic")
        .unwrap_or_else(|error| panic!("{error}"));
}

fn left(charged: &Charged) -> Vec<u64> {
    match charged {
        Charged::Made(made) => made.iter().map(|(level, _)| level.left).collect(),
        Charged::Refused { .. } => panic!("{charged:?}"),
    }
}

#[tokio::test]
async fn charges_are_made_all_or_none_and_shadows_hold_nobody_up() {
    let redis = Redis::start().await;
    let store = Store::on(&redis).await;
    let (acme, daily, rate) = (acme(), daily(10), rate(1, 3));
    let of = |amount| {
        [
            charge(&acme, "daily", &daily, amount),
            charge(&acme, "rate", &rate, amount),
        ]
    };
    let counts = &store.counts;
    let charged = counts.charge(&of(2)).await.expect("Redis answers");
    assert_eq!(left(&charged), [8, 1]);
    // The second has no room: nothing is taken of the first.
    let charged = counts.charge(&of(2)).await.expect("Redis answers");
    assert!(
        matches!(
            charged,
            Charged::Refused {
                index: 1,
                short: Short::Until(_)
            }
        ),
        "{charged:?}"
    );
    let charged = counts.charge(&of(4)).await.expect("Redis answers");
    assert_eq!(
        charged,
        Charged::Refused {
            index: 1,
            short: Short::Never
        }
    );
    let levels = counts.levels(&of(0)).await.expect("Redis answers");
    assert_eq!(
        levels.iter().map(|level| level.left).collect::<Vec<_>>(),
        [8, 1]
    );
    // As a shadow it only says so.
    let mut shadow = of(2);
    shadow[1].shadow = true;
    let charged = counts.charge(&shadow).await.expect("Redis answers");
    assert_eq!(left(&charged), [6, 1]);
    let Charged::Made(made) = charged else {
        panic!()
    };
    assert!(matches!(made[1].1, Some(Short::Until(_))), "{made:?}");
    // What is given back is there again, and no more than there was.
    counts.refund(&of(100)).await.expect("Redis answers");
    let charged = counts.charge(&of(1)).await.expect("Redis answers");
    assert_eq!(left(&charged), [9, 2]);
}

#[tokio::test]
async fn a_window_ends_with_its_day_and_leaves_nothing_behind() {
    let redis = Redis::start().await;
    let mut store = Store::on(&redis).await;
    let (acme, daily) = (acme(), daily(5));
    let of = |amount| [charge(&acme, "daily", &daily, amount)];
    store.counts.charge(&of(5)).await.expect("Redis answers");
    store.advance(719).await;
    let charged = store.counts.charge(&of(1)).await.expect("Redis answers");
    let Charged::Refused { index: 0, short } = charged else {
        panic!("{charged:?}");
    };
    let midnight = Short::Until(Duration::from_secs(30));
    assert!(same_short(Some(short), Some(midnight)), "{short:?}");
    // Half a minute into the next: a refund may be of the day before.
    store.advance(1).await;
    let charged = store.counts.charge(&of(3)).await.expect("Redis answers");
    assert_eq!(left(&charged), [2]);
    store.counts.refund(&of(3)).await.expect("Redis answers");
    let levels = store.counts.levels(&of(0)).await.expect("Redis answers");
    assert_eq!(levels[0].left, 2);
    store.advance(1).await;
    store.counts.refund(&of(3)).await.expect("Redis answers");
    let levels = store.counts.levels(&of(0)).await.expect("Redis answers");
    assert_eq!(levels[0].left, 5);
    for key in redis.cli(&["keys", "*"]).lines() {
        let life: i64 = redis.cli(&["pttl", key]).trim().parse().expect("a number");
        assert!(life > 0, "{key} stays for ever");
    }
}

#[tokio::test]
async fn numbers_are_exact_up_to_the_largest() {
    let redis = Redis::start().await;
    let store = Store::on(&redis).await;
    let acme = acme();
    for most in [MOST, MOST - 1, MOST / 2 + 1, u64::MAX] {
        let (measure, name) = (daily(most), format!("daily-{most}"));
        let room = most.min(MOST);
        let of = |amount| [charge(&acme, &name, &measure, amount)];
        let charged = store
            .counts
            .charge(&of(room - 1))
            .await
            .expect("Redis answers");
        assert_eq!(left(&charged), [1]);
        let refused = store.counts.charge(&of(2)).await.expect("Redis answers");
        assert!(matches!(refused, Charged::Refused { .. }), "{refused:?}");
        let charged = store.counts.charge(&of(1)).await.expect("Redis answers");
        assert_eq!(left(&charged), [0]);
        store.counts.refund(&of(room)).await.expect("Redis answers");
        let refused = store
            .counts
            .charge(&of(u64::MAX))
            .await
            .expect("Redis answers");
        let never = Charged::Refused {
            index: 0,
            short: Short::Never,
        };
        assert_eq!(refused, never);
        let levels = store.counts.levels(&of(0)).await.expect("Redis answers");
        assert_eq!(levels[0].left, room);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_leases_stay_within_a_window_and_a_block_each_above_a_rate() {
    let redis = Redis::start().await;
    let connection = connected(&redis).await;
    let offset = Arc::new(AtomicI64::new(0));
    let leasing = Leasing {
        share: 50,
        life: Duration::from_secs(2),
    };
    let acme = acme();
    // Neither comes back while this runs: a rate of one an hour, and a month.
    let measures = [
        rate(60, 400),
        Measure::Window {
            most: 400,
            period: Period::Month,
            zone: TimeZone::UTC,
        },
    ];
    for (index, measure) in measures.iter().enumerate() {
        for service in [false, true] {
            let name = format!("limit-{index}");
            let key = CountKey {
                tenant: (!service).then_some(&acme),
                limit: &name,
                caller: None,
            };
            let one = [Charge {
                key,
                measure,
                amount: 1,
                shadow: false,
            }];
            let replicas: Vec<RedisCounts> = (0..3)
                .map(|_| replica(&connection, leasing, &offset))
                .collect();
            let (mut made, mut at_hand) = (0, 0);
            for turn in 0..700 {
                let counts = &replicas[turn % 3];
                let charged = counts.charge_at_hand(&one);
                at_hand += usize::from(charged.is_some());
                let charged = match charged {
                    Some(charged) => charged,
                    None => counts.charge(&one).await.expect("Redis answers"),
                };
                made += usize::from(matches!(charged, Charged::Made(_)));
            }
            assert!(made <= 400, "{made} of {key:?}");
            // What is held elsewhere is not for the others.
            assert!(made >= 400 - 2 * 20, "{made} of {key:?}");
            assert!(at_hand > 200, "{at_hand} of {key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_and_not_used_goes_back() {
    let redis = Redis::start().await;
    let connection = connected(&redis).await;
    let offset = Arc::new(AtomicI64::new(0));
    let leasing = Leasing {
        share: 100,
        life: Duration::from_secs(1),
    };
    let (acme, measure) = (acme(), daily(1000));
    let one = [charge(&acme, "daily", &measure, 1)];
    let holder = replica(&connection, leasing, &offset);
    for _ in 0..2 {
        holder.charge(&one).await.expect("Redis answers");
    }
    let other = replica(&connection, EXACT, &offset);
    let seen = async || other.levels(&one).await.expect("Redis answers")[0].left;
    assert_eq!(seen().await, 898);
    assert!(holder.charge_at_hand(&one).is_some());
    let back = async {
        while seen().await != 997 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let back = tokio::time::timeout(Duration::from_secs(30), back).await;
    back.expect("it goes back");
    assert!(holder.charge_at_hand(&one).is_none());
}

#[tokio::test]
async fn a_service_charge_is_given_back_where_the_tenant_has_no_room() {
    let redis = Redis::start().await;
    let store = Store::on(&redis).await;
    let (acme, service, own) = (acme(), daily(10), rate(60, 1));
    let both = [
        Charge {
            key: CountKey {
                tenant: None,
                limit: "all",
                caller: None,
            },
            ..charge(&acme, "all", &service, 1)
        },
        charge(&acme, "own", &own, 1),
    ];
    let charged = store.counts.charge(&both).await.expect("Redis answers");
    assert_eq!(left(&charged), [9, 0]);
    for _ in 0..20 {
        let charged = store.counts.charge(&both).await.expect("Redis answers");
        assert!(
            matches!(charged, Charged::Refused { index: 1, .. }),
            "{charged:?}"
        );
    }
    let levels = store.counts.levels(&both).await.expect("Redis answers");
    assert_eq!(levels[0].left, 9);
}
