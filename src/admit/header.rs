//! What a grant says of headers that decide how an object is kept, and for whom: encryption, ACL, storage class. Pure.
//!
//! A header that is asked for is signed, so whoever holds the URL sends it as it was allowed; and S3 takes no `x-amz-` header that is not
//! signed. Invariant: where a rule lists values, what is allowed carries one of them, or, unless one is required, none.

use std::fmt;

use super::content::header;
use crate::sign::bind::Violation;
use crate::sign::command::BoundCommand;

/// The rules of a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// With what an object is encrypted.
    pub server_side_encryption: Option<HeaderRule>,
    /// The KMS keys that it may be encrypted with, as a request names them; none: any.
    pub kms_keys: Vec<String>,
    /// Whom its canned ACL lets in; any rule keeps single permissions out.
    pub acl: Option<HeaderRule>,
    /// Its storage class.
    pub storage_class: Option<HeaderRule>,
}

/// What is said of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRule {
    /// It has to be there, and one of these.
    Require(Vec<String>),
    /// It may be there, and then is one of these.
    Allow(Vec<String>),
    /// It may not be there.
    Forbid,
}

/// The commands that say with what an object is encrypted.
pub const ENCRYPTING: [&str; 4] = [
    "CopyObject",
    "CreateMultipartUpload",
    "CreateSession",
    "PutObject",
];
/// The commands that give an ACL.
pub const SHARING: [&str; 6] = [
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "PutBucketAcl",
    "PutObject",
    "PutObjectAcl",
];
/// Those of them that give it in the body, out of the signer's sight, unless a header has it.
const SHARING_IN_BODY: [&str; 2] = ["PutBucketAcl", "PutObjectAcl"];
/// The commands that give an object its storage class.
pub const STORING: [&str; 3] = ["CopyObject", "CreateMultipartUpload", "PutObject"];

/// A header: its name, the field of commands that it comes from, and the field of forms.
struct Name {
    header: &'static str,
    field: &'static str,
    of_form: &'static str,
}

const fn amz(header: &'static str, field: &'static str) -> Name {
    Name {
        header,
        field,
        of_form: header,
    }
}

const ENCRYPTION: Name = amz("x-amz-server-side-encryption", "server_side_encryption");
const KMS_KEY: Name = amz(
    "x-amz-server-side-encryption-aws-kms-key-id",
    "ssekms_key_id",
);
/// Encryption with a key of the client's own.
const OWN_KEY: Name = amz(
    "x-amz-server-side-encryption-customer-algorithm",
    "sse_customer_algorithm",
);
const CLASS: Name = amz("x-amz-storage-class", "storage_class");
const ACL: Name = Name {
    header: "x-amz-acl",
    field: "acl",
    of_form: "acl",
};
const PERMISSIONS: [Name; 5] = [
    amz("x-amz-grant-full-control", "grant_full_control"),
    amz("x-amz-grant-read", "grant_read"),
    amz("x-amz-grant-read-acp", "grant_read_acp"),
    amz("x-amz-grant-write", "grant_write"),
    amz("x-amz-grant-write-acp", "grant_write_acp"),
];

impl HeaderRules {
    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rules that the command breaks, by its fields.
    #[must_use]
    pub fn broken_by(&self, command: &BoundCommand<'_>) -> Vec<Violation> {
        let is_one_of = |commands: &[&str]| commands.contains(&command.operation.name);
        let mut broken = Vec::new();
        if is_one_of(&ENCRYPTING) {
            if let Some(rule) = &self.server_side_encryption {
                broken.extend(rule.broken(&ENCRYPTION, command, false));
                broken.extend(unlisted(&OWN_KEY, command, "a key of the client's own"));
                if *rule == HeaderRule::Forbid {
                    broken.extend(unlisted(&KMS_KEY, command, "encryption"));
                }
            }
            broken.extend(self.key(command));
        }
        if let Some(rule) = self.acl.as_ref().filter(|_| is_one_of(&SHARING)) {
            broken.extend(rule.broken(&ACL, command, is_one_of(&SHARING_IN_BODY)));
            let single = PERMISSIONS.iter();
            broken.extend(single.filter_map(|name| unlisted(name, command, "single permissions")));
        }
        if let Some(rule) = self.storage_class.as_ref().filter(|_| is_one_of(&STORING)) {
            broken.extend(rule.broken(&CLASS, command, false));
        }
        broken
    }

    /// What is wrong with the KMS key.
    fn key(&self, command: &BoundCommand<'_>) -> Option<Violation> {
        if self.kms_keys.is_empty() {
            return None;
        }
        let by_kms = header(command, ENCRYPTION.header).is_some_and(|by| by.starts_with("aws:kms"));
        let fix = match header(command, KMS_KEY.header) {
            Some(key) if self.kms_keys.iter().any(|known| known == key) => return None,
            None if !by_kms => return None,
            Some(_) => "is not one of",
            None => "is required, and one of",
        };
        Some(KMS_KEY.violation(command, format!("{fix} {}", self.kms_keys.join(", "))))
    }
}

impl HeaderRule {
    /// What is wrong with the header; `in_body` if what it says may come in the body instead.
    fn broken(&self, name: &Name, command: &BoundCommand<'_>, in_body: bool) -> Option<Violation> {
        // Whatever the beginning is, the client may go on to another value.
        let left_open = command
            .left_open
            .is_some_and(|open| open.acl && name.header == ACL.header);
        let value = header(command, name.header);
        let fix = match self {
            Self::Forbid if in_body => {
                "gives an ACL, which is not for the caller to say: a grant of it without such a rule does".to_owned()
            }
            Self::Forbid if left_open || value.is_some() => {
                "is not for the caller to say: leave it out".to_owned()
            }
            Self::Forbid => return None,
            Self::Require(values) | Self::Allow(values) => {
                let listed = |value| values.iter().any(|known| known == value);
                let required = in_body || matches!(self, Self::Require(_));
                match value {
                    _ if left_open => {
                        format!("is left to the client: set it to one of {}", values.join(", "))
                    }
                    Some(value) if listed(value) => return None,
                    None if !required => return None,
                    Some(_) => format!("is not one of {}", values.join(", ")),
                    None => format!("is required, and one of {}", values.join(", ")),
                }
            }
        };
        Some(name.violation(command, fix))
    }
}

impl Name {
    fn violation(&self, command: &BoundCommand<'_>, description: String) -> Violation {
        let field = if command.left_open.is_some() {
            format!("fields[\"{}\"]", self.of_form).into()
        } else {
            self.field.into()
        };
        Violation {
            field,
            description: description.into(),
        }
    }
}

/// What is wrong with a header that no rule lists.
fn unlisted(name: &Name, command: &BoundCommand<'_>, what: &str) -> Option<Violation> {
    header(command, name.header)?;
    let fix = format!("says what no rule of the grant lists ({what}): leave it out");
    Some(name.violation(command, fix))
}

/// As a configuration writes it, after the rest of a grant.
impl fmt::Display for HeaderRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("server_side_encryption", &self.server_side_encryption),
            ("acl", &self.acl),
            ("storage_class", &self.storage_class),
        ];
        let mut parts: Vec<String> = rows
            .into_iter()
            .filter_map(|(key, rule)| rule.as_ref().map(|rule| format!("{key}: {rule}")))
            .collect();
        if !self.kms_keys.is_empty() {
            parts.push(format!("kms_keys: [{}]", self.kms_keys.join(", ")));
        }
        if parts.is_empty() {
            return Ok(());
        }
        write!(f, ", headers: {{ {} }}", parts.join(", "))
    }
}

impl fmt::Display for HeaderRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Require(values) => write!(f, "{{ require: [{}] }}", values.join(", ")),
            Self::Allow(values) => write!(f, "{{ allow: [{}] }}", values.join(", ")),
            Self::Forbid => f.write_str("forbid"),
        }
    }
}

#[cfg(test)]
mod tests;
