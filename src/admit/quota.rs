//! How much may be issued: what is counted, how much of it there may be, and who keeps the counts.
//!
//! Every limit measures either a rate or so much in a day or month of the calendar, and counts for the whole service, a tenant, or each
//! caller of a tenant. What a request costs is one [`Charge`] for each limit that counts it; charges are made all or none. Invariant:
//! a charge that was not made, and could not be, is a refusal: nobody goes on because a count is not known, unless its limit says so.

pub mod arithmetic;
pub mod calendar;
mod charging;
mod ledger;
mod left;
pub mod limit;
mod no_room;
mod rate;
pub mod redis;
mod told;
mod window;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::tz::TimeZone;
use smallvec::SmallVec;

pub use self::charging::{Payer, Quotas, Receipt, TenantLimits};
pub use self::ledger::Ledger;
pub use self::left::Left;
use self::limit::Unit;
pub use self::no_room::{Named, NoRoom};
pub use self::told::Told;
use crate::names::TenantId;

/// How much there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// One every `interval` in the long run, and `burst` at once: GCRA, as governor has it.
    Rate {
        /// From one to the next.
        interval: Duration,
        /// At once.
        burst: u64,
    },
    /// So many in each day or month of the calendar.
    Window {
        /// In one of them.
        most: u64,
        /// Which.
        period: Period,
        /// Whose midnight it is.
        zone: TimeZone,
    },
}

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first to the first.
    Month,
}

/// Names one count. In a shared store all counts of a tenant are kept together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountKey<'a> {
    /// Whose. `None`: the whole service's.
    pub tenant: Option<&'a TenantId>,
    /// The limit's name.
    pub limit: &'a str,
    /// What it counts: a limit that counts something else now has counted nothing of it.
    pub unit: Unit,
    /// Of which caller, where each has a count of their own.
    pub caller: Option<&'a str>,
}

/// So much of one limit.
#[derive(Debug, Clone, Copy)]
pub struct Charge<'a> {
    /// Which count.
    pub key: CountKey<'a>,
    /// How much there may be.
    pub measure: &'a Measure,
    /// How much is wanted.
    pub amount: u64,
    /// Whether a refusal is only noted: then nothing is taken of this count, and the others are not held up by it.
    pub shadow: bool,
}

/// Where a count stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// How much there is.
    pub left: u64,
    /// When all of it is there again: of a window, when it ends.
    pub reset: Duration,
}

/// Why a charge was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// There is room then, if nobody else takes it.
    Until(Duration),
    /// So much never fits.
    Never,
}

/// What came of charges: all were made, or none but where a limit is only a shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charged {
    /// They were made.
    Made {
        /// A level for each charge, and of a shadow that would have refused, why.
        counts: SmallVec<[(Level, Option<Short>); 4]>,
        /// When the first was, in microseconds since 1970 by the store's time.
        at: u64,
    },
    /// One was refused, so that none was made.
    Refused {
        /// Its place among the charges.
        index: usize,
        /// Why.
        short: Short,
    },
}

/// The shared store did not answer in time, or not with sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shared counts cannot be reached: {0}")]
pub struct CountsAway(pub String);

/// What a shared store is still to say.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, CountsAway>> + Send + 'a>>;

/// Counts that several replicas share.
///
/// Implementations bound how long they wait, and answer [`CountsAway`] at once while they know that nobody is there; they look for it
/// themselves until it is back. Time is the store's own. The charges of one call are of one tenant, or the service's, or both.
pub trait SharedCounts: Send + Sync + Debug {
    /// Makes the charges from what this replica holds of the counts already, if that is enough: nothing to wait for.
    fn charge_at_hand(&self, charges: &[Charge<'_>]) -> Option<Charged>;

    /// Makes the charges, all or none. Where nobody waits for the answer any more, what was charged is given back, as far as it comes.
    fn charge<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Charged>;

    /// Gives back what was charged at this time and came to nothing. Of a window that has ended since, nothing.
    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], at: u64) -> Asking<'a, ()>;

    /// Where the counts stand; amounts do not matter.
    fn levels<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Vec<Level>>;
}

/// What was used of one limit, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The limit's name.
    pub limit: String,
    /// What it counts: `urls`, `upload_bytes` or `sts_calls`.
    pub unit: &'static str,
    /// Whose count: `service`, `tenant` or `caller`.
    pub scope: &'static str,
    /// Of which caller.
    pub caller: Option<String>,
    /// How much there may be: a burst, or so much in a day or month.
    pub most: u64,
    /// How much is left.
    pub left: u64,
    /// When all of it is there again.
    pub reset: Duration,
    /// Whether it only notes what it would refuse.
    pub shadow: bool,
}
