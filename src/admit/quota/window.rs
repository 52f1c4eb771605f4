//! So much in each day or month, in this process.
//!
//! Invariant: nothing is handed out of a window before the ledger, where there is one, has kept that it was; a window never goes back,
//! whatever the clock does.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use super::calendar::Stretch;
use super::ledger::{Counted, Ledger, waiting};
use super::{Level, Period, Short};
use crate::clock::{Clock, SharedClock};

/// Into how many blocks a window is cut, each kept before it is used.
const BLOCKS: u64 = 128;

/// A count, and what it may come to.
#[derive(Debug)]
pub(super) struct Window {
    most: u64,
    period: Period,
    zone: TimeZone,
    count: Arc<Count>,
    clock: SharedClock,
}

/// What was counted. Outlives a change of how much there may be.
pub(super) struct Count {
    name: Box<str>,
    state: Mutex<State>,
    ledger: Option<Arc<Ledger>>,
}

#[derive(Debug, Default)]
struct State {
    stretch: Stretch,
    used: u64,
    /// What is kept, and so may be used.
    kept: u64,
    /// What is about to be kept.
    keeping: u64,
}

/// Why nothing was taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// There is no room.
    Short(Short),
    /// It is to be kept first. Then it can be tried again.
    Keeping(oneshot::Receiver<bool>),
}

impl Window {
    /// The window whose count has this name. Without a ledger, what it counts ends with the process.
    pub(super) fn new(
        name: &str,
        most: u64,
        (period, zone): (Period, TimeZone),
        ledger: Option<Arc<Ledger>>,
        clock: SharedClock,
    ) -> Self {
        let mut state = State::default();
        let known = ledger.as_ref().and_then(|ledger| ledger.known(name));
        if let Some((begins, amount)) = known {
            let at = SystemTime::UNIX_EPOCH
                + std::time::Duration::from_secs(u64::try_from(begins).unwrap_or(0));
            // What a limit of other days, or of months, has counted is not this one's.
            if let Some(stretch) = Stretch::at(at, period, &zone)
                && stretch.begins == begins
            {
                state = State {
                    stretch,
                    used: amount,
                    kept: amount,
                    keeping: amount,
                };
            }
        }
        let count = Arc::new(Count {
            name: name.into(),
            state: Mutex::new(state),
            ledger,
        });
        if let Some(ledger) = &count.ledger {
            let count: Weak<dyn Counted> = Arc::downgrade(&count) as Weak<dyn Counted>;
            ledger.register(count);
        }
        Self {
            most,
            period,
            zone,
            count,
            clock,
        }
    }

    /// The same window with what this one has counted, if they count the same stretches.
    pub(super) fn continuing(&mut self, earlier: &Self) {
        if self.period == earlier.period && self.zone == earlier.zone {
            self.count = Arc::clone(&earlier.count);
        }
    }

    #[cfg(test)]
    fn take(&self, amount: u64) -> Result<i64, NotTaken> {
        self.take_at(self.clock.now(), amount)
    }

    /// Takes so much, and says when the stretch that it was taken of began.
    pub(super) fn take_at(&self, now: SystemTime, amount: u64) -> Result<i64, NotTaken> {
        if amount > self.most {
            return Err(NotTaken::Short(Short::Never));
        }
        let mut state = self.current(now);
        let Some(used) = state
            .used
            .checked_add(amount)
            .filter(|used| *used <= self.most)
        else {
            return Err(NotTaken::Short(Short::Until(state.stretch.left(now))));
        };
        let block = (self.most / BLOCKS).max(1);
        if used <= state.kept {
            state.used = used;
            if state.kept - used < block / 2 && state.keeping == state.kept {
                let ahead = used.saturating_add(block).min(self.most);
                drop(self.keep(&mut state, ahead));
            }
            return Ok(state.stretch.begins);
        }
        // Others may wait for what is about to be kept: this comes on top, or all would try for the same little again and again.
        let queued = state.keeping.saturating_add(amount);
        let ahead = used.saturating_add(block).max(queued).min(self.most);
        if let Some(kept) = self.keep(&mut state, ahead) {
            return Err(NotTaken::Keeping(kept));
        }
        // Nothing outlives the process, so nothing need be kept.
        state.used = used;
        Ok(state.stretch.begins)
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Gives back what was taken of a stretch that began no later than `began`. Of one that has ended since, nothing.
    pub(super) fn refund(&self, amount: u64, began: i64) {
        let mut state = self.count.state();
        if state.stretch.begins <= began && !state.stretch.is_over(self.clock.now()) {
            state.used = state.used.saturating_sub(amount);
        }
    }

    pub(super) fn left(&self) -> Level {
        self.left_at(self.clock.now())
    }

    pub(super) fn left_at(&self, now: SystemTime) -> Level {
        let state = self.current(now);
        Level {
            left: self.most.saturating_sub(state.used),
            reset: state.stretch.left(now),
        }
    }

    /// The count of the stretch that it is now.
    fn current(&self, now: SystemTime) -> MutexGuard<'_, State> {
        let mut state = self.count.state();
        if state.stretch.is_over(now)
            && let Some(stretch) = Stretch::at(now, self.period, &self.zone)
        {
            *state = State {
                stretch,
                ..State::default()
            };
        }
        state
    }

    /// Has so much kept; `None`: nobody keeps anything.
    fn keep(&self, state: &mut State, amount: u64) -> Option<oneshot::Receiver<bool>> {
        let ledger = self.count.ledger.as_ref()?;
        // Never less than before: a refund may lie between.
        let amount = amount.max(state.keeping);
        state.keeping = amount;
        let (begins, count) = (state.stretch.begins, Arc::clone(&self.count));
        let (tell, told) = waiting();
        // The ledger answers on its own thread, or at once if it is closed: then nothing is changed under this lock.
        ledger.keep(&self.count.name, begins, amount, move |kept| {
            if kept {
                count.kept(begins, amount);
            }
            tell(kept);
        });
        Some(told)
    }
}

impl Count {
    fn state(&self) -> MutexGuard<'_, State> {
        // What the lock holds is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, begins: i64, amount: u64) {
        let mut state = self.state();
        if state.stretch.begins == begins {
            state.kept = state.kept.max(amount);
            state.keeping = state.keeping.max(state.kept);
        }
    }
}

impl Counted for Count {
    fn counted(&self) -> (Box<str>, i64, u64) {
        let state = self.state();
        (self.name.clone(), state.stretch.begins, state.used)
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Count").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::SetClock;

    fn window(clock: &Arc<SetClock>, most: u64, ledger: Option<&Arc<Ledger>>) -> Window {
        let calendar = (Period::Day, TimeZone::UTC);
        Window::new(
            "tenant:acme/daily",
            most,
            calendar,
            ledger.cloned(),
            clock.clone(),
        )
    }

    /// Takes, waiting for the ledger as often as it wants.
    fn take(window: &Window, amount: u64) -> Result<(), Short> {
        loop {
            match window.take(amount) {
                Ok(_) => return Ok(()),
                Err(NotTaken::Short(short)) => return Err(short),
                Err(NotTaken::Keeping(kept)) => assert!(kept.blocking_recv().unwrap()),
            }
        }
    }

    #[test]
    fn a_restart_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::default());
        let open = || Arc::new(Ledger::open(folder.path(), 1_767_323_045).unwrap());
        let ledger = open();
        take(&window(&clock, 1280, Some(&ledger)), 1000).unwrap();
        drop(ledger);
        // Nobody closed it, as if the process had been killed: it may have counted a block too much, and never too little.
        let ledger = loop {
            // The thread of the first may still hold the file.
            match Ledger::open(folder.path(), 1_767_323_045) {
                Ok(ledger) => break Arc::new(ledger),
                Err(_) => std::thread::yield_now(),
            }
        };
        let second = window(&clock, 1280, Some(&ledger));
        let left = second.left().left;
        assert!((260..=280).contains(&left), "{left}");
        take(&second, 100).unwrap();
        let exactly = second.left().left;
        ledger.close();
        assert!(
            second.take(50).is_err(),
            "what cannot be kept is not handed out"
        );
        drop(second);
        drop(ledger);
        let third = window(&clock, 1280, Some(&open()));
        assert_eq!(third.left().left, exactly, "after an orderly end");
    }

    #[test]
    fn threads_together_get_no_more_than_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::open(folder.path(), 1_767_323_045).unwrap());
        let clock = Arc::new(SetClock::default());
        let window = window(&clock, 1000, Some(&ledger));
        let taken: usize = std::thread::scope(|scope| {
            let work = || (0..500).filter(|_| take(&window, 1).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
