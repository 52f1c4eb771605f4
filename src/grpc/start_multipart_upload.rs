//! `StartMultipartUpload`: an upload in parts, begun at S3, and the URLs of its steps.

use uuid::Uuid;

use super::request::upload::read_start;
use super::{Inner, Unary, reply};
use crate::presign::{Arrival, Request, Upload, UploadIds};
use crate::proto::v1::{StartMultipartUploadRequest, StartMultipartUploadResponse};
use crate::refusal::Refusal;

/// The RPC.
pub(super) struct StartMultipartUpload;

impl Unary for StartMultipartUpload {
    const METHOD: &'static str = "presignd.v1.PresignService/StartMultipartUpload";
    type Message = StartMultipartUploadRequest;
    type Asked = (Request, Upload);
    type Reply = StartMultipartUploadResponse;

    fn tenant(message: &Self::Message) -> &str {
        &message.tenant
    }

    fn read(message: StartMultipartUploadRequest) -> Result<Self::Asked, Refusal> {
        read_start(message)
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        (request, upload): Self::Asked,
    ) -> Result<StartMultipartUploadResponse, Refusal> {
        let ids = UploadIds {
            request: issuance_id,
            parts: inner.issuance_id(),
            complete: inner.issuance_id(),
            abort: inner.issuance_id(),
        };
        let presigner = &inner.presigner;
        let issued = presigner
            .presign_upload(arrival, &request, ids, &upload)
            .await?;
        Ok(reply::upload::started(issued, &upload, ids))
    }
}
