//! Uploads in parts, as the contract's messages.

use uuid::Uuid;

use super::published;
use crate::presign::{Issued, SignedPart, SignedUpload, SignedUrl, Upload, UploadIds};
use crate::proto::v1::{
    PresignPartsResponse, PresignedPart, PresignedStep, StartMultipartUploadResponse,
};

/// An upload that was begun.
pub(in crate::grpc) fn started(
    issued: Issued<SignedUpload>,
    upload: &Upload,
    ids: UploadIds,
) -> StartMultipartUploadResponse {
    let signed = issued.signed;
    let (complete, abort) = ends(signed.ends, ids);
    StartMultipartUploadResponse {
        upload_id: signed.upload_id,
        part_size: upload.division.part_size().unwrap_or_default(),
        part_count: upload.division.count(),
        parts_issuance_id: of_parts(&signed.parts, ids),
        parts: signed.parts.into_iter().map(part).collect(),
        next_part_number: upload.next.unwrap_or_default(),
        complete,
        abort,
        expires_at: Some(issued.expires_at.into()),
        expiry_bound: published(issued.bound).into(),
        issuance_id: ids.request.to_string(),
    }
}

/// Further URLs of an upload.
pub(in crate::grpc) fn parts(
    issued: Issued<SignedUpload>,
    upload: &Upload,
    ids: UploadIds,
) -> PresignPartsResponse {
    let signed = issued.signed;
    let (complete, abort) = ends(signed.ends, ids);
    PresignPartsResponse {
        issuance_id: of_parts(&signed.parts, ids),
        parts: signed.parts.into_iter().map(part).collect(),
        next_part_number: upload.next.unwrap_or_default(),
        complete,
        abort,
        expires_at: Some(issued.expires_at.into()),
        expiry_bound: published(issued.bound).into(),
    }
}

/// The id of the parts' record, if there is one.
fn of_parts(parts: &[SignedPart], ids: UploadIds) -> String {
    match parts {
        [] => String::new(),
        _ => ids.parts.to_string(),
    }
}

fn part(part: SignedPart) -> PresignedPart {
    PresignedPart {
        part_number: part.number,
        offset: part.extent.offset,
        length: part.extent.length,
        url: part.url.into_string(),
        method: part.method.to_owned(),
        headers: part.headers.0.into_iter().collect(),
    }
}

fn ends(
    signed: Option<(SignedUrl, SignedUrl)>,
    ids: UploadIds,
) -> (Option<PresignedStep>, Option<PresignedStep>) {
    let step = |signed: SignedUrl, id: Uuid| PresignedStep {
        url: signed.url.into_string(),
        method: signed.method.to_owned(),
        headers: signed.headers.into_iter().collect(),
        issuance_id: id.to_string(),
    };
    signed
        .map(|(complete, abort)| (step(complete, ids.complete), step(abort, ids.abort)))
        .unzip()
}
