//! Charges requests to the limits that count them, all or none.
//!
//! Invariant: whatever is let through was charged to every limit that counts it, or each limit that could not be asked lets such things
//! through. What was charged for nothing is given back.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use smallvec::SmallVec;

use super::limit::{Cost, Limit, Undeclared, Unit, WhenAway};
use super::window::NotTaken;
use super::{Charge, Charged, Level, Measure, Period, SharedCounts, Short, Usage};
use crate::metrics::{self, LIMITS_REFUSED};
use crate::names::TenantId;

/// How often a request waits for a count to be kept, at most: each time for more than it needs itself.
const KEEPING: usize = 16;
/// How many callers' counts of a limit are told.
const CALLERS_TOLD: usize = 100;

/// The limits of a tenant.
#[derive(Debug, Default)]
pub struct TenantLimits {
    limits: Vec<Limit>,
    /// The response metadata `ratelimit-policy`.
    policy: Bytes,
}

/// Everything that counts.
#[derive(Debug, Default)]
pub struct Quotas {
    service: ArcSwap<Vec<Limit>>,
    shared: Option<Arc<dyn SharedCounts>>,
}

/// What limits told about one request.
#[derive(Debug, Clone, Default)]
pub struct Told(OnceLock<Said>);

#[derive(Debug, Clone)]
struct Said {
    policy: Bytes,
    left: String,
    shadows: SmallVec<[Arc<str>; 1]>,
}

/// A limit has no room, or could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// There is room later.
    #[error("the limit {:?} has no room for {asked}{}", limit.name, limit.of(*.window))]
    Later {
        /// Which.
        limit: Named,
        /// How much was asked.
        asked: u64,
        /// When there will be room, if nobody else takes it.
        retry_after: Duration,
        /// Whether it is a day's or a month's.
        window: bool,
    },
    /// There is never room for so much at once.
    #[error("the limit {:?} holds {most} at the most, and {asked} were asked at once", limit.name)]
    Never {
        /// Which.
        limit: Named,
        /// How much was asked.
        asked: u64,
        /// How much it holds.
        most: u64,
        /// Whether it is a day's or a month's.
        window: bool,
    },
    /// It counts bytes, and the request does not say how many.
    #[error(
        "the limit {:?} counts the bytes of uploads, and this one declares no size: set content_length, of an upload in parts size, \
         or of a form content_length_range",
        limit.name
    )]
    Undeclared {
        /// Which.
        limit: Named,
    },
    /// Its count cannot be reached.
    #[error("the count of the limit {:?} cannot be reached, so nothing was issued: try again later", limit.name)]
    Away {
        /// Which.
        limit: Named,
    },
}

/// A limit, as refusals name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: Arc<str>,
    /// And whose it is: `tenant:acme/limit:daily`.
    pub subject: Arc<str>,
    /// Whose count has no room: `service`, `tenant` or `caller`.
    pub scope: &'static str,
}

impl Named {
    fn of(&self, window: bool) -> &'static str {
        match (self.scope, window) {
            ("caller", false) => ", for this caller",
            ("caller", true) => " more of its day or month, for this caller",
            ("service", false) => ", for all tenants together",
            ("service", true) => " more of its day or month, for all tenants together",
            (_, false) => "",
            (_, true) => " more of its day or month",
        }
    }
}

impl NoRoom {
    /// The limit.
    #[must_use]
    pub fn limit(&self) -> &Named {
        match self {
            Self::Later { limit, .. }
            | Self::Never { limit, .. }
            | Self::Undeclared { limit }
            | Self::Away { limit } => limit,
        }
    }
}

/// What was charged, so that it can be given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The limits, by their places: the service's first.
    made: u64,
    /// How many of them are the service's.
    of_service: usize,
    /// Whether the shared store has them.
    shared: bool,
    /// When the latest of the days and months that were charged here began: what has begun since was not charged.
    began: i64,
}

/// What is left of a limit that counts a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The limit.
    pub limit: Named,
    /// How much would be charged.
    pub charged: u64,
    /// Whether it cannot be known how much.
    pub undeclared: bool,
    /// How much there is room for now.
    pub left: u64,
    /// How much it holds.
    pub most: u64,
    /// When there is room for what would be charged, or about then; `None`: there is.
    pub retry_after: Option<Duration>,
    /// Whether it is a day's or a month's.
    pub window: bool,
    /// Whether it only notes what it would refuse.
    pub shadow: bool,
}

/// Who is charged.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// Its limits.
    pub limits: &'a TenantLimits,
    /// The caller's name.
    pub caller: &'a str,
}

impl TenantLimits {
    /// These limits. No more than sixty are charged.
    #[must_use]
    pub fn new(limits: Vec<Limit>) -> Self {
        let mut policy = String::new();
        for limit in &limits {
            let terms = limit.terms();
            let separator = if policy.is_empty() { "" } else { ", " };
            let (most, window) = match &terms.measure {
                Measure::Rate { interval, burst } => {
                    let all = interval.saturating_mul(u32::try_from(*burst).unwrap_or(u32::MAX));
                    (*burst, Some(whole_seconds(all).max(1)))
                }
                Measure::Window { most, period, .. } => {
                    (*most, (*period == Period::Day).then_some(24 * 3600))
                }
            };
            // Writing to a String cannot fail.
            let _ = write!(policy, "{separator}\"{}\";q={most}", terms.name);
            if terms.unit == Unit::UploadBytes {
                policy.push_str(";qu=\"content-bytes\"");
            }
            if let Some(window) = window {
                let _ = write!(policy, ";w={window}");
            }
        }
        Self {
            limits,
            policy: policy.into_boxed_str().into_boxed_bytes().into(),
        }
    }

    /// One by one.
    #[must_use]
    pub fn all(&self) -> &[Limit] {
        &self.limits
    }

    /// Goes on from what the tenant's limits of the same names have counted.
    pub fn continue_from(&mut self, earlier: &Self) {
        continue_from(&mut self.limits, &earlier.limits);
    }
}

fn continue_from(limits: &mut [Limit], earlier: &[Limit]) {
    for limit in limits {
        let mut known = earlier.iter();
        if let Some(known) = known.find(|known| known.terms().name == limit.terms().name) {
            limit.continue_from(known);
        }
    }
}

impl Told {
    /// The response metadata `ratelimit-policy` and `ratelimit`, if any limit of the tenant counted.
    #[must_use]
    pub fn metadata(self) -> Option<(Bytes, String)> {
        let said = self.0.into_inner()?;
        (!said.left.is_empty()).then_some((said.policy, said.left))
    }

    /// The limits that would have refused, were they not mere shadows.
    #[must_use]
    pub fn shadows(&self) -> &[Arc<str>] {
        self.0.get().map_or(&[], |said| &said.shadows)
    }
}

/// How much of which limits, by their places.
type Amounts = SmallVec<[(usize, u64); 4]>;

/// How a limit fared.
type Outcomes = SmallVec<[(usize, Level, Option<Short>); 4]>;

impl Quotas {
    /// Quotas whose counts are in this process, or shared with other replicas.
    #[must_use]
    pub fn new(service: Vec<Limit>, shared: Option<Arc<dyn SharedCounts>>) -> Self {
        Self {
            service: ArcSwap::from_pointee(service),
            shared,
        }
    }

    /// From now on, these limits hold for the whole service, with what those of the same names have counted.
    pub fn replace_service(&self, mut limits: Vec<Limit>) {
        continue_from(&mut limits, &self.service.load());
        self.service.store(Arc::new(limits));
    }

    /// Charges these costs to every limit that counts them, or to none.
    ///
    /// # Errors
    /// The limit that has no room, or cannot be asked.
    pub async fn charge(
        &self,
        payer: Payer<'_>,
        told: &Told,
        costs: &(impl Iterator<Item = Cost> + Clone),
    ) -> Result<Receipt, NoRoom> {
        let service = self.service.load();
        if service.is_empty() && payer.limits.limits.is_empty() {
            return Ok(Receipt::default());
        }
        let service = Arc::clone(&service);
        let limits = Limits {
            service: &service,
            own: &payer.limits.limits,
        };
        let mut amounts = Amounts::new();
        for (place, limit) in limits.all() {
            let amount = limit.amount(costs.clone());
            let amount = amount.map_err(|Undeclared| NoRoom::Undeclared {
                limit: limits.named(place),
            })?;
            if amount > 0 {
                amounts.push((place, amount));
            }
        }
        if amounts.is_empty() {
            return Ok(Receipt::default());
        }
        let (charged, shared) = match &self.shared {
            Some(counts) => match share(&**counts, limits, payer, &amounts).await {
                Ok(charged) => (charged.map(|outcomes| (outcomes, 0)), true),
                Err(()) => (without_shared(limits, payer.caller, &amounts).await, false),
            },
            None => (in_process(limits, payer.caller, &amounts).await, false),
        };
        let refused = match charged {
            Ok((outcomes, began)) => {
                tell(told, payer.limits, limits, &outcomes);
                return Ok(Receipt {
                    made: mask(&outcomes),
                    of_service: service.len(),
                    shared,
                    began,
                });
            }
            Err(refused) => refused,
        };
        LIMITS_REFUSED.count(metrics::ENFORCED);
        tell_refused(told, payer.limits, limits, &refused);
        let (place, asked) = amounts[refused.index];
        let (limit, window) = (limits.named(place), limits.is_window(place));
        Err(match refused.why {
            Some(Short::Until(retry_after)) => NoRoom::Later {
                limit,
                asked,
                retry_after,
                window,
            },
            Some(Short::Never) => NoRoom::Never {
                limit,
                asked,
                most: most(limits.get(place)),
                window,
            },
            None => NoRoom::Away { limit },
        })
    }

    /// Gives back what was charged for these, which came to nothing.
    pub async fn refund(
        &self,
        payer: Payer<'_>,
        receipt: Receipt,
        costs: &(impl Iterator<Item = Cost> + Clone),
    ) {
        if receipt.made == 0 {
            return;
        }
        let service = self.service.load_full();
        let limits = Limits {
            service: &service,
            own: &payer.limits.limits,
        };
        if service.len() != receipt.of_service {
            return;
        }
        let mut amounts = Amounts::new();
        for (place, limit) in limits.all() {
            if receipt.made & (1 << place) != 0
                && let Ok(amount) = limit.amount(costs.clone())
            {
                amounts.push((place, amount));
            }
        }
        match &self.shared {
            Some(counts) if receipt.shared => {
                let charges = charges(limits, payer, &amounts);
                if let Err(away) = counts.refund(&charges).await {
                    tracing::debug!("what was charged for nothing stays so: {away}");
                }
            }
            _ => {
                for (place, amount) in amounts {
                    let limit = limits.get(place);
                    limit.refund(payer.caller, amount, receipt.began);
                }
            }
        }
    }

    /// What is left of every limit that would be charged.
    pub async fn left(&self, payer: Payer<'_>, cost: Cost) -> Vec<Left> {
        let service = self.service.load_full();
        let limits = Limits {
            service: &service,
            own: &payer.limits.limits,
        };
        let amount = |limit: &Limit| limit.amount(std::iter::once(cost));
        let counting = limits.all().filter(|(_, limit)| amount(limit) != Ok(0));
        let places: Amounts = counting.map(|(place, _)| (place, 1)).collect();
        let levels = self.levels(limits, payer, &places).await;
        let left = |(place, level, wait): (usize, Level, Option<Duration>)| {
            let limit = limits.get(place);
            let amount = amount(limit);
            let charged = amount.unwrap_or(0);
            Left {
                limit: limits.named(place),
                charged,
                undeclared: amount.is_err(),
                left: level.left,
                most: most(limit),
                retry_after: wait.or_else(|| (charged > level.left).then_some(level.reset)),
                window: limits.is_window(place),
                shadow: limit.terms().shadow,
            }
        };
        levels.into_iter().map(left).collect()
    }

    /// What was used of every limit of the tenant. Of those that count each caller, what this one used; without a name, what those did
    /// that this replica knows of.
    pub async fn usage(
        &self,
        tenant: &TenantId,
        limits: &TenantLimits,
        caller: Option<&str>,
    ) -> Vec<Usage> {
        let own = Limits {
            service: &[],
            own: &limits.limits,
        };
        self.used(own, tenant, limits, caller).await
    }

    /// What was used of every limit of the whole service.
    pub async fn service_usage(&self) -> Vec<Usage> {
        let service = self.service.load_full();
        let Some(nobody) = TenantId::parse("service").ok() else {
            return Vec::new();
        };
        let none = TenantLimits::default();
        let limits = Limits {
            service: &service,
            own: &[],
        };
        self.used(limits, &nobody, &none, None).await
    }

    async fn used(
        &self,
        limits: Limits<'_>,
        tenant: &TenantId,
        of: &TenantLimits,
        caller: Option<&str>,
    ) -> Vec<Usage> {
        let mut used = Vec::new();
        for (place, limit) in limits.all() {
            let terms = limit.terms();
            let callers = match caller {
                Some(caller) if terms.each_caller => vec![caller.to_owned()],
                _ if terms.each_caller => limit.callers(CALLERS_TOLD),
                _ => vec![String::new()],
            };
            for caller in callers {
                let payer = Payer {
                    tenant,
                    limits: of,
                    caller: &caller,
                };
                let place_only = [(place, 1)];
                let Some((_, level, _)) = self.levels(limits, payer, &place_only).await.pop()
                else {
                    continue;
                };
                used.push(Usage {
                    limit: terms.name.to_string(),
                    unit: match terms.unit {
                        Unit::Urls => "urls",
                        Unit::UploadBytes => "upload_bytes",
                    },
                    scope: limits.named(place).scope,
                    caller: terms.each_caller.then_some(caller),
                    most: most(limit),
                    left: level.left,
                    reset: level.reset,
                    shadow: terms.shadow,
                });
            }
        }
        used
    }

    /// Where these limits stand, by whoever counts; without the shared store, by this process.
    async fn levels(
        &self,
        limits: Limits<'_>,
        payer: Payer<'_>,
        places: &[(usize, u64)],
    ) -> Vec<(usize, Level, Option<Duration>)> {
        if let Some(counts) = &self.shared {
            let charges = charges(limits, payer, places);
            if let Ok(levels) = counts.levels(&charges).await {
                let levels = places.iter().zip(levels);
                return levels
                    .map(|((place, _), level)| {
                        let wait =
                            (level.left == 0).then(|| match &limits.get(*place).terms().measure {
                                // All of it is there then, and one of it earlier by all others.
                                Measure::Rate { interval, burst } => {
                                    let others = u32::try_from(burst - 1).unwrap_or(u32::MAX);
                                    level.reset.saturating_sub(interval.saturating_mul(others))
                                }
                                Measure::Window { .. } => level.reset,
                            });
                        (*place, level, wait)
                    })
                    .collect();
            }
        }
        let places = places.iter().map(|(place, _)| *place);
        places
            .map(|place| {
                let (level, wait) = limits.get(place).left(payer.caller);
                (place, level, wait)
            })
            .collect()
    }
}

/// The limits that may count a request: the service's, and then the tenant's own.
#[derive(Clone, Copy)]
struct Limits<'a> {
    service: &'a [Limit],
    own: &'a [Limit],
}

impl<'a> Limits<'a> {
    fn all(self) -> impl Iterator<Item = (usize, &'a Limit)> {
        self.service.iter().chain(self.own).enumerate().take(64)
    }

    fn get(self, place: usize) -> &'a Limit {
        match place.checked_sub(self.service.len()) {
            None => &self.service[place],
            Some(place) => &self.own[place],
        }
    }

    fn is_service(self, place: usize) -> bool {
        place < self.service.len()
    }

    fn is_window(self, place: usize) -> bool {
        matches!(self.get(place).terms().measure, Measure::Window { .. })
    }

    fn named(self, place: usize) -> Named {
        let limit = self.get(place);
        Named {
            name: Arc::clone(&limit.terms().name),
            subject: Arc::clone(limit.subject()),
            scope: if self.is_service(place) {
                "service"
            } else if limit.terms().each_caller {
                "caller"
            } else {
                "tenant"
            },
        }
    }
}

/// A limit that refused, by its place among the amounts.
struct Refused {
    index: usize,
    /// `None`: it could not be asked.
    why: Option<Short>,
    place: usize,
}

fn charges<'a>(
    limits: Limits<'a>,
    payer: Payer<'a>,
    amounts: &[(usize, u64)],
) -> SmallVec<[Charge<'a>; 4]> {
    let charge = |(place, amount): &(usize, u64)| {
        let limit = limits.get(*place);
        let tenant = (!limits.is_service(*place)).then_some(payer.tenant);
        Charge {
            key: limit.key(tenant, payer.caller),
            measure: &limit.terms().measure,
            amount: *amount,
            shadow: limit.terms().shadow,
        }
    };
    amounts.iter().map(charge).collect()
}

/// Charges the shared store. `Err`: it cannot be reached.
async fn share(
    counts: &dyn SharedCounts,
    limits: Limits<'_>,
    payer: Payer<'_>,
    amounts: &[(usize, u64)],
) -> Result<Result<Outcomes, Refused>, ()> {
    let charges = charges(limits, payer, amounts);
    let at_hand = counts.charge_at_hand(&charges);
    let answer = match at_hand {
        Some(answer) => answer,
        None => counts.charge(&charges).await.map_err(|away| {
            tracing::debug!("{away}");
        })?,
    };
    Ok(match answer {
        Charged::Made(levels) => {
            let levels = amounts.iter().zip(levels);
            Ok(levels
                .map(|((place, _), (level, short))| (*place, level, short))
                .collect())
        }
        Charged::Refused { index, short } => {
            let index = index.min(amounts.len() - 1);
            Err(Refused {
                index,
                why: Some(short),
                place: amounts[index].0,
            })
        }
    })
}

/// Does what each limit says is to be done without the shared store.
async fn without_shared(
    limits: Limits<'_>,
    caller: &str,
    amounts: &[(usize, u64)],
) -> Result<(Outcomes, i64), Refused> {
    let when_away = |place: usize| limits.get(place).terms().when_away;
    let closed = amounts.iter().position(|(place, _)| {
        when_away(*place) == WhenAway::Closed && !limits.get(*place).terms().shadow
    });
    if let Some(index) = closed {
        return Err(Refused {
            index,
            why: None,
            place: amounts[index].0,
        });
    }
    let local = amounts.iter().enumerate();
    let local = local.filter(|(_, (place, _))| when_away(*place) == WhenAway::Local);
    let (indexes, local): (SmallVec<[usize; 4]>, Amounts) =
        local.map(|(index, amount)| (index, *amount)).unzip();
    let counted = in_process(limits, caller, &local).await;
    counted.map_err(|refused| Refused {
        index: indexes[refused.index],
        ..refused
    })
}

/// Charges what is counted in this process.
async fn in_process(
    limits: Limits<'_>,
    caller: &str,
    amounts: &[(usize, u64)],
) -> Result<(Outcomes, i64), Refused> {
    let mut tries = 0;
    loop {
        let (index, not_taken) = match take(limits, caller, amounts) {
            Ok(outcomes) => return Ok(outcomes),
            Err(stopped) => stopped,
        };
        let why = match not_taken {
            NotTaken::Short(short) => Some(short),
            NotTaken::Keeping(kept) => {
                tries += 1;
                if kept.await == Ok(true) && tries < KEEPING {
                    continue;
                }
                None
            }
        };
        return Err(Refused {
            index,
            why,
            place: amounts[index].0,
        });
    }
}

/// Takes from all, or from none and says where it stopped. Beside the outcomes, when the latest of the days and months began.
fn take(
    limits: Limits<'_>,
    caller: &str,
    amounts: &[(usize, u64)],
) -> Result<(Outcomes, i64), (usize, NotTaken)> {
    let mut outcomes = Outcomes::new();
    let mut latest = i64::MIN;
    for (index, (place, amount)) in amounts.iter().enumerate() {
        let limit = limits.get(*place);
        let short = match limit.take(caller, *amount) {
            Ok(began) => {
                latest = latest.max(began);
                None
            }
            Err(NotTaken::Short(short)) if limit.terms().shadow => Some(short),
            Err(not_taken) => {
                for ((place, amount), (.., short)) in amounts[..index].iter().zip(&outcomes) {
                    if short.is_none() {
                        limits.get(*place).refund(caller, *amount, latest);
                    }
                }
                return Err((index, not_taken));
            }
        };
        outcomes.push((*place, limit.left(caller).0, short));
    }
    Ok((outcomes, latest))
}

/// The limits that were charged.
fn mask(outcomes: &Outcomes) -> u64 {
    let made = outcomes.iter().filter(|(.., short)| short.is_none());
    made.fold(0, |mask, (place, ..)| mask | 1 << place)
}

/// Tells where the tenant's limits stand.
fn tell(told: &Told, of: &TenantLimits, limits: Limits<'_>, outcomes: &Outcomes) {
    let mut left = String::with_capacity(32 * outcomes.len());
    let mut shadows = SmallVec::new();
    for (place, level, short) in outcomes {
        let limit = limits.get(*place);
        if short.is_some() {
            LIMITS_REFUSED.count(metrics::SHADOW);
            shadows.push(Arc::clone(&limit.terms().name));
        }
        if !limits.is_service(*place) {
            note(&mut left, limit, level.left, level.reset);
        }
    }
    // One request is charged once.
    let _ = told.0.set(Said {
        policy: of.policy.clone(),
        left,
        shadows,
    });
}

/// Tells which limit of the tenant's has no room.
fn tell_refused(told: &Told, of: &TenantLimits, limits: Limits<'_>, refused: &Refused) {
    let mut left = String::new();
    if let Some(Short::Until(wait)) = refused.why
        && !limits.is_service(refused.place)
    {
        note(&mut left, limits.get(refused.place), 0, wait);
    }
    let _ = told.0.set(Said {
        policy: of.policy.clone(),
        left,
        shadows: SmallVec::new(),
    });
}

fn note(text: &mut String, limit: &Limit, left: u64, reset: Duration) {
    let mut number = itoa::Buffer::new();
    if !text.is_empty() {
        text.push_str(", ");
    }
    text.push('"');
    text.push_str(&limit.terms().name);
    text.push_str("\";r=");
    text.push_str(number.format(left));
    text.push_str(";t=");
    text.push_str(number.format(whole_seconds(reset)));
}

/// How much a limit holds.
fn most(limit: &Limit) -> u64 {
    match limit.terms().measure {
        Measure::Rate { burst, .. } => burst,
        Measure::Window { most, .. } => most,
    }
}

/// Enough of them.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
