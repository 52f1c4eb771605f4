//! Limits of the configuration, as they are charged.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use smallvec::SmallVec;

use super::tenants::selectors;
use crate::admit::grant::CommandSelector;
use crate::admit::quota::limit::{Counting, Limit, Terms, Unit, WhenAway};
use crate::admit::quota::{Ledger, Measure, Named, Period};
use crate::clock::SharedClock;
use crate::config::{self, LimitAmount, Located, Per, State};
use crate::names::TenantId;
use crate::scope::{CallLimit, MOST_OF_TENANT};

// What a configuration may say is what holds.
const _: () = assert!(config::MOST_STS_CALLS as usize == MOST_OF_TENANT);

/// How limits count in this process.
///
/// # Errors
/// If the folder of counts cannot be opened.
pub fn counting(state: &State, clock: &SharedClock) -> anyhow::Result<Counting> {
    let open = |folder: &std::path::PathBuf| {
        let now = clock.now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        let ledger = Ledger::open(folder, now);
        let ledger = ledger.with_context(|| format!("`state.dir` {}", folder.display()))?;
        anyhow::Ok(Arc::new(ledger))
    };
    Ok(Counting {
        ledger: state.dir.as_ref().map(open).transpose()?,
        clock: Arc::clone(clock),
        replicas: match &state.redis {
            Some(redis) => redis.replicas,
            None => NonZeroU32::MIN,
        },
    })
}

/// Limits of a tenant, or of the whole service.
///
/// # Errors
/// If a command is not one: reading has reported those already.
pub fn build(
    limits: &[Located<config::Limit>],
    tenant: Option<&TenantId>,
    counting: &Counting,
) -> anyhow::Result<Vec<Limit>> {
    counted(said(limits)?, tenant, counting)
}

/// What limits say, without what counts them.
pub(super) type Said = SmallVec<[Arc<Terms>; 2]>;

/// What these say.
///
/// # Errors
/// If a command is not one.
pub(super) fn said(limits: &[Located<config::Limit>]) -> anyhow::Result<Said> {
    let terms = limits.iter();
    let terms = terms.filter_map(|limit| terms_of(&limit.value).transpose());
    terms.map(|terms| Ok(terms?.shared())).collect()
}

/// Limits that say so, of a tenant or of the whole service, and count.
pub(super) fn counted(
    said: Said,
    tenant: Option<&TenantId>,
    counting: &Counting,
) -> anyhow::Result<Vec<Limit>> {
    let mut limits = Vec::with_capacity(said.len());
    for terms in said {
        let name = Arc::clone(&terms.name);
        let limit = Limit::new(terms, tenant, counting);
        limits.push(
            limit.with_context(|| format!("the limit {name:?} is faster than one a nanosecond"))?,
        );
    }
    Ok(limits)
}

/// How many calls of STS a tenant may have under way: the least that its limits say.
#[must_use]
pub fn sts_calls(limits: &[Located<config::Limit>], tenant: &TenantId) -> Option<CallLimit> {
    let of_calls = |limit: &Located<config::Limit>| match limit.value.amount {
        LimitAmount::StsCalls(most) => Some((most, limit.value.name.clone())),
        _ => None,
    };
    let (most, name) = limits.iter().filter_map(of_calls).min()?;
    Some(CallLimit {
        limit: Named {
            subject: format!("tenant:{tenant}/limit:{name}").into(),
            name: name.into(),
            scope: "tenant",
        },
        most,
    })
}

/// What a limit says; `None`: it bounds something else than what is charged.
fn terms_of(limit: &config::Limit) -> anyhow::Result<Option<Terms>> {
    let (unit, measure) = match &limit.amount {
        LimitAmount::Rate { rate, burst } => {
            let interval = interval(*rate);
            let burst = u64::from(burst.get());
            (Unit::Urls, Measure::Rate { interval, burst })
        }
        LimitAmount::Urls(window) => (Unit::Urls, measure(window)),
        LimitAmount::UploadBytes(window) => (Unit::UploadBytes, measure(window)),
        LimitAmount::StsCalls(_) => return Ok(None),
    };
    let weight = |(name, weight): &(Located<String>, u32)| {
        anyhow::Ok((CommandSelector::parse(&name.value)?, *weight))
    };
    Ok(Some(Terms {
        name: limit.name.as_str().into(),
        commands: selectors(limit.commands.as_deref().unwrap_or_default())?,
        weights: limit.weights.iter().map(weight).collect::<Result<_, _>>()?,
        unit,
        measure,
        each_caller: limit.each_caller,
        shadow: limit.shadow,
        when_away: match limit.when_away {
            config::WhenAway::Closed => WhenAway::Closed,
            config::WhenAway::Open => WhenAway::Open,
            config::WhenAway::Local => WhenAway::Local,
        },
    }))
}

/// From one to the next, to the nanosecond.
fn interval(rate: config::Rate) -> Duration {
    Duration::from_secs(rate.per.seconds().into()) / rate.count.get()
}

fn measure(window: &config::Window) -> Measure {
    Measure::Window {
        most: window.most,
        period: match window.per {
            Per::Day => Period::Day,
            Per::Month => Period::Month,
        },
        zone: window.zone.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::{Rate, RatePeriod};

    #[test]
    fn a_rate_above_one_a_second_is_not_rounded_down_to_one() {
        let table = [
            (1000, RatePeriod::Second, Duration::from_millis(1)),
            (1_000_000_000, RatePeriod::Second, Duration::from_nanos(1)),
            (30, RatePeriod::Minute, Duration::from_secs(2)),
            (7200, RatePeriod::Hour, Duration::from_millis(500)),
            (6, RatePeriod::Hour, Duration::from_mins(10)),
        ];
        for (count, per, expected) in table {
            let count = NonZeroU32::new(count).unwrap();
            assert_eq!(interval(Rate { count, per }), expected, "{count}");
        }
    }
}
