//! Whether a tenant's calls to STS are worth making: a circuit breaker. Pure.
//!
//! A call that fails opens it, and until a while is over nobody calls. Then one call probes: if it fails too, the while doubles. Each
//! tenant has its own, so that one tenant's trouble is not the others'. Invariant: while it is not closed, one call at a time is let
//! through at most.

use std::time::Duration;

/// How long it stays open after the first failure, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// How long it stays open at the most.
const LONGEST: Duration = Duration::from_secs(30);

/// A tenant's circuit breaker. Times are those of a monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    /// How many calls have failed since the last one that did not.
    failures: u32,
    /// Since when it is not closed, if it is not.
    since: Duration,
    /// Counts how often it opened, so that calls from before are told from those after.
    era: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    /// A probe is under way.
    HalfOpen,
}

/// Leave to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Whether this call is to find out if STS is back.
    pub(super) probe: bool,
    era: u64,
    given: Duration,
}

/// How it stands while it is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotClosed {
    /// Since when.
    pub(super) since: Duration,
    /// When the next call may probe; `None`: one does.
    pub(super) until: Option<Duration>,
    /// How many calls have failed since the last one that did not.
    pub(super) failures: u32,
}

impl Breaker {
    /// Leave to call now. Otherwise: when to ask again.
    pub(super) fn pass(&mut self, now: Duration) -> Result<Pass, Duration> {
        let probe = match self.state {
            State::Closed => false,
            State::Open { until } => {
                let left = until.saturating_sub(now);
                if !left.is_zero() {
                    return Err(left);
                }
                self.state = State::HalfOpen;
                true
            }
            State::HalfOpen => return Err(FIRST),
        };
        Ok(Pass {
            probe,
            era: self.era,
            given: now,
        })
    }

    /// Whether leave that was given still counts: it has not opened since.
    pub(super) fn honours(&self, pass: Pass) -> bool {
        pass.era == self.era
    }

    /// STS did not do its part. `jitter` is from 0 to 1. Says whether it opened for that.
    pub(super) fn failed(&mut self, pass: Pass, now: Duration, jitter: f64) -> bool {
        // Calls that were under way together fail together, and count once.
        if !self.honours(pass) {
            return false;
        }
        let longest = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        if self.failures == 0 {
            self.since = now.max(pass.given);
        }
        self.failures = self.failures.saturating_add(1);
        self.era += 1;
        let until = now + longest.mul_f64(f64::midpoint(1.0, jitter.clamp(0.0, 1.0)));
        self.state = State::Open { until };
        true
    }

    /// STS answered: with a session, or with a refusal, which is an answer too.
    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed;
        self.failures = 0;
    }

    /// How it stands, if it is not closed.
    pub(super) fn not_closed(&self) -> Option<NotClosed> {
        let until = match self.state {
            State::Closed => return None,
            State::Open { until } => Some(until),
            State::HalfOpen => None,
        };
        Some(NotClosed {
            since: self.since,
            until,
            failures: self.failures,
        })
    }

    /// When to ask again, if not now.
    pub(super) fn shut_for(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until.saturating_sub(now)),
            State::HalfOpen => Some(FIRST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_failure_opens_it_and_a_probe_that_succeeds_closes_it() {
        let mut breaker = Breaker::default();
        let first = breaker.pass(at(0)).unwrap();
        assert!(!first.probe);
        breaker.failed(first, at(0), 1.0);
        assert_eq!(breaker.pass(at(400)), Err(at(600)));
        let probe = breaker.pass(at(1000)).unwrap();
        assert!(probe.probe);
        assert!(breaker.pass(at(1000)).is_err(), "one probe at a time");
        breaker.succeeded();
        assert!(!breaker.pass(at(1000)).unwrap().probe);
        assert_eq!(breaker.shut_for(at(1000)), None);
    }

    #[test]
    fn it_stays_open_for_longer_each_time_and_never_beyond_the_cap() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let pass = breaker.pass(now).unwrap();
            breaker.failed(pass, now, 1.0);
            let wait = breaker.pass(now).unwrap_err();
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn calls_that_fail_together_count_once() {
        let mut breaker = Breaker::default();
        let passes = [(); 5].map(|()| breaker.pass(at(0)).unwrap());
        for pass in passes {
            breaker.failed(pass, at(0), 1.0);
        }
        assert_eq!(breaker.pass(at(0)), Err(at(1000)));
        assert!(!breaker.honours(passes[4]), "who still waits need not call");
        // Nor do they undo what came later.
        let probe = breaker.pass(at(1000)).unwrap();
        breaker.failed(passes[0], at(1000), 1.0);
        breaker.failed(probe, at(1000), 1.0);
        assert_eq!(breaker.pass(at(1000)), Err(at(2000)));
    }

    #[test]
    fn it_tells_since_when_it_is_not_closed_and_until_when_nobody_calls() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.not_closed(), None);
        let first = breaker.pass(at(500)).unwrap();
        breaker.failed(first, at(700), 1.0);
        let not_closed = |until: Option<u64>, failures| NotClosed {
            since: at(700),
            until: until.map(at),
            failures,
        };
        assert_eq!(breaker.not_closed(), Some(not_closed(Some(1700), 1)));
        let probe = breaker.pass(at(2000)).unwrap();
        assert_eq!(breaker.not_closed(), Some(not_closed(None, 1)));
        breaker.failed(probe, at(2100), 1.0);
        assert_eq!(breaker.not_closed(), Some(not_closed(Some(4100), 2)));
        breaker.succeeded();
        assert_eq!(breaker.not_closed(), None);
        // A call that ended without a word failed no earlier than it began.
        let lost = breaker.pass(at(9000)).unwrap();
        breaker.failed(lost, at(0), 0.0);
        assert_eq!(breaker.not_closed().unwrap().since, at(9000));
    }

    #[test]
    fn a_late_answer_closes_it() {
        let mut breaker = Breaker::default();
        let pass = breaker.pass(at(0)).unwrap();
        breaker.failed(pass, at(0), 0.5);
        breaker.succeeded();
        assert!(breaker.pass(at(1)).is_ok());
    }

    proptest! {
        #[test]
        fn while_it_is_not_closed_one_call_at_most_is_under_way(
            steps in proptest::collection::vec((0u8..3, 0u64..20_000, 0.0..=1.0f64), 1..200),
        ) {
            let mut breaker = Breaker::default();
            let mut now = Duration::ZERO;
            let mut probes: Vec<Pass> = Vec::new();
            for (what, millis, jitter) in steps {
                now += at(millis);
                match what {
                    0 => if let Ok(pass) = breaker.pass(now) {
                        if pass.probe {
                            prop_assert!(probes.is_empty(), "two probes");
                            probes.push(pass);
                        } else {
                            breaker.failed(pass, now, jitter);
                            let wait = breaker.pass(now).unwrap_err();
                            prop_assert!(wait <= LONGEST && wait >= FIRST / 2);
                        }
                    },
                    1 => if let Some(probe) = probes.pop() {
                        breaker.failed(probe, now, jitter);
                        let wait = breaker.pass(now).unwrap_err();
                        prop_assert!(wait <= LONGEST && wait >= FIRST / 2);
                    },
                    _ => if probes.pop().is_some() {
                        breaker.succeeded();
                        prop_assert!(breaker.pass(now).is_ok_and(|pass| !pass.probe));
                    },
                }
            }
        }
    }
}
