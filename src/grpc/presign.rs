//! `Presign`: one URL.

use uuid::Uuid;

use super::{Inner, Unary, reply, request};
use crate::presign::{Arrival, Item, Request};
use crate::proto::v1::{Command, PresignRequest, PresignResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(super) struct Presign;

impl Unary for Presign {
    const METHOD: &'static str = "presignd.v1.PresignService/Presign";
    type Message = PresignRequest;
    type Asked = (Request, Box<Command>);
    type Reply = PresignResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: PresignRequest) -> Result<Self::Asked, Refusal> {
        request::read_presign(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, command): Self::Asked,
    ) -> Result<PresignResponse, Refusal> {
        let item = Item {
            issuance_id,
            command: &command,
        };
        let issued = inner.presigner.presign(arrival, &request, &item).await?;
        Ok(reply::response(issued, issuance_id))
    }
}
