//! Every way to run a Redis works, guarded and not, and goes on when another server takes over.

use std::sync::Arc;
use std::time::Duration;

use presignd::admit::quota::limit::Unit;
use presignd::admit::quota::redis::RedisCounts;
use presignd::admit::quota::{Charge, Charged, CountKey, Measure, SharedCounts as _};
use presignd::names::TenantId;
use presignd::redis::{Connection, Mode};

use crate::harness::certificates::Authority;
use crate::harness::process::PATIENCE;
use crate::harness::redis::counting::{charge, connection, counts};
use crate::harness::redis::{Cluster, Redis, Watched, guarded_options, is_here, options, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_rights_does_everything_over_tls() {
    let authority = Authority::new();
    let redis = Redis::guarded(&authority).await;
    let connection = connection(guarded_options(
        &[redis.address()],
        Mode::Single,
        &authority,
    ));
    is_here(&connection, true).await;
    let counts = counts(&connection);
    charge(&counts, "acme").await.expect("it may");
    hash_and_notices(&connection).await;
    assert!(!format!("{connection:?}").contains(crate::harness::redis::PASSWORD));
    // Neither a wrong password nor another authority leads anywhere.
    let mut wrong = guarded_options(&[redis.address()], Mode::Single, &authority);
    wrong.login.password = Some("wrong".into());
    let stranger = guarded_options(&[redis.address()], Mode::Single, &Authority::new());
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
    let watched = Watched::start().await;
    let connection = connection(options(&watched.addresses(), watched.mode()));
    fail_over(watched, connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master_over_tls() {
    let authority = Authority::new();
    let watched = Watched::guarded(&authority).await;
    let told = || guarded_options(&watched.addresses(), watched.mode(), &authority);
    // Who does not log in at the Sentinels, or shows them nothing, hears nothing.
    let mut stranger = told();
    if let Mode::Sentinel { login, .. } = &mut stranger.mode {
        *login = presignd::redis::Login::default();
    }
    let mut unknown = told();
    unknown.tls.as_mut().expect("TLS").identity = None;
    let refused = [stranger, unknown].map(self::connection);
    let connection = connection(told());
    fail_over(watched, connection).await;
    assert!(refused.iter().all(|connection| !connection.is_here()));
}

/// Loses the master, and finds the replica that takes over.
async fn fail_over(mut watched: Watched, connection: Arc<Connection>) {
    is_here(&connection, true).await;
    let counts = counts(&connection);
    charge(&counts, "acme").await.expect("the master answers");
    hash_and_notices(&connection).await;
    watched.master.kill();
    until_charged(&counts, "globex").await;
    let keys = watched.replica.cli(&["keys", "presignd:{globex}*"]);
    assert_eq!(keys.trim(), "presignd:{globex}:urls::ns");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_cluster_goes_on_when_a_replica_takes_over() {
    let authority = Authority::new();
    let mut cluster = Cluster::guarded(&authority).await;
    let addresses = cluster.addresses();
    let told = || guarded_options(&addresses[..1], Mode::Cluster, &authority);
    let mut unknown = told();
    unknown.tls.as_mut().expect("TLS").identity = None;
    let refused = self::connection(unknown);
    let connection = connection(told());
    is_here(&connection, true).await;
    let counts = counts(&connection);
    charge(&counts, "acme").await.expect("it may");
    hash_and_notices(&connection).await;
    let master = cluster.owner("{acme}");
    let replica = cluster.replica(master);
    cluster.0[master].kill();
    until_charged(&counts, "acme").await;
    let keys = cluster.0[replica].cli(&["keys", "presignd:{acme}*"]);
    assert_eq!(keys.trim(), "presignd:{acme}:urls::ns");
    assert!(!refused.is_here());
}

async fn until_charged(counts: &RedisCounts, tenant: &str) {
    let charged = async {
        while charge(counts, tenant).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let charged = tokio::time::timeout(PATIENCE, charged).await;
    charged.expect("the replica takes over");
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
