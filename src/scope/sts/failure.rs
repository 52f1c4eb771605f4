//! What STS answered instead of a session: it is not there, or it refuses.
//!
//! Stores other than AWS answer in S3's error form, which the SDK does not read, so that the HTTP status decides.

use std::error::Error;
use std::time::Duration;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use crate::scope::ScopeError;

/// How much of an answer goes into the log, in characters, and of a code.
const SHOWN: usize = 300;
const SHOWN_CODE: usize = 64;

/// A failure, and what STS said where it is the one to blame.
pub(super) struct Failure {
    pub(super) error: ScopeError,
    code: String,
    message: String,
}

impl Failure {
    /// Whether STS gives shorter sessions only, because presignd's own credentials are the session of a role.
    pub(super) fn is_chaining_limit(&self) -> bool {
        self.code == "ValidationError"
            && self.message.to_ascii_lowercase().contains("role chaining")
    }

    /// Whether the role is there, and does not let presignd have what it asks for.
    pub(super) fn is_access_denied(&self) -> bool {
        matches!(&*self.code, "AccessDenied" | "AccessDeniedException")
    }
}

impl From<ScopeError> for Failure {
    fn from(error: ScopeError) -> Self {
        Self {
            error,
            code: String::new(),
            message: String::new(),
        }
    }
}

/// Sorts what went wrong. Nothing that `is_secret` finds a secret in is repeated.
pub(super) fn failure<E>(error: &SdkError<E>, is_secret: impl Fn(&str) -> bool) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let SdkError::ServiceError(service) = error else {
        return Failure::from(ScopeError::unavailable(shown(&causes(error), SHOWN)));
    };
    let status = service.raw().status().as_u16();
    if (200..300).contains(&status) {
        // The body may hold a secret key, and stays out of the log.
        let detail = format!("STS answered {status} and nothing that reads as a session");
        return Failure::from(ScopeError::unavailable(detail));
    }
    let body = service.raw().body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
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
    let is_secret = |words: &str| is_secret(words) || holds_session(words);
    let (code, message) = match service.err().message().unwrap_or(&body) {
        words if is_secret(words) || is_secret(&code) => {
            ("an error", "in words that hold a secret of presignd's")
        }
        words => (code.as_str(), words),
    };
    let (shown_code, shown_message) = (shown(code, SHOWN_CODE), shown(message, SHOWN));
    let detail = format!("STS answered {status} {shown_code}: {shown_message}");
    let passing = matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "TooManyRequests"
            | "IDPCommunicationError"
    );
    let error = if (400..500).contains(&status) && !passing && !matches!(status, 408 | 429) {
        ScopeError::Refused {
            detail: detail.into(),
            needs: &[],
            asked_again_in: Duration::ZERO,
        }
    } else {
        ScopeError::unavailable(detail)
    };
    Failure {
        error,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// Whether an answer that is no session speaks of one all the same: then a secret key may follow.
fn holds_session(words: &str) -> bool {
    words.contains("SecretAccessKey") || words.contains("SessionToken")
}

/// Somebody else's words as a log or a terminal may show them: cut, and with nothing in them that ends a line, steers a terminal or
/// reorders text.
fn shown(words: &str, characters: usize) -> String {
    let mut shown = String::with_capacity(words.len().min(characters));
    for c in words.chars().take(characters) {
        match c {
            '"' | '\'' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    if words.chars().nth(characters).is_some() {
        shown.push('…');
    }
    shown
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

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn words_forge_no_line_and_steer_no_terminal() {
        let words =
            "User \"a\" is not\r\n{\"level\":\"INFO\"}\u{1b}[2J\u{9b}1A\u{202e}\u{2028}\0 \\n é";
        assert_eq!(
            shown(words, 300),
            r#"User "a" is not\r\n{"level":"INFO"}\u{1b}[2J\u{9b}1A\u{202e}\u{2028}\0 \\n é"#
        );
    }

    #[test]
    fn words_without_end_are_cut() {
        assert_eq!(
            shown(&"é".repeat(1 << 20), 300),
            format!("{}…", "é".repeat(300))
        );
        assert_eq!(shown("whole", 5), "whole");
    }
}
