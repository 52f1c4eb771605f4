//! The edge: what travels as protobuf becomes types whose rules hold, or a refusal that names every broken field.

pub(super) mod upload;

use std::time::Duration;

use http::HeaderMap;

use crate::admit::expiry::{Asked, MAX_EXPIRY, Mode};
use crate::admit::source_ip::{self, SourceIps};
use crate::names::TenantId;
use crate::presign::Request;
use crate::proto::v1::{
    BatchPresignRequest, Command, ExpiryMode, ExplainPresignRequest, PresignPostRequest,
    PresignRequest, StreamPresignRequest,
};
use crate::refusal::Refusal;
use crate::sign::bind::{Violation, Violations};

/// The most commands in one batch.
const MAX_BATCH: usize = 500;
/// The most addresses and networks in `source_ip`: each makes the session policy longer.
const MAX_SOURCE_IPS: usize = 16;
/// The longest `reason` and `subject`, in bytes.
pub(super) const MAX_FREE_TEXT: usize = 256;
/// The longest `request_id` on a stream, in bytes.
pub(super) const MAX_REQUEST_ID: usize = 128;

/// The most of a caller's deadline that is kept for the way back.
const MAX_HEADROOM: Duration = Duration::from_millis(100);

/// What a request asks for, and its command.
pub(crate) fn read_presign(request: PresignRequest) -> Result<(Request, Box<Command>), Refusal> {
    read_with(request, Vec::new())
}

/// The same, of a request on a stream.
pub(super) fn read_on_stream(
    message: StreamPresignRequest,
) -> Result<(Request, Box<Command>), Refusal> {
    let unfit = match message.request_id.len() {
        0 => Some("is required: it tags the answer"),
        1..=MAX_REQUEST_ID => None,
        _ => Some("is longer than 128 bytes"),
    };
    let unfit = unfit.map(|description| violation("request_id", description));
    let request = message.request.unwrap_or_default();
    read_with(request, unfit.into_iter().collect())
}

/// The same, of a request that is to be explained.
pub(super) fn read_explain(
    message: ExplainPresignRequest,
) -> Result<(Request, Box<Command>), Refusal> {
    let read = read_presign(message.request.unwrap_or_default());
    read.map_err(|refusal| match refusal {
        Refusal::Invalid(violations) => Refusal::Invalid(violations.below("request")),
        other => other,
    })
}

fn read_with(
    request: PresignRequest,
    mut violations: Vec<Violation>,
) -> Result<(Request, Box<Command>), Refusal> {
    let command = request.command.unwrap_or_default();
    let missing = command.command.is_none();
    let missing = missing.then(|| {
        violation(
            "command",
            "is required: set one of its fields, such as get_object",
        )
    });
    let common = Common {
        tenant: request.tenant,
        expires_in: request.expires_in,
        expiry_mode: request.expiry_mode,
        reason: request.reason,
        subject: request.subject,
        source_ip: request.source_ip,
    };
    violations.extend(missing);
    let request = common.read(violations)?;
    Ok((request, command))
}

/// What a request for a form asks for, beside the form.
pub(super) fn read_post(request: &mut PresignPostRequest) -> Result<Request, Refusal> {
    let common = Common {
        tenant: std::mem::take(&mut request.tenant),
        expires_in: request.expires_in,
        expiry_mode: request.expiry_mode,
        reason: std::mem::take(&mut request.reason),
        subject: std::mem::take(&mut request.subject),
        source_ip: std::mem::take(&mut request.source_ip),
    };
    common.read(Vec::new())
}

/// What a batch asks for, and its commands.
pub(super) fn read_batch(request: BatchPresignRequest) -> Result<(Request, Vec<Command>), Refusal> {
    let mut violations = Vec::new();
    match request.commands.len() {
        0 => violations.push(violation("commands", "is empty: give 1 to 500 commands")),
        1..=MAX_BATCH => {}
        count => violations.push(violation(
            "commands",
            format!("holds {count}: give 1 to 500, and split what is more"),
        )),
    }
    let common = Common {
        tenant: request.tenant,
        expires_in: request.expires_in,
        expiry_mode: request.expiry_mode,
        reason: request.reason,
        subject: request.subject,
        source_ip: request.source_ip,
    };
    Ok((common.read(violations)?, request.commands))
}

/// What a request and a batch have in common.
struct Common {
    tenant: String,
    expires_in: Option<prost_types::Duration>,
    expiry_mode: i32,
    reason: String,
    subject: String,
    source_ip: Vec<String>,
}

impl Common {
    /// Refuses, for the rules that are broken already and those that these fields break.
    fn refuse<T>(self, violations: Vec<Violation>) -> Result<T, Refusal> {
        // What refuses this has no violations only by a defect.
        self.read(violations).and(Err(Refusal::Internal))
    }

    /// Adds the rules that these fields break to those already found, and refuses if there are any.
    fn read(self, mut violations: Vec<Violation>) -> Result<Request, Refusal> {
        let tenant = TenantId::parse(&self.tenant);
        if let Err(error) = &tenant {
            violations.push(violation("tenant", error.to_string()));
        }
        let expires_in = match self.expires_in.map(whole_seconds) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(description)) => {
                violations.push(violation("expires_in", description));
                None
            }
        };
        let mode = match ExpiryMode::try_from(self.expiry_mode) {
            Ok(ExpiryMode::Unspecified | ExpiryMode::Reject) => Mode::Reject,
            Ok(ExpiryMode::Clamp) => Mode::Clamp,
            Err(_) => {
                violations.push(violation("expiry_mode", "is neither REJECT nor CLAMP"));
                Mode::Reject
            }
        };
        for (field, text) in [("reason", &self.reason), ("subject", &self.subject)] {
            if text.len() > MAX_FREE_TEXT {
                violations.push(violation(field, "is longer than 256 bytes"));
            }
        }
        let source_ip = source_ips(&self.source_ip, &mut violations);
        match tenant {
            Ok(tenant) if violations.is_empty() => Ok(Request {
                tenant,
                asked: Asked { expires_in, mode },
                reason: self.reason,
                subject: self.subject,
                source_ip,
            }),
            _ => Err(Refusal::Invalid(Violations(violations))),
        }
    }
}

/// Reads the addresses, and notes each that is none.
fn source_ips(texts: &[String], violations: &mut Vec<Violation>) -> Option<SourceIps> {
    if texts.len() > MAX_SOURCE_IPS {
        let count = texts.len();
        let description =
            format!("holds {count}: give {MAX_SOURCE_IPS} at most, or wider networks");
        violations.push(violation("source_ip", description));
        return None;
    }
    let networks = texts.iter().enumerate().filter_map(|(index, text)| {
        let error = match source_ip::parse(text) {
            Ok(network) => return Some(network),
            Err(error) => error,
        };
        violations.push(Violation {
            field: format!("source_ip[{index}]").into(),
            description: error.to_string().into(),
        });
        None
    });
    SourceIps::of(networks)
}

fn violation(field: &'static str, description: impl Into<String>) -> Violation {
    Violation {
        field: field.into(),
        description: description.into().into(),
    }
}

fn whole_seconds(duration: prost_types::Duration) -> Result<u32, &'static str> {
    if duration.nanos != 0 {
        return Err("has a fraction of a second: give whole seconds");
    }
    u32::try_from(duration.seconds)
        .ok()
        .filter(|seconds| (1..=MAX_EXPIRY).contains(seconds))
        .ok_or("is not from 1 s to 604800 s (seven days), which is what S3 takes")
}

/// How long presignd works for a caller who waits so long: a little less, so that the refusal arrives while somebody still listens.
pub(super) fn patience(timeout: Duration) -> Duration {
    timeout.saturating_sub((timeout / 10).min(MAX_HEADROOM))
}

/// The caller's deadline, from the gRPC header `grpc-timeout`. What cannot be read counts as none.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::s3::ListBuckets;
    use crate::proto::v1::command::Command as Variant;

    fn request() -> PresignRequest {
        PresignRequest {
            tenant: "acme".into(),
            command: Some(Box::new(Command {
                command: Some(Variant::ListBuckets(ListBuckets::default())),
                ..Command::default()
            })),
            ..PresignRequest::default()
        }
    }

    fn fields(request: PresignRequest) -> Vec<String> {
        match read_presign(request) {
            Ok(_) => Vec::new(),
            Err(Refusal::Invalid(violations)) => {
                violations.0.iter().map(|v| v.field.to_string()).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn lasting(seconds: i64, nanos: i32) -> PresignRequest {
        PresignRequest {
            expires_in: Some(prost_types::Duration { seconds, nanos }),
            ..request()
        }
    }

    #[test]
    fn every_broken_field_is_named_at_once() {
        let broken = PresignRequest {
            tenant: "../b".into(),
            command: None,
            expires_in: Some(prost_types::Duration {
                seconds: 0,
                nanos: 0,
            }),
            expiry_mode: 9,
            reason: "x".repeat(257),
            subject: "x".repeat(257),
            source_ip: vec!["10.0.0.1".into(), "10.0.0.1/8".into(), "office".into()],
        };
        let expected = [
            "command",
            "tenant",
            "expires_in",
            "expiry_mode",
            "reason",
            "subject",
            "source_ip[1]",
            "source_ip[2]",
        ];
        assert_eq!(fields(broken), expected);
    }

    #[test]
    fn expiries_are_whole_seconds_within_what_s3_takes() {
        for seconds in [1, 900, 604_800] {
            let read = read_presign(lasting(seconds, 0)).unwrap();
            assert_eq!(
                read.0.asked.expires_in,
                Some(u32::try_from(seconds).unwrap())
            );
        }
        assert_eq!(read_presign(request()).unwrap().0.asked.expires_in, None);
        for (seconds, nanos) in [
            (0, 0),
            (-1, 0),
            (604_801, 0),
            (i64::MAX, 0),
            (i64::MIN, 0),
            (1, 1),
            (1, -1),
            (900, 500_000_000),
        ] {
            assert_eq!(
                fields(lasting(seconds, nanos)),
                ["expires_in"],
                "{seconds} s {nanos} ns"
            );
        }
    }

    #[test]
    fn addresses_are_few_and_none_is_no_bound() {
        let from = |source_ip: Vec<String>| {
            let request = PresignRequest {
                source_ip,
                ..request()
            };
            read_presign(request).map(|(request, _)| request.source_ip)
        };
        assert_eq!(from(Vec::new()).unwrap(), None);
        let many = |count: u32| (0..count).map(|n| format!("10.0.{}.1", 2 * n)).collect();
        let networks = from(many(16)).unwrap().unwrap();
        assert_eq!(networks.networks().len(), 16);
        assert!(from(many(17)).is_err());
    }

    #[test]
    fn batches_hold_1_to_500_commands() {
        let batch = |count| BatchPresignRequest {
            tenant: "acme".into(),
            commands: vec![Command::default(); count],
            ..BatchPresignRequest::default()
        };
        assert!(read_batch(batch(1)).is_ok() && read_batch(batch(500)).is_ok());
        assert!(read_batch(batch(0)).is_err() && read_batch(batch(501)).is_err());
    }

    #[test]
    fn a_refusal_has_time_to_arrive() {
        let millis = Duration::from_millis;
        assert_eq!(patience(millis(0)), millis(0));
        assert_eq!(patience(millis(10)), millis(9));
        assert_eq!(patience(millis(1000)), millis(900));
        assert_eq!(patience(Duration::from_mins(1)), millis(59_900));
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            timeout(&HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                text.parse().unwrap(),
            )]))
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("10S"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "S", "10", "-1S", "1.5S", "123456789S", "1s", "1\u{e9}"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
