//! `GetUsage`: how much of each limit is used.

use uuid::Uuid;

use super::{read_tenant, rounded};
use crate::admit::quota::Usage;
use crate::authenticate::Right;
use crate::grpc::{Inner, Unary};
use crate::names::TenantId;
use crate::presign::Arrival;
use crate::proto::v1::{GetUsageRequest, GetUsageResponse, LimitUsage};
use crate::refusal::Refusal;

/// The RPC.
pub(in crate::grpc) struct GetUsage;

impl Unary for GetUsage {
    const METHOD: &'static str = "presignd.v1.OperationsService/GetUsage";
    type Message = GetUsageRequest;
    type Asked = TenantId;
    type Reply = GetUsageResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: GetUsageRequest) -> Result<TenantId, Refusal> {
        read_tenant(&message.tenant)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        tenant: TenantId,
    ) -> Result<GetUsageResponse, Refusal> {
        let presigner = &inner.presigner;
        let caller = &arrival.caller;
        let known = presigner.tenants.of(caller, Right::Usage, &tenant);
        let work = async {
            let limits = presigner.usage(caller, &*known?).await;
            let limits = limits.into_iter().map(usage).collect();
            Ok(GetUsageResponse { limits }.into())
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, Some(&tenant), "", result)
            .await
    }
}

/// A limit's usage as it is shown.
pub(super) fn usage(usage: Usage) -> LimitUsage {
    LimitUsage {
        limit: usage.limit,
        unit: usage.unit.to_owned(),
        scope: usage.scope.to_owned(),
        caller: usage.caller.unwrap_or_default(),
        most: usage.most,
        used: usage.most.saturating_sub(usage.left),
        left: usage.left,
        reset: Some(rounded(usage.reset)),
        shadow: usage.shadow,
    }
}
