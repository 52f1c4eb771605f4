//! `PresignParts`: further URLs of an upload in parts.

use uuid::Uuid;

use super::request::upload::read_parts;
use super::{Inner, Unary, reply};
use crate::presign::{Arrival, Request, Upload, UploadIds};
use crate::proto::v1::{PresignPartsRequest, PresignPartsResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(super) struct PresignParts;

impl Unary for PresignParts {
    const METHOD: &'static str = "presignd.v1.PresignService/PresignParts";
    type Message = PresignPartsRequest;
    type Asked = (Request, Upload);
    type Reply = PresignPartsResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: PresignPartsRequest) -> Result<Self::Asked, Refusal> {
        read_parts(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, upload): Self::Asked,
    ) -> Result<PresignPartsResponse, Refusal> {
        let ids = UploadIds {
            request: issuance_id,
            // Nothing else comes of the request, unless its parts are none.
            parts: issuance_id,
            complete: inner.issuance_id(),
            abort: inner.issuance_id(),
        };
        let presigner = &inner.presigner;
        let issued = presigner
            .presign_upload(arrival, &request, ids, &upload)
            .await?;
        Ok(reply::upload::parts(issued, &upload, ids))
    }
}
