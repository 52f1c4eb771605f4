//! A refusal as its caller reads it: the status's message, and each detail on a line.

use std::fmt;

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::DESCRIPTORS;

/// What presignd answered instead.
#[derive(Debug)]
pub struct Refused {
    code: String,
    message: String,
    details: ErrorDetails,
    json: Value,
}

impl Refused {
    pub(super) fn read(status: &Status) -> Self {
        Self {
            code: code(&format!("{:?}", status.code())),
            message: status.message().to_owned(),
            details: status.get_error_details(),
            json: as_json(status),
        }
    }

    /// The `google.rpc.Status` in protobuf's JSON.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Each detail on a line.
    fn lines(&self) -> Vec<String> {
        let details = &self.details;
        let mut lines = Vec::new();
        let bad_request = details.bad_request().into_iter();
        for broken in bad_request.flat_map(|bad| &bad.field_violations) {
            lines.push(format!("{}: {}", broken.field, broken.description));
        }
        let preconditions = details.precondition_failure().into_iter();
        for failed in preconditions.flat_map(|failure| &failure.violations) {
            lines.push(format!("{}: {}", failed.subject, failed.description));
        }
        let quotas = details.quota_failure().into_iter();
        for used_up in quotas.flat_map(|failure| &failure.violations) {
            lines.push(format!("{}: {}", used_up.subject, used_up.description));
        }
        if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
            lines.push(format!("try again in {delay:.1?}"));
        }
        if let Some(info) = details.error_info() {
            let mut metadata: Vec<_> = info.metadata.iter().collect();
            metadata.sort();
            lines.extend(
                metadata
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}")),
            );
            lines.push(format!("reason: {}", info.reason));
        }
        if let Some(request) = details.request_info() {
            lines.push(format!("issuance: {}", request.request_id));
        }
        lines
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        for line in self.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// `PermissionDenied` as gRPC writes it: `PERMISSION_DENIED`.
fn code(name: &str) -> String {
    let mut written = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !written.is_empty() {
            written.push('_');
        }
        written.push(letter.to_ascii_uppercase());
    }
    written
}

fn as_json(status: &Status) -> Value {
    let read = || {
        let of = DESCRIPTORS.get_message_by_name("google.rpc.Status")?;
        let status = prost_reflect::DynamicMessage::decode(of, status.details()).ok()?;
        serde_json::to_value(&status).ok()
    };
    let told = read().filter(|_| !status.details().is_empty());
    told.unwrap_or_else(|| json!({ "code": i32::from(status.code()), "message": status.message() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_detail_has_a_line() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("command.get_object.key", "is missing")
            .add_quota_failure_violation("limit:reads", "is used up")
            .set_error_info(
                "RATE_LIMITED",
                "presignd",
                [("limit".to_owned(), "reads".to_owned())],
            )
            .set_retry_info(Some(Duration::from_millis(1500)))
            .set_request_info("01a2", "");
        let status =
            Status::with_error_details(tonic::Code::ResourceExhausted, "too often", details);
        let refused = Refused::read(&status);
        assert_eq!(
            refused.to_string(),
            "RESOURCE_EXHAUSTED: too often\n  command.get_object.key: is missing\n  limit:reads: is used up\n  \
             try again in 1.5s\n  limit: reads\n  reason: RATE_LIMITED\n  issuance: 01a2"
        );
        let json = refused.json();
        assert_eq!(json["message"], "too often");
        assert_eq!(json["code"], 8);
        let kinds = json["details"].as_array().map(Vec::len);
        assert_eq!(kinds, Some(5), "{json}");
        let bare = Refused::read(&Status::not_found("nothing here"));
        assert_eq!(bare.to_string(), "NOT_FOUND: nothing here");
        assert_eq!(bare.json()["code"], 5);
    }
}
