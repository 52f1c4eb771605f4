//! The time, as an argument.
//!
//! The only file that reads the machine's clocks: everything else asks a [`Clock`], so that a test can set the time and a
//! record, an expiry and a rate limit agree on what "now" was.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A source of time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall-clock time, for signatures, expiries and records.
    fn now(&self) -> SystemTime;

    /// Time since an arbitrary fixed point, which never goes back: for rates and for how long something took.
    fn monotonic(&self) -> Duration;
}

/// What a clock said, read once for all that is to agree on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The wall-clock time.
    pub(crate) wall: SystemTime,
    /// Since the clock's fixed point.
    pub(crate) monotonic: Duration,
}

impl Moment {
    /// This one.
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: clock.monotonic(),
        }
    }
}

/// A clock that rooms share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// governor's view of a shared clock.
#[derive(Debug, Clone)]
pub(crate) struct MonotonicClock(pub(crate) SharedClock);

impl governor::clock::Clock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        STANDING.get().unwrap_or_else(|| self.0.monotonic())
    }
}

thread_local! {
    /// What time it is for governor on this thread, while that stands still.
    static STANDING: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Does work for which it is one time throughout, as far as governor is concerned: so that all limits of a request are asked about the
/// same moment, which is read once.
pub(crate) fn standing_at<T>(time: Duration, work: impl FnOnce() -> T) -> T {
    struct GoesOn(Option<Duration>);

    impl Drop for GoesOn {
        fn drop(&mut self) {
            STANDING.set(self.0);
        }
    }

    let _goes_on = GoesOn(STANDING.replace(Some(time)));
    work()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A clock that stands still until a test moves it.
    #[derive(Debug)]
    pub(crate) struct SetClock(Mutex<Duration>);

    impl Default for SetClock {
        /// 2026-01-02T03:04:05Z.
        fn default() -> Self {
            Self(Mutex::new(Duration::from_secs(1_767_323_045)))
        }
    }

    impl SetClock {
        pub(crate) fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for SetClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + self.monotonic()
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }
}
