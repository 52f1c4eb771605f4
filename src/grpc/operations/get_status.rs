//! `GetStatus`: how this replica is.

use std::sync::Arc;

use uuid::Uuid;

use super::{SHOWN, count, for_all, rounded, shown};
use crate::grpc::{Inner, Unary};
use crate::names::TenantId;
use crate::operate::dependency::{self, Kind, State};
use crate::presign::Arrival;
use crate::proto::v1::{
    ConfigurationStatus, Dependency, DependencyKind, DependencyState, GetStatusRequest,
    GetStatusResponse, StsBreaker, TenantSessions, TenantSummary,
};
use crate::refusal::Refusal;
use crate::scope::at_hand::TenantAtHand;
use crate::scope::breakers::OpenBreaker;

/// How many mistakes of a configuration are shown.
const MISTAKES: usize = 10;

/// The RPC.
pub(in crate::grpc) struct GetStatus;

impl Unary for GetStatus {
    const METHOD: &'static str = "presignd.v1.OperationsService/GetStatus";
    type Message = GetStatusRequest;
    type Asked = ();
    type Reply = GetStatusResponse;

    fn tenant(_message: &Self::Message) -> &'static str {
        ""
    }

    fn read(_message: GetStatusRequest) -> Result<(), Refusal> {
        Ok(())
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (): (),
    ) -> Result<GetStatusResponse, Refusal> {
        let result = match for_all(&arrival.caller) {
            Ok(()) => Ok(status(inner).await.into()),
            Err(refusal) => Err(refusal),
        };
        inner.noted(arrival, issuance_id, None, "", result).await
    }
}

async fn status(inner: &Inner) -> GetStatusResponse {
    let (presigner, controls) = (&inner.presigner, inner.controls());
    let orders = presigner.orders.standing();
    let suspended = orders.suspended.iter().take(SHOWN);
    let sessions = presigner.scoper.at_hand(SHOWN).await;
    let breakers = open_breakers(inner).await;
    let uptime = presigner.clock.monotonic().saturating_sub(controls.started);
    GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: Some(rounded(uptime)),
        ready: controls.is_ready(),
        frozen: orders.frozen.as_ref().map(shown),
        suspended_count: count(orders.suspended.len()),
        suspended: suspended
            .map(|(tenant, order)| TenantSummary {
                tenant: tenant.to_string(),
                suspended: Some(shown(order)),
            })
            .collect(),
        configuration: Some(configuration(inner)),
        dependencies: std::iter::once(audit_output(inner))
            .chain(controls.dependencies().into_iter().map(needed))
            .collect(),
        session_count: count(sessions.count),
        sessions: sessions.some.iter().map(of_tenant).collect(),
        sts_breaker_count: count(breakers.len()),
        sts_breakers: breakers.into_iter().take(SHOWN).map(breaker).collect(),
    }
}

/// All of them, those that opened first before the others. It looks at every tenant: not for the runtime's threads.
async fn open_breakers(inner: &Inner) -> Vec<(TenantId, OpenBreaker)> {
    let presigner = &inner.presigner;
    let (tenants, clock) = (presigner.tenants.all(), Arc::clone(&presigner.clock));
    let looking = tokio::task::spawn_blocking(move || {
        let open = tenants.values().filter_map(|tenant| {
            let open = tenant.session.open_breaker(&*clock)?;
            Some((tenant.id.clone(), open))
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by(|(a, open_a), (b, open_b)| (open_a.since, a).cmp(&(open_b.since, b)));
        open
    });
    looking.await.unwrap_or_default()
}

fn breaker((tenant, open): (TenantId, OpenBreaker)) -> StsBreaker {
    StsBreaker {
        tenant: tenant.to_string(),
        sts: open.sts.to_string(),
        open_since: Some(open.since.into()),
        open_until: open.until.map(Into::into),
        failures: open.failures,
    }
}

fn configuration(inner: &Inner) -> ConfigurationStatus {
    let state = inner.controls().configuration();
    let mistakes = state.as_ref().map_or(&[][..], |state| &state.mistakes);
    ConfigurationStatus {
        good: mistakes.is_empty(),
        mistakes: mistakes.iter().take(MISTAKES).cloned().collect(),
        loaded_at: state.as_ref().map(|state| state.loaded_at.into()),
        tenants: count(inner.presigner.tenants.all().len()),
    }
}

/// What takes the records: of this one, nothing is known yet.
fn audit_output(inner: &Inner) -> Dependency {
    let (state, detail) = match inner.presigner.recorder.trouble() {
        None => (DependencyState::Working, "takes records".to_owned()),
        Some(error) => (DependencyState::Failing, error.to_string()),
    };
    Dependency {
        kind: DependencyKind::AuditOutput.into(),
        name: String::new(),
        state: state.into(),
        detail,
    }
}

fn needed(needed: dependency::Dependency) -> Dependency {
    let kind = match needed.kind {
        Kind::Sts => DependencyKind::Sts,
        Kind::Otlp => DependencyKind::Otlp,
        Kind::Orders => DependencyKind::Orders,
    };
    let state = match needed.state {
        State::Unknown => DependencyState::Unspecified,
        State::Working => DependencyState::Working,
        State::Failing => DependencyState::Failing,
        State::NotConfigured => DependencyState::NotConfigured,
    };
    Dependency {
        kind: kind.into(),
        name: needed.name,
        state: state.into(),
        detail: needed.detail,
    }
}

fn of_tenant(sessions: &TenantAtHand) -> TenantSessions {
    TenantSessions {
        tenant: sessions.tenant.to_string(),
        count: count(sessions.count),
        oldest_age: Some(rounded(sessions.oldest)),
        first_expires_at: sessions.first_ends.map(Into::into),
    }
}
