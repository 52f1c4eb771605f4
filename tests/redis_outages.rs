//! A Redis that is killed, hangs or cannot be reached costs a bounded wait and is found again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use presignd::metrics::{AWAY, BACK, COUNTS_SWITCHES};
use presignd::redis::{Connection, Mode, NoAnswer};

use crate::harness::redis::counting::{charge, connection, counts};
use crate::harness::redis::{Redis, is_here, options, until};
use crate::harness::relay::Relay;

/// Milliseconds: far more than a wait of 100 and what a busy machine adds; far less than a minute.
const BOUND: usize = 5000;

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
