//! Sessions that are used again, and asked for once.
//!
//! Keyed by every parameter of the AssumeRole call. While a call is under way, whoever else needs the same session waits for it; the
//! call is a task of its own, so that a caller who hangs up does not cancel it for the others. Invariant: a session is handed out
//! only for what its remaining life covers, or to a request that takes a shorter one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::{AssumeRole, AssumeRoleCall, ScopeError, Session, SessionKey};
use crate::clock::SharedClock;

/// How many sessions are kept. Each is a few kilobytes, mostly the session token.
const CAPACITY: u64 = 100_000;
/// How many sessions of one request each are kept besides: they are used up one after the other, and are to leave room for the rest.
const CAPACITY_OF_ONE_REQUEST: u64 = 20_000;
/// A session that nobody has used for so long is dropped. STS gives none longer.
const IDLE: Duration = Duration::from_hours(12);

/// A session with less than that signs nothing.
const LEAST: Duration = Duration::from_secs(1);
/// How long a request waits for a new session where the known one would do.
const RENEWAL_PATIENCE: Duration = Duration::from_millis(500);

/// Sessions by the call that brings them.
#[derive(Debug)]
pub(super) struct SessionCache {
    sts: Arc<dyn AssumeRole>,
    clock: SharedClock,
    slots: moka::sync::Cache<SessionKey, Arc<Slot>>,
    slots_of_one_request: moka::sync::Cache<SessionKey, Arc<Slot>>,
}

/// One key's session, and the call for the next one.
#[derive(Debug, Default)]
struct Slot {
    current: ArcSwapOption<Session>,
    flight: Mutex<Option<Flight>>,
}

/// A call under way, and in the end what it brought.
type Flight = watch::Receiver<Option<Result<Arc<Session>, ScopeError>>>;

/// How long a session must still last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// A session with less is renewed.
    pub(super) at_least: Duration,
    /// Where it cannot be renewed, one with so much will do.
    pub(super) or_else: Option<Duration>,
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
            slots,
            slots_of_one_request,
        }
    }

    /// A session that covers the need: a known one, or a new one from STS.
    pub(super) async fn session(
        &self,
        key: SessionKey,
        need: Need,
        call: impl FnOnce() -> AssumeRoleCall,
    ) -> Result<Arc<Session>, ScopeError> {
        let slots = if key.of_one_request {
            &self.slots_of_one_request
        } else {
            &self.slots
        };
        let slot = slots.get_with(key, Arc::default);
        if let Some(session) = slot.covering(need.at_least, self.clock.now()) {
            return Ok(session);
        }
        let Some(mut flight) = self.join_flight(&slot, need, call) else {
            // It landed in the meantime.
            return slot
                .covering(need.at_least, self.clock.now())
                .ok_or_else(lost);
        };
        let fallback = || {
            need.or_else
                .and_then(|least| slot.covering(least, self.clock.now()))
        };
        let landing = flight.wait_for(Option::is_some);
        let landed = if fallback().is_some() {
            match tokio::time::timeout(RENEWAL_PATIENCE, landing).await {
                Ok(landed) => landed,
                Err(_) => return fallback().ok_or_else(slow),
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

    /// The call under way, or a new one. `None`: a session that covers the need has arrived.
    fn join_flight(
        &self,
        slot: &Arc<Slot>,
        need: Need,
        call: impl FnOnce() -> AssumeRoleCall,
    ) -> Option<Flight> {
        let mut flight = slot.flight();
        if let Some(flight) = &*flight {
            return Some(flight.clone());
        }
        if slot.covering(need.at_least, self.clock.now()).is_some() {
            return None;
        }
        let (landing, waiting) = watch::channel(None);
        *flight = Some(waiting.clone());
        drop(flight);

        let (sts, clock) = (Arc::clone(&self.sts), Arc::clone(&self.clock));
        let (slot, call) = (Arc::clone(slot), call());
        tokio::spawn(async move {
            // Dropped even if the call panics: the next request starts another.
            let _clear = ClearFlight(&slot);
            let result = sts.assume_role(&call).await.and_then(|assumed| {
                let session = Session::begun(assumed.credentials, &call.session_name, clock.now());
                if session.life < LEAST {
                    return Err(already_over());
                }
                let session = Arc::new(session);
                slot.current.store(Some(Arc::clone(&session)));
                Ok(session)
            });
            landing.send_replace(Some(result));
        });
        Some(waiting)
    }
}

impl Slot {
    fn flight(&self) -> MutexGuard<'_, Option<Flight>> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn covering(&self, need: Duration, now: SystemTime) -> Option<Arc<Session>> {
        let session = self.current.load();
        let session = session.as_ref()?;
        session.covers(need, now).then(|| Arc::clone(session))
    }
}

struct ClearFlight<'a>(&'a Slot);

impl Drop for ClearFlight<'_> {
    fn drop(&mut self) {
        *self.0.flight() = None;
    }
}

fn already_over() -> ScopeError {
    ScopeError::Unavailable {
        detail: "STS gave a session that is over: do its clock and this machine's agree?".into(),
    }
}

fn slow() -> ScopeError {
    ScopeError::Unavailable {
        detail: "STS did not answer in time".into(),
    }
}

fn lost() -> ScopeError {
    ScopeError::Unavailable {
        detail: "the call to STS ended without an answer".into(),
    }
}
