//! However slowly Redis answers, nobody waits for another's answer before they ask: neither connections nor locks are in the way.

use std::sync::Arc;

use presignd::redis::{Mode, Options};

use crate::harness::presignd::{get_object, request};
use crate::harness::process::{PATIENCE, serve, static_tenant};
use crate::harness::redis::counting::{charge, connection, counts};
use crate::harness::redis::{Redis, is_here, options, until};
use crate::harness::valve::Valve;

/// The most connections on which charges are asked.
const CONNECTIONS: usize = 4;

/// How often charges were asked on whichever connection.
fn asked(valve: &Valve) -> usize {
    valve.asked("EVALSHA").iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_charges_are_asked_before_one_is_answered() {
    const MANY: usize = 500;
    let redis = Redis::start().await;
    let valve = Valve::to(redis.address()).await;
    let connection = connection(Options {
        // As long as the test takes.
        timeout: PATIENCE,
        ..options(&[valve.address()], Mode::Single)
    });
    is_here(&connection, true).await;
    let counts = Arc::new(counts(&connection));
    charge(&counts, "acme").await.expect("Redis answers");
    let before = asked(&valve);
    valve.open(false);
    let charging: Vec<_> = (0..MANY)
        .map(|number| {
            let counts = Arc::clone(&counts);
            // Half of them are of one tenant.
            let tenant = match number % 2 {
                0 => "acme".to_owned(),
                _ => format!("tenant-{number}"),
            };
            tokio::spawn(async move { charge(&counts, &tenant).await })
        })
        .collect();
    until(|| asked(&valve) == before + MANY).await;
    assert!(charging.iter().all(|charging| !charging.is_finished()));
    let connections = valve.asked("EVALSHA").len();
    assert!(connections <= CONNECTIONS, "{connections}");
    valve.open(true);
    for charged in charging {
        let charged = charged.await.expect("no panic");
        charged.expect("it was answered at last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_asks_for_all_its_requests_at_once() {
    const MANY: usize = 200;
    let redis = Redis::start().await;
    let valve = Valve::to(redis.address()).await;
    let tenant = static_tenant("[read]", "");
    let address = valve.address();
    let yaml = format!(
        "{tenant}    limits: [{{ name: all, rate: 10000/s, burst: 10000 }}]
state: {{ redis: {{ servers: [\"{address}\"], timeout: 10s, lease: {{ share: 0% }} }} }}\n"
    );
    let (process, client) = serve(&yaml).await;
    let get = || request("acme", get_object("acme-files", "k"));
    let ready = async {
        while client.clone().presign(get()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let ready = tokio::time::timeout(PATIENCE, ready).await;
    ready.unwrap_or_else(|_| panic!("Redis is not found: {}", process.stderr()));
    let before = asked(&valve);
    valve.open(false);
    let asking: Vec<_> = (0..MANY)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.presign(get()).await.map(drop) })
        })
        .collect();
    until(|| asked(&valve) == before + MANY).await;
    assert!(asking.iter().all(|asking| !asking.is_finished()));
    valve.open(true);
    for asked in asking {
        let asked = asked.await.expect("no panic");
        asked.expect("it was answered at last");
    }
}
