//! Puts a command message's fields where they travel, and refuses what S3 or HTTP would misread.
//!
//! The generated code calls one method of [`Binder`] for each field, and every rule for a place is written once, here. Invariant:
//! a [`BoundCommand`] that comes out has every required member, header values that cannot break out of their line, and a key that
//! no URL parser turns into another.

mod field;
#[cfg(test)]
mod laws;
pub(super) mod rules;
#[cfg(test)]
mod tests;
mod violation;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use arrayvec::ArrayString;
use smallvec::SmallVec;

use self::rules::{
    header_name_problem, header_problem, header_value_problem, key_problem, parse_reference,
    query_problem,
};
use super::command::{
    BoundCommand, Header, ObjectReference, Operation, PathForm, QueryParameter, Value,
};
use super::timestamp;
use super::{bucket, encode};

pub use self::field::{Field, Place, TimestampFormat};
pub use self::violation::{Violation, Violations};

/// A command message that knows its operation.
pub trait Bind {
    /// The S3 operation that the message stands for.
    const OPERATION: &'static Operation;
    /// The places of its fields, in the order of the message.
    const FIELDS: &'static [Field];

    /// Hands every field to the binder.
    fn bind<'a>(&'a self, binder: &mut Binder<'a>);
}

/// [`Bind`] for a message whose type is not known until run time.
pub trait BindAny {
    /// The S3 operation that the message stands for.
    fn operation(&self) -> &'static Operation;
    /// The places of its fields, in the order of the message.
    fn fields(&self) -> &'static [Field];
    /// The message as a request of its operation.
    ///
    /// # Errors
    /// Every rule that a field breaks.
    fn to_bound(&self) -> Result<BoundCommand<'_>, Violations>;
    /// The same, though a checksum that it announces may still be missing: the body is at hand, and the checksum is made from it.
    ///
    /// # Errors
    /// Every rule that a field breaks.
    fn to_bound_without_checksum(&self) -> Result<BoundCommand<'_>, Violations>;
}

impl<T: Bind> BindAny for T {
    fn operation(&self) -> &'static Operation {
        T::OPERATION
    }

    fn fields(&self) -> &'static [Field] {
        T::FIELDS
    }

    fn to_bound(&self) -> Result<BoundCommand<'_>, Violations> {
        let mut binder = Binder::new(T::OPERATION);
        self.bind(&mut binder);
        binder.check_announced();
        binder.finish()
    }

    fn to_bound_without_checksum(&self) -> Result<BoundCommand<'_>, Violations> {
        let mut binder = Binder::new(T::OPERATION);
        self.bind(&mut binder);
        binder.finish()
    }
}

impl<'a> BoundCommand<'a> {
    /// Puts the bucket in the place of what the caller called it.
    pub fn set_bucket(&mut self, bucket: &'a str) {
        self.bucket = Some(bucket);
    }

    /// Says that the tenant pays for the request, as buckets may demand, unless the command says so already.
    pub fn requester_pays(&mut self) {
        if !self
            .headers
            .iter()
            .any(|header| header.name == REQUEST_PAYER)
        {
            self.headers.push(Header {
                name: REQUEST_PAYER,
                suffix: Cow::Borrowed(""),
                value: Value::Text("requester".into()),
            });
        }
    }

    /// Puts the bucket of the object that the command reads in the place of what the caller called it, and writes its header anew.
    pub fn set_reference_bucket(&mut self, bucket: &'a str) {
        let Some(reference) = &mut self.reference else {
            return;
        };
        reference.bucket = bucket;
        let header = self.headers.iter_mut().find(|h| h.name == reference.header);
        debug_assert!(header.is_some(), "a reference travels in its header");
        if let Some(header) = header {
            header.value = Value::Text(encoded(reference).into());
        }
    }
}

impl BoundCommand<'_> {
    /// Refuses enum values that AWS does not know, for requests to AWS. Compatible stores have values of their own.
    ///
    /// # Errors
    /// Every field with such a value.
    pub fn known_to_aws(&self) -> Result<(), Violations> {
        if self.unknown_to_aws.is_empty() {
            return Ok(());
        }
        let violation = |field: &&'static Field| Violation {
            field: field.field.into(),
            description: format!("is not one of {}", field.allowed_values.join(", ")).into(),
        };
        Err(Violations(
            self.unknown_to_aws.iter().map(violation).collect(),
        ))
    }
}

/// The header that says who pays.
pub const REQUEST_PAYER: &str = "x-amz-request-payer";

/// The longest that all headers of a command may be together, in bytes of names and values.
const MAX_HEADERS_BYTES: usize = 16_384;

/// Collects a command's fields and the rules that they break.
pub struct Binder<'a> {
    command: BoundCommand<'a>,
    violations: Vec<Violation>,
    /// `x-amz-sdk-checksum-algorithm`, if it is set: the field and the header that it announces.
    announced_checksum: Option<(&'static str, &'a str)>,
}

impl<'a> Binder<'a> {
    fn new(operation: &'static Operation) -> Self {
        Self {
            command: BoundCommand {
                operation,
                bucket: None,
                key: None,
                reference: None,
                query: SmallVec::new(),
                headers: SmallVec::new(),
                host_label: None,
                needed_actions: 0,
                unknown_to_aws: Vec::new(),
                left_open: None,
                headers_in_query: false,
            },
            violations: Vec::new(),
            announced_checksum: None,
        }
    }

    /// A string member.
    pub fn text(&mut self, field: &'static Field, value: Option<&'a str>) {
        let Some(value) = value.filter(|v| !(field.required && v.is_empty())) else {
            self.missing(field);
            return;
        };
        self.check_known(field, value);
        match field.place {
            Place::Bucket => self.bucket(field, value),
            Place::Key => self.key(field, value),
            Place::Query => match query_problem(field.name, value) {
                Some(problem) => self.refuse(field, problem),
                None => self.query(field, Value::Text(value.into())),
            },
            Place::Header if field.object_reference => self.reference(field, value),
            Place::Header | Place::HeaderPrefix => self.header_text(field, value),
        }
    }

    /// An integer member.
    pub fn integer(&mut self, field: &'static Field, value: Option<i64>) {
        match value {
            Some(value) => self.formatted(field, itoa::Buffer::new().format(value)),
            None => self.missing(field),
        }
    }

    /// A boolean member.
    pub fn boolean(&mut self, field: &'static Field, value: Option<bool>) {
        match value {
            Some(value) => self.formatted(field, if value { "true" } else { "false" }),
            None => self.missing(field),
        }
    }

    /// A timestamp member.
    pub fn timestamp(&mut self, field: &'static Field, value: Option<&prost_types::Timestamp>) {
        let Some(value) = value else {
            self.missing(field);
            return;
        };
        let written = match field.timestamp_format {
            Some(TimestampFormat::Iso8601) => timestamp::iso8601(value.seconds, value.nanos),
            _ => timestamp::http_date(value.seconds, value.nanos),
        };
        match written {
            Some(text) => self.formatted(field, &text),
            None => self.refuse(field, "is not a time between the years 1 and 9999"),
        }
    }

    /// A list member: a header with commas, as S3 joins them.
    pub fn list(&mut self, field: &'static Field, values: &'a [String]) {
        if values.is_empty() {
            self.missing(field);
            return;
        }
        if values.iter().any(|v| v.is_empty() || v.contains(',')) {
            self.refuse(
                field,
                "has an entry that is empty or holds a comma: give each value an entry of its own",
            );
            return;
        }
        for value in values {
            self.check_known(field, value);
        }
        let joined = values.join(",");
        match header_value_problem(&joined) {
            Some(problem) => self.refuse(field, problem),
            None => self.place(field, Value::Text(joined.into())),
        }
    }

    /// A map member: one header for each entry.
    pub fn map(&mut self, field: &'static Field, entries: &'a HashMap<String, String>) {
        // Sorted, so that the same request is always answered the same.
        let mut sorted: SmallVec<[(&'a String, &'a String); 8]> = entries.iter().collect();
        sorted.sort_unstable();
        let mut lowered = HashSet::new();
        for (name, value) in sorted {
            let suffix = if name.bytes().any(|b| b.is_ascii_uppercase()) {
                Cow::Owned(name.to_ascii_lowercase())
            } else {
                Cow::Borrowed(name.as_str())
            };
            let twice = matches!(&suffix, Cow::Owned(lower)
                if entries.contains_key(lower) || !lowered.insert(lower.clone()));
            let problem = match header_name_problem(name) {
                None if twice => Some("stands twice: header names do not tell capitals apart"),
                None => header_value_problem(value),
                problem => problem,
            };
            if let Some(problem) = problem {
                // Cut after it is escaped, which makes it longer.
                let shown: String = name.escape_debug().take(64).collect();
                self.violations.push(Violation {
                    field: format!("{}[\"{shown}\"]", field.field).into(),
                    description: problem.into(),
                });
                continue;
            }
            self.command.headers.push(Header {
                name: field.name,
                suffix,
                value: Value::Text(value.into()),
            });
        }
    }

    /// Notes whether the request needs the operation's action of this index.
    pub fn needs(&mut self, action: u32, needed: bool) {
        self.command.needed_actions |= u32::from(needed) << action;
    }

    /// Whether the copy source names a version.
    pub fn reference_names_version(&self) -> bool {
        self.command
            .reference
            .as_ref()
            .is_some_and(|r| r.version_id.is_some())
    }

    /// Refuses to announce a checksum that does not come.
    fn check_announced(&mut self) {
        if let Some((field, algorithm)) = self.announced_checksum {
            let announced = |h: &Header<'_>| {
                h.name
                    .strip_prefix("x-amz-checksum-")
                    .is_some_and(|rest| rest.eq_ignore_ascii_case(algorithm))
            };
            if !self.command.headers.iter().any(announced) {
                self.violations.push(Violation {
                    field: field.into(),
                    description: "S3 refuses a checksum algorithm without its checksum: set the checksum member, or leave this out".into(),
                });
            }
        }
    }

    fn finish(mut self) -> Result<BoundCommand<'a>, Violations> {
        let path = self.command.operation.path;
        debug_assert!(
            !self.violations.is_empty() || self.command.key.is_some() || path != PathForm::Object,
            "the key is a required member of every operation on an object"
        );
        let headers = self.command.headers.iter();
        let header_bytes: usize = headers
            .map(|h| h.name.len() + h.suffix.len() + h.value.as_str().len())
            .sum();
        if header_bytes > MAX_HEADERS_BYTES {
            self.violations.push(Violation {
                field: "*".into(),
                description: "the headers together are longer than 16384 bytes".into(),
            });
        }
        if self.violations.is_empty() {
            return Ok(self.command);
        }
        Err(Violations::bounded(self.violations))
    }

    /// Notes a value that AWS does not know. Whether that matters depends on the store.
    fn check_known(&mut self, field: &'static Field, value: &str) {
        if !field.allowed_values.is_empty() && !field.allowed_values.contains(&value) {
            self.command.unknown_to_aws.push(field);
        }
    }

    fn bucket(&mut self, field: &'static Field, name: &'a str) {
        match bucket::problem(name) {
            Some(problem) => self.refuse(field, problem),
            None => self.command.bucket = Some(name),
        }
    }

    fn key(&mut self, field: &'static Field, key: &'a str) {
        match key_problem(key) {
            Some(problem) => self.refuse(field, problem),
            None => self.command.key = Some(key),
        }
    }

    fn reference(&mut self, field: &'static Field, text: &'a str) {
        match parse_reference(field, text) {
            Ok(reference) => {
                let encoded = encoded(&reference);
                self.command.reference = Some(reference);
                self.place(field, Value::Text(encoded.into()));
            }
            Err(problem) => self.refuse(field, problem),
        }
    }

    fn header_text(&mut self, field: &'static Field, value: &'a str) {
        if let Some(problem) = header_problem(field.name, value) {
            self.refuse(field, problem);
            return;
        }
        if field.host_label {
            let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if value.is_empty() || value.len() > 63 || !value.bytes().all(label) {
                self.refuse(
                    field,
                    "becomes a label of the host: use 1 to 63 ASCII letters, digits and hyphens",
                );
                return;
            }
            self.command.host_label = Some(value);
        }
        if field.name == "x-amz-sdk-checksum-algorithm" {
            self.announced_checksum = Some((field.field, value));
        }
        self.place(field, Value::Text(value.into()));
    }

    fn formatted(&mut self, field: &'static Field, text: &str) {
        match ArrayString::from(text) {
            Ok(text) => self.place(field, Value::Formatted(text)),
            Err(_) => self.refuse(field, "is too long"),
        }
    }

    fn query(&mut self, field: &'static Field, value: Value<'a>) {
        self.command.query.push(QueryParameter {
            name: field.name,
            value,
        });
    }

    fn place(&mut self, field: &'static Field, value: Value<'a>) {
        if field.place == Place::Query {
            self.query(field, value);
        } else {
            self.command.headers.push(Header {
                name: field.name,
                suffix: Cow::Borrowed(""),
                value,
            });
        }
    }

    fn missing(&mut self, field: &'static Field) {
        if field.required {
            self.refuse(field, "is required");
        }
    }

    fn refuse(&mut self, field: &'static Field, description: impl Into<Cow<'static, str>>) {
        self.violations.push(Violation {
            field: field.field.into(),
            description: description.into(),
        });
    }
}

/// The reference as its header holds it.
fn encoded(reference: &ObjectReference<'_>) -> String {
    let (bucket, key) = (reference.bucket, reference.key);
    let mut encoded = String::with_capacity(bucket.len() + key.len() + 16);
    encode::path_into(&mut encoded, bucket);
    encoded.push_str(if bucket::is_arn(bucket) {
        "/object/"
    } else {
        "/"
    });
    encode::path_into(&mut encoded, key);
    if let Some(version) = reference.version_id {
        encoded.push_str("?versionId=");
        encoded.push_str(version);
    }
    encoded
}
