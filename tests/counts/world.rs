//! Limits whose counts are in a store, and the time there.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use presignd::admit::quota::limit::{Cost, Counting, Limit, Terms, Unit};
use presignd::admit::quota::redis::{Leasing, RedisCounts};
use presignd::admit::quota::{
    Charge, CountKey, Ledger, Left, NoRoom, Payer, Quotas, Receipt, SharedCounts, TenantLimits,
    Told, Usage,
};
use presignd::clock::{Clock, SystemClock};
use presignd::names::TenantId;
use presignd::redis::{Connection, Mode, Options};
use tempfile::TempDir;

use super::terms::{daily, get};
use crate::harness::redis::{Redis, is_here, options};

/// Half a minute past a noon of UTC. Scenarios move on in whole minutes, so that none of their limits is about to change but where they say.
pub(super) const NOON: &str = "2026-06-10T12:00:30Z";
pub(super) const MINUTE: Duration = Duration::from_mins(1);
/// As long as a test may take: where time cannot be stopped, so much of it may go by unasked.
const SLACK: Duration = Duration::from_secs(29);
/// A fifth, so that limits as small as the scenarios' are leased, and never back before they end.
const LEASING: Leasing = Leasing {
    share: 200,
    life: Duration::from_hours(1000),
};

/// Where counts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    InProcess,
    InFolder,
    Redis,
    Leased,
}

/// Limits, their counts, and the time.
pub(super) struct World {
    quotas: Quotas,
    counting: Counting,
    time: Time,
    tenants: BTreeMap<&'static str, (TenantId, TenantLimits)>,
    /// What the counts are in, which ends with them.
    _home: (Option<TempDir>, Option<Arc<Redis>>),
}

enum Time {
    Stopped(Arc<StoppedClock>),
    /// The server's, and so far from it.
    Moved(Arc<RedisCounts>, Arc<AtomicI64>),
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct StoppedClock(Mutex<Duration>);

impl Clock for StoppedClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }
}

/// What was charged, for whom.
#[derive(Debug)]
pub(super) struct Made {
    tenant: &'static str,
    caller: String,
    receipt: Receipt,
    costs: Vec<Cost>,
    pub(super) told: Told,
}

impl Made {
    /// The limits that would have refused, were they not mere shadows.
    pub(super) fn shadows(&self) -> Vec<&str> {
        self.told.shadows().iter().map(|name| &**name).collect()
    }
}

/// What one of `acme`'s callers asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) tenant: &'static str,
    pub(super) caller: &'a str,
}

/// Who asks where it does not matter.
pub(super) const ACME: Asking<'static> = Asking {
    tenant: "acme",
    caller: "media",
};

impl World {
    /// A tenant `acme` with these limits, at [`NOON`].
    pub(super) async fn with(store: Store, limits: Vec<Terms>) -> Self {
        Self::starting(store, NOON, limits).await
    }

    /// A tenant `acme` with these limits, at this time.
    pub(super) async fn starting(store: Store, time: &str, limits: Vec<Terms>) -> Self {
        let start: Timestamp = time.parse().expect("a time");
        let clock = Arc::new(StoppedClock(Mutex::new(since_1970(start))));
        let mut world = match store {
            Store::InProcess => Self::in_process(clock, None),
            Store::InFolder => {
                let folder = tempfile::tempdir().expect("a temporary directory");
                Self::in_process(clock, Some(folder))
            }
            Store::Redis | Store::Leased => {
                let redis = running().await;
                let leasing = match store {
                    Store::Leased => LEASING,
                    _ => Leasing {
                        share: 0,
                        ..LEASING
                    },
                };
                Self::on(&redis, leasing, start).await
            }
        };
        world.set("acme", limits);
        world
    }

    fn in_process(clock: Arc<StoppedClock>, folder: Option<TempDir>) -> Self {
        let now = i64::try_from(clock.monotonic().as_secs()).expect("not long");
        let open = |folder: &TempDir| Ledger::open(folder.path(), now).expect("an empty folder");
        let counting = Counting {
            ledger: folder.as_ref().map(open).map(Arc::new),
            ..Counting::new(clock.clone())
        };
        Self {
            quotas: Quotas::new(Vec::new(), None),
            counting,
            time: Time::Stopped(clock),
            tenants: BTreeMap::new(),
            _home: (folder, None),
        }
    }

    /// On a Redis that others use too, each by a prefix of their own.
    pub(super) async fn on(redis: &Arc<Redis>, leasing: Leasing, start: Timestamp) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let connection = Connection::start(Options {
            prefix: format!("world-{}", WORLDS.fetch_add(1, Ordering::Relaxed)),
            // However busy the machine is.
            timeout: Duration::from_secs(20),
            ..options(&[redis.address()], Mode::Single)
        });
        let connection = Arc::new(connection.expect("good options"));
        is_here(&connection, true).await;
        let offset = start.as_microsecond() - Timestamp::now().as_microsecond();
        let offset = Arc::new(AtomicI64::new(offset));
        let clock = Arc::new(SystemClock::new());
        let counts = RedisCounts::new(connection, leasing, clock.clone(), Arc::clone(&offset));
        let counts = Arc::new(counts);
        let shared: Arc<dyn SharedCounts> = counts.clone();
        let world = Self {
            quotas: Quotas::new(Vec::new(), Some(shared)),
            counting: Counting {
                replicas: NonZeroU32::new(2).expect("not zero"),
                ..Counting::new(clock)
            },
            time: Time::Moved(counts, offset),
            tenants: BTreeMap::new(),
            _home: (None, Some(Arc::clone(redis))),
        };
        world.hear_the_time().await;
        world
    }

    /// From now on a tenant has these limits.
    pub(super) fn set(&mut self, tenant: &'static str, limits: Vec<Terms>) {
        let id = TenantId::parse(tenant).expect("a tenant's id");
        let mut limits = TenantLimits::new(self.built(limits, Some(&id)));
        if let Some((_, earlier)) = self.tenants.get(tenant) {
            limits.continue_from(earlier);
        }
        self.tenants.insert(tenant, (id, limits));
    }

    /// From now on the service has these limits.
    pub(super) fn set_service(&self, limits: Vec<Terms>) {
        self.quotas.replace_service(self.built(limits, None));
    }

    fn built(&self, limits: Vec<Terms>, tenant: Option<&TenantId>) -> Vec<Limit> {
        let build = |terms| Limit::new(terms, tenant, &self.counting).expect("not too fast");
        limits.into_iter().map(build).collect()
    }

    /// Moves on.
    pub(super) async fn advance(&self, by: Duration) {
        match &self.time {
            Time::Stopped(clock) => *clock.0.lock().expect("no panic") += by,
            Time::Moved(_, offset) => {
                let by = i64::try_from(by.as_micros()).expect("not long");
                offset.fetch_add(by, Ordering::SeqCst);
                self.hear_the_time().await;
            }
        }
    }

    /// Lets a replica hear of it: real time does not leap.
    async fn hear_the_time(&self) {
        let Time::Moved(counts, _) = &self.time else {
            return;
        };
        let key = CountKey {
            tenant: None,
            limit: "time",
            unit: Unit::Urls,
            caller: None,
        };
        let charge = Charge {
            key,
            measure: &daily(1),
            amount: 0,
            shadow: false,
        };
        counts.levels(&[charge]).await.expect("Redis answers");
    }

    fn payer<'a>(&'a self, tenant: &str, caller: &'a str) -> Payer<'a> {
        let (tenant, limits) = &self.tenants[tenant];
        Payer {
            tenant,
            limits,
            caller,
        }
    }

    /// Has one request charged, for these.
    pub(super) async fn charge(
        &self,
        who: Asking<'_>,
        costs: &[Cost],
    ) -> Result<Made, (NoRoom, Told)> {
        let told = Told::default();
        let payer = self.payer(who.tenant, who.caller);
        let charged = self
            .quotas
            .charge(payer, &told, &costs.iter().copied())
            .await;
        match charged {
            Ok(receipt) => Ok(Made {
                tenant: who.tenant,
                caller: who.caller.to_owned(),
                receipt,
                costs: costs.to_vec(),
                told,
            }),
            Err(no_room) => Err((no_room, told)),
        }
    }

    /// Has so many URLs charged, which there is room for.
    pub(super) async fn take(&self, who: Asking<'_>, urls: u64) -> Made {
        let charged = self.charge(who, &[get(urls)]).await;
        charged.unwrap_or_else(|(refused, _)| panic!("{urls} of {who:?}: {refused:?}"))
    }

    /// One after the other.
    pub(super) async fn take_each(&self, who: Asking<'_>, urls: u64) {
        for _ in 0..urls {
            self.take(who, 1).await;
        }
    }

    /// Asks for so many URLs, which there is no room for.
    pub(super) async fn refused(&self, who: Asking<'_>, urls: u64) -> NoRoom {
        let charged = self.charge(who, &[get(urls)]).await;
        charged
            .expect_err(&format!("{urls} of {who:?} were charged"))
            .0
    }

    /// Asks for so many URLs, for which there is room after this wait.
    pub(super) async fn later(&self, who: Asking<'_>, urls: u64, name: &str, wait: Duration) {
        let refused = self.refused(who, urls).await;
        let NoRoom::Later {
            limit,
            asked,
            retry_after,
            ..
        } = &refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((&*limit.name, *asked), (name, urls));
        assert!(
            self.near(*retry_after, wait),
            "{retry_after:?} and not {wait:?}"
        );
    }

    /// Asks for so many URLs, for which there is never room.
    pub(super) async fn never(&self, who: Asking<'_>, urls: u64, name: &str, holds: u64) {
        let refused = self.refused(who, urls).await;
        let NoRoom::Never {
            limit, asked, most, ..
        } = &refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((&*limit.name, *asked, *most), (name, urls, holds));
    }

    /// Whether it is that, less what time could not be stopped.
    pub(super) fn near(&self, actual: Duration, expected: Duration) -> bool {
        let slack = match self.time {
            Time::Stopped(_) => Duration::ZERO,
            Time::Moved(..) => SLACK,
        };
        actual <= expected && expected.saturating_sub(actual) <= slack
    }

    /// Gives back what was charged.
    pub(super) async fn give_back(&self, made: &Made) {
        self.give_back_of(made, &made.costs).await;
    }

    /// Gives back what was charged for some of it.
    pub(super) async fn give_back_of(&self, made: &Made, costs: &[Cost]) {
        let payer = self.payer(made.tenant, &made.caller);
        let costs = costs.iter().copied();
        self.quotas.refund(payer, &made.receipt, &costs).await;
    }

    /// What is left of the limits that count it.
    pub(super) async fn look(&self, who: Asking<'_>, cost: Cost) -> Vec<Left> {
        let payer = self.payer(who.tenant, who.caller);
        self.quotas.left(payer, cost).await
    }

    /// How much is left of each limit that counts a URL.
    pub(super) async fn left(&self, who: Asking<'_>) -> Vec<u64> {
        let left = self.look(who, get(1)).await;
        left.iter().map(|limit| limit.left).collect()
    }

    /// What was used of the limits of `acme`, of this caller.
    pub(super) async fn usage(&self, caller: &str) -> Vec<Usage> {
        let (tenant, limits) = &self.tenants["acme"];
        self.quotas.usage(tenant, limits, Some(caller)).await
    }
}

/// A Redis that runs while anybody uses it.
pub(super) async fn running() -> Arc<Redis> {
    static RUNNING: tokio::sync::Mutex<Weak<Redis>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut running = RUNNING.lock().await;
    if let Some(redis) = running.upgrade() {
        return redis;
    }
    let redis = Arc::new(Redis::start().await);
    *running = Arc::downgrade(&redis);
    redis
}

fn since_1970(time: Timestamp) -> Duration {
    Duration::try_from(time.as_duration()).expect("after 1970")
}
