//! What is left of limits: looked at, and never charged.

use std::time::Duration;

use super::charging::{Amounts, Limits, Payer, Quotas, TenantLimits, charges, most};
use super::limit::{Cost, Limit, Unit};
use super::no_room::Named;
use super::{Level, Measure, Usage};
use crate::names::TenantId;

/// How many callers' counts of a limit are told.
const CALLERS_TOLD: usize = 100;

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

impl Quotas {
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
