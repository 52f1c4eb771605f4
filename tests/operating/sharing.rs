//! Orders that replicas share: what one is told holds for all, and goes on to hold while the store is away.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use presignd::names::TenantId;
use presignd::operate::file::FileStore;
use presignd::operate::redis::RedisStore;
use presignd::operate::{Change, Halted, NotKept, Order, StandingOrders};
use presignd::redis::{Connection, Mode};

use crate::harness::process::PATIENCE;
use crate::harness::redis::{Redis, options};

fn connect(redis: &Redis) -> Arc<Connection> {
    let connection = Connection::start(options(&[redis.address()], Mode::Single));
    Arc::new(connection.expect("the options add up"))
}

/// The orders as one replica has them, kept for as long as the test runs.
fn replica(redis: &Redis) -> StandingOrders {
    let store = RedisStore::new(connect(redis));
    let (orders, keeper) = StandingOrders::kept(Arc::new(store));
    tokio::spawn(keeper.run());
    orders
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("not so far: {what}"));
}

/// Has it kept, as soon as the store is there.
async fn order(orders: &StandingOrders, change: Change) {
    let ordering = async {
        while orders.order(change.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ordered = tokio::time::timeout(PATIENCE, ordering).await;
    ordered.expect("the store comes");
}

fn acme() -> TenantId {
    TenantId::parse("acme").expect("a tenant id")
}

fn suspend() -> Change {
    Change::Suspend(acme(), because("a leak"))
}

fn because(reason: &str) -> Order {
    Order::new(reason, "key.boss", SystemTime::UNIX_EPOCH)
}

#[tokio::test]
async fn what_one_replica_is_told_holds_for_all() {
    let redis = Redis::start().await;
    let (first, second) = (replica(&redis), replica(&redis));
    order(&first, suspend()).await;
    assert_eq!(first.allow(&acme()), Err(Halted::Suspended));
    until("the other knows", || second.allow(&acme()).is_err()).await;
    order(&second, Change::Freeze(because("an incident"))).await;
    until("the first knows", || {
        first.allow(&acme()) == Err(Halted::Frozen)
    })
    .await;
    let standing = first.standing();
    assert_eq!(standing.frozen, Some(because("an incident")));
    assert_eq!(standing.suspended[&acme()], because("a leak"));
    // Each ends what the other was told.
    order(&first, Change::Unfreeze).await;
    order(&second, Change::Resume(acme())).await;
    until("nothing stands", || {
        first.standing().is_empty() && second.standing().is_empty()
    })
    .await;
}

#[tokio::test]
async fn while_the_store_is_away_what_stands_stands_and_nothing_is_ordered() {
    let mut redis = Redis::start().await;
    let orders = replica(&redis);
    order(&orders, suspend()).await;
    redis.kill();
    let refused = orders.order(Change::Resume(acme())).await;
    assert!(matches!(refused, Err(NotKept::Away(_))), "{refused:?}");
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    // One that has forgotten all is told anew, and others learn it from there.
    redis.restart().await;
    let other = replica(&redis);
    until("the other knows", || other.allow(&acme()).is_err()).await;
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    order(&orders, Change::Resume(acme())).await;
    until("the other knows", || other.allow(&acme()).is_ok()).await;
    assert!(orders.standing().is_empty());
}

#[tokio::test]
async fn a_copy_stands_until_the_store_says_otherwise() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copied = async |redis: &Redis, folder: &Path| {
        let store = RedisStore::new(connect(redis));
        let (orders, keeper) = StandingOrders::kept(Arc::new(store));
        let copy = FileStore::open(folder).expect("the folder is writable");
        let keeper = keeper.with_copy(copy).await.expect("it can be read");
        (orders, tokio::spawn(keeper.run()))
    };
    let mut redis = Redis::start().await;
    let (orders, keeping) = copied(&redis, folder.path()).await;
    order(&orders, suspend()).await;
    keeping.abort();
    redis.kill();
    let (orders, _keeping) = copied(&redis, folder.path()).await;
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    // What it says there is, is what another replica was told meanwhile.
    redis.restart().await;
    let other = replica(&redis);
    until("the copy is kept anew", || other.allow(&acme()).is_err()).await;
    order(&other, Change::Resume(acme())).await;
    until("the store says otherwise", || orders.allow(&acme()).is_ok()).await;
}
