//! Whose turn it is to call STS.
//!
//! A tenant's calls pass its circuit breaker, then take a turn of the tenant's, then one of the endpoint's: so a tenant never holds more
//! of the endpoint than its own share, and waits for its own turns without holding any. Turns are given in the order of asking. Probes
//! of tenants in trouble have turns apart, so that nobody waits behind a role that hangs, and who waits when the breaker opens waits no
//! longer.
//!
//! Where a limit of the tenant says how many calls there may be at once, only so many more wait, and only so long: a tenant that asks for
//! sessions faster than its limit lets them come is told so, rather than kept.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::StsEndpoint;
use super::breaker::{Breaker, NotClosed, Pass};
use super::clock_skew::{ClockSkews, EndpointClock};
use crate::admit::quota::Named;
use crate::metrics;

/// How many calls of one tenant are under way at once, if no limit of its own says how many.
const OF_TENANT: usize = 8;
/// How many calls of a tenant with a limit wait for each that may be under way.
const WAITING: usize = 8;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of an endpoint are, for tenants that are well.
const OF_ENDPOINT: usize = 48;
/// The most of them that are one tenant's, whatever its limit says: others find turns left.
pub const MOST_OF_TENANT: usize = OF_ENDPOINT / 2;
/// And how many to find out whether those in trouble are well again.
const PROBES: usize = 16;

/// The endpoints, each with its turns.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<StsEndpoint, Arc<EndpointTurns>>>);

/// How many calls of STS a tenant may have under way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimit {
    /// The limit, as refusals name it.
    pub limit: Named,
    /// How many.
    pub most: NonZeroU32,
}

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
    /// How many turns there are.
    own: usize,
    limit: Option<Box<CallLimit>>,
    waiting: AtomicUsize,
    endpoint: OnceLock<Arc<EndpointTurns>>,
    clock: OnceLock<Arc<EndpointClock>>,
}

/// Why there is to be no call.
#[derive(Debug)]
pub(super) enum NoTurn {
    /// The breaker has opened.
    Opened,
    /// As many calls wait as may, or this one has waited long enough.
    Full(Named),
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
        Self::new(None)
    }
}

impl TenantCalls {
    /// Calls of a tenant that has none yet.
    pub(super) fn new(limit: Option<CallLimit>) -> Self {
        let own = limit.as_ref().map_or(OF_TENANT, |limit| {
            let most = usize::try_from(limit.most.get()).unwrap_or(usize::MAX);
            most.min(MOST_OF_TENANT)
        });
        Self {
            breaker: Mutex::default(),
            opened: Notify::new(),
            turns: Semaphore::new(own),
            own,
            limit: limit.map(Box::new),
            waiting: AtomicUsize::new(0),
            endpoint: OnceLock::new(),
            clock: OnceLock::new(),
        }
    }

    /// The limit of the tenant.
    pub(super) fn limit(&self) -> Option<&CallLimit> {
        self.limit.as_deref()
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.own.saturating_sub(self.turns.available_permits())
    }

    /// How the breaker stands, if it is not closed.
    pub(super) fn not_closed(&self) -> Option<NotClosed> {
        self.breaker().not_closed()
    }

    /// A turn of the tenant's own. Those with a limit give up when it is not to be had soon.
    async fn own_turn(&self) -> Result<SemaphorePermit<'_>, NoTurn> {
        // The semaphore is never closed.
        let closed = |_| NoTurn::Opened;
        let Some(CallLimit { limit, most }) = self.limit() else {
            return self.turns.acquire().await.map_err(closed);
        };
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(turn);
        }
        let full = || NoTurn::Full(limit.clone());
        let room = usize::try_from(most.get()).unwrap_or(usize::MAX);
        let waits = Waits(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= room.saturating_mul(WAITING) {
            return Err(full());
        }
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        drop(waits);
        turn.map_err(|_| full())?.map_err(closed)
    }

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

    /// Waits for a turn: the call may go on for as long as it is held.
    pub(super) async fn turn(
        &self,
        turns: &Turns,
        endpoint: &StsEndpoint,
    ) -> Result<Turn<'_>, NoTurn> {
        let of_endpoint = self.calls.endpoint.get_or_init(|| turns.of(endpoint));
        // The semaphores are never closed.
        let closed = |_| NoTurn::Opened;
        if self.pass.probe {
            let endpoint = of_endpoint.probes.acquire().await.map_err(closed)?;
            return Ok(Turn {
                _endpoint: endpoint,
                _own: None,
            });
        }
        let opened = self.calls.opened.notified();
        if !self.calls.breaker().honours(self.pass) {
            return Err(NoTurn::Opened);
        }
        let turn = async {
            let own = self.calls.own_turn().await?;
            Ok(Turn {
                _endpoint: of_endpoint.calls.acquire().await.map_err(closed)?,
                _own: Some(own),
            })
        };
        tokio::select! {
            biased;
            turn = turn => turn,
            () = opened => Err(NoTurn::Opened),
        }
    }

    /// There was no call: the breaker hears nothing.
    pub(super) fn unused(&self) {
        self.settled.store(true, Ordering::Relaxed);
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

/// One that waits for a turn of its tenant's.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
                held.extend(turn.and_then(Result::ok));
            }
        }
        assert_eq!(held.len(), OF_ENDPOINT);

        // Tenants that waited gave up what they had of their own.
        held.clear();
        for leave in &leaves[0] {
            let turn = leave.turn(&turns, &endpoint()).now_or_never();
            held.extend(turn.and_then(Result::ok));
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
            probes.extend(turn.and_then(Result::ok));
        }
        assert_eq!(probes.len(), PROBES);
        let well: Arc<TenantCalls> = Arc::default();
        let leave = well.leave(Duration::ZERO).unwrap();
        let turn = leave.turn(&turns, &endpoint()).now_or_never();
        assert!(turn.and_then(Result::ok).is_some());
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
        assert!(waiting.await.is_err());
        assert!(comes_late.turn(&turns, &at).await.is_err());
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

    fn limited(most: u32) -> Arc<TenantCalls> {
        Arc::new(TenantCalls::new(NonZeroU32::new(most).map(|most| {
            let limit = Named {
                name: "sessions".into(),
                subject: "tenant:acme/limit:sessions".into(),
                scope: "tenant",
            };
            CallLimit { limit, most }
        })))
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_limit_is_told_and_counts_no_more() {
        let (turns, calls, at) = (Turns::default(), limited(1), endpoint());
        let leave = || calls.leave(Duration::ZERO).unwrap();
        let (held, late) = (leave(), leave());
        let turn = held.turn(&turns, &at).await.unwrap();
        let began = tokio::time::Instant::now();
        let Err(NoTurn::Full(limit)) = late.turn(&turns, &at).await else {
            panic!("the only turn is taken")
        };
        assert_eq!(&*limit.name, "sessions");
        assert!(began.elapsed() >= PATIENCE);
        late.unused();
        drop(turn);
        assert_eq!(calls.waiting.load(Ordering::Relaxed), 0);
        assert!(leave().turn(&turns, &at).await.is_ok());
        held.unused();
    }

    #[test]
    fn no_more_wait_for_a_limit_than_may() {
        let (turns, calls, at) = (Turns::default(), limited(2), endpoint());
        let leaves: Vec<Leave> = (0..2 + 2 * WAITING + 3)
            .map(|_| calls.leave(Duration::ZERO).unwrap())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (mut held, mut waiting, mut refused) = (Vec::new(), Vec::new(), 0);
        for leave in &leaves {
            let mut turn = Box::pin(leave.turn(&turns, &at));
            match (&mut turn).now_or_never() {
                Some(Ok(turn)) => held.push(turn),
                Some(Err(_)) => refused += 1,
                None => waiting.push(turn),
            }
        }
        assert_eq!((held.len(), waiting.len(), refused), (2, 2 * WAITING, 3));
        drop(waiting);
        assert_eq!(calls.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_limit_leaves_turns_of_the_endpoint_to_others() {
        let (turns, at) = (Turns::default(), endpoint());
        let greedy = limited(1000);
        let leaves: Vec<Leave> = (0..OF_ENDPOINT)
            .map(|_| greedy.leave(Duration::ZERO).unwrap())
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let mut kept: Vec<_> = leaves
            .iter()
            .map(|leave| Box::pin(leave.turn(&turns, &at)))
            .collect();
        let held: Vec<_> = kept
            .iter_mut()
            .filter_map(futures_util::FutureExt::now_or_never)
            .collect();
        assert_eq!(held.len(), MOST_OF_TENANT);
        assert_eq!(greedy.under_way(), MOST_OF_TENANT);
        let other: Arc<TenantCalls> = Arc::default();
        let leave = other.leave(Duration::ZERO).unwrap();
        let turn = leave.turn(&turns, &at).now_or_never();
        assert!(turn.and_then(Result::ok).is_some());
    }
}
