//! A rate in this process: governor's GCRA over a state that can be looked at and given back.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use governor::clock::Reference as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::{Level, Short};
use crate::clock::{Clock, MonotonicClock, SharedClock, standing_at};

/// One every so often, and some at once.
#[derive(Debug)]
pub(super) struct Rate {
    burst: NonZeroU32,
    interval: Duration,
    clock: SharedClock,
    /// From the first taking on: idle tenants have none.
    taken: OnceLock<Box<Taken>>,
}

/// What was taken.
#[derive(Debug)]
struct Taken {
    state: TheoreticalArrival,
    limiter: RateLimiter<NotKeyed, TheoreticalArrival, MonotonicClock, NoOpMiddleware<Duration>>,
    /// From when the state counts.
    began: Duration,
}

impl Rate {
    /// Nothing of it is taken yet. `None`: the interval is zero.
    pub(super) fn new(interval: Duration, burst: NonZeroU32, clock: SharedClock) -> Option<Self> {
        (!interval.is_zero()).then(|| Self {
            burst,
            interval,
            clock,
            taken: OnceLock::new(),
        })
    }

    fn taken(&self) -> Option<&Taken> {
        if let Some(taken) = self.taken.get() {
            return Some(taken);
        }
        let quota = Quota::with_period(self.interval)?.allow_burst(self.burst);
        let taken = self.taken.get_or_init(|| {
            let state = TheoreticalArrival::default();
            let began = self.clock.monotonic();
            // What the limiter counts from is then known to the nanosecond.
            let limiter = standing_at(began, || {
                let clock = MonotonicClock(Arc::clone(&self.clock));
                RateLimiter::new(quota, state.clone(), clock)
            });
            Box::new(Taken {
                state,
                limiter,
                began,
            })
        });
        Some(taken)
    }

    /// Goes on from what an earlier rate has counted, which is time: so it is also where one unit now takes another time.
    pub(super) fn continuing(&self, earlier: &Self) {
        let Some(earlier) = earlier.taken.get() else {
            return;
        };
        let Some(own) = self.taken() else {
            return;
        };
        let known = earlier.state.0.load(Ordering::Acquire);
        let arrival = earlier.began.saturating_add(Duration::from_nanos(known));
        let since = arrival.saturating_sub(own.began);
        let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        own.state.0.store(since, Ordering::Release);
    }

    #[cfg(test)]
    fn take(&self, amount: u64) -> Result<(), Short> {
        self.take_at(self.clock.monotonic(), amount)
    }

    pub(super) fn take_at(&self, now: Duration, amount: u64) -> Result<(), Short> {
        let Ok(amount) = u32::try_from(amount) else {
            return Err(Short::Never);
        };
        let Some(amount) = NonZeroU32::new(amount) else {
            return Ok(());
        };
        let taken = self.taken().ok_or(Short::Never)?;
        match standing_at(now, || taken.limiter.check_n(amount)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => {
                let wait = not_until.earliest_possible().duration_since(now);
                Err(Short::Until(Duration::from_nanos(wait.as_u64())))
            }
            Err(_) => Err(Short::Never),
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn refund(&self, amount: u64) {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        if let Some(taken) = self.taken.get() {
            let interval = self.interval.saturating_mul(amount);
            taken.state.bring_forward(interval);
        }
    }

    /// What is left, and when there is room for one, by governor's own arithmetic.
    pub(super) fn left(&self) -> (Level, Option<Duration>) {
        self.left_at(self.clock.monotonic())
    }

    pub(super) fn left_at(&self, now: Duration) -> (Level, Option<Duration>) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let taken = self.taken.get();
        let began = taken.map_or(Duration::ZERO, |taken| taken.began);
        let now = nanos(now.saturating_sub(began));
        let interval = nanos(self.interval).max(1);
        let burst = u64::from(self.burst.get());
        let known = taken.map_or(0, |taken| taken.state.0.load(Ordering::Acquire));
        let arrival = if known == 0 { now } else { known };
        // What may come early: all but the first.
        let latest = now.saturating_add(interval.saturating_mul(burst - 1));
        let wait = arrival.checked_sub(latest).filter(|wait| *wait > 0);
        let fitting = 1 + latest.saturating_sub(arrival) / interval;
        let level = Level {
            left: if wait.is_some() {
                0
            } else {
                fitting.min(burst)
            },
            reset: Duration::from_nanos(arrival.saturating_sub(now)),
        };
        (level, wait.map(Duration::from_nanos))
    }
}

/// GCRA's theoretical arrival time, in nanoseconds since the limiter began; 0: nothing was taken yet.
#[derive(Debug, Clone, Default)]
struct TheoreticalArrival(Arc<AtomicU64>);

impl TheoreticalArrival {
    fn bring_forward(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // The closure never declines, so the update always succeeds.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |time| {
                Some(time.saturating_sub(by))
            });
    }
}

impl StateStore for TheoreticalArrival {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.0.load(Ordering::Acquire);
        loop {
            let (result, next) = f((known != 0).then(|| Nanos::new(known)))?;
            match self.0.compare_exchange_weak(
                known,
                next.as_u64(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(result),
                Err(current) => known = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::clock::Clock;
    use crate::clock::tests::SetClock;

    fn rate(clock: &Arc<SetClock>, interval: Duration, burst: u32) -> Rate {
        Rate::new(interval, NonZeroU32::new(burst).unwrap(), clock.clone()).unwrap()
    }

    proptest::proptest! {
        /// So many as are left can be taken at once, and no more; when there are none, one can after the wait and not before.
        #[test]
        fn what_is_left_is_what_can_be_taken(
            burst in 1_u32..6,
            steps in proptest::collection::vec((0_u64..8, 0_u64..700), 0..12),
        ) {
            let clock = Arc::new(SetClock::default());
            let rate = rate(&clock, Duration::from_millis(100), burst);
            for (amount, millis) in steps {
                let _ = rate.take(amount);
                clock.advance(Duration::from_millis(millis));
            }
            let (level, wait) = rate.left();
            proptest::prop_assert_eq!((level, wait), rate.left(), "looking costs nothing");
            proptest::prop_assert!(rate.take(level.left + 1).is_err());
            if let Some(wait) = wait {
                proptest::prop_assert_eq!(level.left, 0);
                clock.advance(wait.checked_sub(Duration::from_nanos(1)).unwrap());
                proptest::prop_assert!(rate.take(1).is_err());
                clock.advance(Duration::from_nanos(1));
                proptest::prop_assert!(rate.take(1).is_ok());
            } else {
                proptest::prop_assert!(rate.take(level.left).is_ok());
            }
            clock.advance(rate.left().0.reset);
            proptest::prop_assert_eq!(rate.left().0.left, u64::from(burst), "all is there again");
        }

        /// What is taken and given back leaves all as it was.
        #[test]
        fn a_refund_undoes_what_was_taken(burst in 2_u32..9, first in 1_u64..4, amount in 1_u64..8) {
            let clock = Arc::new(SetClock::default());
            let rate = rate(&clock, Duration::from_secs(1), burst);
            let _ = rate.take(first);
            let before = rate.left();
            if rate.take(amount).is_ok() {
                rate.refund(amount);
            }
            proptest::prop_assert_eq!(before.0.left, rate.left().0.left);
        }
    }

    /// A clock of which much goes by between the first two looks, as where a thread is held up, and then nothing to speak of.
    #[derive(Debug, Default)]
    struct HeldUpClock(AtomicU64);

    impl Clock for HeldUpClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            let looks = self.0.fetch_add(1, Ordering::Relaxed);
            Duration::from_millis(50 * looks.min(1)) + Duration::from_nanos(looks)
        }
    }

    #[test]
    fn what_is_told_does_not_depend_on_how_long_it_took_to_make_it() {
        let clock = Arc::new(HeldUpClock::default());
        let burst = NonZeroU32::new(5).unwrap();
        let rate = Rate::new(Duration::from_secs(1), burst, clock).unwrap();
        for left in (0..5).rev() {
            rate.take(1).unwrap();
            assert_eq!(rate.left().0.left, left);
        }
    }

    #[test]
    fn threads_together_get_no_more_than_the_burst() {
        let clock = Arc::new(SetClock::default());
        let rate = rate(&clock, Duration::from_hours(1), 1000);
        let admitted: usize = std::thread::scope(|scope| {
            let work = || (0..1000).filter(|_| rate.take(1).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1000);
    }
}
