//! Failed attempts, by the address that they come from: so that guessing is slow, and records and logs are not flooded.
//!
//! An address that fails too often is refused without a look at what it shows, and without a record, until it may try again. Invariant:
//! however many addresses there are, only so many are remembered, those that failed last.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Reference as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;

use crate::clock::{MonotonicClock, SharedClock};

/// How many addresses are remembered.
const ADDRESSES: u64 = 10_000;
/// For how long one is remembered that no longer fails.
const MEMORY: Duration = Duration::from_hours(1);

/// How often an address may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimit {
    /// Once in this time, in the long run.
    pub interval: Duration,
    /// And so often at once.
    pub burst: NonZeroU32,
}

/// Remembers who failed.
#[derive(Debug)]
pub(super) struct Failures {
    quota: Quota,
    addresses: Cache<IpAddr, Arc<Address>>,
    clock: SharedClock,
}

#[derive(Debug)]
struct Address {
    limiter: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Duration>>,
    /// When it may try again, in nanoseconds of the monotonic clock.
    until: AtomicU64,
    unrecorded: AtomicU64,
}

impl Failures {
    /// Nobody has failed. `None` if the interval is zero.
    pub(super) fn new(limit: FailureLimit, clock: SharedClock) -> Option<Self> {
        Some(Self {
            quota: Quota::with_period(limit.interval)?.allow_burst(limit.burst),
            addresses: Cache::builder()
                .max_capacity(ADDRESSES)
                .time_to_idle(MEMORY)
                .build(),
            clock,
        })
    }

    /// How long this address has to wait, if it has failed too often. Counts that it did not.
    pub(super) fn refused(&self, peer: Option<IpAddr>) -> Option<Duration> {
        let address = self.addresses.get(&counted(peer))?;
        let until = Duration::from_nanos(address.until.load(Ordering::Acquire));
        let wait = until.checked_sub(self.clock.monotonic())?;
        if wait.is_zero() {
            return None;
        }
        address.unrecorded.fetch_add(1, Ordering::AcqRel);
        Some(wait)
    }

    /// Notes a failure that is recorded. Returns how many were refused without a record since the last one.
    pub(super) fn note(&self, peer: Option<IpAddr>) -> u64 {
        let address = self.addresses.get_with(counted(peer), || {
            let clock = MonotonicClock(Arc::clone(&self.clock));
            Arc::new(Address {
                limiter: RateLimiter::new(self.quota, InMemoryState::default(), clock),
                until: AtomicU64::new(0),
                unrecorded: AtomicU64::new(0),
            })
        });
        if let Err(not_until) = address.limiter.check() {
            let now = self.clock.monotonic();
            let wait = not_until.earliest_possible().duration_since(now);
            let until = now + Duration::from_nanos(wait.as_u64());
            let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            address.until.store(until, Ordering::Release);
        }
        address.unrecorded.swap(0, Ordering::AcqRel)
    }
}

/// What counts as one address: of IPv6 a network of /64, which is what one machine is given and may choose from.
fn counted(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|address| address.to_canonical()) {
        None => Ipv6Addr::UNSPECIFIED.into(),
        Some(IpAddr::V4(address)) => address.into(),
        Some(IpAddr::V6(address)) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::SetClock;

    fn failures(burst: u32) -> (Arc<SetClock>, Failures) {
        let clock = Arc::new(SetClock::default());
        let limit = FailureLimit {
            interval: Duration::from_secs(2),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        (Arc::clone(&clock), Failures::new(limit, clock).unwrap())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_fails_too_often_has_to_wait() {
        let (clock, failures) = failures(2);
        let [bad, other] = ["10.0.0.1", "10.0.0.2"].map(|text| Some(address(text)));
        assert_eq!(failures.refused(bad), None);
        for _ in 0..2 {
            assert_eq!(failures.note(bad), 0);
            assert_eq!(failures.refused(bad), None);
        }
        failures.note(bad);
        let wait = failures.refused(bad).unwrap();
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(failures.refused(other), None);

        let almost = Duration::from_millis(1_999);
        clock.advance(almost);
        assert_eq!(failures.refused(bad), Some(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        assert_eq!(failures.refused(bad), None);
        assert_eq!(failures.note(bad), 2, "refused without a record");
        assert_eq!(failures.note(bad), 0);
        assert!(failures.refused(bad).is_some());
    }

    #[test]
    fn an_address_is_one_however_it_is_written_and_a_network_where_it_may_choose() {
        for (one, other, same) in [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(
                counted(Some(address(one))) == counted(Some(address(other))),
                same,
                "{one} {other}"
            );
        }
        assert_eq!(counted(None), counted(None));
    }

    #[test]
    fn memory_is_bounded() {
        let (_, failures) = failures(1);
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 5_000 {
            failures.note(Some(IpAddr::from(number.to_be_bytes())));
        }
        failures.addresses.run_pending_tasks();
        assert!(failures.addresses.entry_count() <= ADDRESSES);
        assert!(failures.addresses.entry_count() > ADDRESSES / 2);
    }
}
