//! `ResumeTenant`: URLs for a tenant again.

use uuid::Uuid;

use super::{AboutTenant, no_news, read_about_tenant, shown};
use crate::authenticate::Right;
use crate::grpc::{Inner, Unary};
use crate::operate::Change;
use crate::presign::Arrival;
use crate::presign::operation::Done;
use crate::proto::v1::{ResumeTenantRequest, ResumeTenantResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(in crate::grpc) struct ResumeTenant;

impl Unary for ResumeTenant {
    const METHOD: &'static str = "presignd.v1.OperationsService/ResumeTenant";
    type Message = ResumeTenantRequest;
    type Asked = AboutTenant;
    type Reply = ResumeTenantResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: ResumeTenantRequest) -> Result<AboutTenant, Refusal> {
        read_about_tenant(&message.tenant, message.reason)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        AboutTenant { tenant, reason }: AboutTenant,
    ) -> Result<ResumeTenantResponse, Refusal> {
        let caller = &arrival.caller;
        let work = async {
            // An order outlasts its tenant in the configuration, and can be ended then too.
            let orders = inner.presigner.orders.standing();
            if !caller.may(Right::Operate, &tenant) || orders.about(Some(&tenant)).is_none() {
                inner.operated(caller, &tenant)?;
            }
            let change = Change::Resume(tenant.clone());
            let ordered = inner.order(caller, &reason, change).await?;
            let detail = no_news(&ordered, "the tenant was not suspended");
            let answer = ResumeTenantResponse {
                ended: ordered.before.as_ref().map(shown),
            };
            Ok(Done { answer, detail })
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, Some(&tenant), &reason, result)
            .await
    }
}
