//! Lines that are written together, and those who wait for them.
//!
//! Whoever first polls for a confirmation leads: it gives way once, to whatever its thread has still to do, and then writes the
//! lines of all who came meanwhile. Invariant: whoever waits is woken when its lines are written, refused, or handed to the thread
//! that may wait; and a leader who is dropped writes first.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;
use tokio::time::Sleep;

use super::KEPT_BYTES;
use super::output::{Outcome, Output};
use crate::audit::AuditError;

/// One thread's lines. Apart from others in memory, so that cores do not contend for them.
#[repr(align(128))]
pub(super) struct Gathering {
    output: Arc<Output>,
    gathered: Mutex<Gathered>,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    /// Who waits for them; `None`: there are none.
    round: Option<Arc<Round>>,
}

/// Those who wait for the same write.
#[derive(Default)]
pub(super) struct Round(Mutex<State>);

#[derive(Default)]
struct State {
    stage: Stage,
    /// Somebody will write.
    led: bool,
    waiting: SmallVec<[Waker; 4]>,
}

#[derive(Default)]
enum Stage {
    /// More may come.
    #[default]
    Gathering,
    /// The thread has it, and it may take its time.
    HandedOver,
    /// The end.
    Done(Result<(), AuditError>),
}

impl Gathering {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self {
            output,
            gathered: Mutex::default(),
        }
    }

    /// Adds lines.
    pub(super) fn join(self: &Arc<Self>, lines: &[u8]) -> Confirming {
        let mut gathered = self.gathered();
        gathered.lines.extend_from_slice(lines);
        let round = Arc::clone(gathered.round.get_or_insert_default());
        Confirming {
            gathering: Arc::clone(self),
            round,
            leads: false,
            place: None,
            patience: None,
        }
    }

    /// Writes what has gathered.
    pub(super) fn flush(&self) {
        let mut gathered = self.gathered();
        let Some(round) = gathered.round.take() else {
            return;
        };
        let outcome = self.output.write(&gathered.lines, &round);
        gathered.lines.clear();
        gathered.lines.shrink_to(KEPT_BYTES);
        drop(gathered);
        match outcome {
            Outcome::Done(result) => round.finish(result),
            Outcome::HandedOver => round.hand_over(),
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // Nothing that holds the lock leaves lines without their round.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    /// Tells all that it is over.
    pub(super) fn finish(&self, result: Result<(), AuditError>) {
        let mut state = self.state();
        state.stage = Stage::Done(result);
        wake(state);
    }

    /// Tells all that it may take a while, unless it is over already.
    fn hand_over(&self) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Gathering) {
            state.stage = Stage::HandedOver;
            wake(state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = mem::take(&mut state.waiting);
    drop(state);
    for waker in waiting {
        waker.wake();
    }
}

/// Waits for lines to be written.
pub(super) struct Confirming {
    gathering: Arc<Gathering>,
    round: Arc<Round>,
    /// It is this one who writes.
    leads: bool,
    /// Where its waker is among those that wait.
    place: Option<usize>,
    /// The end of it, once the thread has the lines.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Future for Confirming {
    type Output = Result<(), AuditError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.round.state();
        if matches!(state.stage, Stage::Gathering) && this.leads {
            drop(state);
            // The leader's second turn.
            this.gathering.flush();
            state = this.round.state();
        }
        match &state.stage {
            Stage::Done(result) => return Poll::Ready(result.clone()),
            Stage::Gathering if !state.led => {
                state.led = true;
                this.leads = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Stage::Gathering | Stage::HandedOver => {}
        }
        let handed_over = matches!(state.stage, Stage::HandedOver);
        if handed_over && this.patience.is_none() {
            // All were woken, and wait anew.
            this.place = None;
        }
        wait(&mut state, &mut this.place, context.waker());
        drop(state);
        if !handed_over {
            return Poll::Pending;
        }
        let stall = this.gathering.output.limits.stall;
        let patience = this
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if patience.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.gathering.output.mark_stalled();
        Poll::Ready(Err(AuditError::Blocked(stall)))
    }
}

/// Has `waker` woken when the stage changes, in the place that its owner has already, if that is not taken.
fn wait(state: &mut State, place: &mut Option<usize>, waker: &Waker) {
    if let Some(own) = place.and_then(|place| state.waiting.get_mut(place)) {
        own.clone_from(waker);
    } else {
        *place = Some(state.waiting.len());
        state.waiting.push(waker.clone());
    }
}

impl Drop for Confirming {
    fn drop(&mut self) {
        if self.leads && matches!(self.round.state().stage, Stage::Gathering) {
            self.gathering.flush();
        }
    }
}
