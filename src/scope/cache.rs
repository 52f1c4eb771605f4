//! Sessions that are used again, and asked for once.
//!
//! Keyed by every parameter of the AssumeRole call. While a call is under way, whoever else needs the same session waits for it; the
//! call is a task of its own, so that a caller who hangs up does not cancel it for the others. A session in use is renewed ahead of
//! need, and nobody waits for that. Invariant: a session is handed out only for what its remaining life covers, or to a request that takes
//! a shorter one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::calls::{Leave, TenantCalls, Turns};
use super::flight::{Flight, Outcome, fly};
use super::{AssumeRole, AssumeRoleCall, ScopeError, Session, SessionKey};
use crate::clock::SharedClock;
use crate::metrics;
use crate::names::TenantId;

/// How many sessions are kept. Each is a few kilobytes, mostly the session token.
const CAPACITY: u64 = 100_000;
/// How many sessions of one request each are kept besides: they are used up one after the other, and are to leave room for the rest.
const CAPACITY_OF_ONE_REQUEST: u64 = 20_000;
/// A session that nobody has used for so long is dropped. STS gives none longer.
const IDLE: Duration = Duration::from_hours(12);

/// How long a request waits for a new session where the known one would do.
const RENEWAL_PATIENCE: Duration = Duration::from_millis(300);
/// How long a refusal is remembered: long enough to keep many requests from asking the same, and short for whoever has just mended a role.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(3);
/// After a renewal that failed while the session was still good, the next one waits for this part of the session's life.
const RENEWAL_PAUSES: u32 = 60;

/// Sessions by the call that brings them.
#[derive(Debug)]
pub(super) struct SessionCache {
    sts: Arc<dyn AssumeRole>,
    clock: SharedClock,
    turns: Arc<Turns>,
    slots: moka::sync::Cache<SessionKey, Arc<Slot>>,
    slots_of_one_request: moka::sync::Cache<SessionKey, Arc<Slot>>,
}

/// One key's session, and the call for the next one.
#[derive(Debug)]
struct Slot {
    tenant: TenantId,
    current: ArcSwapOption<Session>,
    next: Mutex<Next>,
}

/// What is known of the next session.
#[derive(Debug, Default)]
struct Next {
    flight: Option<Flight>,
    /// A refusal, and until when it stands.
    refused: Option<(ScopeError, Duration)>,
    /// Not renewed ahead of need before this.
    rests_until: Duration,
}

/// How long a session must still last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// A session with less is renewed.
    pub(super) at_least: Duration,
    /// Where it cannot be renewed, one with so much will do.
    pub(super) or_else: Option<Duration>,
    /// The longest expiry that sessions are renewed ahead for; `None`: they are used up.
    pub(super) ahead_for: Option<Duration>,
}

impl SessionCache {
    pub(super) fn new(sts: Arc<dyn AssumeRole>, clock: SharedClock) -> Self {
        let slots = moka::sync::Cache::builder()
            .max_capacity(CAPACITY)
            .time_to_idle(IDLE)
            .build();
        // The latest stay: by how often they were used, all are alike.
        let slots_of_one_request = moka::sync::Cache::builder()
            .max_capacity(CAPACITY_OF_ONE_REQUEST)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .time_to_idle(IDLE)
            .build();
        Self {
            sts,
            clock,
            turns: Arc::default(),
            slots,
            slots_of_one_request,
        }
    }

    /// How many are kept, more or less: those that came or went a moment ago may not be counted yet.
    pub(super) fn len(&self) -> u64 {
        self.slots.entry_count() + self.slots_of_one_request.entry_count()
    }

    /// A session that is known and covers the need.
    pub(super) fn known(
        &self,
        key: &SessionKey,
        need: Duration,
        now: SystemTime,
    ) -> Option<Arc<Session>> {
        self.slots_of(key).get(key)?.covering(need, now)
    }

    /// The sessions, to be looked at one by one.
    pub(super) fn sessions(&self) -> Sessions {
        Sessions([self.slots.clone(), self.slots_of_one_request.clone()])
    }

    fn slots_of(&self, key: &SessionKey) -> &moka::sync::Cache<SessionKey, Arc<Slot>> {
        if key.of_one_request {
            &self.slots_of_one_request
        } else {
            &self.slots
        }
    }

    /// A session that covers the need: a known one, or a new one from STS.
    pub(super) async fn session(
        &self,
        key: SessionKey,
        tenant: &TenantId,
        need: Need,
        calls: &Arc<TenantCalls>,
        call: impl FnOnce() -> AssumeRoleCall,
    ) -> Outcome {
        let slots = self.slots_of(&key);
        let slot = slots.get_with(key, || Arc::new(Slot::of(tenant)));
        let now = self.clock.now();
        if let Some(session) = slot.covering(need.at_least, now) {
            if need.renews(&session, now) {
                self.renew_ahead(&slot, need, calls, call);
            }
            return Ok(session);
        }
        match self.join_flight(&slot, need, calls, call) {
            // Apart from the room of those that find one, of which nearly all do.
            Joined::Flight(flight) => Box::pin(self.landed(flight, &slot, need)).await,
            Joined::Landed(session) => Ok(session),
            Joined::Not(error) => self.fallback(&slot, need).ok_or(error),
        }
    }

    /// A session that will do where none can be had that covers the need.
    fn fallback(&self, slot: &Slot, need: Need) -> Option<Arc<Session>> {
        need.or_else
            .and_then(|least| slot.covering(least, self.clock.now()))
    }

    /// What comes of a call under way.
    async fn landed(&self, mut flight: Flight, slot: &Slot, need: Need) -> Outcome {
        let fallback = || self.fallback(slot, need);
        let landing = flight.wait_for(Option::is_some);
        let landed = if fallback().is_some() {
            match tokio::time::timeout(RENEWAL_PATIENCE, landing).await {
                Ok(landed) => landed,
                Err(_) => return fallback().ok_or_else(lost),
            }
        } else {
            landing.await
        };
        let landed = landed.ok().and_then(|result| result.clone());
        match landed.unwrap_or_else(|| Err(lost())) {
            Ok(session) => Ok(session),
            Err(error) => fallback().ok_or(error),
        }
    }

    /// Begins the call for the next session, unless it is under way, or there was trouble a moment ago.
    fn renew_ahead(
        &self,
        slot: &Arc<Slot>,
        need: Need,
        calls: &Arc<TenantCalls>,
        call: impl FnOnce() -> AssumeRoleCall,
    ) {
        let now = self.clock.monotonic();
        let mut next = slot.next();
        let due = slot.current.load();
        // The next one may have come since.
        let due = due
            .as_ref()
            .is_some_and(|session| need.renews(session, self.clock.now()));
        let idle = next.flight.is_none() && next.refusal(now).is_none();
        if due
            && idle
            && next.rests_until <= now
            && let Ok(leave) = calls.leave(now)
        {
            metrics::STS_FLIGHTS.count(metrics::RENEWAL);
            self.take_off(slot, &mut next, leave, call());
        }
    }

    /// The call under way, or a new one.
    fn join_flight(
        &self,
        slot: &Arc<Slot>,
        need: Need,
        calls: &Arc<TenantCalls>,
        call: impl FnOnce() -> AssumeRoleCall,
    ) -> Joined {
        let now = self.clock.monotonic();
        let mut next = slot.next();
        if let Some(flight) = &next.flight {
            return Joined::Flight(flight.clone());
        }
        if let Some(session) = slot.covering(need.at_least, self.clock.now()) {
            return Joined::Landed(session);
        }
        if let Some(refusal) = next.refusal(now) {
            return Joined::Not(refusal);
        }
        match calls.leave(now) {
            Ok(leave) => {
                metrics::STS_FLIGHTS.count(metrics::NEEDED);
                Joined::Flight(self.take_off(slot, &mut next, leave, call()))
            }
            Err(shut_for) => Joined::Not(
                ScopeError::unavailable("STS failed a moment ago").retried_in(Some(shut_for)),
            ),
        }
    }

    fn take_off(
        &self,
        slot: &Arc<Slot>,
        next: &mut Next,
        leave: Leave,
        call: AssumeRoleCall,
    ) -> Flight {
        let (landing, waiting) = watch::channel(None);
        next.flight = Some(waiting.clone());
        let (sts, turns) = (Arc::clone(&self.sts), Arc::clone(&self.turns));
        let (slot, clock) = (Arc::clone(slot), Arc::clone(&self.clock));
        tokio::spawn(async move {
            // Dropped even if the call panics: the next request starts another.
            let _clear = ClearFlight(&slot);
            let outcome = fly(&*sts, &turns, &*clock, &call, &leave, &landing).await;
            let outcome = slot.keep(outcome, clock.monotonic());
            landing.send_replace(Some(outcome));
        });
        waiting
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions([moka::sync::Cache<SessionKey, Arc<Slot>>; 2]);

impl Sessions {
    /// Looks at each that has not ended, with its tenant. That takes a while: not for the runtime's threads.
    pub(super) fn each(&self, now: SystemTime, mut look: impl FnMut(&TenantId, &Session)) {
        for (_, slot) in self.0.iter().flatten() {
            if let Some(session) = &*slot.current.load()
                && session.left(now).is_some()
            {
                look(&slot.tenant, session);
            }
        }
    }
}

/// What a request finds that needs another session.
enum Joined {
    /// A call under way.
    Flight(Flight),
    /// A session that came in the meantime.
    Landed(Arc<Session>),
    /// No call is made.
    Not(ScopeError),
}

impl Need {
    /// Whether this session is to be renewed ahead of need.
    fn renews(&self, session: &Session, now: SystemTime) -> bool {
        self.ahead_for
            .is_some_and(|longest| session.is_due(longest, now))
    }
}

impl Slot {
    fn of(tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
            current: ArcSwapOption::empty(),
            next: Mutex::default(),
        }
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn covering(&self, need: Duration, now: SystemTime) -> Option<Arc<Session>> {
        let session = self.current.load();
        let session = session.as_ref()?;
        session.covers(need, now).then(|| Arc::clone(session))
    }

    /// Keeps a new session, or what is worth remembering of a failure.
    fn keep(&self, outcome: Outcome, now: Duration) -> Outcome {
        let mut next = self.next();
        match outcome {
            Ok(session) => {
                self.current.store(Some(Arc::clone(&session)));
                next.refused = None;
                next.rests_until = Duration::ZERO;
                Ok(session)
            }
            Err(error) => {
                let error = error.asked_again_in(REFUSAL_REMEMBERED);
                if let ScopeError::Refused { .. } = error {
                    next.refused = Some((error.clone(), now + REFUSAL_REMEMBERED));
                }
                let life = self.current.load().as_ref().map(|session| session.life);
                next.rests_until = now + life.unwrap_or_default() / RENEWAL_PAUSES;
                Err(error)
            }
        }
    }
}

impl Next {
    /// The refusal that still stands.
    fn refusal(&self, now: Duration) -> Option<ScopeError> {
        let (error, until) = self.refused.as_ref()?;
        let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some(error.clone().asked_again_in(left))
    }
}

struct ClearFlight<'a>(&'a Slot);

impl Drop for ClearFlight<'_> {
    fn drop(&mut self) {
        self.0.next().flight = None;
    }
}

fn lost() -> ScopeError {
    ScopeError::unavailable("the call to STS ended without an answer")
}
