//! How far this machine's clock and that of STS are apart.
//!
//! Each answer of STS, errors too, says in its `Date` what time it is there. What is kept is that time less this process's monotonic time,
//! so that the distance is known at every moment since, and a clock that jumps is noticed at once. Invariant: while the distance is
//! certainly beyond the bound, nothing is signed for the tenants of that STS, and presignd goes on asking for the time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::StsEndpoint;
use crate::clock::SharedClock;

/// An answer that took longer says too little of when its `Date` was written.
const SLOWEST: Duration = Duration::from_secs(10);
/// What is worth a line in the log, and a change that is worth another.
const NOTABLE: Duration = Duration::from_secs(5);
/// How often an STS is asked for the time while the clocks are apart.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// What one answer of STS said of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// STS's time since 1970 less this process's monotonic time, in milliseconds.
    less_monotonic: i64,
    /// How far the truth may be from that.
    within: Duration,
}

/// How far the machine's clock is ahead of that of STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Milliseconds; less than 0: it is behind.
    ahead: i64,
    within: Duration,
}

impl Measured {
    /// From a `Date` of whole seconds, and the monotonic times when the question left and the answer came. `None`: it took too long.
    #[must_use]
    pub fn new(date: SystemTime, sent: Duration, received: Duration) -> Option<Self> {
        let round_trip = received.saturating_sub(sent);
        if round_trip > SLOWEST {
            return None;
        }
        // The header leaves out a part of a second, and was written some time between the two.
        let half = Duration::from_millis(500);
        Some(Self {
            less_monotonic: since_1970(date) + millis(half) - millis(sent + round_trip / 2),
            within: half + round_trip / 2,
        })
    }

    /// The distance at this moment.
    #[must_use]
    pub fn skew(&self, now: SystemTime, monotonic: Duration) -> Skew {
        Skew {
            ahead: since_1970(now) - (self.less_monotonic + millis(monotonic)),
            within: self.within,
        }
    }
}

impl Skew {
    /// Whether the clocks are further apart than this, for all that is not known for certain.
    #[must_use]
    pub fn is_beyond(&self, bound: Duration) -> bool {
        self.size().saturating_sub(self.within) > bound
    }

    /// How far they are apart.
    #[must_use]
    pub fn size(&self) -> Duration {
        Duration::from_millis(self.ahead.unsigned_abs())
    }

    /// Whether this is worth telling, after that was told.
    fn is_news(&self, told: Option<Self>) -> bool {
        let told = told.map_or(0, |told| told.ahead);
        let change = Duration::from_millis(self.ahead.abs_diff(told));
        change > (self.size() / 2).max(NOTABLE)
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.ahead.unsigned_abs() + 500) / 1000;
        match self.ahead {
            _ if self.size() <= self.within => {
                f.write_str("agrees with this machine's to the second")
            }
            0.. => write!(f, "is {seconds} s behind this machine's"),
            _ => write!(f, "is {seconds} s ahead of this machine's"),
        }
    }
}

/// The clocks are too far apart to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of the tenant's STS {skew}, and server.max_clock_skew is {} s: set this machine's clock",
    .most.as_secs()
)]
pub struct ClockSkewed {
    /// How far.
    pub skew: Skew,
    /// The bound.
    pub most: Duration,
}

impl ClockSkewed {
    /// When another measurement may have come.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        ASKED_EVERY
    }
}

/// The clocks of all STS endpoints that were called.
#[derive(Debug)]
pub struct ClockSkews {
    clock: SharedClock,
    most: Duration,
    endpoints: Mutex<HashMap<StsEndpoint, Arc<EndpointClock>>>,
    agree: watch::Sender<bool>,
}

/// The clock of one STS endpoint.
#[derive(Debug, Default)]
pub struct EndpointClock {
    measured: ArcSwapOption<Measured>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// What the log said last, of a distance worth a line.
    logged: Option<Skew>,
    /// When STS was asked for the time last.
    asked: Option<Duration>,
}

impl ClockSkews {
    /// With clocks that may be so far apart.
    #[must_use]
    pub fn new(clock: SharedClock, most: Duration) -> Self {
        Self {
            clock,
            most,
            endpoints: Mutex::default(),
            agree: watch::Sender::new(true),
        }
    }

    /// Whether this machine's clock can be trusted, from now on. It cannot where most of the STS endpoints say otherwise: if it is only
    /// one of several, the wrong clock is there, and only its tenants have to do without URLs.
    pub fn agreement(&self) -> watch::Receiver<bool> {
        self.agree.subscribe()
    }

    /// The monotonic time, by which round trips are measured.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Takes note of what an answer said.
    pub fn note(&self, endpoint: &StsEndpoint, measured: Measured) {
        let of_endpoint = self.of(endpoint);
        of_endpoint.measured.store(Some(Arc::new(measured)));
        self.tell(endpoint, &of_endpoint);
        self.judge();
    }

    /// What is known of each endpoint that has said what time it is.
    #[must_use]
    pub fn known(&self) -> Vec<(StsEndpoint, Skew)> {
        let endpoints = self.endpoints();
        let known = endpoints
            .iter()
            .filter_map(|(endpoint, clock)| Some((endpoint.clone(), self.skew(clock)?)));
        known.collect()
    }

    /// The bound.
    #[must_use]
    pub fn most(&self) -> Duration {
        self.most
    }

    /// Judges anew, since clocks may jump without anybody calling STS, and says which endpoints are to be asked for the time.
    pub(super) fn to_ask(&self) -> Vec<StsEndpoint> {
        let all: Vec<_> = {
            let endpoints = self.endpoints();
            let all = endpoints
                .iter()
                .map(|(endpoint, clock)| (endpoint.clone(), Arc::clone(clock)));
            all.collect()
        };
        self.judge();
        let now = self.clock.monotonic();
        let mut due = Vec::new();
        for (endpoint, clock) in all {
            self.tell(&endpoint, &clock);
            let mut told = clock.told();
            let rested = told
                .asked
                .is_none_or(|asked| now.saturating_sub(asked) >= ASKED_EVERY);
            if rested && self.check(&clock).is_err() {
                told.asked = Some(now);
                drop(told);
                due.push(endpoint);
            }
        }
        due
    }

    /// Whether URLs may be signed by this clock.
    pub(super) fn check(&self, endpoint: &EndpointClock) -> Result<(), ClockSkewed> {
        match self.skew(endpoint) {
            Some(skew) if skew.is_beyond(self.most) => Err(ClockSkewed {
                skew,
                most: self.most,
            }),
            _ => Ok(()),
        }
    }

    /// The clock of this endpoint.
    pub(super) fn of(&self, endpoint: &StsEndpoint) -> Arc<EndpointClock> {
        Arc::clone(self.endpoints().entry(endpoint.clone()).or_default())
    }

    fn skew(&self, endpoint: &EndpointClock) -> Option<Skew> {
        let measured = endpoint.measured.load();
        let measured = measured.as_ref()?;
        Some(measured.skew(self.clock.now(), self.clock.monotonic()))
    }

    fn judge(&self) {
        let known = self.known();
        let beyond = known.iter().filter(|(_, skew)| skew.is_beyond(self.most));
        let agree = 2 * beyond.count() <= known.len();
        let changed = self.agree.send_if_modified(|before| {
            let changed = *before != agree;
            *before = agree;
            changed
        });
        match (changed, agree) {
            (true, true) => tracing::info!("the clocks agree again: ready"),
            (true, false) => tracing::error!(
                bound = ?self.most,
                "this machine's clock cannot be trusted: not ready until it and STS's agree again"
            ),
            (false, _) => {}
        }
    }

    fn tell(&self, endpoint: &StsEndpoint, clock: &EndpointClock) {
        let Some(skew) = self.skew(clock) else {
            return;
        };
        let mut told = clock.told();
        if !skew.is_news(told.logged) {
            return;
        }
        told.logged = Some(skew).filter(|skew| skew.size() > NOTABLE);
        let is_notable = told.logged.is_some();
        drop(told);
        if is_notable {
            tracing::warn!(sts = %endpoint, "the clock of STS {skew}");
        } else {
            tracing::info!(sts = %endpoint, "the clock of STS {skew}");
        }
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<StsEndpoint, Arc<EndpointClock>>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl EndpointClock {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn since_1970(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock as _;
    use crate::clock::tests::SetClock;

    const BOUND: Duration = Duration::from_secs(30);

    const fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn time(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1e9 + seconds)
    }

    #[test]
    fn the_header_and_the_way_there_and_back_are_accounted_for() {
        // Asked at 100.2 of this machine's time, answered at 100.6; STS wrote "100".
        let measured = Measured::new(time(100.0), second(7), second(7) + second(2) / 5).unwrap();
        let skew = measured.skew(time(100.6), second(7) + second(2) / 5);
        // It was between 100.0 and 101.0 there, and 100.4 here, give or take the half of the way.
        assert!(skew.size() <= Duration::from_millis(100), "{skew:?}");
        assert_eq!(skew.within, Duration::from_millis(700));
        assert_eq!(skew.to_string(), "agrees with this machine's to the second");
    }

    #[test]
    fn the_distance_is_told_with_its_direction() {
        let measured = Measured::new(time(100.0), second(7), second(7)).unwrap();
        let skew = |seconds: f64| measured.skew(time(seconds), second(7));
        assert_eq!(skew(400.5).to_string(), "is 300 s behind this machine's");
        assert_eq!(skew(40.5).to_string(), "is 60 s ahead of this machine's");
    }

    #[test]
    fn only_what_is_certain_is_beyond_the_bound() {
        // A second there and back: anything between 29 and 31 s.
        let measured = Measured::new(time(0.0), second(0), second(1)).unwrap();
        for (ahead, beyond) in [(0.0, false), (29.9, false), (30.9, false), (31.1, true)] {
            for sign in [1.0, -1.0] {
                let now = time(0.5 + 0.5 + sign * ahead);
                let skew = measured.skew(now, second(1));
                assert_eq!(skew.is_beyond(BOUND), beyond, "{skew:?}");
            }
        }
    }

    #[test]
    fn an_answer_that_took_long_says_nothing() {
        assert_eq!(Measured::new(time(0.0), second(0), second(11)), None);
    }

    #[test]
    fn a_clock_that_jumps_is_noticed_without_another_answer() {
        let measured = Measured::new(time(0.0), second(0), second(0)).unwrap();
        assert!(!measured.skew(time(3600.5), second(3600)).is_beyond(BOUND));
        assert!(measured.skew(time(3900.5), second(3600)).is_beyond(BOUND));
    }

    #[test]
    fn a_change_is_news_and_a_tremor_is_not() {
        let skew = |seconds: i64| Skew {
            ahead: seconds * 1000,
            within: Duration::ZERO,
        };
        assert!(!skew(3).is_news(None));
        assert!(skew(6).is_news(None));
        assert!(skew(-6).is_news(None));
        assert!(!skew(302).is_news(Some(skew(300))));
        assert!(skew(8).is_news(Some(skew(300))));
        assert!(skew(0).is_news(Some(skew(6))));
    }

    fn endpoint(region: &str) -> StsEndpoint {
        StsEndpoint {
            region: region.to_owned(),
            url: None,
        }
    }

    #[test]
    fn one_wrong_clock_of_several_is_its_own_tenants_trouble() {
        let clock = Arc::new(SetClock::default());
        let skews = ClockSkews::new(clock.clone(), BOUND);
        let answer = |region: &str, behind: u64| {
            let (now, at) = (clock.now(), clock.monotonic());
            let measured = Measured::new(now - second(behind), at, at).unwrap();
            skews.note(&endpoint(region), measured);
        };
        let agreement = skews.agreement();
        let trusted = |region: &str| skews.check(&skews.of(&endpoint(region))).is_ok();
        assert!(trusted("a"), "nothing is known yet");
        answer("a", 300);
        assert_eq!((trusted("a"), *agreement.borrow()), (false, false));
        answer("b", 0);
        assert_eq!((trusted("a"), trusted("b")), (false, true));
        assert!(*agreement.borrow(), "another clock agrees");
        answer("c", 300);
        assert!(!*agreement.borrow(), "most do not");

        // Who is apart is asked again, at intervals.
        let asked = |skews: &ClockSkews| {
            let mut asked = skews.to_ask();
            asked.sort_by(|a, b| a.region.cmp(&b.region));
            asked
        };
        assert_eq!(asked(&skews), [endpoint("a"), endpoint("c")]);
        assert_eq!(asked(&skews), []);
        clock.advance(ASKED_EVERY);
        assert_eq!(asked(&skews), [endpoint("a"), endpoint("c")]);
        answer("a", 0);
        answer("c", 0);
        assert!(trusted("a") && trusted("c") && *agreement.borrow());
        clock.advance(ASKED_EVERY);
        assert_eq!(asked(&skews), []);
    }
}
