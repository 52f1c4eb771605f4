//! The fields that S3 knows in a form, and one field of one form.
//!
//! What a form field means is what the header of `PutObject` means that it stands for: the values that AWS knows and the
//! permissions that it asks for are that header's.
//!
//! Source: the AWS API reference of Amazon S3, "POST Object" and "Creating a POST policy", conditions.

use std::borrow::Cow;

use crate::proto::s3::PutObject;
use crate::sign::bind::{Bind, Field};

/// A field with its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormField<'a> {
    /// The name as S3's documentation writes it.
    pub name: Cow<'a, str>,
    /// What its value may be.
    pub rule: Rule<'a>,
}

/// What the value of a field may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule<'a> {
    /// This one, which the form holds.
    Exact(Cow<'a, str>),
    /// Every one that begins so.
    StartsWith {
        /// The beginning.
        prefix: &'a str,
        /// What the form holds, unless the client is to add the field.
        value: Option<Cow<'a, str>>,
    },
}

impl FormField<'_> {
    /// Name and value, if the form holds the field.
    pub(super) fn sent(&self) -> Option<(&str, &str)> {
        match &self.rule {
            Rule::Exact(value)
            | Rule::StartsWith {
                value: Some(value), ..
            } => Some((&self.name, value)),
            Rule::StartsWith { value: None, .. } => None,
        }
    }

    /// Whether this is the field of the name, and the client chooses its value.
    pub(super) fn leaves_open(&self, name: &str) -> bool {
        self.name == name && matches!(self.rule, Rule::StartsWith { .. })
    }

    /// Name and what the value has to begin with, if the client is to add the field.
    pub(super) fn to_fill(&self) -> Option<(&str, &str)> {
        match self.rule {
            Rule::StartsWith {
                prefix,
                value: None,
            } => Some((&self.name, prefix)),
            _ => None,
        }
    }
}

/// What is known of a field before it has a value.
#[derive(Debug)]
pub(super) struct KnownField {
    /// The name, or what the names of its kind start with.
    pub(super) name: &'static str,
    /// The header of `PutObject` that it stands for, if any.
    header: &'static str,
    /// Whether a condition may let the client choose what follows a beginning.
    pub(super) starts_with: bool,
}

/// What the names of metadata start with.
pub(super) const METADATA: &str = "x-amz-meta-";

const fn open(name: &'static str, header: &'static str) -> KnownField {
    KnownField {
        name,
        header,
        starts_with: true,
    }
}

const fn exact(name: &'static str, header: &'static str) -> KnownField {
    KnownField {
        name,
        header,
        starts_with: false,
    }
}

/// `x-amz-` fields have the name of their header, and are exact only.
const fn amz(name: &'static str) -> KnownField {
    exact(name, name)
}

static KNOWN: [KnownField; 36] = [
    open("acl", "x-amz-acl"),
    open("Cache-Control", "cache-control"),
    open("Content-Disposition", "content-disposition"),
    open("Content-Encoding", "content-encoding"),
    open("Content-Type", "content-type"),
    open("Expires", "expires"),
    open("success_action_redirect", ""),
    exact("success_action_status", ""),
    exact("tagging", "x-amz-tagging"),
    exact("x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"),
    amz("x-amz-checksum-crc32"),
    amz("x-amz-checksum-crc32c"),
    amz("x-amz-checksum-crc64nvme"),
    amz("x-amz-checksum-md5"),
    amz("x-amz-checksum-sha1"),
    amz("x-amz-checksum-sha256"),
    amz("x-amz-checksum-sha512"),
    amz("x-amz-checksum-xxhash128"),
    amz("x-amz-checksum-xxhash3"),
    amz("x-amz-checksum-xxhash64"),
    open(METADATA, METADATA),
    amz("x-amz-object-lock-event-hold"),
    amz("x-amz-object-lock-event-hold-duration-days"),
    amz("x-amz-object-lock-event-hold-duration-years"),
    amz("x-amz-object-lock-legal-hold"),
    amz("x-amz-object-lock-mode"),
    amz("x-amz-object-lock-retain-until-date"),
    amz("x-amz-server-side-encryption"),
    amz("x-amz-server-side-encryption-aws-kms-key-id"),
    amz("x-amz-server-side-encryption-bucket-key-enabled"),
    amz("x-amz-server-side-encryption-context"),
    amz("x-amz-server-side-encryption-customer-algorithm"),
    amz("x-amz-server-side-encryption-customer-key"),
    amz("x-amz-server-side-encryption-customer-key-md5"),
    amz("x-amz-storage-class"),
    amz("x-amz-website-redirect-location"),
];

/// Fields that presignd sets itself, or that the client sends without a condition: by name, with what to do.
static RESERVED: [(&str, &str); 11] = [
    ("key", "set key or key_starts_with"),
    ("bucket", "set bucket"),
    ("file", "the client sends the file"),
    ("policy", "presignd writes it"),
    ("signature", "presignd signs"),
    ("x-amz-signature", "presignd signs"),
    ("x-amz-algorithm", "presignd sets it"),
    ("x-amz-credential", "presignd sets it"),
    ("x-amz-date", "presignd sets it"),
    ("x-amz-security-token", "presignd sets it"),
    ("content-length-range", "set content_length_range"),
];

impl KnownField {
    /// The field of this name, whose capitals do not matter.
    pub(super) fn of(name: &str) -> Result<&'static Self, &'static str> {
        if let Some(known) = KNOWN.iter().find(|known| known.is_named(name)) {
            return Ok(known);
        }
        let reserved = RESERVED
            .iter()
            .find(|(reserved, _)| reserved.eq_ignore_ascii_case(name));
        let ignored = name
            .get(..9)
            .is_some_and(|start| start.eq_ignore_ascii_case("x-ignore-"));
        Err(match reserved {
            Some((_, instead)) => instead,
            None if ignored => "S3 ignores such a field: the client may send it as it is",
            None => {
                "is no field of S3's forms: use those of the S3 API reference's POST Object, such as Cache-Control, acl or x-amz-meta-*"
            }
        })
    }

    fn is_named(&self, name: &str) -> bool {
        if self.name == METADATA {
            self.suffix_of(name).is_some()
        } else {
            self.name.eq_ignore_ascii_case(name)
        }
    }

    /// What follows the beginning that all metadata has.
    pub(super) fn suffix_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (start, suffix) = name.split_at_checked(METADATA.len())?;
        (self.name == METADATA && start.eq_ignore_ascii_case(METADATA)).then_some(suffix)
    }

    /// The header that it stands for.
    pub(super) fn header(&self) -> Option<&'static Field> {
        let headers = <PutObject as Bind>::FIELDS;
        headers.iter().find(|field| field.name == self.header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_stands_for_a_header_of_put_object() {
        for known in &KNOWN {
            let of_the_form_alone = known.name.starts_with("success_action_");
            assert_eq!(known.header().is_none(), of_the_form_alone, "{known:?}");
            let found = KnownField::of(&known.name.to_ascii_uppercase()).unwrap();
            assert_eq!(found.name, known.name);
        }
    }

    #[test]
    fn only_metadata_is_open_among_the_fields_of_amazon() {
        for known in &KNOWN {
            let of_amazon = known.name.starts_with("x-amz-") && known.name != METADATA;
            assert!(!(of_amazon && known.starts_with), "{known:?}");
        }
    }

    #[test]
    fn what_is_no_field_to_set_is_told_with_what_to_do() {
        for (name, instead) in [
            ("KEY", "key_starts_with"),
            ("x-amz-signature", "presignd signs"),
            ("File", "the client"),
            ("x-ignore-csrf", "as it is"),
            ("if-none-match", "no field"),
            ("x-amz-metadata", "no field"),
            ("é-ignore-x", "no field"),
            ("", "no field"),
        ] {
            let problem = KnownField::of(name).unwrap_err();
            assert!(problem.contains(instead), "{name}: {problem}");
        }
    }
}
