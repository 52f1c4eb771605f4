//! Whose turn it is to call STS.
//!
//! A tenant's calls pass its circuit breaker, then take a turn of the tenant's, then one of the endpoint's: so a tenant never holds more
//! of the endpoint than its own share, and waits for its own turns without holding any. Turns are given in the order of asking. Probes
//! of tenants in trouble have turns apart, so that nobody waits behind a role that hangs, and who waits when the breaker opens waits no
//! longer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::StsEndpoint;
use super::breaker::{Breaker, Pass};
use super::clock_skew::{ClockSkews, EndpointClock};
use crate::metrics;

/// How many calls of one tenant are under way at once.
const OF_TENANT: usize = 8;
/// How many of an endpoint are, for tenants that are well.
const OF_ENDPOINT: usize = 48;
/// And how many to find out whether those in trouble are well again.
const PROBES: usize = 16;

/// The endpoints, each with its turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<StsEndpoint, Arc<EndpointTurns>>>);

/// The turns of an endpoint.
#[derive(Debug)]
pub(super) struct EndpointTurns {
    calls: Semaphore,
    probes: Semaphore,
}

/// A tenant's calls.
#[derive(Debug)]
pub(super) struct TenantCalls {
    breaker: Mutex<Breaker>,
    opened: Notify,
    turns: Semaphore,
    endpoint: OnceLock<Arc<EndpointTurns>>,
    clock: OnceLock<Arc<EndpointClock>>,
}

/// Leave to make one call, and the breaker that waits to hear what came of it.
#[derive(Debug)]
pub(super) struct Leave {
    calls: Arc<TenantCalls>,
    pass: Pass,
    settled: AtomicBool,
}

impl Default for TenantCalls {
    fn default() -> Self {
        Self {
            breaker: Mutex::default(),
            opened: Notify::new(),
            turns: Semaphore::new(OF_TENANT),
            endpoint: OnceLock::new(),
            clock: OnceLock::new(),
        }
    }
}

impl TenantCalls {
    /// Leave to call now. Otherwise: when to ask again.
    pub(super) fn leave(self: &Arc<Self>, now: Duration) -> Result<Leave, Duration> {
        let pass = self.breaker().pass(now)?;
        Ok(Leave {
            calls: Arc::clone(self),
            pass,
            settled: AtomicBool::new(false),
        })
    }

    /// The clock of the tenant's STS, as far as it is known.
    pub(super) fn clock(&self, clocks: &ClockSkews, endpoint: &StsEndpoint) -> &EndpointClock {
        self.clock.get_or_init(|| clocks.of(endpoint))
    }

    fn failed(&self, pass: Pass, now: Duration, jitter: f64) {
        if self.breaker().failed(pass, now, jitter) {
            metrics::BREAKERS.count(0);
        }
        self.opened.notify_waiters();
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// Whether this call is to find out if STS is back.
    pub(super) fn is_probe(&self) -> bool {
        self.pass.probe
    }

    /// Waits for a turn: the call may go on for as long as it is held. `None`: the breaker has opened, and there is to be no call.
    pub(super) async fn turn(&self, turns: &Turns, endpoint: &StsEndpoint) -> Option<Turn<'_>> {
        let of_endpoint = self.calls.endpoint.get_or_init(|| turns.of(endpoint));
        // The semaphores are never closed.
        if self.pass.probe {
            let endpoint = of_endpoint.probes.acquire().await.ok()?;
            return Some(Turn {
                _endpoint: endpoint,
                _own: None,
            });
        }
        let opened = self.calls.opened.notified();
        if !self.calls.breaker().honours(self.pass) {
            return None;
        }
        let turn = async {
            let own = self.calls.turns.acquire().await.ok();
            Some(Turn {
                _endpoint: of_endpoint.calls.acquire().await.ok()?,
                _own: own,
            })
        };
        tokio::select! {
            biased;
            turn = turn => turn,
            () = opened => None,
        }
    }

    /// STS did not do its part.
    pub(super) fn failed(&self, now: Duration, jitter: f64) {
        self.settled.store(true, Ordering::Relaxed);
        self.calls.failed(self.pass, now, jitter);
    }

    /// STS answered.
    pub(super) fn succeeded(&self) {
        self.settled.store(true, Ordering::Relaxed);
        self.calls.breaker().succeeded();
    }

    /// When the breaker lets the next call through, if not now.
    pub(super) fn shut_for(&self, now: Duration) -> Option<Duration> {
        self.calls.breaker().shut_for(now)
    }
}

impl Drop for Leave {
    /// A call that ended without a word, because it panicked, must not leave the breaker waiting for it.
    fn drop(&mut self) {
        if !*self.settled.get_mut() {
            self.calls.failed(self.pass, Duration::ZERO, 0.0);
        }
    }
}

/// A call's place among those under way.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _endpoint: SemaphorePermit<'a>,
    /// A probe needs none: a tenant has one at a time.
    _own: Option<SemaphorePermit<'a>>,
}

impl Turns {
    fn of(&self, endpoint: &StsEndpoint) -> Arc<EndpointTurns> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = known.entry(endpoint.clone()).or_insert_with(|| {
            Arc::new(EndpointTurns {
                calls: Semaphore::new(OF_ENDPOINT),
                probes: Semaphore::new(PROBES),
            })
        });
        Arc::clone(turns)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn endpoint() -> StsEndpoint {
        StsEndpoint {
            region: "eu-west-1".to_owned(),
            url: None,
        }
    }

    #[test]
    fn a_tenant_has_its_share_and_the_endpoint_its_bound() {
        let turns = Turns::default();
        let tenants: Vec<Arc<TenantCalls>> = (0..10).map(|_| Arc::default()).collect();
        let leaves: Vec<Vec<Leave>> = tenants
            .iter()
            .map(|calls| {
                let leave = || calls.leave(Duration::ZERO).unwrap();
                (0..=OF_TENANT).map(|_| leave()).collect()
            })
            .collect();
        let mut held = Vec::new();
        for leaves in &leaves {
            for leave in leaves {
                let turn = leave.turn(&turns, &endpoint()).now_or_never();
                held.extend(turn.flatten());
            }
        }
        assert_eq!(held.len(), OF_ENDPOINT);

        // Tenants that waited gave up what they had of their own.
        held.clear();
        for leave in &leaves[0] {
            let turn = leave.turn(&turns, &endpoint()).now_or_never();
            held.extend(turn.flatten());
        }
        assert_eq!(held.len(), OF_TENANT);
    }

    #[test]
    fn a_probe_does_not_take_a_turn_of_those_who_are_well() {
        let turns = Turns::default();
        let mut leaves = Vec::new();
        for _ in 0..PROBES + OF_ENDPOINT {
            let calls: Arc<TenantCalls> = Arc::default();
            calls
                .leave(Duration::ZERO)
                .unwrap()
                .failed(Duration::ZERO, 0.0);
            leaves.push(calls.leave(Duration::from_mins(1)).unwrap());
        }
        let mut probes = Vec::new();
        for leave in &leaves {
            assert!(leave.is_probe());
            let turn = leave.turn(&turns, &endpoint()).now_or_never();
            probes.extend(turn.flatten());
        }
        assert_eq!(probes.len(), PROBES);
        let well: Arc<TenantCalls> = Arc::default();
        let leave = well.leave(Duration::ZERO).unwrap();
        let turn = leave.turn(&turns, &endpoint()).now_or_never();
        assert!(turn.flatten().is_some());
    }

    #[tokio::test]
    async fn who_waits_when_the_breaker_opens_does_not_call() {
        let turns = Turns::default();
        let calls: Arc<TenantCalls> = Arc::default();
        let leave = || calls.leave(Duration::ZERO).unwrap();
        let under_way: Vec<Leave> = (0..OF_TENANT).map(|_| leave()).collect();
        let mut held = Vec::new();
        for leave in &under_way {
            held.extend(leave.turn(&turns, &endpoint()).await);
        }
        let (waits, comes_late) = (leave(), leave());
        let at = endpoint();
        let mut waiting = Box::pin(waits.turn(&turns, &at));
        assert!((&mut waiting).now_or_never().is_none());
        under_way[0].failed(Duration::ZERO, 0.0);
        assert!(waiting.await.is_none());
        assert!(comes_late.turn(&turns, &at).await.is_none());
    }

    #[test]
    fn a_probe_that_vanishes_lets_another_one_through() {
        let calls: Arc<TenantCalls> = Arc::default();
        calls
            .leave(Duration::ZERO)
            .unwrap()
            .failed(Duration::ZERO, 0.0);
        let later = Duration::from_mins(1);
        drop(calls.leave(later).unwrap());
        assert!(calls.leave(later).unwrap().is_probe());
    }
}
