//! `UnfreezeService`: URLs again.

use uuid::Uuid;

use super::{for_all, no_news, read_reason, shown};
use crate::grpc::{Inner, Unary};
use crate::operate::Change;
use crate::presign::Arrival;
use crate::presign::operation::Done;
use crate::proto::v1::{UnfreezeServiceRequest, UnfreezeServiceResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(in crate::grpc) struct UnfreezeService;

impl Unary for UnfreezeService {
    const METHOD: &'static str = "presignd.v1.OperationsService/UnfreezeService";
    type Message = UnfreezeServiceRequest;
    type Asked = String;
    type Reply = UnfreezeServiceResponse;

    fn tenant(_message: &Self::Message) -> &'static str {
        ""
    }

    fn read(message: UnfreezeServiceRequest) -> Result<String, Refusal> {
        read_reason(message.reason)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        reason: String,
    ) -> Result<UnfreezeServiceResponse, Refusal> {
        let caller = &arrival.caller;
        let work = async {
            for_all(caller)?;
            let ordered = inner.order(caller, &reason, Change::Unfreeze).await?;
            let detail = no_news(&ordered, "the service was not frozen");
            let answer = UnfreezeServiceResponse {
                ended: ordered.before.as_ref().map(shown),
            };
            Ok(Done { answer, detail })
        };
        let result = work.await;
        inner
            .noted(arrival, issuance_id, None, &reason, result)
            .await
    }
}
