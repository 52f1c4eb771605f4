//! What counts in Redis do beyond the contract of `counts.rs`: replicas together stay within a limit, nothing stays for ever, and what is
//! charged for nobody is given back.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use jiff::tz::TimeZone;
use presignd::admit::quota::limit::Unit;
use presignd::admit::quota::redis::{Leasing, RedisCounts};
use presignd::admit::quota::{Charge, Charged, CountKey, Measure, Period, SharedCounts as _};
use presignd::clock::SystemClock;
use presignd::names::TenantId;
use presignd::redis::{Connection, Mode, Options};

use crate::harness::process::PATIENCE;
use crate::harness::redis::{Redis, is_here, options, until};

/// No leases: every charge is Redis's own.
const EXACT: Leasing = Leasing {
    share: 0,
    life: Duration::from_secs(2),
};

async fn connected(redis: &Redis) -> Arc<Connection> {
    waiting(redis, Duration::from_secs(20)).await
}

/// A connection that waits so long for an answer.
async fn waiting(redis: &Redis, timeout: Duration) -> Arc<Connection> {
    let connection = Connection::start(Options {
        timeout,
        ..options(&[redis.address()], Mode::Single)
    });
    let connection = Arc::new(connection.expect("good options"));
    is_here(&connection, true).await;
    connection
}

fn replica(connection: &Arc<Connection>, leasing: Leasing) -> RedisCounts {
    let clock = Arc::new(SystemClock::new());
    let offset = Arc::new(AtomicI64::new(0));
    RedisCounts::new(Arc::clone(connection), leasing, clock, offset)
}

fn acme() -> TenantId {
    TenantId::parse("acme").expect("a tenant's id")
}

fn charge<'a>(
    tenant: Option<&'a TenantId>,
    limit: &'a str,
    measure: &'a Measure,
    amount: u64,
) -> Charge<'a> {
    Charge {
        key: CountKey {
            tenant,
            limit,
            unit: Unit::Urls,
            caller: None,
        },
        measure,
        amount,
        shadow: false,
    }
}

fn monthly(most: u64) -> Measure {
    let period = Period::Month;
    let zone = TimeZone::UTC;
    Measure::Window { most, period, zone }
}

/// One an hour.
fn hourly(burst: u64) -> Measure {
    let interval = Duration::from_hours(1);
    Measure::Rate { interval, burst }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_leases_stay_within_a_window_and_a_block_each_above_a_rate() {
    let redis = Redis::start().await;
    let connection = connected(&redis).await;
    let leasing = Leasing {
        share: 50,
        life: Duration::from_secs(2),
    };
    let acme = acme();
    // Neither comes back while this runs: a rate of one an hour, and a month.
    let measures = [hourly(400), monthly(400)];
    for (index, measure) in measures.iter().enumerate() {
        for service in [false, true] {
            let name = format!("limit-{index}");
            let one = [charge((!service).then_some(&acme), &name, measure, 1)];
            let replicas: Vec<RedisCounts> =
                (0..3).map(|_| replica(&connection, leasing)).collect();
            let (mut made, mut at_hand) = (0, 0);
            for turn in 0..700 {
                let counts = &replicas[turn % 3];
                let charged = counts.charge_at_hand(&one);
                at_hand += usize::from(charged.is_some());
                let charged = match charged {
                    Some(charged) => charged,
                    None => counts.charge(&one).await.expect("Redis answers"),
                };
                made += usize::from(matches!(charged, Charged::Made { .. }));
            }
            assert!(made <= 400, "{made} of {one:?}");
            // What is held elsewhere is not for the others.
            assert!(made >= 400 - 2 * 20, "{made} of {one:?}");
            assert!(at_hand > 200, "{at_hand} of {one:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_leased_and_not_used_goes_back() {
    let redis = Redis::start().await;
    let connection = connected(&redis).await;
    let leasing = Leasing {
        share: 100,
        life: Duration::from_secs(1),
    };
    let (acme, measure) = (acme(), monthly(1000));
    let one = [charge(Some(&acme), "monthly", &measure, 1)];
    let holder = replica(&connection, leasing);
    for _ in 0..2 {
        holder.charge(&one).await.expect("Redis answers");
    }
    let other = replica(&connection, EXACT);
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
async fn nothing_stays_for_ever() {
    let redis = Redis::start().await;
    let counts = replica(&connected(&redis).await, EXACT);
    let (acme, monthly, hourly) = (acme(), monthly(5), hourly(5));
    let charges = [
        charge(Some(&acme), "monthly", &monthly, 2),
        charge(Some(&acme), "hourly", &hourly, 2),
        charge(None, "all", &hourly, 2),
    ];
    let answer = counts.charge(&charges).await.expect("Redis answers");
    let Charged::Made { at, .. } = answer else {
        panic!("{answer:?}");
    };
    counts
        .refund(&charges[..1], at)
        .await
        .expect("Redis answers");
    let keys = redis.cli(&["keys", "presignd:*:*y:*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
    for key in redis.cli(&["keys", "*"]).lines() {
        let life: i64 = redis.cli(&["pttl", key]).trim().parse().expect("a number");
        assert!(life > 0, "{key} stays for ever");
    }
}

/// How often the server has run the script.
fn runs(redis: &Redis) -> u64 {
    let said = redis.cli(&["info", "commandstats"]);
    let calls = said.lines().find_map(|line| {
        let rest = line.strip_prefix("cmdstat_evalsha:calls=")?;
        rest.split(',').next()?.parse().ok()
    });
    calls.unwrap_or(0)
}

/// How much of a count is used, in the server's numbers.
fn used(redis: &Redis, key: &str) -> String {
    let held = redis.cli(&["get", key]);
    held.split(' ').next().expect("a number").to_owned()
}

/// Charges once, and then for somebody who gives up while the server hangs. What goes on when it does not hang any more is given back.
async fn given_up(timeout: Duration, patience: Duration) {
    let redis = Redis::start().await;
    let connection = waiting(&redis, timeout).await;
    let counts = replica(&connection, EXACT);
    let (acme, first, second, dry) = (acme(), hourly(50), hourly(60), hourly(3));
    let shadow = Charge {
        shadow: true,
        ..charge(Some(&acme), "dry", &dry, 3)
    };
    let charges = [
        charge(Some(&acme), "first", &first, 7),
        charge(Some(&acme), "second", &second, 7),
        shadow,
    ];
    let names = ["first", "second", "dry"];
    let stand = || names.map(|name| used(&redis, &format!("presignd:{{acme}}:{name}::ns")));
    counts.charge(&charges).await.expect("Redis answers");
    let (before, ran) = (stand(), runs(&redis));
    redis.signal("STOP");
    let answer = tokio::time::timeout(patience, counts.charge(&charges)).await;
    assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    redis.signal("CONT");
    // The charge, and what gives it back.
    until(|| runs(&redis) >= ran + 2).await;
    // Of the burst of fifty hours none has passed.
    let after = stand();
    for (before, after) in before.iter().zip(&after) {
        let [before, after] = [before, after].map(|used| used.parse::<u64>().expect("a number"));
        assert!(
            before.abs_diff(after) < 3_600_000_000_000,
            "{before} {after}"
        );
    }
    // It may be found just now that it is there again.
    let levels = async {
        loop {
            if let Ok(levels) = counts.levels(&charges).await {
                return levels;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let levels = tokio::time::timeout(PATIENCE, levels).await;
    let levels = levels.expect("Redis answers");
    let left: Vec<u64> = levels.iter().map(|level| level.left).collect();
    assert_eq!(left, [43, 53, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_charged_for_somebody_who_has_given_up_is_given_back() {
    given_up(Duration::from_secs(20), Duration::from_millis(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_charged_too_late_is_given_back() {
    given_up(Duration::from_secs(2), Duration::from_mins(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_nobody_hears_gives_nothing_back() {
    let redis = Redis::start().await;
    let counts = replica(&connected(&redis).await, EXACT);
    let (acme, measure) = (acme(), hourly(5));
    let of = |amount| [charge(Some(&acme), "all", &measure, amount)];
    counts.charge(&of(4)).await.expect("Redis answers");
    let ran = runs(&redis);
    redis.signal("STOP");
    let (two, one) = (of(2), of(1));
    let patience = Duration::from_millis(50);
    let charged = tokio::time::timeout(patience, counts.charge(&two)).await;
    charged.expect_err("it hangs");
    let charged = tokio::time::timeout(patience, counts.charge(&one)).await;
    charged.expect_err("it hangs");
    redis.signal("CONT");
    // Two charges, and one that is given back.
    until(|| runs(&redis) >= ran + 3).await;
    let levels = counts.levels(&one).await.expect("Redis answers");
    assert_eq!(levels[0].left, 1);
    assert_eq!(runs(&redis), ran + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_not_charged_for_a_tenant_who_has_given_up() {
    let redis = Redis::start().await;
    let counts = replica(&connected(&redis).await, EXACT);
    // Of which ten are leased.
    let (acme, service, own) = (acme(), monthly(1000), hourly(50));
    let both = [
        charge(None, "all", &service, 1),
        charge(Some(&acme), "own", &own, 1),
    ];
    for _ in 0..3 {
        counts.charge(&both).await.expect("Redis answers");
    }
    let at_hand = async || counts.charge_at_hand(&both[..1]).is_some();
    let ran = runs(&redis);
    redis.signal("STOP");
    for _ in 0..30 {
        let charged = tokio::time::timeout(Duration::from_millis(5), counts.charge(&both)).await;
        charged.expect_err("it hangs");
    }
    // What was at hand is so again.
    assert!(at_hand().await);
    redis.signal("CONT");
    until(|| runs(&redis) >= ran + 60).await;
    let levels = counts.levels(&both).await.expect("Redis answers");
    let left: Vec<u64> = levels.iter().map(|level| level.left).collect();
    assert_eq!(left, [996, 47]);
}
