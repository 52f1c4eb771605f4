//! What presignd needs from others, as those know it that deal with them.

use std::sync::Arc;

use crate::operate::Keeper;
use crate::operate::dependency::{Dependency, Depends, Kind, State};
use crate::scope::clock_skew::ClockSkews;
use crate::telemetry::Traces;

/// All of it.
pub(super) fn all(
    skews: &Arc<ClockSkews>,
    traces: &Arc<Traces>,
    keeper: Option<&Keeper>,
) -> Vec<Box<dyn Depends>> {
    let orders: Box<dyn Depends> = match keeper {
        Some(keeper) => Box::new(keeper.state()),
        None => Box::new(Dependency {
            kind: Kind::Orders,
            name: String::new(),
            state: State::NotConfigured,
            detail: "neither state.dir nor state.redis is set: tenants cannot be suspended, nor the service frozen"
                .to_owned(),
        }),
    };
    vec![
        Box::new(StsClocks(Arc::clone(skews))),
        Box::new(Collector(Arc::clone(traces))),
        orders,
    ]
}

/// Every STS that has answered.
#[derive(Debug)]
struct StsClocks(Arc<ClockSkews>);

impl Depends for StsClocks {
    fn found(&self) -> Vec<Dependency> {
        let mut known = self.0.known();
        known.sort_by_cached_key(|(endpoint, _)| endpoint.to_string());
        let known = known.into_iter().map(|(endpoint, skew)| Dependency {
            kind: Kind::Sts,
            name: endpoint.to_string(),
            state: if skew.is_beyond(self.0.most()) {
                State::Failing
            } else {
                State::Working
            },
            detail: format!("its clock {skew}"),
        });
        known.collect()
    }
}

/// What takes the spans.
#[derive(Debug)]
struct Collector(Arc<Traces>);

impl Depends for Collector {
    fn found(&self) -> Vec<Dependency> {
        let counts = self.0.counts();
        let state = match self.0.last_taken() {
            _ if !self.0.are_sent() => State::NotConfigured,
            Some(true) => State::Working,
            Some(false) => State::Failing,
            None => State::Unknown,
        };
        let detail = if state == State::NotConfigured {
            "telemetry.otlp is not set: spans are not sent".to_owned()
        } else {
            format!(
                "since the start: {} spans sent, {} waiting, {} lost: {} not taken, {} for want of room",
                counts.exported,
                counts.queued,
                counts.lost(),
                counts.failed,
                counts.dropped
            )
        };
        vec![Dependency {
            kind: Kind::Otlp,
            name: String::new(),
            state,
            detail,
        }]
    }
}
