//! Charges requests to the limits that count them, all or none.
//!
//! Invariant: whatever is let through was charged to every limit that counts it, or each limit that could not be asked lets such things
//! through. What was charged for nothing is given back.

use std::fmt::Write as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use smallvec::SmallVec;

use super::limit::{Cost, Limit, Undeclared, Unit, WhenAway};
use super::no_room::{Named, NoRoom};
use super::told::{Told, tell, tell_refused, whole_seconds};
use super::window::NotTaken;
use super::{Charge, Charged, Level, Measure, Period, SharedCounts, Short};
use crate::metrics::{self, LIMITS_REFUSED};
use crate::names::TenantId;

/// How often a request waits for a count to be kept, at most: each time for more than it needs itself.
const KEEPING: usize = 16;

/// The limits of a tenant.
#[derive(Debug, Default)]
pub struct TenantLimits {
    pub(super) limits: Vec<Limit>,
    /// The response metadata `ratelimit-policy`.
    pub(super) policy: Bytes,
}

/// Everything that counts.
#[derive(Debug, Default)]
pub struct Quotas {
    pub(super) service: ArcSwap<Vec<Limit>>,
    pub(super) shared: Option<Arc<dyn SharedCounts>>,
}

/// What was charged, so that it can be given back.
#[derive(Debug, Clone, Default)]
pub struct Receipt {
    /// The limits, by their places: the service's first.
    made: u64,
    /// The service's, as they were: others may hold by now.
    service: Option<Arc<Vec<Limit>>>,
    /// When the shared store was charged, by its time. `None`: this process was.
    shared: Option<u64>,
    /// When the latest of the days and months that were charged here began: what has begun since was not charged.
    began: i64,
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

/// How much of which limits, by their places.
pub(super) type Amounts = SmallVec<[(usize, u64); 4]>;

/// How a limit fared.
pub(super) type Outcomes = SmallVec<[(usize, Level, Option<Short>); 4]>;

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
        let here = |charged: Result<(Outcomes, i64), Refused>| {
            charged.map(|(outcomes, began)| (outcomes, began, None))
        };
        let alone = || without_shared(limits, payer.caller, &amounts);
        let charged = match &self.shared {
            Some(counts) => match share(&**counts, limits, payer, &amounts).await {
                Ok(charged) => charged.map(|(outcomes, at)| (outcomes, 0, Some(at))),
                Err(()) => here(Box::pin(alone()).await),
            },
            None => here(in_process(limits, payer.caller, &amounts).await),
        };
        let refused = match charged {
            Ok((outcomes, began, shared)) => {
                tell(told, payer.limits, limits, &outcomes);
                let made = mask(&outcomes);
                return Ok(Receipt {
                    made,
                    service: Some(service),
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
        receipt: &Receipt,
        costs: &(impl Iterator<Item = Cost> + Clone),
    ) {
        if receipt.made == 0 {
            return;
        }
        let service = receipt.service.as_ref();
        let limits = Limits {
            service: service.map_or(&[], |service| service),
            own: &payer.limits.limits,
        };
        let mut amounts = Amounts::new();
        for (place, limit) in limits.all() {
            if receipt.made & (1 << place) != 0
                && let Ok(amount) = limit.amount(costs.clone())
            {
                amounts.push((place, amount));
            }
        }
        match (&self.shared, receipt.shared) {
            (Some(counts), Some(at)) => {
                let charges = charges(limits, payer, &amounts);
                if let Err(away) = counts.refund(&charges, at).await {
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
}

/// The limits that may count a request: the service's, and then the tenant's own.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    pub(super) service: &'a [Limit],
    pub(super) own: &'a [Limit],
}

impl<'a> Limits<'a> {
    pub(super) fn all(self) -> impl Iterator<Item = (usize, &'a Limit)> {
        self.service.iter().chain(self.own).enumerate().take(64)
    }

    pub(super) fn get(self, place: usize) -> &'a Limit {
        match place.checked_sub(self.service.len()) {
            None => &self.service[place],
            Some(place) => &self.own[place],
        }
    }

    pub(super) fn is_service(self, place: usize) -> bool {
        place < self.service.len()
    }

    pub(super) fn is_window(self, place: usize) -> bool {
        matches!(self.get(place).terms().measure, Measure::Window { .. })
    }

    pub(super) fn named(self, place: usize) -> Named {
        let limit = self.get(place);
        Named {
            name: Arc::clone(&limit.terms().name),
            subject: limit.subject().into(),
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
pub(super) struct Refused {
    pub(super) index: usize,
    /// `None`: it could not be asked.
    pub(super) why: Option<Short>,
    pub(super) place: usize,
}

pub(super) fn charges<'a>(
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

/// Charges the shared store. Beside the outcomes, when. `Err`: it cannot be reached.
async fn share(
    counts: &dyn SharedCounts,
    limits: Limits<'_>,
    payer: Payer<'_>,
    amounts: &[(usize, u64)],
) -> Result<Result<(Outcomes, u64), Refused>, ()> {
    let charges = charges(limits, payer, amounts);
    let at_hand = counts.charge_at_hand(&charges);
    let answer = match at_hand {
        Some(answer) => answer,
        None => counts.charge(&charges).await.map_err(|away| {
            tracing::debug!("{away}");
        })?,
    };
    Ok(match answer {
        Charged::Made { counts, at } => {
            let each = amounts.iter().zip(counts);
            let outcomes = each.map(|((place, _), (level, short))| (*place, level, short));
            Ok((outcomes.collect(), at))
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
    let Some((first, _)) = amounts.first() else {
        return Ok((outcomes, latest));
    };
    let now = limits.get(*first).moment();
    for (index, (place, amount)) in amounts.iter().enumerate() {
        let limit = limits.get(*place);
        let (level, short) = match limit.take(caller, &now, *amount) {
            Ok((level, began)) => {
                latest = latest.max(began);
                (level, None)
            }
            Err(NotTaken::Short(short)) if limit.terms().shadow => {
                (limit.left(caller).0, Some(short))
            }
            Err(not_taken) => {
                for ((place, amount), (.., short)) in amounts[..index].iter().zip(&outcomes) {
                    if short.is_none() {
                        limits.get(*place).refund(caller, *amount, latest);
                    }
                }
                return Err((index, not_taken));
            }
        };
        outcomes.push((*place, level, short));
    }
    Ok((outcomes, latest))
}

/// The limits that were charged.
fn mask(outcomes: &Outcomes) -> u64 {
    let made = outcomes.iter().filter(|(.., short)| short.is_none());
    made.fold(0, |mask, (place, ..)| mask | 1 << place)
}

/// How much a limit holds.
pub(super) fn most(limit: &Limit) -> u64 {
    match limit.terms().measure {
        Measure::Rate { burst, .. } => burst,
        Measure::Window { most, .. } => most,
    }
}

#[cfg(test)]
mod tests;
