//! In a Cluster slots move, replicas take over and servers are lost while charges run: none is lost, and whoever is elsewhere notices
//! nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::tz::TimeZone;
use presignd::admit::quota::limit::Unit;
use presignd::admit::quota::redis::RedisCounts;
use presignd::admit::quota::{Charge, Charged, CountKey, Measure, Period, SharedCounts as _};
use presignd::names::TenantId;
use presignd::redis::{Connection, Mode, Options};
use tokio::task::JoinHandle;

use crate::harness::process::PATIENCE;
use crate::harness::redis::counting::{charge, connection, counts};
use crate::harness::redis::{Cluster, is_here, options, until};

/// More than anything here uses.
const MOST: u64 = 1_000_000;

/// Longer than a healthy server takes on a busy machine.
fn patient(cluster: &Cluster) -> Options {
    Options {
        timeout: Duration::from_secs(5),
        ..options(&cluster.addresses()[..1], Mode::Cluster)
    }
}

fn month() -> Measure {
    Measure::Window {
        most: MOST,
        period: Period::Month,
        zone: TimeZone::UTC,
    }
}

/// Charges one to each of a tenant's two limits, again and again.
struct Load {
    tenant: TenantId,
    counts: Arc<RedisCounts>,
    made: Arc<AtomicU64>,
    errors: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

const LIMITS: [&str; 2] = ["one", "two"];

fn charges<'a>(tenant: &'a TenantId, measure: &'a Measure, amount: u64) -> [Charge<'a>; 2] {
    LIMITS.map(|limit| Charge {
        key: CountKey {
            tenant: Some(tenant),
            limit,
            unit: Unit::Urls,
            caller: None,
        },
        measure,
        amount,
        shadow: false,
    })
}

impl Load {
    fn start(connection: &Arc<Connection>, tenant: &str) -> Self {
        let mut load = Self {
            tenant: TenantId::parse(tenant).expect("a tenant's id"),
            counts: Arc::new(counts(connection)),
            made: Arc::default(),
            errors: Arc::default(),
            stopped: Arc::default(),
            tasks: Vec::new(),
        };
        for _ in 0..8 {
            let (tenant, counts) = (load.tenant.clone(), load.counts.clone());
            let (made, errors) = (load.made.clone(), load.errors.clone());
            let stopped = load.stopped.clone();
            load.tasks.push(tokio::spawn(async move {
                let measure = month();
                let charges = charges(&tenant, &measure, 1);
                while !stopped.load(Ordering::SeqCst) {
                    match counts.charge(&charges).await {
                        Ok(Charged::Made { .. }) => {
                            made.fetch_add(1, Ordering::SeqCst);
                        }
                        other => errors.lock().expect("no panic").push(format!("{other:?}")),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        load
    }

    /// Waits until many more are made, each by who began after this.
    async fn goes_on(&self) {
        let before = self.made.load(Ordering::SeqCst);
        until(|| self.made.load(Ordering::SeqCst) > before + 50).await;
    }

    /// How often it was charged, what each of the counts says, and what went wrong.
    async fn end(self) -> (u64, [u64; 2], Vec<String>) {
        self.stopped.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        let measure = month();
        let asked = charges(&self.tenant, &measure, 0);
        let levels = self.counts.levels(&asked).await.expect("Redis answers");
        let used = [0, 1].map(|place| MOST - levels[place].left);
        let errors = std::mem::take(&mut *self.errors.lock().expect("no panic"));
        (self.made.load(Ordering::SeqCst), used, errors)
    }
}

/// A tenant whose counts this master has.
fn tenant_of(cluster: &Cluster, master: usize) -> String {
    let mut tenants = (0..).map(|number| format!("tenant-{number}"));
    let of = |tenant: &String| cluster.owner(&format!("{{{tenant}}}")) == master;
    tenants.find(of).expect("there are many")
}

fn key(tenant: &str) -> Vec<u8> {
    format!("presignd:{{{tenant}}}:one:").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_go_on_while_their_slot_moves_and_none_is_lost() {
    let cluster = Cluster::start().await;
    let connection = connection(patient(&cluster));
    is_here(&connection, true).await;
    let load = Load::start(&connection, "acme");
    load.goes_on().await;

    let from = cluster.owner("{acme}");
    let to = (from + 1) % 3;
    let slot = cluster.slot("{acme}").to_string();
    let ids = [from, to].map(|place| cluster.id(place));
    let setslot = |place: usize, what: &[&str]| {
        let command = [&["cluster", "setslot", &slot], what].concat();
        assert_eq!(cluster.0[place].cli(&command).trim(), "OK", "{command:?}");
    };
    setslot(to, &["importing", &ids[0]]);
    setslot(from, &["migrating", &ids[1]]);
    load.goes_on().await;

    // A count that is new is where the slot goes.
    charge(&load.counts, "acme").await.expect("it is asked for");
    let there = cluster.0[to].cli(&["cluster", "countkeysinslot", &slot]);
    assert_eq!(there.trim(), "1");

    // One count after the other: in between no call can have both.
    let keys = cluster.0[from].cli(&["cluster", "getkeysinslot", &slot, "9"]);
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    let port = cluster.0[to].port.to_string();
    for key in keys {
        let migrate = ["migrate", "127.0.0.1", &port, key, "0", "5000"];
        assert_eq!(cluster.0[from].cli(&migrate).trim(), "OK");
        load.goes_on().await;
    }

    for place in [to, from, (from + 2) % 3] {
        setslot(place, &["node", &ids[1]]);
    }
    load.goes_on().await;
    let (made, used, errors) = load.end().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(used, [made, made]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_counts_of_a_moving_slot_are_made_all_or_none() {
    let cluster = Cluster::start().await;
    let connection = connection(patient(&cluster));
    is_here(&connection, true).await;
    let counts = counts(&connection);
    let acme = TenantId::parse("acme").expect("a tenant's id");
    let (wide, narrow) = (month(), month_of(3));
    let [mut one, mut two] = charges(&acme, &wide, 1);
    two.measure = &narrow;
    counts.charge(&[one]).await.expect("Redis answers");
    let from = cluster.owner("{acme}");
    let to = (from + 1) % 3;
    let slot = cluster.slot("{acme}").to_string();
    let ids = [from, to].map(|place| cluster.id(place));
    cluster.0[to].cli(&["cluster", "setslot", &slot, "importing", &ids[0]]);
    cluster.0[from].cli(&["cluster", "setslot", &slot, "migrating", &ids[1]]);
    // The first is where it was, and the second where the slot goes.
    let charged = counts.charge(&[one, two]).await.expect("Redis answers");
    assert!(
        matches!(charged, Charged::Made { counts: made, .. } if made[0].0.left == MOST - 2 && made[1].0.left == 2)
    );
    let here = cluster.0[from].cli(&["cluster", "countkeysinslot", &slot]);
    let there = cluster.0[to].cli(&["cluster", "countkeysinslot", &slot]);
    assert_eq!((here.trim(), there.trim()), ("1", "1"));
    // The second has no room for these: nothing is taken of the first.
    (one.amount, two.amount) = (3, 3);
    let refused = counts.charge(&[one, two]).await.expect("Redis answers");
    assert!(
        matches!(refused, Charged::Refused { index: 1, .. }),
        "{refused:?}"
    );
    let left = async |charges: &[Charge<'_>]| {
        let levels = counts.levels(charges).await.expect("Redis answers");
        [levels[0].left, levels[1].left]
    };
    assert_eq!(left(&[one, two]).await, [MOST - 2, 2]);
    // A refusal by a shadow is only noted.
    two.shadow = true;
    let noted = counts.charge(&[one, two]).await.expect("Redis answers");
    assert!(
        matches!(noted, Charged::Made { counts: made, .. } if made[0].1.is_none() && made[1].1.is_some())
    );
    assert_eq!(left(&[one, two]).await, [MOST - 5, 2]);
}

fn month_of(most: u64) -> Measure {
    Measure::Window {
        most,
        period: Period::Month,
        zone: TimeZone::UTC,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_and_no_charge_is_lost() {
    let cluster = Cluster::with_replicas().await;
    let connection = connection(patient(&cluster));
    is_here(&connection, true).await;
    let load = Load::start(&connection, "acme");
    let master = cluster.owner("{acme}");
    let elsewhere = Load::start(&connection, &tenant_of(&cluster, (master + 1) % 3));
    load.goes_on().await;
    elsewhere.goes_on().await;
    let replica = cluster.replica(master);
    let asked = cluster.0[replica].cli(&["cluster", "failover"]);
    assert_eq!(asked.trim(), "OK");
    until(|| cluster.owner("{acme}") == replica).await;
    load.goes_on().await;
    elsewhere.goes_on().await;
    // Whoever was answered was counted; who was not may have been.
    let (made, used, errors) = load.end().await;
    let unanswered = u64::try_from(errors.len()).expect("not many");
    for used in used {
        assert!(
            (made..=made + unanswered).contains(&used),
            "{made} {used} {errors:?}"
        );
    }
    let (made, used, errors) = elsewhere.end().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(used, [made, made]);
}

/// Loses one master, of whom there is no replica, and has it back.
async fn one_shard(kill: bool) {
    let mut cluster = Cluster::start().await;
    let mut options = patient(&cluster);
    // Some know of servers that are there.
    options
        .servers
        .push(("127.0.0.1".to_owned(), cluster.0[1].port));
    options.timeout = Duration::from_secs(2);
    let connection = connection(options);
    is_here(&connection, true).await;
    let lost = cluster.owner("{acme}");
    let elsewhere = tenant_of(&cluster, (lost + 1) % 3);
    let elsewhere = Load::start(&connection, &elsewhere);
    let load = Load::start(&connection, "acme");
    load.goes_on().await;
    elsewhere.goes_on().await;
    if kill {
        cluster.0[lost].kill();
    } else {
        cluster.0[lost].signal("STOP");
    }
    until(|| !connection.is_here_for(&key("acme"))).await;
    assert!(connection.is_here_for(&key(elsewhere.tenant.as_str())));
    assert!(!connection.is_here());
    // At once: nothing is waited for, as long as it is away.
    for _ in 0..200 {
        let error = charge(&load.counts, "acme").await;
        let error = error.expect_err("nobody is there");
        assert!(error.ends_with("Redis is away"), "{error}");
        elsewhere.goes_on_a_little().await;
    }
    if kill {
        cluster.0[lost].restart().await;
    } else {
        cluster.0[lost].signal("CONT");
    }
    load.goes_on().await;
    is_here(&connection, true).await;
    load.end().await;
    let (made, used, errors) = elsewhere.end().await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(used, [made, made]);
}

impl Load {
    async fn goes_on_a_little(&self) {
        let before = self.made.load(Ordering::SeqCst);
        let going = async {
            while self.made.load(Ordering::SeqCst) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let went = tokio::time::timeout(PATIENCE, going).await;
        went.expect("it goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_killed_harms_nobody_elsewhere() {
    one_shard(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_hangs_harms_nobody_elsewhere() {
    one_shard(false).await;
}
