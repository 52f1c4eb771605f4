//! `FreezeService`: no more URLs for anybody.

use uuid::Uuid;

use super::{for_all, no_news, read_reason, shown};
use crate::grpc::{Inner, Unary};
use crate::operate::Change;
use crate::presign::Arrival;
use crate::presign::operation::Done;
use crate::proto::v1::{FreezeServiceRequest, FreezeServiceResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(in crate::grpc) struct FreezeService;

impl Unary for FreezeService {
    const METHOD: &'static str = "presignd.v1.OperationsService/FreezeService";
    type Message = FreezeServiceRequest;
    type Asked = String;
    type Reply = FreezeServiceResponse;

    fn tenant(_message: &Self::Message) -> &'static str {
        ""
    }

    fn read(message: FreezeServiceRequest) -> Result<String, Refusal> {
        read_reason(message.reason)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        reason: String,
    ) -> Result<FreezeServiceResponse, Refusal> {
        let caller = &arrival.caller;
        let work = async {
            for_all(caller)?;
            let change = Change::Freeze(inner.order_of(caller, &reason));
            let ordered = inner.order(caller, &reason, change).await?;
            let detail = no_news(&ordered, "the service was frozen before: that order stands");
            let answer = FreezeServiceResponse {
                order: ordered.standing.as_ref().map(shown),
                stood_already: ordered.before.is_some(),
            };
            Ok(Done { answer, detail })
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, None, &reason, result)
            .await
    }
}
