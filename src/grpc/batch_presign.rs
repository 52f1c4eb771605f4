//! `BatchPresign`: many URLs of one tenant, each with an issuance id of its own beside the whole batch's.

use uuid::Uuid;

use super::{Inner, Unary, reply, request};
use crate::presign::{Arrival, Item, Request};
use crate::proto::v1::{BatchPresignRequest, BatchPresignResponse, Command};
use crate::refusal::Refusal;

/// The RPC.
pub(super) struct BatchPresign;

impl Unary for BatchPresign {
    const METHOD: &'static str = "presignd.v1.PresignService/BatchPresign";
    type Message = BatchPresignRequest;
    type Asked = (Request, Vec<Command>);
    type Reply = BatchPresignResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: BatchPresignRequest) -> Result<Self::Asked, Refusal> {
        request::read_batch(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, commands): Self::Asked,
    ) -> Result<BatchPresignResponse, Refusal> {
        let item = |command| Item {
            issuance_id: inner.issuance_id(),
            command,
        };
        let items: Vec<Item<'_>> = commands.iter().map(item).collect();
        let results = inner
            .presigner
            .presign_batch(arrival, &request, issuance_id, &items)
            .await?;
        Ok(reply::batch_response(&items, results))
    }
}
