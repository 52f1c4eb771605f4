//! Orders that replicas share: what one is told holds for all, and goes on to hold while the store is away.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use presignd::names::TenantId;
use presignd::operate::file::FileStore;
use presignd::operate::redis::RedisStore;
use presignd::operate::{Change, Halted, NotKept, Order, StandingOrders};
use presignd::redis::{Connection, Mode};

use crate::harness::process::PATIENCE;
use crate::harness::redis::options;

/// A Redis of this test's own.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        Self::start_at(port)
    }

    fn start_at(port: u16) -> Self {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("redis-server is installed"),
            port,
        }
    }

    fn connect(&self) -> Arc<Connection> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let connection = Connection::start(options(&[address], Mode::Single));
        Arc::new(connection.expect("the options add up"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Neither does anything to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The orders as one replica has them, kept for as long as the test runs.
fn replica(server: &Server) -> StandingOrders {
    let store = RedisStore::new(server.connect());
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
    let server = Server::start();
    let (first, second) = (replica(&server), replica(&server));
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
    let server = Server::start();
    let port = server.port;
    let orders = replica(&server);
    order(&orders, suspend()).await;
    drop(server);
    let refused = orders.order(Change::Resume(acme())).await;
    assert!(matches!(refused, Err(NotKept::Away(_))), "{refused:?}");
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    // One that has forgotten all is told anew, and others learn it from there.
    let server = Server::start_at(port);
    let other = replica(&server);
    until("the other knows", || other.allow(&acme()).is_err()).await;
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    order(&orders, Change::Resume(acme())).await;
    until("the other knows", || other.allow(&acme()).is_ok()).await;
    assert!(orders.standing().is_empty());
}

#[tokio::test]
async fn a_copy_stands_until_the_store_says_otherwise() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let copied = async |server: &Server, folder: &Path| {
        let store = RedisStore::new(server.connect());
        let (orders, keeper) = StandingOrders::kept(Arc::new(store));
        let copy = FileStore::open(folder).expect("the folder is writable");
        let keeper = keeper.with_copy(copy).await.expect("it can be read");
        (orders, tokio::spawn(keeper.run()))
    };
    let server = Server::start();
    let port = server.port;
    let (orders, keeping) = copied(&server, folder.path()).await;
    order(&orders, suspend()).await;
    keeping.abort();
    let mut server = server;
    server.child.kill().expect("it runs");
    let (orders, _keeping) = copied(&server, folder.path()).await;
    assert_eq!(orders.allow(&acme()), Err(Halted::Suspended));
    drop(server);
    // What it says there is, is what another replica was told meanwhile.
    let server = Server::start_at(port);
    let other = replica(&server);
    until("the copy is kept anew", || other.allow(&acme()).is_err()).await;
    order(&other, Change::Resume(acme())).await;
    until("the store says otherwise", || orders.allow(&acme()).is_ok()).await;
}
