//! How tenants fare with STS: circuit breakers that are not closed, and calls under way. For operators to look at.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{CallLimit, Role, Source, StsEndpoint, TenantSession};
use crate::clock::Clock;

/// A circuit breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// The STS that is not called.
    pub sts: Arc<StsEndpoint>,
    /// Since when.
    pub since: SystemTime,
    /// From when on a call probes whether it is well again; `None`: one is doing so.
    pub until: Option<SystemTime>,
    /// How many calls have failed in a row.
    pub failures: u32,
}

impl TenantSession {
    /// The limit of calls of STS, if there is one, and how many are under way.
    #[must_use]
    pub fn calls(&self) -> Option<(&CallLimit, usize)> {
        let Source::Role(_, calls) = &self.source else {
            return None;
        };
        // A tenant with a limit has its calls from the beginning.
        let calls = calls.get()?;
        Some((calls.limit()?, calls.under_way()))
    }

    /// The circuit breaker, if it is not closed.
    #[must_use]
    pub fn open_breaker(&self, clock: &dyn Clock) -> Option<OpenBreaker> {
        let Source::Role(role, calls) = &self.source else {
            return None;
        };
        let Role { sts, .. } = &**role;
        let found = calls.get()?.not_closed()?;
        let (wall, now) = (clock.now(), clock.monotonic());
        let at = |time: Duration| match time.checked_sub(now) {
            Some(ahead) => wall + ahead,
            None => wall - now.saturating_sub(time),
        };
        Some(OpenBreaker {
            sts: Arc::clone(sts),
            since: at(found.since),
            until: found.until.map(at),
            failures: found.failures,
        })
    }
}
