//! One call to STS under way, and what those are told who wait for it.
//!
//! Invariant: nobody waits for longer than an STS that works would take. A call that takes longer opens the tenant's circuit breaker,
//! and goes on: the session that it may still bring is for those who come later.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::calls::{Leave, NoTurn, Turns};
use super::{AssumeRole, AssumeRoleCall, Assumed, ScopeError, Session};
use crate::clock::Clock;
use crate::metrics;

/// What a call brought.
pub(super) type Outcome = Result<Arc<Session>, ScopeError>;
/// A call under way, and in the end what it brought.
pub(super) type Flight = watch::Receiver<Option<Outcome>>;

/// How long a call may take before those who wait are told that STS does not answer.
const OVERDUE: Duration = Duration::from_secs(3);
/// The same for a call that finds out whether STS is back: it was not, a moment ago.
const PROBE_OVERDUE: Duration = Duration::from_millis(300);
/// A session with less than that signs nothing.
const LEAST: Duration = Duration::from_secs(1);

/// Makes a call once it is its turn, and tells the breaker how it went. Who waits at `landing` hears early if it takes long.
pub(super) async fn fly(
    sts: &dyn AssumeRole,
    turns: &Turns,
    clock: &dyn Clock,
    call: &AssumeRoleCall,
    leave: &Leave,
    landing: &watch::Sender<Option<Outcome>>,
) -> Outcome {
    let late = || {
        let now = clock.monotonic();
        if !leave.is_probe() {
            leave.failed(now, fastrand::f64());
        }
        landing.send_replace(Some(Err(
            ScopeError::unavailable(SLOW).retried_in(leave.shut_for(now))
        )));
    };
    let turn = leave.turn(turns, &call.endpoint);
    let assumed = if leave.is_probe() {
        let turn_and_call = async {
            let _turn = turn.await;
            timed(sts, call, clock).await
        };
        noting_delay(turn_and_call, PROBE_OVERDUE, late).await
    } else {
        match turn.await {
            Ok(_turn) => noting_delay(timed(sts, call, clock), OVERDUE, late).await,
            Err(NoTurn::Opened) => Err(ScopeError::unavailable(FAILED_MEANWHILE)),
            Err(NoTurn::Full(limit)) => {
                leave.unused();
                return Err(ScopeError::CallsFull { limit });
            }
        }
    };
    let outcome = assumed.and_then(|assumed| {
        let session = Session::begun(assumed.credentials, &call.session_name, clock.now());
        if session.life < LEAST {
            return Err(ScopeError::unavailable(ALREADY_OVER));
        }
        Ok(Arc::new(session))
    });
    let now = clock.monotonic();
    match outcome {
        Err(error @ ScopeError::Unavailable { .. }) => {
            leave.failed(now, fastrand::f64());
            Err(error.retried_in(leave.shut_for(now)))
        }
        // A refusal is an answer too.
        answer => {
            leave.succeeded();
            answer
        }
    }
}

/// Calls STS, and counts what came of that and how long it took.
async fn timed(
    sts: &dyn AssumeRole,
    call: &AssumeRoleCall,
    clock: &dyn Clock,
) -> Result<Assumed, ScopeError> {
    let began = clock.monotonic();
    let assumed = sts.assume_role(call).await;
    let result = match &assumed {
        Ok(_) => metrics::STS_OK,
        Err(ScopeError::Unavailable { .. }) => metrics::STS_UNAVAILABLE,
        Err(_) => metrics::STS_REFUSED,
    };
    metrics::STS_CALLS.took(result, clock.monotonic().saturating_sub(began));
    assumed
}

/// Does the work, and calls `late` if that takes longer.
async fn noting_delay<T>(work: impl Future<Output = T>, than: Duration, late: impl FnOnce()) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(than, &mut work).await {
        return done;
    }
    late();
    work.await
}

const FAILED_MEANWHILE: &str = "STS failed while this call waited for its turn";
const SLOW: &str = "STS did not answer in time";
const ALREADY_OVER: &str =
    "STS gave a session that is over: do its clock and this machine's agree?";
