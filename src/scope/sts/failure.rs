//! What STS answered instead of a session: it is not there, or it refuses.
//!
//! Stores other than AWS answer in S3's error form, which the SDK does not read, so that the HTTP status decides.

use std::error::Error;

use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;

use crate::scope::ScopeError;

/// How much of an unreadable answer goes into the log.
const SHOWN_BODY: usize = 300;

pub(super) fn failure(error: &SdkError<AssumeRoleError>) -> ScopeError {
    let SdkError::ServiceError(service) = error else {
        return ScopeError::Unavailable {
            detail: causes(error).into(),
        };
    };
    let status = service.raw().status().as_u16();
    if (200..300).contains(&status) {
        // The body may hold a secret key, and stays out of the log.
        return ScopeError::Unavailable {
            detail: format!("STS answered {status} and nothing that reads as a session").into(),
        };
    }
    let body = service.raw().body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BODY)]);
    let code = service
        .err()
        .code()
        .or_else(|| {
            body.split_once("<Code>")?
                .1
                .split_once('<')
                .map(|(code, _)| code)
        })
        .unwrap_or("no code")
        .to_owned();
    let message = service.err().message().unwrap_or(&body);
    let detail = format!("STS answered {status} {code}: {message}").into();
    let throttled = matches!(
        code.as_str(),
        "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "TooManyRequests"
    );
    if (400..500).contains(&status) && !throttled && !matches!(status, 408 | 429) {
        ScopeError::Refused { detail }
    } else {
        ScopeError::Unavailable { detail }
    }
}

/// An error and what caused it, in their own words: their debug form would hold what STS answered, secrets included.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}
