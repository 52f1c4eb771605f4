//! `PresignPost`: an upload form.

use uuid::Uuid;

use super::{Inner, Unary, reply, request};
use crate::presign::{Arrival, FormItem, Request};
use crate::proto::v1::{PresignPostRequest, PresignPostResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(super) struct PresignPost;

impl Unary for PresignPost {
    const METHOD: &'static str = "presignd.v1.PresignService/PresignPost";
    type Message = PresignPostRequest;
    type Asked = (Request, PresignPostRequest);
    type Reply = PresignPostResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(mut form: PresignPostRequest) -> Result<Self::Asked, Refusal> {
        let request = request::read_post(&mut form)?;
        Ok((request, form))
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, form): Self::Asked,
    ) -> Result<PresignPostResponse, Refusal> {
        let item = FormItem { issuance_id, form };
        let issued = inner
            .presigner
            .presign_post(arrival, &request, &item)
            .await?;
        Ok(reply::post_response(issued, issuance_id))
    }
}
