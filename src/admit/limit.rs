//! How much at a time: governor's GCRA over a state that can be given back.
//!
//! A request takes from every limit that counts its command, or from none: what was already taken is refunded when a later
//! limit refuses. A batch takes for all its commands at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Reference as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::grant::CommandSelector;
use crate::clock::{MonotonicClock, SharedClock};
use crate::sign::command::Operation;

/// A rate limit of a tenant. Clones share what was taken.
#[derive(Debug, Clone)]
pub struct Limit {
    name: Arc<str>,
    commands: Vec<CommandSelector>,
    burst: NonZeroU32,
    interval: Duration,
    state: TheoreticalArrival,
    limiter:
        Arc<RateLimiter<NotKeyed, TheoreticalArrival, MonotonicClock, NoOpMiddleware<Duration>>>,
    /// From when the state counts.
    began: Duration,
    clock: SharedClock,
}

/// A limit has no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateLimited {
    /// There is room later.
    #[error("the limit {limit:?} has no room for {asked}")]
    Later {
        /// The limit's name.
        limit: Arc<str>,
        /// How many URLs were asked.
        asked: u32,
        /// When there will be room.
        retry_after: Duration,
    },
    /// There is never room for so many at once.
    #[error("the limit {limit:?} holds a burst of {burst}, and {asked} were asked at once")]
    Never {
        /// The limit's name.
        limit: Arc<str>,
        /// How many URLs were asked.
        asked: u32,
        /// How many fit.
        burst: u32,
    },
}

/// What is left of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The limit's name.
    pub limit: Arc<str>,
    /// How many URLs there is room for now.
    pub left: u32,
    /// How many it holds.
    pub burst: u32,
    /// When there is room for one; `None`: there is.
    pub retry_after: Option<Duration>,
}

impl RateLimited {
    /// The name of the limit that refused.
    #[must_use]
    pub fn limit(&self) -> &str {
        match self {
            Self::Later { limit, .. } | Self::Never { limit, .. } => limit,
        }
    }
}

impl Limit {
    /// A limit on these commands, or on all if there are none: one URL every `interval`, and `burst` at once.
    ///
    /// Returns `None` if the interval is zero.
    #[must_use]
    pub fn new(
        name: &str,
        commands: Vec<CommandSelector>,
        interval: Duration,
        burst: NonZeroU32,
        clock: SharedClock,
    ) -> Option<Self> {
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let state = TheoreticalArrival::default();
        Some(Self {
            name: name.into(),
            commands,
            burst,
            interval: quota.replenish_interval(),
            limiter: Arc::new(RateLimiter::new(
                quota,
                state.clone(),
                MonotonicClock(Arc::clone(&clock)),
            )),
            // Not before the limiter did: what is told of it is never too much.
            began: clock.monotonic(),
            state,
            clock,
        })
    }

    /// Whether the two say the same, whatever was taken.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.commands == other.commands
            && self.burst == other.burst
            && self.interval == other.interval
    }

    fn counts(&self, operation: &Operation) -> bool {
        self.commands.is_empty()
            || self
                .commands
                .iter()
                .any(|selector| selector.selects(operation))
    }

    fn take(&self, count: NonZeroU32) -> Result<(), RateLimited> {
        match self.limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => {
                let now = self.clock.monotonic();
                let retry_after = not_until.earliest_possible().duration_since(now);
                Err(RateLimited::Later {
                    limit: Arc::clone(&self.name),
                    asked: count.get(),
                    retry_after: Duration::from_nanos(retry_after.as_u64()),
                })
            }
            Err(_) => Err(RateLimited::Never {
                limit: Arc::clone(&self.name),
                asked: count.get(),
                burst: self.burst.get(),
            }),
        }
    }

    /// What is left, by governor's own arithmetic.
    #[must_use]
    pub fn left(&self) -> Left {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(self.clock.monotonic().saturating_sub(self.began));
        let interval = nanos(self.interval).max(1);
        let burst = self.burst.get();
        let known = self.state.0.load(Ordering::Acquire);
        let arrival = if known == 0 { now } else { known };
        // What may come early: all but the first.
        let latest = now.saturating_add(interval.saturating_mul(u64::from(burst - 1)));
        let wait = arrival.checked_sub(latest).filter(|wait| *wait > 0);
        let fitting = 1 + latest.saturating_sub(arrival) / interval;
        Left {
            limit: Arc::clone(&self.name),
            left: match wait {
                Some(_) => 0,
                None => u32::try_from(fitting).unwrap_or(u32::MAX).min(burst),
            },
            burst,
            retry_after: wait.map(Duration::from_nanos),
        }
    }

    /// When all of it is there again, at the latest.
    #[must_use]
    pub fn whole_after(&self, left: &Left) -> Option<Duration> {
        let used = left.burst.saturating_sub(left.left);
        self.interval.checked_mul(used)
    }

    fn refund(&self, count: NonZeroU32) {
        self.state
            .bring_forward(self.interval.saturating_mul(count.get()));
    }
}

/// What is left of every limit that counts an operation.
#[must_use]
pub fn left(limits: &[Limit], operation: &Operation) -> Vec<Left> {
    let counting = limits.iter().filter(|limit| limit.counts(operation));
    counting.map(Limit::left).collect()
}

/// Takes one URL for each operation from every limit that counts it, or nothing at all.
///
/// # Errors
/// The first limit without room. Whatever was taken is given back.
pub fn take<'a>(
    limits: &[Limit],
    operations: &(impl Iterator<Item = &'a Operation> + Clone),
) -> Result<(), RateLimited> {
    let count = |limit: &Limit| {
        let counted = operations
            .clone()
            .filter(|operation| limit.counts(operation))
            .count();
        NonZeroU32::new(u32::try_from(counted).unwrap_or(u32::MAX))
    };
    for (index, limit) in limits.iter().enumerate() {
        let Some(wanted) = count(limit) else { continue };
        if let Err(refusal) = limit.take(wanted) {
            for taken in &limits[..index] {
                if let Some(wanted) = count(taken) {
                    taken.refund(wanted);
                }
            }
            return Err(refusal);
        }
    }
    Ok(())
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
    use super::*;
    use crate::clock::tests::SetClock;
    use crate::sign::operations::operation;

    fn limit(clock: &Arc<SetClock>, commands: &[&str], interval: Duration, burst: u32) -> Limit {
        let commands = commands
            .iter()
            .map(|c| CommandSelector::parse(c).unwrap())
            .collect();
        let burst = NonZeroU32::new(burst).unwrap();
        Limit::new("limit", commands, interval, burst, clock.clone()).unwrap()
    }

    fn take_n(limits: &[Limit], name: &str, count: usize) -> Result<(), RateLimited> {
        take(
            limits,
            &std::iter::repeat_n(operation(name).unwrap(), count),
        )
    }

    proptest::proptest! {
        /// So many URLs as are left can be taken at once, and no more; when there are none, one can after the wait and not before.
        #[test]
        fn what_is_left_is_what_can_be_taken(
            burst in 1_u32..6,
            steps in proptest::collection::vec((0_u32..8, 0_u64..700), 0..12),
        ) {
            let clock = Arc::new(SetClock::default());
            let limits = [limit(&clock, &[], Duration::from_millis(100), burst)];
            for (count, millis) in steps {
                let _ = take_n(&limits, "GetObject", usize::try_from(count).unwrap());
                clock.advance(Duration::from_millis(millis));
            }
            let one = operation("GetObject").unwrap();
            let before = left(&limits, one);
            proptest::prop_assert_eq!(&before, &left(&limits, one), "looking costs nothing");
            let told = before[0].left;
            proptest::prop_assert!(take_n(&limits, "GetObject", usize::try_from(told).unwrap() + 1).is_err());
            if let Some(wait) = before[0].retry_after {
                proptest::prop_assert_eq!(told, 0);
                clock.advance(wait.checked_sub(Duration::from_nanos(1)).unwrap());
                proptest::prop_assert!(take_n(&limits, "GetObject", 1).is_err());
                clock.advance(Duration::from_nanos(1));
                proptest::prop_assert!(take_n(&limits, "GetObject", 1).is_ok());
            } else {
                proptest::prop_assert!(take_n(&limits, "GetObject", usize::try_from(told).unwrap()).is_ok());
            }
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let clock = Arc::new(SetClock::default());
        let limits = [limit(&clock, &[], Duration::from_millis(100), 3)];
        for _ in 0..3 {
            take_n(&limits, "GetObject", 1).unwrap();
        }
        let Err(RateLimited::Later { retry_after, .. }) = take_n(&limits, "GetObject", 1) else {
            panic!("the burst is used up");
        };
        assert_eq!(retry_after, Duration::from_millis(100));
        clock.advance(retry_after);
        take_n(&limits, "GetObject", 1).unwrap();
        assert!(take_n(&limits, "GetObject", 1).is_err());
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all() {
        let clock = Arc::new(SetClock::default());
        let limits = [limit(&clock, &[], Duration::from_secs(1), 10)];
        take_n(&limits, "GetObject", 6).unwrap();
        assert!(matches!(
            take_n(&limits, "GetObject", 5),
            Err(RateLimited::Later { .. })
        ));
        take_n(&limits, "GetObject", 4).unwrap();
        let never = RateLimited::Never {
            limit: "limit".into(),
            asked: 11,
            burst: 10,
        };
        assert_eq!(take_n(&limits, "GetObject", 11), Err(never));
    }

    #[test]
    fn a_refusal_by_one_limit_refunds_the_others() {
        let clock = Arc::new(SetClock::default());
        let limits = [
            limit(&clock, &[], Duration::from_secs(1), 10),
            limit(&clock, &["GetObject"], Duration::from_secs(1), 2),
        ];
        for _ in 0..50 {
            assert!(take_n(&limits, "GetObject", 3).is_err());
        }
        // Had those been charged, the first limit would be empty.
        take_n(&limits, "PutObject", 10).unwrap();
        assert!(take_n(&limits, "PutObject", 1).is_err());
    }

    #[test]
    fn a_limit_counts_only_its_commands() {
        let clock = Arc::new(SetClock::default());
        let limits = [limit(&clock, &["read"], Duration::from_secs(1), 1)];
        take_n(&limits, "GetObject", 1).unwrap();
        assert!(take_n(&limits, "HeadObject", 1).is_err());
        take_n(&limits, "PutObject", 100).unwrap();
    }

    #[test]
    fn threads_together_get_no_more_than_the_burst() {
        let clock = Arc::new(SetClock::default());
        let limits = [limit(&clock, &[], Duration::from_hours(1), 1000)];
        let admitted: usize = std::thread::scope(|scope| {
            let work = || {
                (0..1000)
                    .filter(|_| take_n(&limits, "GetObject", 1).is_ok())
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(admitted, 1000);
    }
}
