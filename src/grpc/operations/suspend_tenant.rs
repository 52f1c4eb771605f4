//! `SuspendTenant`: no more URLs for a tenant.

use uuid::Uuid;

use super::{AboutTenant, no_news, read_about_tenant, shown};
use crate::grpc::{Inner, Unary};
use crate::operate::Change;
use crate::presign::Arrival;
use crate::presign::operation::Done;
use crate::proto::v1::{SuspendTenantRequest, SuspendTenantResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(in crate::grpc) struct SuspendTenant;

impl Unary for SuspendTenant {
    const METHOD: &'static str = "presignd.v1.OperationsService/SuspendTenant";
    type Message = SuspendTenantRequest;
    type Asked = AboutTenant;
    type Reply = SuspendTenantResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: SuspendTenantRequest) -> Result<AboutTenant, Refusal> {
        read_about_tenant(&message.tenant, message.reason)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        AboutTenant { tenant, reason }: AboutTenant,
    ) -> Result<SuspendTenantResponse, Refusal> {
        let caller = &arrival.caller;
        let work = async {
            inner.operated(caller, &tenant)?;
            let order = inner.order_of(caller, &reason);
            let change = Change::Suspend(tenant.clone(), order);
            let ordered = inner.order(caller, &reason, change).await?;
            let detail = no_news(
                &ordered,
                "the tenant was suspended before: that order stands",
            );
            let answer = SuspendTenantResponse {
                order: ordered.standing.as_ref().map(shown),
                stood_already: ordered.before.is_some(),
            };
            Ok(Done { answer, detail })
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, Some(&tenant), &reason, result)
            .await
    }
}
