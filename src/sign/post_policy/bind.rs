//! Puts a request's members into the form's fields, each with its condition, and refuses what S3, HTTP or HTML would misread.
//!
//! Invariant: a field stands once, whichever member of the request it comes from, and its value meets its condition.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use smallvec::SmallVec;

use super::field::{FormField, KnownField, METADATA, Rule};
use super::{KeyRule, LengthRange, PostForm, tagging};
use crate::proto::s3::PutObject;
use crate::proto::v1::form_condition::Rule as Condition;
use crate::proto::v1::presign_post_request::{ContentTypeRule, KeyRule as AskedKey};
use crate::proto::v1::{FormCondition, PresignPostRequest};
use crate::sign::bind::rules::{
    header_name_problem, header_problem, header_value_problem, key_problem,
};
use crate::sign::bind::{Bind, Violation, Violations};
use crate::sign::bucket;
use crate::sign::command::{BoundCommand, Header, LeftOpen, Operation, Value};

/// What S3 replaces by the name of the uploaded file.
const FILENAME: &str = "${filename}";
/// The most fields, metadata and conditions of a request: more never fit into what S3 takes of a form.
const MAX_MEMBERS: usize = 100;
/// The field that has a member of its own for what is in it.
const TAGGING: &str = "tagging";
/// The longest redirect, in bytes.
const MAX_REDIRECT_BYTES: usize = 2048;

/// What is wrong with the bucket of a form that is an ARN.
pub const NO_ARN: &str = "is an ARN, and S3 takes forms for buckets by name: name the bucket, or the access point's alias";

/// What a form does.
pub const OPERATION: &Operation = <PutObject as Bind>::OPERATION;

/// The form that a request asks for.
///
/// # Errors
/// Every rule that a member breaks.
pub fn bind(request: &PresignPostRequest) -> Result<PostForm<'_>, Violations> {
    let mut binder = FormBinder::default();
    if bucket::is_arn(&request.bucket) {
        binder.refuse(Member::Named("bucket"), NO_ARN);
    } else if let Some(problem) = bucket::problem(&request.bucket) {
        binder.refuse(Member::Named("bucket"), problem);
    }
    let key = binder.key(request.key_rule.as_ref());
    let content_length = binder.content_length(request);
    let count = request.fields.len() + request.metadata.len() + request.conditions.len();
    if count > MAX_MEMBERS {
        binder.violations.push(Violation {
            field: "*".into(),
            description: "has more than 100 fields, metadata and conditions, which do not fit into the 20 KB of a form".into(),
        });
    } else {
        binder.members(request);
        binder.entries(&request.metadata, Member::Metadata);
        binder.entries(&request.fields, Member::Field);
        binder.conditions(request);
    }
    let Some(key) = key.filter(|_| binder.violations.is_empty()) else {
        return Err(Violations::bounded(binder.violations));
    };
    let (exact, key_starts_with) = match key {
        KeyRule::Exact(key) => (Some(key), None),
        KeyRule::StartsWith { prefix, .. } => (None, Some(prefix)),
    };
    let leaves_open = |name| {
        let mut drafts = binder.drafts.iter();
        drafts.any(|draft| draft.field.leaves_open(name))
    };
    let (content_type, acl) = (leaves_open("Content-Type"), leaves_open("acl"));
    Ok(PostForm {
        command: BoundCommand {
            operation: OPERATION,
            bucket: Some(&request.bucket),
            key: exact,
            reference: None,
            query: SmallVec::new(),
            headers: binder.drafts.iter().filter_map(Draft::header).collect(),
            host_label: None,
            needed_actions: always_needed() | binder.asked_for,
            unknown_to_aws: Vec::new(),
            left_open: Some(LeftOpen {
                key_starts_with,
                content_length,
                content_type,
                acl,
            }),
            headers_in_query: false,
        },
        key,
        fields: binder.drafts.into_iter().map(|draft| draft.field).collect(),
        unknown_to_aws: binder.unknown_to_aws,
    })
}

/// The actions that an upload needs whatever its fields.
fn always_needed() -> u32 {
    let optional = <PutObject as Bind>::FIELDS
        .iter()
        .fold(0, |mask, field| mask | field.asks_for);
    !optional & ((1 << OPERATION.actions.len()) - 1)
}

/// A member of the request.
#[derive(Debug, Clone, Copy)]
enum Member<'a> {
    Named(&'static str),
    Metadata(&'a str),
    Field(&'a str),
    Condition(usize),
}

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are told as far as anybody reads them: cut after they are escaped, which makes them longer.
        let shown = |name: &str| -> String { name.escape_debug().take(64).collect() };
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Metadata(name) => write!(f, "metadata[\"{}\"]", shown(name)),
            Self::Field(name) => write!(f, "fields[\"{}\"]", shown(name)),
            Self::Condition(index) => write!(f, "conditions[{index}]"),
        }
    }
}

/// A field, and where in the request it comes from.
struct Draft<'a> {
    field: FormField<'a>,
    /// What gives its value.
    value_of: Option<Member<'a>>,
    /// What gives its condition, if not the value.
    condition_of: Option<Member<'a>>,
}

impl<'a> Draft<'a> {
    /// The header of `PutObject` that the field stands for, if it has one value.
    fn header(&self) -> Option<Header<'a>> {
        let Rule::Exact(value) = &self.field.rule else {
            return None;
        };
        let known = KnownField::of(&self.field.name).ok()?;
        let suffix = known.suffix_of(&self.field.name).unwrap_or_default();
        Some(Header {
            name: known.header()?.name,
            suffix: suffix.to_owned().into(),
            value: Value::Text(value.clone()),
        })
    }
}

#[derive(Default)]
struct FormBinder<'a> {
    drafts: SmallVec<[Draft<'a>; 8]>,
    asked_for: u32,
    unknown_to_aws: Vec<Violation>,
    violations: Vec<Violation>,
}

impl<'a> FormBinder<'a> {
    fn refuse(&mut self, member: Member<'_>, description: impl Into<Cow<'static, str>>) {
        self.violations.push(Violation {
            field: member.to_string().into(),
            description: description.into(),
        });
    }

    fn key(&mut self, asked: Option<&'a AskedKey>) -> Option<KeyRule<'a>> {
        let (member, text) = match asked {
            Some(AskedKey::Key(key)) => ("key", key.as_str()),
            Some(AskedKey::KeyStartsWith(prefix)) => ("key_starts_with", prefix.as_str()),
            None => {
                self.refuse(
                    Member::Named("key"),
                    "is required: set key, or key_starts_with for every key that begins so",
                );
                return None;
            }
        };
        let rule = match (text.split_once(FILENAME), member) {
            (Some((prefix, _)), _) => KeyRule::StartsWith {
                prefix,
                template: text.into(),
            },
            (None, "key") => KeyRule::Exact(text),
            (None, _) => KeyRule::StartsWith {
                prefix: text,
                template: format!("{text}{FILENAME}").into(),
            },
        };
        let problem = key_problem(rule.value()).or_else(|| {
            if text.chars().any(char::is_control) {
                Some("has a control character, which forms do not carry unharmed")
            } else if text.starts_with('$') && !text.starts_with(FILENAME) {
                Some("begins with '$', which stores read as the name of a field")
            } else {
                None
            }
        });
        if let Some(problem) = problem {
            self.refuse(Member::Named(member), problem);
            return None;
        }
        Some(rule)
    }

    fn content_length(&mut self, request: &PresignPostRequest) -> Option<LengthRange> {
        let asked = request.content_length_range?;
        if asked.min > asked.max {
            self.refuse(
                Member::Named("content_length_range"),
                "has a min above its max",
            );
        }
        Some(LengthRange {
            min: asked.min,
            max: asked.max,
        })
    }

    /// The members that stand for one field each.
    fn members(&mut self, request: &'a PresignPostRequest) {
        let text = |value: &'a Option<String>| value.as_deref().map(Cow::Borrowed);
        let content_type = match &request.content_type_rule {
            Some(ContentTypeRule::ContentType(value)) => Some(value.as_str().into()),
            _ => None,
        };
        let status = request
            .success_action_status
            .map(|status| status.to_string().into());
        let bucket_key = request
            .bucket_key_enabled
            .map(|enabled| if enabled { "true" } else { "false" }.into());
        if status.is_some() && request.success_action_redirect.is_some() {
            self.refuse(
                Member::Named("success_action_status"),
                "contradicts success_action_redirect: S3 would ignore the status, so give one of the two",
            );
        }
        for (member, name, value) in [
            ("content_type", "Content-Type", content_type),
            ("acl", "acl", text(&request.acl)),
            (
                "storage_class",
                "x-amz-storage-class",
                text(&request.storage_class),
            ),
            (
                "server_side_encryption",
                "x-amz-server-side-encryption",
                text(&request.server_side_encryption),
            ),
            (
                "ssekms_key_id",
                "x-amz-server-side-encryption-aws-kms-key-id",
                text(&request.ssekms_key_id),
            ),
            (
                "ssekms_encryption_context",
                "x-amz-server-side-encryption-context",
                text(&request.ssekms_encryption_context),
            ),
            (
                "bucket_key_enabled",
                "x-amz-server-side-encryption-bucket-key-enabled",
                bucket_key,
            ),
            (
                "checksum_crc32",
                "x-amz-checksum-crc32",
                text(&request.checksum_crc32),
            ),
            (
                "checksum_crc32_c",
                "x-amz-checksum-crc32c",
                text(&request.checksum_crc32_c),
            ),
            (
                "checksum_crc64_nvme",
                "x-amz-checksum-crc64nvme",
                text(&request.checksum_crc64_nvme),
            ),
            (
                "checksum_sha1",
                "x-amz-checksum-sha1",
                text(&request.checksum_sha1),
            ),
            (
                "checksum_sha256",
                "x-amz-checksum-sha256",
                text(&request.checksum_sha256),
            ),
            ("success_action_status", "success_action_status", status),
            (
                "success_action_redirect",
                "success_action_redirect",
                text(&request.success_action_redirect),
            ),
        ] {
            if let Some(value) = value {
                self.value(Member::Named(member), name, value);
            }
        }
        let member = Member::Named("tagging");
        match tagging::problem(&request.tagging) {
            _ if request.tagging.is_empty() => {}
            Some(problem) => self.refuse(member, problem),
            None => {
                let known = KnownField::of(TAGGING).ok();
                let value = Rule::Exact(tagging::xml(&request.tagging).into());
                if let Some(known) = known {
                    self.push(member, known, TAGGING.into(), value);
                }
            }
        }
    }

    /// The entries of a map, in the order of their names, so that the same request is always answered the same.
    fn entries(
        &mut self,
        entries: &'a HashMap<String, String>,
        member: impl Fn(&'a str) -> Member<'a>,
    ) {
        let mut sorted: SmallVec<[(&'a String, &'a String); 8]> = entries.iter().collect();
        sorted.sort_unstable();
        for (name, value) in sorted {
            match member(name) {
                member @ Member::Metadata(_) => {
                    let name = format!("{METADATA}{name}");
                    self.value(member, &name, value.as_str().into());
                }
                member => self.value(member, name, value.as_str().into()),
            }
        }
    }

    fn conditions(&mut self, request: &'a PresignPostRequest) {
        if let Some(ContentTypeRule::ContentTypeStartsWith(prefix)) = &request.content_type_rule {
            let member = Member::Named("content_type_starts_with");
            self.starts_with(member, "Content-Type", prefix);
        }
        for (index, FormCondition { field, rule }) in request.conditions.iter().enumerate() {
            let member = Member::Condition(index);
            match rule {
                Some(Condition::Equals(value)) => self.equals(member, field, value),
                Some(Condition::StartsWith(prefix)) => self.starts_with(member, field, prefix),
                None => self.refuse(member, "has no rule: set equals or starts_with"),
            }
        }
    }

    /// A member that gives a field its value.
    fn value(&mut self, member: Member<'a>, name: &str, value: Cow<'a, str>) {
        let Some((known, name)) = self.known(member, name) else {
            return;
        };
        if let Some(problem) = value_problem(known, &value) {
            self.refuse(member, problem);
            return;
        }
        match self.find(&name).and_then(|draft| draft.value_of) {
            Some(other) => self.refuse(member, format!("gives a value to {name}, as does {other}")),
            None => self.push(member, known, name, Rule::Exact(value)),
        }
    }

    /// A condition for one value: the field's, which it gives if nothing else does.
    fn equals(&mut self, member: Member<'a>, name: &str, value: &'a str) {
        let Some((known, name)) = self.known(member, name) else {
            return;
        };
        if let Some(problem) = value_problem(known, value) {
            self.refuse(member, problem);
            return;
        }
        let Some(draft) = self.find(&name) else {
            self.push(member, known, name, Rule::Exact(value.into()));
            return;
        };
        let problem = if let Some(other) = draft.condition_of {
            Some(twice(&name, other))
        } else {
            draft.condition_of = Some(member);
            contradiction(draft, |given| given == value)
        };
        if let Some(problem) = problem {
            self.refuse(member, problem);
        }
    }

    /// A condition that leaves what follows to the client.
    fn starts_with(&mut self, member: Member<'a>, name: &str, prefix: &'a str) {
        let Some((known, name)) = self.known(member, name) else {
            return;
        };
        let problem = if known.starts_with {
            value_problem_of_beginning(prefix)
        } else {
            Some("lets the client choose, which S3 does not do for this field: use equals")
        };
        if let Some(problem) = problem {
            self.refuse(member, problem);
            return;
        }
        let Some(draft) = self.find(&name) else {
            let value = None;
            self.push(member, known, name, Rule::StartsWith { prefix, value });
            return;
        };
        let problem = if let Some(other) = draft.condition_of {
            Some(twice(&name, other))
        } else {
            draft.condition_of = Some(member);
            contradiction(draft, |given| given.starts_with(prefix))
        };
        match problem {
            Some(problem) => self.refuse(member, problem),
            None => draft_opened(self.find(&name), prefix),
        }
    }

    /// What is known of a field, and its name as S3's documentation writes it.
    fn known(
        &mut self,
        member: Member<'a>,
        name: &str,
    ) -> Option<(&'static KnownField, Cow<'static, str>)> {
        let known = match KnownField::of(name) {
            Ok(known) => known,
            Err(problem) => {
                self.refuse(member, problem);
                return None;
            }
        };
        if known.name == TAGGING {
            self.refuse(
                member,
                "gives tags as they are sent: set them as pairs in tagging",
            );
            return None;
        }
        let Some(suffix) = known.suffix_of(name) else {
            return Some((known, known.name.into()));
        };
        if let Some(problem) = header_name_problem(suffix) {
            self.refuse(member, problem);
            return None;
        }
        Some((known, name.to_ascii_lowercase().into()))
    }

    fn find(&mut self, name: &str) -> Option<&mut Draft<'a>> {
        let mut drafts = self.drafts.iter_mut();
        drafts.find(|draft| draft.field.name == name)
    }

    fn push(
        &mut self,
        member: Member<'a>,
        known: &'static KnownField,
        name: Cow<'static, str>,
        rule: Rule<'a>,
    ) {
        if let Some(header) = known.header() {
            self.asked_for |= header.asks_for;
            let allowed = header.allowed_values;
            let unknown = |value: &str| !allowed.is_empty() && !allowed.contains(&value);
            if matches!(&rule, Rule::Exact(value) if unknown(value)) {
                self.unknown_to_aws.push(Violation {
                    field: member.to_string().into(),
                    description: format!("is not one of {}", allowed.join(", ")).into(),
                });
            }
        }
        let gives_value = matches!(rule, Rule::Exact(_));
        let is_condition = matches!(member, Member::Condition(_)) || !gives_value;
        self.drafts.push(Draft {
            field: FormField { name, rule },
            value_of: gives_value.then_some(member),
            condition_of: is_condition.then_some(member),
        });
    }
}

fn twice(name: &str, other: Member<'_>) -> String {
    format!("is a second condition on {name}, after {other}: give one")
}

/// Whether the value that a draft has does not meet a condition.
fn contradiction(draft: &Draft<'_>, meets: impl Fn(&str) -> bool) -> Option<String> {
    let (_, value) = draft.field.sent()?;
    let other = draft.value_of.filter(|_| !meets(value))?;
    Some(format!(
        "contradicts {other}, whose value it does not let through: change one of the two"
    ))
}

/// Lets the client choose what follows the beginning.
fn draft_opened<'a>(draft: Option<&mut Draft<'a>>, prefix: &'a str) {
    if let Some(draft) = draft
        && let Rule::Exact(value) = &mut draft.field.rule
    {
        let value = Some(std::mem::take(value));
        draft.field.rule = Rule::StartsWith { prefix, value };
    }
}

/// What is wrong with the value of a field, if anything: most become headers of the object.
fn value_problem(known: &KnownField, value: &str) -> Option<&'static str> {
    match known.name {
        "success_action_status" if !matches!(value, "200" | "201" | "204") => {
            Some("is neither 200 nor 201 nor 204, which is what S3 answers to an upload")
        }
        "success_action_redirect" => redirect_problem(value),
        _ if value.contains(FILENAME) => Some(
            "holds ${filename}, which S3 replaces, so that the value would not be the signed one: only the key may hold it",
        ),
        _ => header_problem(
            known.header().map_or(known.name, |header| header.name),
            value,
        ),
    }
}

/// What is wrong with the beginning of a value.
fn value_problem_of_beginning(prefix: &str) -> Option<&'static str> {
    if prefix.starts_with('$') {
        Some("begins with '$', which stores read as the name of a field")
    } else if prefix.ends_with(' ') {
        // Within a value a space is well.
        header_value_problem(prefix.trim_end_matches(' '))
    } else {
        header_value_problem(prefix)
    }
}

/// What is wrong with the URL of a redirect.
fn redirect_problem(url: &str) -> Option<&'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if url.len() > MAX_REDIRECT_BYTES {
        Some("is longer than 2048 bytes")
    } else if !url.bytes().all(|b| b.is_ascii_graphic()) {
        Some(
            "is not a URL: percent-encode what is not printable ASCII, and write a host name in its ASCII form",
        )
    } else if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) {
        Some("is not an http or https URL with a host")
    } else {
        None
    }
}
