//! What was issued, as the contract's messages.

use uuid::Uuid;

use super::status;
use crate::admit::expiry::Bound;
use crate::presign::{Issued, Item};
use crate::proto::v1::batch_presign_result::Result as ItemResult;
use crate::proto::v1::{BatchPresignResponse, BatchPresignResult, ExpiryBound, PresignResponse};
use crate::refusal::Refusal;

/// One URL.
pub(super) fn response(issued: Issued, issuance_id: Uuid) -> PresignResponse {
    PresignResponse {
        url: issued.url.into_string(),
        method: issued.method.to_owned(),
        headers: issued.headers.into_iter().collect(),
        expires_at: Some(issued.expires_at.into()),
        expiry_bound: published(issued.bound).into(),
        issuance_id: issuance_id.to_string(),
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
