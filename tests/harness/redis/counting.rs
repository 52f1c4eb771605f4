//! Counts behind a connection, charged as a replica does.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use presignd::admit::quota::limit::Unit;
use presignd::admit::quota::redis::{Leasing, RedisCounts};
use presignd::admit::quota::{Charge, Charged, CountKey, Measure, SharedCounts as _};
use presignd::clock::SystemClock;
use presignd::names::TenantId;
use presignd::redis::{Connection, Options};

/// Without leases: every charge is Redis's own.
pub(crate) fn counts(connection: &Arc<Connection>) -> RedisCounts {
    let leasing = Leasing {
        share: 0,
        life: Duration::from_secs(2),
    };
    let offset = Arc::new(AtomicI64::new(0));
    let clock = Arc::new(SystemClock::new());
    RedisCounts::new(Arc::clone(connection), leasing, clock, offset)
}

/// A connection, which is made in the background.
pub(crate) fn connection(options: Options) -> Arc<Connection> {
    Arc::new(Connection::start(options).expect("good options"))
}

/// Charges one of a tenant, of whom there is enough.
pub(crate) async fn charge(counts: &RedisCounts, tenant: &str) -> Result<Charged, String> {
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
