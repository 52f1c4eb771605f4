//! A refusal on the wire: the status and its google.rpc details.
//!
//! The only place that makes a status, and the only place that logs one. Source: <https://google.aip.dev/193>.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use tonic_types::{ErrorDetails, StatusExt as _, pb};
use uuid::Uuid;

use crate::admit::NotAuthorized;
use crate::admit::policy::Denied;
use crate::admit::quota::NoRoom;
use crate::audit::Outcome;
use crate::authenticate::Unauthenticated;
use crate::operate::{Halted, NotKept};
use crate::refusal::{Code, Refusal, reason_name};
use crate::scope::ScopeError;
use crate::upload::UploadError;

const DOMAIN: &str = "presignd";
/// When to try again what depends on another service.
const RETRY_LATER: Duration = Duration::from_secs(1);
/// When to try again what operators have stopped: it may take long.
const RETRY_MUCH_LATER: Duration = Duration::from_secs(30);

/// The status of a whole RPC.
pub(super) fn status(refusal: &Refusal, issuance_id: Uuid) -> tonic::Status {
    let verdict = refusal.verdict();
    log(refusal, issuance_id);
    tonic::Status::with_error_details(
        code(verdict.code),
        refusal.sentence(),
        details(refusal, Some(issuance_id)),
    )
}

/// The status of what has no record to be found by, and whose log is kept elsewhere: a request for which there is no room, or the end
/// of a stream.
pub(super) fn unrecorded(refusal: &Refusal) -> tonic::Status {
    let code = code(refusal.verdict().code);
    tonic::Status::with_error_details(code, refusal.sentence(), details(refusal, None))
}

/// The same, of one request on a stream.
pub(super) fn unrecorded_item(refusal: &Refusal) -> pb::Status {
    within(&unrecorded(refusal))
}

/// The status of one command of a batch, or of one request on a stream.
pub(super) fn item_status(refusal: &Refusal, issuance_id: Uuid) -> pb::Status {
    within(&status(refusal, issuance_id))
}

/// A status within a message.
fn within(status: &tonic::Status) -> pb::Status {
    // The details of a tonic status are a google.rpc.Status in bytes, which with_error_details has just written.
    pb::Status::decode(status.details()).unwrap_or_else(|_| pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

fn log(refusal: &Refusal, issuance_id: Uuid) {
    let verdict = refusal.verdict();
    let reason = reason_name(verdict.reason);
    match verdict.outcome {
        Outcome::Failed => tracing::warn!(%issuance_id, reason, "not issued: {refusal}"),
        Outcome::Denied | Outcome::Issued | Outcome::Explained | Outcome::Operated => {
            tracing::debug!(%issuance_id, reason, "not issued: {refusal}");
        }
    }
}

#[expect(clippy::too_many_lines, reason = "an arm for each refusal")]
fn details(refusal: &Refusal, issuance_id: Option<Uuid>) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    if let Some(issuance_id) = issuance_id {
        details.set_request_info(issuance_id.to_string(), "");
    }
    let mut metadata = HashMap::new();
    let mut note = |key: &str, value: &dyn ToString| {
        metadata.insert(key.to_owned(), value.to_string());
    };
    match refusal {
        Refusal::Invalid(violations)
        | Refusal::NotAuthorized(NotAuthorized::Denied(Denied::Content { violations, .. })) => {
            for violation in &violations.0 {
                details.add_bad_request_violation(&*violation.field, &*violation.description);
            }
        }
        Refusal::NotAuthorized(NotAuthorized::AboveCap(above)) => {
            note("cap", &above.cap_name);
            note("cap_seconds", &above.cap);
            details.add_bad_request_violation("expires_in", above.to_string());
        }
        Refusal::NotAuthorized(denied @ NotAuthorized::SourceIpNotHeld) => {
            details.add_bad_request_violation("source_ip", denied.to_string());
        }
        Refusal::NoEndpoint(refused) => {
            details.add_bad_request_violation(&*refused.field, &*refused.detail);
        }
        Refusal::Scope(ScopeError::PolicyTooLong(too_long)) => {
            note("policy_characters", &too_long.length);
            let description = too_long.to_string();
            details.add_precondition_failure_violation("SESSION_POLICY", "command", description);
        }
        Refusal::BeyondSession(beyond) | Refusal::Scope(ScopeError::BeyondSession(beyond)) => {
            note("session_seconds", &beyond.remaining);
            details.add_precondition_failure_violation("SESSION", "expires_in", beyond.to_string());
        }
        Refusal::Scope(ScopeError::Refused { asked_again_in, .. }) => {
            note("asked_again_after_seconds", &whole_seconds(*asked_again_in));
            details.add_precondition_failure_violation("ROLE", "tenant", refusal.sentence());
        }
        Refusal::Scope(error @ ScopeError::CallsFull { limit }) => {
            note("limit", &limit.name);
            note("scope", &limit.scope);
            details.add_quota_failure_violation(&*limit.subject, error.to_string());
            details.set_retry_info(Some(apart(RETRY_LATER)));
        }
        Refusal::NoRoom(no_room) => {
            let limit = no_room.limit();
            note("limit", &limit.name);
            note("scope", &limit.scope);
            match no_room {
                NoRoom::Undeclared { .. } => {
                    details.add_bad_request_violation("content_length", no_room.to_string());
                }
                NoRoom::Away { .. } => {
                    details.set_retry_info(Some(apart(RETRY_LATER)));
                }
                NoRoom::Later { retry_after, .. } => {
                    details.add_quota_failure_violation(&*limit.subject, no_room.to_string());
                    details.set_retry_info(Some(apart(*retry_after)));
                }
                NoRoom::Never { .. } => {
                    details.add_quota_failure_violation(&*limit.subject, no_room.to_string());
                }
            }
        }
        Refusal::Unauthenticated(Unauthenticated::TooManyFailures { retry_after })
        | Refusal::Scope(ScopeError::Unavailable { retry_after, .. }) => {
            details.set_retry_info(Some(*retry_after));
        }
        Refusal::Scope(ScopeError::ClockSkewed(skewed)) => {
            details.set_retry_info(Some(skewed.retry_after()));
        }
        Refusal::Upload(error) => {
            if let Some(answer) = error.answer() {
                note("s3_status", &answer.status);
                note("s3_code", &answer.code);
            }
            if let UploadError::Unavailable { retry_after, .. } = error {
                details.set_retry_info(Some(*retry_after));
            }
        }
        Refusal::Halted(Halted::Suspended) => {
            details.add_precondition_failure_violation("TENANT", "tenant", refusal.sentence());
        }
        Refusal::Halted(Halted::Frozen) => {
            details.set_retry_info(Some(RETRY_MUCH_LATER));
        }
        Refusal::NotKept(NotKept::NoStore) => {
            details.add_precondition_failure_violation("STATE", "state", refusal.sentence());
        }
        Refusal::Unauthenticated(Unauthenticated::NoKeys)
        | Refusal::NotKept(NotKept::Away(_))
        | Refusal::Audit(_)
        | Refusal::Overloaded => {
            details.set_retry_info(Some(RETRY_LATER));
        }
        Refusal::NotAuthorized(
            NotAuthorized::Denied(_) | NotAuthorized::Unbounded { .. } | NotAuthorized::NotHeld(_),
        )
        | Refusal::Unauthenticated(Unauthenticated::Refused { .. })
        | Refusal::Tenant(_)
        | Refusal::NotOperator(_)
        | Refusal::NotReloadable(_)
        | Refusal::TooLarge { .. }
        | Refusal::NotProtobuf
        | Refusal::StreamClosed
        | Refusal::DeadlineExceeded
        | Refusal::Internal => {}
    }
    details.set_error_info(reason_name(refusal.verdict().reason), DOMAIN, metadata);
    details
}

/// Up to a quarter later, so that those who were refused together do not come back together.
fn apart(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + fastrand::f64() / 4.0)
}

/// Enough of them.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::NotFound => tonic::Code::NotFound,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Internal => tonic::Code::Internal,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
    }
}
