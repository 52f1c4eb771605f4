//! Why no URL was issued: the steps' errors as one type, and what each means to a caller.
//!
//! Invariant: the match in [`Refusal::verdict`] is the only place that sorts errors, so that the status, the record and the span of
//! one refusal always agree.

use crate::admit::NotAuthorized;
use crate::admit::expiry::BeyondSession;
use crate::admit::quota::NoRoom;
use crate::audit::{AuditError, Outcome};
use crate::authenticate::Unauthenticated;
use crate::endpoint::NoEndpoint;
use crate::operate::configuration::NotReloadable;
use crate::operate::{Halted, NotKept};
use crate::proto::v1::ErrorReason;
use crate::scope::ScopeError;
use crate::sign::bind::{Violation, Violations};
use crate::tenant::TenantDenied;
use crate::upload::UploadError;

/// Why no URL was issued.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Fields of the request are missing or malformed. The paths are those of the whole request.
    #[error("the request is not valid: {0}")]
    Invalid(Violations),
    /// The request is larger than is read.
    #[error("the request is larger than the {most} bytes that presignd takes: split a batch")]
    TooLarge {
        /// What is read at most, in bytes.
        most: usize,
    },
    /// The request cannot be read at all.
    #[error(
        "the request is no message of its method: presignd's protos describe them, and so does its reflection"
    )]
    NotProtobuf,
    /// As many requests are under way as may be.
    #[error(
        "presignd has as many requests under way as it takes: try again later, or ask another replica"
    )]
    Overloaded,
    /// A stream ends, though its client did not end it.
    #[error(
        "the stream ends, because its connection closes or because it was idle: all that it read is answered; ask for the rest on \
         another stream"
    )]
    StreamClosed,
    /// The caller could not be identified.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// No such tenant for this caller.
    #[error(transparent)]
    Tenant(#[from] TenantDenied),
    /// An operator has stopped it.
    #[error(transparent)]
    Halted(#[from] Halted),
    /// The caller is no operator.
    #[error(transparent)]
    NotOperator(#[from] NotOperator),
    /// An operator's order could not be kept.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// There is no configuration to read anew.
    #[error(transparent)]
    NotReloadable(#[from] NotReloadable),
    /// The grants or caps do not allow it.
    #[error(transparent)]
    NotAuthorized(#[from] NotAuthorized),
    /// A limit has no room.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// There are no credentials.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The session ends before the URL would.
    #[error(transparent)]
    BeyondSession(#[from] BeyondSession),
    /// S3's rules have no endpoint.
    #[error(transparent)]
    NoEndpoint(#[from] NoEndpoint),
    /// S3 did not begin an upload.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The record could not be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The caller's deadline passed.
    #[error("the deadline passed before a URL could be signed")]
    DeadlineExceeded,
    /// A defect of presignd.
    #[error("presignd failed: its log has more under the issuance id")]
    Internal,
}

/// The caller may not do this to presignd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOperator {
    /// It concerns every tenant.
    #[error(
        "you may not operate the whole service: that takes the right `operate` for all tenants"
    )]
    OfService,
    /// There is nothing that they may.
    #[error("you may operate no tenant: that takes the right `operate`")]
    OfAny,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether presignd would not, or could not.
    pub outcome: Outcome,
    /// The gRPC status.
    pub code: Code,
    /// The published reason.
    pub reason: ErrorReason,
}

/// The gRPC status codes that presignd answers with, by their names in google.rpc.Code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl Code {
    /// The name in google.rpc.Code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl Refusal {
    /// A refusal for one field.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(Violations(vec![Violation {
            field: field.into().into(),
            description: description.into().into(),
        }]))
    }

    /// Sorts the refusal.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "an arm for each refusal")]
    pub fn verdict(&self) -> Verdict {
        use ErrorReason as Reason;
        let (outcome, code, reason) = match self {
            Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::NotProtobuf
            | Self::NotAuthorized(NotAuthorized::SourceIpNotHeld) => (
                Outcome::Denied,
                Code::InvalidArgument,
                Reason::InvalidRequest,
            ),
            Self::NoEndpoint(_) => (Outcome::Denied, Code::InvalidArgument, Reason::NoEndpoint),
            Self::NotAuthorized(NotAuthorized::AboveCap(_)) => (
                Outcome::Denied,
                Code::InvalidArgument,
                Reason::ExpiryAboveCap,
            ),
            Self::Unauthenticated(Unauthenticated::Refused { .. }) => (
                Outcome::Denied,
                Code::Unauthenticated,
                Reason::Unauthenticated,
            ),
            Self::Unauthenticated(Unauthenticated::NoKeys) => (
                Outcome::Failed,
                Code::Unavailable,
                Reason::IssuerUnavailable,
            ),
            Self::Unauthenticated(Unauthenticated::TooManyFailures { .. }) => (
                Outcome::Denied,
                Code::ResourceExhausted,
                Reason::TooManyFailures,
            ),
            Self::Tenant(_) => (
                Outcome::Denied,
                Code::PermissionDenied,
                Reason::TenantDenied,
            ),
            Self::Halted(Halted::Suspended) => (
                Outcome::Denied,
                Code::FailedPrecondition,
                Reason::TenantSuspended,
            ),
            Self::Halted(Halted::Frozen) => {
                (Outcome::Denied, Code::Unavailable, Reason::ServiceFrozen)
            }
            Self::NotOperator(_) => (
                Outcome::Denied,
                Code::PermissionDenied,
                Reason::OperationDenied,
            ),
            Self::NotKept(NotKept::NoStore) => (
                Outcome::Failed,
                Code::FailedPrecondition,
                Reason::StateMissing,
            ),
            Self::NotKept(NotKept::Away(_)) => {
                (Outcome::Failed, Code::Unavailable, Reason::StateUnavailable)
            }
            Self::NotReloadable(_) => (
                Outcome::Failed,
                Code::FailedPrecondition,
                Reason::NotReloadable,
            ),
            Self::NotAuthorized(
                NotAuthorized::Denied(_)
                | NotAuthorized::Unbounded { .. }
                | NotAuthorized::NotHeld(_),
            ) => (
                Outcome::Denied,
                Code::PermissionDenied,
                Reason::CommandDenied,
            ),
            Self::NoRoom(no_room) => of_limit(no_room),
            Self::Scope(ScopeError::CallsFull { .. }) => CALLS_FULL,
            Self::BeyondSession(_) | Self::Scope(ScopeError::BeyondSession(_)) => (
                Outcome::Denied,
                Code::FailedPrecondition,
                Reason::ExpiryBeyondSession,
            ),
            Self::Scope(ScopeError::PolicyTooLong(_)) => (
                Outcome::Denied,
                Code::FailedPrecondition,
                Reason::SessionPolicyTooLong,
            ),
            Self::Scope(ScopeError::Refused { .. }) => (
                Outcome::Failed,
                Code::FailedPrecondition,
                Reason::RoleRefused,
            ),
            Self::Scope(ScopeError::Unavailable { .. }) => {
                (Outcome::Failed, Code::Unavailable, Reason::StsUnavailable)
            }
            Self::Scope(ScopeError::ClockSkewed(_)) => {
                (Outcome::Failed, Code::Unavailable, Reason::ClockSkewed)
            }
            Self::Upload(UploadError::Unavailable { .. }) => {
                (Outcome::Failed, Code::Unavailable, Reason::S3Unavailable)
            }
            Self::Upload(UploadError::Refused { answer, .. }) => {
                let code = match answer.status {
                    403 => Code::PermissionDenied,
                    404 => Code::NotFound,
                    _ => Code::FailedPrecondition,
                };
                (Outcome::Failed, code, Reason::S3Refused)
            }
            // The records are closed last, so only who comes after the end meets that.
            Self::Audit(AuditError::Stopped) => {
                (Outcome::Failed, Code::Unavailable, Reason::ShuttingDown)
            }
            Self::Audit(_) => (Outcome::Failed, Code::Unavailable, Reason::AuditUnavailable),
            Self::Overloaded => (Outcome::Failed, Code::Unavailable, Reason::Overloaded),
            Self::StreamClosed => (Outcome::Failed, Code::Unavailable, Reason::StreamClosed),
            Self::DeadlineExceeded => (
                Outcome::Failed,
                Code::DeadlineExceeded,
                Reason::DeadlineExceeded,
            ),
            Self::Internal => (Outcome::Failed, Code::Internal, Reason::Internal),
        };
        Verdict {
            outcome,
            code,
            reason,
        }
    }

    /// The sentence for the caller and for the record: presignd's own words, without what STS, S3 or the audit output said, save S3's error
    /// code.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Scope(ScopeError::Unavailable { .. }) => {
                "STS did not give a session of the tenant's role: try again later".to_owned()
            }
            Self::Scope(ScopeError::Refused { needs, .. }) => {
                let rights = match needs {
                    [] => String::new(),
                    needs => format!(
                        ". The trust policy has to allow {} too, for the session tags or source identity that are configured",
                        needs.join(" and ")
                    ),
                };
                format!(
                    "STS refuses presignd the tenant's role: an operator has to mend the role's trust policy or presignd's \
                     configuration{rights}"
                )
            }
            Self::Scope(ScopeError::ClockSkewed(_)) => {
                "presignd's clock and that of the tenant's STS are too far apart to sign: ask another replica, or try again later"
                    .to_owned()
            }
            Self::Upload(UploadError::Unavailable { call, answer, .. }) => {
                let answer = answer.as_ref();
                let answer = answer.map_or_else(String::new, |answer| format!(", and answered {answer}"));
                format!("S3 did not do {call}{answer}: try again later")
            }
            Self::Audit(AuditError::Stopped) => {
                "presignd is shutting down: ask another replica".to_owned()
            }
            Self::Audit(_) => {
                "the record could not be written, so nothing was issued: try again later".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// A limit on what is under way at once.
const CALLS_FULL: (Outcome, Code, ErrorReason) = (
    Outcome::Denied,
    Code::ResourceExhausted,
    ErrorReason::RateLimited,
);

fn of_limit(no_room: &NoRoom) -> (Outcome, Code, ErrorReason) {
    use ErrorReason as Reason;
    match no_room {
        NoRoom::Undeclared { .. } => (
            Outcome::Denied,
            Code::InvalidArgument,
            Reason::InvalidRequest,
        ),
        NoRoom::Away { .. } => (
            Outcome::Failed,
            Code::Unavailable,
            Reason::CountsUnavailable,
        ),
        NoRoom::Later { window, .. } | NoRoom::Never { window, .. } => (
            Outcome::Denied,
            Code::ResourceExhausted,
            if *window {
                Reason::QuotaExceeded
            } else {
                Reason::RateLimited
            },
        ),
    }
}

/// The reason as it stands in google.rpc.ErrorInfo and in records: `RATE_LIMITED`.
#[must_use]
pub fn reason_name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}
