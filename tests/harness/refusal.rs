//! A refusal as a client reads it: the status and its google.rpc details.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{StatusExt as _, pb};
use uuid::Uuid;

/// What a refusal says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// Of `ErrorInfo`.
    pub(crate) reason: String,
    /// Of `ErrorInfo`.
    pub(crate) metadata: HashMap<String, String>,
    /// The fields of `BadRequest`, in order.
    pub(crate) fields: Vec<String>,
    /// The subjects of `QuotaFailure`.
    pub(crate) quotas: Vec<String>,
    /// The types and subjects of `PreconditionFailure`.
    pub(crate) preconditions: Vec<(String, String)>,
    /// Of `RetryInfo`.
    pub(crate) retry_after: Option<Duration>,
    /// Of `RequestInfo`.
    pub(crate) issuance_id: String,
}

impl Refused {
    /// Reads a status. Every refusal of presignd's names its domain, a reason and an issuance id.
    pub(crate) fn read(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details
            .error_info()
            .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
        assert_eq!(info.domain, "presignd");
        let request = details
            .request_info()
            .unwrap_or_else(|| panic!("no RequestInfo in {status:?}"));
        assert_version_7(&request.request_id);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.reason.clone(),
            metadata: info.metadata.clone(),
            fields: details.bad_request().map_or_else(Vec::new, |bad| {
                let violations = bad.field_violations.iter();
                violations.map(|v| v.field.clone()).collect()
            }),
            quotas: details.quota_failure().map_or_else(Vec::new, |failure| {
                failure
                    .violations
                    .iter()
                    .map(|v| v.subject.clone())
                    .collect()
            }),
            preconditions: details
                .precondition_failure()
                .map_or_else(Vec::new, |failure| {
                    let violations = failure.violations.iter();
                    violations
                        .map(|v| (v.r#type.clone(), v.subject.clone()))
                        .collect()
                }),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            issuance_id: request.request_id.clone(),
        }
    }

    /// Reads the status of one command of a batch.
    pub(crate) fn read_item(status: &pb::Status) -> Self {
        let code = Code::from_i32(status.code);
        Self::read(&Status::with_details(
            code,
            status.message.clone(),
            status.encode_to_vec().into(),
        ))
    }

    /// The code and the reason.
    pub(crate) fn why(&self) -> (Code, &str) {
        (self.code, &self.reason)
    }
}

/// The refusal of what must be refused.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Refused {
    Refused::read(&result.expect_err("a refusal"))
}

/// Issuance ids are UUIDs of version 7.
pub(crate) fn assert_version_7(id: &str) {
    let uuid = Uuid::parse_str(id).unwrap_or_else(|e| panic!("{id}: {e}"));
    assert_eq!(
        (uuid.get_version_num(), uuid.hyphenated().to_string()),
        (7, id.to_owned())
    );
}
