//! The body that the client will send, bound by the signature.
//!
//! Its hash is signed as `x-amz-content-sha256` and stands in the canonical request, so that S3 takes no other body. Where S3 wants a
//! checksum too, or the command announces one, it is made of the same body. Invariant: what is signed of a body is so of the one that
//! was given, as far as presignd can know.
//!
//! Source: the AWS API reference of Amazon S3, "Authenticating requests: using query parameters", and "Checking object integrity".

mod checksum;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use arrayvec::ArrayString;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use self::checksum::Algorithm;
use super::bind::{BindAny, Field, Violation, Violations};
use super::command::{BodyKind, BoundCommand, Header, Operation, Value};
use super::hex::hex;
use crate::proto::v1::Payload;
use crate::proto::v1::payload::Kind;

/// The header that binds the body.
pub(super) const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// The header of the body's length.
const CONTENT_LENGTH: &str = "content-length";
/// The header that names the algorithm of a checksum that is to come.
const ANNOUNCED: &str = "x-amz-sdk-checksum-algorithm";
/// The most bytes of content: 1 MiB.
const MAX_CONTENT_BYTES: usize = 1 << 20;

/// The message as a request of its operation, with this body and no other.
///
/// # Errors
/// Every rule that the payload or a field breaks, by its path in `presignd.v1.Command`.
pub fn bind<'a>(
    message: &'a dyn BindAny,
    payload: &Payload,
) -> Result<BoundCommand<'a>, Violations> {
    let operation = message.operation();
    let body = Body::read(operation, payload);
    let bound = message.to_bound_without_checksum();
    let bound = bound.map_err(|violations| violations.below(operation.field));
    let (mut command, body) = match (bound, body) {
        (Ok(command), Ok(body)) => (command, body),
        (Err(broken), Ok(_)) => return Err(broken),
        (Ok(_), Err(broken)) => return Err(Violations(vec![broken])),
        (Err(mut all), Err(broken)) => {
            all.0.push(broken);
            return Err(all);
        }
    };
    let mut violations = Vec::new();
    body.check(message.fields(), &mut command, &mut violations);
    if violations.is_empty() {
        return Ok(command);
    }
    Err(Violations::bounded(violations).below(operation.field))
}

/// What the client must send as the body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyToSend {
    /// What it is.
    pub kind: BodyKind,
    /// The SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
    /// Whether S3 wants a checksum of it that is not signed: `Content-MD5`, the one that may travel so.
    pub wants_checksum: bool,
}

impl BodyToSend {
    /// What a command's body must be.
    #[must_use]
    pub fn of(command: &BoundCommand<'_>) -> Self {
        let operation = command.operation;
        if operation.body == BodyKind::None {
            return Self {
                kind: BodyKind::None,
                sha256: None,
                wants_checksum: false,
            };
        }
        let bound = find(command, CONTENT_SHA256);
        Self {
            kind: operation.body,
            sha256: bound.and_then(bytes_of_hex),
            wants_checksum: operation.checksum_required && !has_checksum(command),
        }
    }
}

/// What is known of the body.
struct Body<'p> {
    sha256: [u8; 32],
    content: Option<&'p [u8]>,
}

impl<'p> Body<'p> {
    fn read(operation: &Operation, payload: &'p Payload) -> Result<Self, Violation> {
        let violation = |field: &'static str, description: String| Violation {
            field: field.into(),
            description: description.into(),
        };
        if operation.body == BodyKind::None {
            let name = operation.name;
            let without_body = format!("{name} has no body: leave payload out");
            return Err(violation("payload", without_body));
        }
        match &payload.kind {
            None => Err(violation(
                "payload",
                "holds nothing: set content or sha256, or leave payload out to bind no body"
                    .to_owned(),
            )),
            Some(Kind::Content(content)) if content.len() > MAX_CONTENT_BYTES => Err(violation(
                "payload.content",
                format!("is longer than {MAX_CONTENT_BYTES} bytes: give its sha256 instead"),
            )),
            Some(Kind::Content(content)) => Ok(Self {
                sha256: Sha256::digest(content).into(),
                content: Some(content),
            }),
            Some(Kind::Sha256(sha256)) => match <[u8; 32]>::try_from(sha256.as_slice()) {
                Ok(sha256) => Ok(Self {
                    sha256,
                    content: None,
                }),
                Err(_) => Err(violation(
                    "payload.sha256",
                    format!(
                        "holds {} bytes: a SHA-256 has 32, and is not given in hexadecimal",
                        sha256.len()
                    ),
                )),
            },
        }
    }

    /// Holds the command's headers against the body, and adds those that bind it.
    fn check(
        &self,
        fields: &'static [Field],
        command: &mut BoundCommand<'_>,
        violations: &mut Vec<Violation>,
    ) {
        let announces = fields.iter().find(|field| field.name == ANNOUNCED);
        self.check_length(fields, command, violations);
        for field in fields {
            // Of an operation that announces no checksum, those that it has are of another body: of all the parts together.
            let of_body = field.name == checksum::CONTENT_MD5
                || (announces.is_some() && field.name.starts_with(checksum::PREFIX));
            let Some(stated) = find(command, field.name).filter(|_| of_body) else {
                continue;
            };
            let actual = Algorithm::of_header(field.name)
                .and_then(|algorithm| algorithm.of(self.content, &self.sha256));
            if actual.is_some_and(|actual| actual != stated) {
                let description = "is not the checksum of payload: correct it, or leave it out";
                violations.push(violation(field, description));
            }
        }
        self.add_checksum(announces, command, violations);
        let text = hex(&self.sha256);
        add(command, CONTENT_SHA256, Cow::Owned(text.to_string()));
    }

    /// The length of content is signed too.
    fn check_length(
        &self,
        fields: &'static [Field],
        command: &mut BoundCommand<'_>,
        violations: &mut Vec<Violation>,
    ) {
        let Some(content) = self.content else { return };
        let length = content.len();
        let mut buffer = itoa::Buffer::new();
        let actual = buffer.format(length);
        let field = fields.iter().find(|field| field.name == CONTENT_LENGTH);
        match (find(command, CONTENT_LENGTH), field) {
            (Some(stated), Some(field)) if stated != actual => {
                let description =
                    format!("is not the length of payload.content, {length} bytes: leave it out");
                violations.push(violation(field, description));
            }
            (Some(_), _) => {}
            (None, _) => command.headers.push(Header {
                name: CONTENT_LENGTH,
                suffix: Cow::Borrowed(""),
                value: Value::Formatted(ArrayString::from(actual).unwrap_or_default()),
            }),
        }
    }

    /// Adds the checksum that the command announces, or else the one that S3 requires, unless it is there.
    fn add_checksum(
        &self,
        announces: Option<&'static Field>,
        command: &mut BoundCommand<'_>,
        violations: &mut Vec<Violation>,
    ) {
        let Some((field, name)) =
            announces.and_then(|field| Some((field, find(command, ANNOUNCED)?)))
        else {
            if command.operation.checksum_required && !has_checksum(command) {
                let sha256 = Algorithm::Sha256.of(self.content, &self.sha256);
                let header = Algorithm::Sha256.header();
                add(command, header, Cow::Owned(sha256.unwrap_or_default()));
            }
            return;
        };
        let stated: SmallVec<[&str; 2]> = command
            .headers
            .iter()
            .filter_map(|header| header.name.strip_prefix(checksum::PREFIX))
            .collect();
        if stated.iter().any(|rest| rest.eq_ignore_ascii_case(name)) {
            return;
        }
        let algorithm = Algorithm::named(name).filter(|_| stated.is_empty());
        let value =
            algorithm.and_then(|known| Some((known, known.of(self.content, &self.sha256)?)));
        match value {
            Some((algorithm, value)) => add(command, algorithm.header(), Cow::Owned(value)),
            None => violations.push(violation(
                field,
                "announces a checksum that the command does not set, and presignd cannot make of this payload: set it, leave this out, \
                 or use SHA256",
            )),
        }
    }
}

/// Whether a checksum of the body is signed.
fn has_checksum(command: &BoundCommand<'_>) -> bool {
    let is_one = |name: &str| name == checksum::CONTENT_MD5 || name.starts_with(checksum::PREFIX);
    command.headers.iter().any(|header| is_one(header.name))
}

fn find<'c>(command: &'c BoundCommand<'_>, name: &str) -> Option<&'c str> {
    let mut headers = command.headers.iter();
    let header = headers.find(|header| header.name == name);
    header.map(|header| header.value.as_str())
}

fn add<'a>(command: &mut BoundCommand<'a>, name: &'static str, value: Cow<'a, str>) {
    command.headers.push(Header {
        name,
        suffix: Cow::Borrowed(""),
        value: Value::Text(value),
    });
}

fn violation(field: &Field, description: impl Into<Cow<'static, str>>) -> Violation {
    Violation {
        field: field.field.into(),
        description: description.into(),
    }
}

/// The bytes of a hash in hexadecimal.
fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
