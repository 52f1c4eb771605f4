//! A Redis that is killed, hangs or cannot be reached costs a bounded wait and is found again by itself; and every way to run one works.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use presignd::admit::quota::limit::Unit;
use presignd::admit::quota::redis::{Leasing, RedisCounts};
use presignd::admit::quota::{Charge, Charged, CountKey, Measure, SharedCounts as _};
use presignd::clock::SystemClock;
use presignd::metrics::{AWAY, BACK, COUNTS_SWITCHES};
use presignd::names::TenantId;
use presignd::redis::{Connection, Login, Mode, NoAnswer, Options};

use crate::harness::certificates::Authority;
use crate::harness::process::PATIENCE;
use crate::harness::redis::{Cluster, Redis, Watched, guarded_options, is_here, options, until};
use crate::harness::relay::Relay;

/// Milliseconds: far more than a wait of 100 and what a busy machine adds; far less than a minute.
const BOUND: usize = 5000;

fn counts(connection: &Arc<Connection>) -> RedisCounts {
    let leasing = Leasing {
        share: 0,
        life: Duration::from_secs(2),
    };
    let offset = Arc::new(AtomicI64::new(0));
    let clock = Arc::new(SystemClock::new());
    RedisCounts::new(Arc::clone(connection), leasing, clock, offset)
}

fn connection(options: Options) -> Arc<Connection> {
    Arc::new(Connection::start(options).expect("good options"))
}

/// Charges one of a tenant, of whom there is enough.
async fn charge(counts: &RedisCounts, tenant: &str) -> Result<Charged, String> {
    let tenant = TenantId::parse(tenant).expect("a tenant's id");
    let measure = Measure::Rate {
        interval: Duration::from_millis(1),
        burst: 1_000_000,
    };
    let key = CountKey {
        tenant: Some(&tenant),
        limit: "urls",
        unit: Unit::Urls,
        caller: None,
    };
    let charges = [Charge {
        key,
        measure: &measure,
        amount: 1,
        shadow: false,
    }];
    let answer = counts.charge(&charges).await;
    answer.map_err(|away| away.to_string())
}

/// Charges under load while something happens, and looks at how long each took.
async fn under_load(
    connection: &Arc<Connection>,
    away: impl AsyncFnOnce(),
    back: impl AsyncFnOnce(),
) {
    let counts = Arc::new(counts(connection));
    let made = Arc::new(AtomicUsize::new(0));
    let slowest = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (counts, made, slowest) = (counts.clone(), made.clone(), slowest.clone());
            tokio::spawn(async move {
                loop {
                    let begun = tokio::time::Instant::now();
                    let charged = charge(&counts, "acme").await;
                    let took = begun.elapsed();
                    let took = usize::try_from(took.as_millis()).expect("not long");
                    slowest.fetch_max(took, Ordering::SeqCst);
                    made.fetch_add(usize::from(charged.is_ok()), Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    let grows = async || {
        let before = made.load(Ordering::SeqCst);
        until(|| made.load(Ordering::SeqCst) > before + 10).await;
    };
    grows().await;
    away().await;
    is_here(connection, false).await;
    // At once: nothing is waited for.
    let known = connection.ask::<()>(&presignd_ping()).await;
    assert_eq!(known, Err(NoAnswer::Away));
    let error = charge(&counts, "acme").await.expect_err("nobody is there");
    assert!(error.contains("away"), "{error}");
    back().await;
    grows().await;
    assert!(connection.is_here());
    let slowest = slowest.load(Ordering::SeqCst);
    assert!(slowest < BOUND, "somebody waited {slowest} ms");
    for task in load {
        task.abort();
    }
}

fn presignd_ping() -> redis::Cmd {
    redis::cmd("PING")
}

fn switches(place: usize) -> u64 {
    COUNTS_SWITCHES.counts().nth(place).expect("it is there").1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_is_found_again() {
    let redis = tokio::sync::Mutex::new(Redis::start().await);
    let address = redis.lock().await.address();
    let connection = connection(options(&[address], Mode::Single));
    let before = (switches(AWAY), switches(BACK));
    under_load(
        &connection,
        async || redis.lock().await.kill(),
        async || redis.lock().await.restart().await,
    )
    .await;
    // Others switch in this process too.
    assert!(switches(AWAY) > before.0 && switches(BACK) > before.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_a_bounded_wait() {
    let redis = Redis::start().await;
    let mut options = options(&[redis.address()], Mode::Single);
    options.timeout = Duration::from_millis(100);
    let connection = connection(options);
    let (away, back) = (async || redis.signal("STOP"), async || redis.signal("CONT"));
    under_load(&connection, away, back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_behind_a_cut_line_costs_a_bounded_wait() {
    let redis = Redis::start().await;
    let relay = Relay::to(&format!("http://{}", redis.address())).await;
    let address = relay.url().trim_start_matches("http://").parse();
    let mut options = options(&[address.expect("an address")], Mode::Single);
    options.timeout = Duration::from_millis(100);
    let connection = connection(options);
    under_load(
        &connection,
        async || relay.cut(true),
        async || relay.cut(false),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_at_the_start_is_no_reason_not_to_start() {
    let mut redis = Redis::start().await;
    redis.kill();
    let connection = connection(options(&[redis.address()], Mode::Single));
    let counts = counts(&connection);
    assert!(charge(&counts, "acme").await.is_err());
    redis.restart().await;
    is_here(&connection, true).await;
    charge(&counts, "acme").await.expect("it is there now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_rights_does_everything_over_tls() {
    let authority = Authority::new();
    let redis = Redis::guarded(&authority).await;
    let connection = connection(guarded_options(&redis, &authority));
    is_here(&connection, true).await;
    let counts = counts(&connection);
    charge(&counts, "acme").await.expect("it may");
    hash_and_notices(&connection).await;
    assert!(!format!("{connection:?}").contains(crate::harness::redis::PASSWORD));
    // Neither a wrong password nor another authority leads anywhere.
    let mut wrong = guarded_options(&redis, &authority);
    wrong.login.password = Some("wrong".into());
    let stranger = guarded_options(&redis, &Authority::new());
    let plain = options(&[redis.address()], Mode::Single);
    for options in [wrong, stranger, plain] {
        let connection = self::connection(options);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!connection.is_here());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_a_tenant_in_one_slot() {
    let cluster = Cluster::start().await;
    let addresses: Vec<_> = cluster.0.iter().map(Redis::address).collect();
    let connection = connection(options(&addresses[..1], Mode::Cluster));
    is_here(&connection, true).await;
    let counts = counts(&connection);
    let rate = Measure::Rate {
        interval: Duration::from_hours(1),
        burst: 10,
    };
    // Many tenants, so that every master has some, and of each two counts and the service's, in one call.
    for number in 0..12 {
        let tenant = TenantId::parse(&format!("tenant-{number}")).expect("a tenant's id");
        let charge = |tenant, limit, caller| Charge {
            key: CountKey {
                tenant,
                limit,
                unit: Unit::Urls,
                caller,
            },
            measure: &rate,
            amount: u64::from(tenant.is_some()),
            shadow: false,
        };
        let charges = [
            charge(Some(&tenant), "urls", None),
            charge(None, "all", None),
            charge(Some(&tenant), "each", Some("{other}")),
        ];
        let answer = counts.charge(&charges).await;
        let Ok(Charged::Made { counts: made, .. }) = answer else {
            panic!("{answer:?}");
        };
        let left: Vec<u64> = made.iter().map(|(level, _)| level.left).collect();
        assert_eq!((left[0], left[2]), (9, 9));
    }
    let held = |node: &Redis| node.cli(&["keys", "presignd:{tenant*"]).lines().count();
    let held: Vec<usize> = cluster.0.iter().map(held).collect();
    assert_eq!(held.iter().sum::<usize>(), 24);
    assert!(held.iter().all(|count| *count > 0), "{held:?}");
    hash_and_notices(&connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master() {
    let mut watched = Watched::start().await;
    let addresses: Vec<_> = watched.sentinels.iter().map(Redis::address).collect();
    let mode = Mode::Sentinel {
        master: "presignd".to_owned(),
        login: Login::default(),
    };
    let connection = connection(options(&addresses, mode));
    is_here(&connection, true).await;
    let counts = counts(&connection);
    charge(&counts, "acme").await.expect("the master answers");
    hash_and_notices(&connection).await;
    watched.master.kill();
    let recovered = async {
        while charge(&counts, "globex").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let recovered = tokio::time::timeout(PATIENCE, recovered).await;
    recovered.expect("the replica takes over");
    let keys = watched.replica.cli(&["keys", "presignd:{globex}*"]);
    assert_eq!(keys.trim(), "presignd:{globex}:urls::ns");
}

/// What replicas tell each other besides counts.
async fn hash_and_notices(connection: &Connection) {
    let mut notices = connection.notices();
    assert_eq!(connection.hash("orders").await, Ok(Vec::new()));
    let set = connection.set_field("orders", "acme", Some("suspended"));
    set.await.expect("it is set");
    let held = vec![("acme".to_owned(), "suspended".to_owned())];
    assert_eq!(connection.hash("orders").await, Ok(held));
    // The first is of the start to listen.
    until(|| *connection.notices().borrow() > 0).await;
    notices.mark_unchanged();
    connection.tell().await.expect("it is told");
    let heard = tokio::time::timeout(PATIENCE, notices.changed()).await;
    heard.expect("in time").expect("the connection is there");
    let removed = connection.set_field("orders", "acme", None);
    removed.await.expect("it is removed");
    assert_eq!(connection.hash("orders").await, Ok(Vec::new()));
}
