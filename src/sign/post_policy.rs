//! POST policies: a signed form with which its holder uploads one object at a time, within conditions.
//!
//! [`bind`](bind::bind) turns a request into a [`PostForm`], whose every field has one condition; [`presign_post`] signs it. The
//! policy is JSON, written in one pass: first what is the same for all forms of a signing key, the session token foremost, which
//! that key keeps encoded and hashed; then what is this form's own. So the token, which is most of the policy, costs a copy.
//!
//! Invariant: the policy holds a condition for each field that is sent and each that the client is to add, for the bucket and for
//! the key, and no store reads in a value anything but that value.
//!
//! Source: the AWS API reference of Amazon S3, "Creating a POST policy" and "POST Object".

pub mod bind;
mod field;
mod html;
mod policy;
mod tagging;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arrayvec::ArrayString;
use smallvec::SmallVec;

use super::bind::{Violation, Violations};
use super::command::BoundCommand;
use super::credentials::Credentials;
use super::endpoint::SigningEndpoint;
use super::hex::Hex;
use super::signing_key::SigningKey;
use super::signing_time::SigningTime;
use super::url::names;

pub use self::field::{FormField, Rule};

pub(super) use self::policy::PolicyHead;

/// The most bytes that S3 takes of a form beside the file. Source: the S3 user guide, "POST Object restrictions": 20 KB.
pub const MAX_FORM_BYTES: usize = 20_000;

/// What a client's form data holds around each field, at most: the boundary, the disposition, and line ends.
const BYTES_AROUND_FIELD: usize = 140;

/// One form, with every rule in its place.
#[derive(Debug, Clone)]
pub struct PostForm<'a> {
    /// The upload, as the grants judge it: `PutObject` on the bucket, on the key if the form has but one, and with the headers
    /// that fields of one value stand for. What else the form lets through is what it leaves open.
    pub command: BoundCommand<'a>,
    /// What the key may be.
    pub key: KeyRule<'a>,
    /// The fields, in the order in which they are sent.
    fields: SmallVec<[FormField<'a>; 8]>,
    /// Values that AWS does not know, though the store of a tenant may.
    unknown_to_aws: Vec<Violation>,
}

/// What the key of an upload may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRule<'a> {
    /// This one.
    Exact(&'a str),
    /// Every one that begins so.
    StartsWith {
        /// The beginning.
        prefix: &'a str,
        /// What the field holds: the beginning, and `${filename}` somewhere after it.
        template: Cow<'a, str>,
    },
}

/// The least and the most bytes of a file, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthRange {
    /// The least.
    pub min: u64,
    /// The most; not below the least.
    pub max: u64,
}

impl PostForm<'_> {
    /// The least and the most bytes of the file. `None`: nothing bounds them.
    #[must_use]
    pub fn content_length(&self) -> Option<LengthRange> {
        self.command.left_open?.content_length
    }

    /// Lets through no file with more bytes than this, where the request says nothing of its length.
    pub fn bound_upload(&mut self, most: u64) {
        let open = self.command.left_open.get_or_insert_default();
        let range = LengthRange { min: 0, max: most };
        open.content_length.get_or_insert(range);
    }

    /// Refuses values that AWS does not know, for forms that go to AWS. Compatible stores have values of their own.
    ///
    /// # Errors
    /// Every field with such a value.
    pub fn known_to_aws(&self) -> Result<(), Violations> {
        if self.unknown_to_aws.is_empty() {
            Ok(())
        } else {
            Err(Violations(self.unknown_to_aws.clone()))
        }
    }
}

impl KeyRule<'_> {
    /// What the form proposes as the key.
    fn value(&self) -> &str {
        match self {
            Self::Exact(key) => key,
            Self::StartsWith { template, .. } => template,
        }
    }
}

/// A signed form: whoever holds its fields can use it, so no `Debug` shows them.
pub struct PresignedForm<'a, 'f> {
    form: &'a PostForm<'f>,
    endpoint: &'a SigningEndpoint,
    token: &'a str,
    key: Arc<SigningKey>,
    date: ArrayString<16>,
    policy: String,
    signature: Hex,
}

/// The form that lets its holder upload from `signed_at` until `expires_at`.
///
/// S3 cuts a session's forms off when the session ends: to keep within it is the caller's part.
pub fn presign_post<'a, 'f>(
    form: &'a PostForm<'f>,
    endpoint: &'a SigningEndpoint,
    credentials: &'a Credentials,
    signed_at: SystemTime,
    expires_at: SystemTime,
) -> PresignedForm<'a, 'f> {
    let time = SigningTime::new(signed_at);
    let key = credentials.signing_key(time.day, endpoint);
    let head = key.policy_head(credentials);
    let tail = policy::tail(form, time, SigningTime::new(expires_at));
    let (policy, signature) = head.signed(&tail);
    PresignedForm {
        form,
        endpoint,
        token: credentials.session_token(),
        date: time.basic(),
        policy,
        signature,
        key,
    }
}

impl PresignedForm<'_, '_> {
    /// The URL to post to.
    #[must_use]
    pub fn url(&self) -> String {
        let SigningEndpoint {
            origin, base_path, ..
        } = self.endpoint;
        // Path style ends in the bucket; a virtual-hosted bucket is a root and keeps its slash.
        let slash = if names(base_path, self.form.command.bucket) {
            ""
        } else {
            "/"
        };
        [origin, base_path, slash].concat()
    }

    /// Names and values of the fields, in the order in which they are to be sent. The file comes after them.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let token = Some(("x-amz-security-token", self.token));
        let own = [
            ("x-amz-algorithm", policy::ALGORITHM),
            ("x-amz-credential", &self.key.scope.credential),
            ("x-amz-date", &self.date),
        ];
        let last = [
            ("policy", self.policy.as_str()),
            ("x-amz-signature", &self.signature),
        ];
        std::iter::once(("key", self.form.key.value()))
            .chain(self.form.fields.iter().filter_map(FormField::sent))
            .chain(own)
            .chain(token.filter(|(_, token)| !token.is_empty()))
            .chain(last)
    }

    /// Names of the fields that the client has to add, and what their values have to begin with.
    pub fn fields_to_fill(&self) -> impl Iterator<Item = (&str, &str)> {
        self.form.fields.iter().filter_map(FormField::to_fill)
    }

    /// The form as HTML.
    #[must_use]
    pub fn html(&self) -> String {
        html::form(self)
    }

    /// How many bytes the form takes beside the file, at most: S3 takes [`MAX_FORM_BYTES`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fields = self.fields().chain(self.fields_to_fill());
        fields
            .map(|(name, value)| name.len() + value.len() + BYTES_AROUND_FIELD)
            .sum::<usize>()
            + BYTES_AROUND_FIELD
    }
}

impl fmt::Debug for PresignedForm<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresignedForm(..)")
    }
}
