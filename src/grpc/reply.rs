//! What was issued, as the contract's messages.

pub(super) mod upload;

use uuid::Uuid;

use super::status;
use crate::admit::expiry::Bound;
use crate::presign::{Issued, Item, SignedForm};
use crate::proto::v1::batch_presign_result::Result as ItemResult;
use crate::proto::v1::{
    BatchPresignResponse, BatchPresignResult, ContentLengthRange, ExpiryBound, FormField,
    PresignPostResponse, PresignResponse,
};
use crate::refusal::Refusal;

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
    items: &[Item],
    results: Vec<Result<Issued, Refusal>>,
) -> BatchPresignResponse {
    let result = |(item, result): (&Item, Result<Issued, Refusal>)| {
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

fn published(bound: Bound) -> ExpiryBound {
    match bound {
        Bound::Request => ExpiryBound::Request,
        Bound::Default => ExpiryBound::Default,
        Bound::GrantCap => ExpiryBound::GrantCap,
        Bound::TenantCap => ExpiryBound::TenantCap,
        Bound::Credentials => ExpiryBound::Credentials,
    }
}
