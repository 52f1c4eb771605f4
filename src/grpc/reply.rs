//! What was issued, as the contract's messages.

pub(super) mod upload;

use uuid::Uuid;

use super::status;
use crate::admit::expiry::Bound;
use crate::presign::{Issued, Item, SignedForm};
use crate::proto::v1::batch_presign_result::Result as ItemResult;
use crate::proto::v1::{
    self, BatchPresignResponse, BatchPresignResult, Body, ContentLengthRange, ExpiryBound,
    FormField, PresignPostResponse, PresignResponse,
};
use crate::refusal::Refusal;
use crate::sign::command::BodyKind;

/// One URL.
pub(super) fn response(issued: Issued, issuance_id: Uuid) -> PresignResponse {
    let signed = issued.signed;
    PresignResponse {
        url: signed.url.into_string(),
        method: signed.method.to_owned(),
        headers: signed.headers.into_iter().collect(),
        expires_at: Some(issued.expires_at.into()),
        expiry_bound: published(issued.bound).into(),
        issuance_id: issuance_id.to_string(),
        body: Some(Body {
            kind: kind(signed.body.kind).into(),
            sha256: signed.body.sha256.map(Vec::from).unwrap_or_default(),
        }),
        checksum_required: signed.body.wants_checksum,
    }
}

fn kind(kind: BodyKind) -> v1::BodyKind {
    match kind {
        BodyKind::None => v1::BodyKind::None,
        BodyKind::Bytes => v1::BodyKind::Bytes,
        BodyKind::Xml => v1::BodyKind::Xml,
        BodyKind::Json => v1::BodyKind::Json,
    }
}

/// One form.
pub(super) fn post_response(issued: Issued<SignedForm>, issuance_id: Uuid) -> PresignPostResponse {
    let signed = issued.signed;
    let fields = |fields: Vec<(String, String)>| -> Vec<FormField> {
        let field = |(name, value)| FormField { name, value };
        fields.into_iter().map(field).collect()
    };
    PresignPostResponse {
        url: signed.url,
        fields: fields(signed.fields),
        expires_at: Some(issued.expires_at.into()),
        expiry_bound: published(issued.bound).into(),
        issuance_id: issuance_id.to_string(),
        html_form: signed.html.unwrap_or_default(),
        fields_to_fill: fields(signed.fields_to_fill),
        content_length_range: signed.content_length.map(|range| ContentLengthRange {
            min: range.min,
            max: range.max,
        }),
    }
}

/// One result for each command, in order.
pub(super) fn batch_response(
    items: &[Item<'_>],
    results: Vec<Result<Issued, Refusal>>,
) -> BatchPresignResponse {
    let result = |(item, result): (&Item<'_>, Result<Issued, Refusal>)| {
        let result = match result {
            Ok(issued) => ItemResult::Response(response(issued, item.issuance_id)),
            Err(refusal) => ItemResult::Error(status::item_status(&refusal, item.issuance_id)),
        };
        BatchPresignResult {
            result: Some(result),
        }
    };
    BatchPresignResponse {
        results: items.iter().zip(results).map(result).collect(),
    }
}

pub(super) fn published(bound: Bound) -> ExpiryBound {
    match bound {
        Bound::Request => ExpiryBound::Request,
        Bound::Default => ExpiryBound::Default,
        Bound::GrantCap => ExpiryBound::GrantCap,
        Bound::TenantCap => ExpiryBound::TenantCap,
        Bound::Credentials => ExpiryBound::Credentials,
    }
}
