//! One limit: what it counts, of whom, and where its count stands in this process.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::ledger::Ledger;
use super::rate::Rate;
use super::window::{NotTaken, Window};
use super::{CountKey, Level, Measure};
use crate::admit::alike::Alike;
use crate::admit::grant::CommandSelector;
use crate::admit::upload::Upload;
use crate::clock::{Clock, Moment, SharedClock};
use crate::names::TenantId;
use crate::sign::command::Operation;

/// How many callers of a limit have a count of their own in memory.
const CALLERS: u64 = 100_000;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// URLs, and forms.
    Urls,
    /// The bytes that they may upload.
    UploadBytes,
}

/// What to do while the store that replicas share cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAway {
    /// Refuse.
    #[default]
    Closed,
    /// Let through what would have been counted.
    Open,
    /// Count this replica's share of the limit in this process.
    Local,
}

/// What a limit says, without what was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Its name.
    pub name: Arc<str>,
    /// The commands that it counts; none: all.
    pub commands: Vec<CommandSelector>,
    /// How many times a command counts, where that is not once. The first that fits.
    pub weights: Vec<(CommandSelector, u32)>,
    /// What of them.
    pub unit: Unit,
    /// How much there may be.
    pub measure: Measure,
    /// Whether each caller has a count of their own.
    pub each_caller: bool,
    /// Whether it only notes what it would refuse.
    pub shadow: bool,
    /// What to do without the shared store.
    pub when_away: WhenAway,
}

/// Signing one thing so many times, for the limits.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// What is signed.
    pub operation: &'static Operation,
    /// How often.
    pub urls: u64,
    /// What all of it may upload.
    pub upload: Upload,
}

/// An upload that declares no size, under a limit of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undeclared;

/// What is needed to count in this process.
#[derive(Debug, Clone)]
pub struct Counting {
    /// The time.
    pub clock: SharedClock,
    /// Keeps windows through restarts.
    pub ledger: Option<Arc<Ledger>>,
    /// How many replicas share a count elsewhere: this process counts a share of it. 1: nobody does.
    pub replicas: NonZeroU32,
}

impl Counting {
    /// In this process alone, and forgotten with it.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            ledger: None,
            replicas: NonZeroU32::MIN,
        }
    }
}

/// A limit and its counts in this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Limit {
    terms: Arc<Terms>,
    tenant: Option<TenantId>,
    counts: Counts,
}

#[derive(Debug, Clone)]
enum Counts {
    One(Arc<Count>),
    EachCaller(Arc<OfCallers>),
}

#[derive(Debug)]
struct OfCallers {
    counts: Cache<Box<str>, Arc<Count>>,
    counting: Counting,
}

#[derive(Debug)]
enum Count {
    Rate(Rate),
    Window(Box<Window>),
}

impl Terms {
    /// The same, kept once for all that say the same.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static ALIKE: Alike<Terms> = Alike::new();
        ALIKE.shared(self)
    }
}

impl Limit {
    /// A limit of the tenant, or of the whole service. `None`: its rate is faster than one a nanosecond.
    #[must_use]
    pub fn new(
        terms: impl Into<Arc<Terms>>,
        tenant: Option<&TenantId>,
        counting: &Counting,
    ) -> Option<Self> {
        let terms = terms.into();
        // Even where each caller has one, so that whether there can be one is known.
        let name = || kept_as(&subject(tenant, &terms), terms.unit);
        let count = Count::new(&terms.measure, name, counting)?;
        let counts = if terms.each_caller {
            let kept = match &terms.measure {
                // A rate that is idle for so long is as if nothing was taken of it.
                Measure::Rate { interval, burst } => {
                    interval.saturating_mul(u32::try_from(*burst).unwrap_or(u32::MAX))
                }
                Measure::Window { .. } => Duration::from_hours(32 * 24),
            };
            let kept = kept.clamp(Duration::from_secs(1), Duration::from_hours(400 * 24));
            let callers = Cache::builder().max_capacity(CALLERS).time_to_idle(kept);
            Counts::EachCaller(Arc::new(OfCallers {
                counts: callers.build(),
                counting: counting.clone(),
            }))
        } else {
            Counts::One(Arc::new(count))
        };
        Some(Self {
            terms,
            tenant: tenant.cloned(),
            counts,
        })
    }

    /// What it says.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What a refusal calls it: `tenant:acme/limit:daily`.
    #[must_use]
    pub fn subject(&self) -> String {
        subject(self.tenant.as_ref(), &self.terms)
    }

    /// Goes on from what an earlier limit of the name has counted, as far as the two count the same.
    pub fn continue_from(&mut self, earlier: &Self) {
        if self.terms == earlier.terms {
            self.counts = earlier.counts.clone();
            return;
        }
        if self.terms.unit != earlier.terms.unit {
            return;
        }
        match (&mut self.counts, &earlier.counts) {
            (Counts::One(own), Counts::One(earlier)) => {
                if let Some(own) = Arc::get_mut(own) {
                    own.continuing(earlier);
                }
            }
            (Counts::EachCaller(own), Counts::EachCaller(earlier)) => {
                for (caller, earlier) in &earlier.counts {
                    let subject = subject(self.tenant.as_ref(), &self.terms);
                    let name = || kept_of(&subject, self.terms.unit, &caller);
                    if let Some(mut count) = Count::new(&self.terms.measure, name, &own.counting) {
                        count.continuing(&earlier);
                        own.counts.insert((*caller).clone(), Arc::new(count));
                    }
                }
            }
            _ => {}
        }
    }

    /// How much of this limit these cost.
    pub(super) fn amount(&self, costs: impl Iterator<Item = Cost>) -> Result<u64, Undeclared> {
        let terms = &*self.terms;
        let mut amount = 0_u64;
        for cost in costs {
            if !selected(&terms.commands, cost.operation) {
                continue;
            }
            let more = match (terms.unit, cost.upload) {
                (Unit::Urls, _) => cost.urls.saturating_mul(weight(terms, cost.operation)),
                (Unit::UploadBytes, Upload::Nothing) => 0,
                (Unit::UploadBytes, Upload::AtMost(bytes)) => bytes,
                (Unit::UploadBytes, Upload::Unbounded) => return Err(Undeclared),
            };
            amount = amount.saturating_add(more);
        }
        Ok(amount)
    }

    /// Names its count of this caller, wherever that is kept.
    pub(super) fn key<'a>(&'a self, tenant: Option<&'a TenantId>, caller: &'a str) -> CountKey<'a> {
        CountKey {
            tenant,
            limit: &self.terms.name,
            unit: self.terms.unit,
            caller: self.terms.each_caller.then_some(caller),
        }
    }

    /// This moment, by its clock.
    pub(super) fn moment(&self) -> Moment {
        Moment::of(match &self.counts {
            Counts::One(count) => count.clock(),
            Counts::EachCaller(callers) => &*callers.counting.clock,
        })
    }

    /// Takes so much at a moment, and says where it stands then; of a day or month, also the second when that began.
    pub(super) fn take(
        &self,
        caller: &str,
        now: &Moment,
        amount: u64,
    ) -> Result<(Level, i64), NotTaken> {
        self.with(caller, |count| match count {
            Count::Rate(rate) => {
                let taken = rate.take_at(now.monotonic, amount);
                taken.map_err(NotTaken::Short)?;
                Ok((rate.left_at(now.monotonic).0, i64::MIN))
            }
            Count::Window(window) => {
                let began = window.take_at(now.wall, amount)?;
                Ok((window.left_at(now.wall), began))
            }
        })
    }

    /// Gives back what was taken when no day or month had begun later than `began`.
    pub(super) fn refund(&self, caller: &str, amount: u64, began: i64) {
        self.with(caller, |count| match count {
            Count::Rate(rate) => rate.refund(amount),
            Count::Window(window) => window.refund(amount, began),
        });
    }

    /// Where it stands, and when there is room for one.
    pub(super) fn left(&self, caller: &str) -> (Level, Option<Duration>) {
        self.with(caller, |count| match count {
            Count::Rate(rate) => rate.left(),
            Count::Window(window) => {
                let level = window.left();
                (level, (level.left == 0).then_some(level.reset))
            }
        })
    }

    /// The callers that have a count of their own.
    pub(super) fn callers(&self, most: usize) -> Vec<String> {
        match &self.counts {
            Counts::One(_) => Vec::new(),
            Counts::EachCaller(callers) => {
                let names = callers.counts.iter().map(|(name, _)| name.to_string());
                let mut names: Vec<String> = names.take(most).collect();
                names.sort_unstable();
                names
            }
        }
    }

    fn with<T>(&self, caller: &str, use_of: impl FnOnce(&Count) -> T) -> T {
        match &self.counts {
            Counts::One(count) => use_of(count),
            Counts::EachCaller(callers) => {
                let OfCallers { counts, counting } = &**callers;
                if let Some(count) = counts.get(caller) {
                    return use_of(&count);
                }
                let count = counts.get_with(caller.into(), || {
                    let name = || kept_of(&self.subject(), self.terms.unit, caller);
                    let count = Count::new(&self.terms.measure, name, counting);
                    // There is one: the limit made one as it was made itself.
                    Arc::new(count.unwrap_or_else(|| Count::nothing(counting)))
                });
                use_of(&count)
            }
        }
    }
}

fn subject(tenant: Option<&TenantId>, terms: &Terms) -> String {
    match tenant {
        Some(tenant) => format!("tenant:{tenant}/limit:{}", terms.name),
        None => format!("service/limit:{}", terms.name),
    }
}

impl Count {
    fn new(measure: &Measure, name: impl FnOnce() -> String, counting: &Counting) -> Option<Self> {
        let (clock, replicas) = (Arc::clone(&counting.clock), counting.replicas.get());
        Some(match measure {
            Measure::Rate { interval, burst } => {
                let burst = u32::try_from(*burst / u64::from(replicas)).unwrap_or(u32::MAX);
                let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
                Self::Rate(Rate::new(interval.saturating_mul(replicas), burst, clock)?)
            }
            Measure::Window { most, period, zone } => {
                let calendar = (*period, zone.clone());
                let most = most / u64::from(replicas);
                let ledger = counting.ledger.clone();
                let window = Window::new(&name(), most, calendar, ledger, clock);
                Self::Window(Box::new(window))
            }
        })
    }

    fn clock(&self) -> &dyn Clock {
        match self {
            Self::Rate(rate) => rate.clock(),
            Self::Window(window) => window.clock(),
        }
    }

    /// Goes on from what an earlier count has counted, if that was the same.
    fn continuing(&mut self, earlier: &Self) {
        match (self, earlier) {
            (Self::Rate(own), Self::Rate(earlier)) => own.continuing(earlier),
            (Self::Window(own), Self::Window(earlier)) => own.continuing(earlier),
            _ => {}
        }
    }

    /// A count of which there is never any.
    fn nothing(counting: &Counting) -> Self {
        let calendar = (super::Period::Day, jiff::tz::TimeZone::UTC);
        let window = Window::new("", 0, calendar, None, Arc::clone(&counting.clock));
        Self::Window(Box::new(window))
    }
}

/// What a count is kept as: a limit that counts something else now has counted nothing of it.
fn kept_as(subject: &str, unit: Unit) -> String {
    match unit {
        Unit::Urls => subject.to_owned(),
        Unit::UploadBytes => format!("{subject}/bytes"),
    }
}

/// What the count of a caller is kept as.
fn kept_of(subject: &str, unit: Unit, caller: &str) -> String {
    format!("{}/caller:{caller}", kept_as(subject, unit))
}

fn selected(commands: &[CommandSelector], operation: &Operation) -> bool {
    commands.is_empty() || commands.iter().any(|selector| selector.selects(operation))
}

fn weight(terms: &Terms, operation: &Operation) -> u64 {
    let mut weights = terms.weights.iter();
    weights
        .find(|(selector, _)| selector.selects(operation))
        .map_or(1, |(_, weight)| u64::from(*weight))
}
