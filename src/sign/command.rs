//! What an S3 operation is, and one request of it before it is signed.
//!
//! [`Operation`] is a static fact of the S3 model, generated from the command protos; [`BoundCommand`] borrows one caller's
//! values, already in the places where they travel. Invariant: header names are lower case and header values are printable
//! ASCII, so that nothing after this has to check them again.

use std::borrow::Cow;

use arrayvec::ArrayString;
use smallvec::SmallVec;

use super::bind::Field;
use super::post_policy::LengthRange;

/// One S3 API operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name in the S3 API reference, such as `GetObject`.
    pub name: &'static str,
    /// The field of `presignd.v1.Command` that holds it, such as `get_object`.
    pub field: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// What the request path names.
    pub path: PathForm,
    /// Query parameters of every request, as (name, value), sorted; unencoded.
    pub fixed_query: &'static [(&'static str, &'static str)],
    /// The class that grants and limits may name instead of the operation.
    pub class: CommandClass,
    /// What body the client sends.
    pub body: BodyKind,
    /// Whether S3 refuses the request without a checksum of its body.
    pub checksum_required: bool,
    /// Parameters of S3's endpoint rules that this operation sets to true.
    pub endpoint_parameters: &'static [&'static str],
    /// A prefix of the host, with a field's label in braces, such as `{RequestRoute}.`.
    pub host_prefix: Option<&'static str>,
    /// Every IAM permission that a request may need.
    pub actions: &'static [IamAction],
    /// Whether only a grant that names the operation allows it.
    pub by_name_only: bool,
}

/// What the request path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathForm {
    /// `/`
    Service,
    /// `/{bucket}`
    Bucket,
    /// `/{bucket}/{key}`
    Object,
    /// A path of its own, such as `/WriteGetObjectResponse`.
    Fixed(&'static str),
}

/// A coarse kind of command, for grants and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommandClass {
    /// Reads objects or what belongs to one.
    Read,
    /// Creates or changes objects or what belongs to one.
    Write,
    /// Deletes objects or what belongs to one.
    Delete,
    /// Lists buckets, objects, versions, uploads or parts.
    List,
    /// Reads or changes how buckets and permissions are set up.
    Admin,
}

impl CommandClass {
    /// The word in grants and limits.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Admin => "admin",
        }
    }
}

/// What the client sends as the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// No body.
    None,
    /// Any bytes.
    Bytes,
    /// An XML document.
    Xml,
    /// A JSON document.
    Json,
}

/// An IAM permission that S3 checks for a request.
///
/// Source: the Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3".
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own in the model"
)]
pub struct IamAction {
    /// Such as `s3:GetObject`.
    pub action: &'static str,
    /// The resource on which it is checked.
    pub resource: IamResource,
    /// Whether a grant of the operation does not carry it: it reads another object, or is what another operation is for.
    pub granted_apart: bool,
    /// Whether `s3:prefix` can bound it.
    pub prefix_condition: bool,
    /// Whether only a grant that names the operation carries it.
    pub by_name_only: bool,
    /// Whether that is so outside AWS, because compatible stores commonly refuse a whole policy that names it.
    pub by_name_outside_aws: bool,
}

/// The resource on which an IAM permission is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IamResource {
    /// All of the account.
    Service,
    /// The bucket.
    Bucket,
    /// The object.
    Object,
    /// The object that a field such as the copy source names.
    ReferencedObject,
}

/// A value on the wire: borrowed from the request, or formatted in place, so that binding a command allocates nothing.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Text of the caller.
    Text(Cow<'a, str>),
    /// A number, boolean or timestamp. The longest is an HTTP date.
    Formatted(ArrayString<32>),
}

impl Value<'_> {
    /// The value as it travels, before any URI encoding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Value::Text(text) => text,
            Value::Formatted(text) => text,
        }
    }
}

/// A query parameter, before URI encoding.
#[derive(Debug, Clone)]
pub struct QueryParameter<'a> {
    /// The name, such as `versionId`.
    pub name: &'static str,
    /// The value.
    pub value: Value<'a>,
}

/// A header that will be signed, and that the client must send unless it moves into the query.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// The lower-case name, or the lower-case prefix of one, such as `x-amz-meta-`.
    pub name: &'static str,
    /// The rest of the name, lower case; empty unless `name` is a prefix.
    pub suffix: Cow<'a, str>,
    /// The value, printable ASCII.
    pub value: Value<'a>,
}

/// Another object that a command names: the source of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReference<'a> {
    /// The field that names it, such as `copy_source`.
    pub field: &'static str,
    /// The header that it travels in.
    pub header: &'static str,
    /// The bucket.
    pub bucket: &'a str,
    /// The key, unencoded.
    pub key: &'a str,
    /// The version, if the reference names one.
    pub version_id: Option<&'a str>,
}

/// One request of an operation, with every value in its place.
#[derive(Debug, Clone)]
pub struct BoundCommand<'a> {
    /// What is asked.
    pub operation: &'static Operation,
    /// The bucket, for operations whose path names one.
    pub bucket: Option<&'a str>,
    /// The key, for operations whose path names one: unencoded, exactly as the caller gave it.
    pub key: Option<&'a str>,
    /// The object that a copy or rename reads.
    pub reference: Option<ObjectReference<'a>>,
    /// Query parameters besides the operation's fixed ones, unsorted.
    pub query: SmallVec<[QueryParameter<'a>; 4]>,
    /// Headers, unsorted: also those that travel in the query instead.
    pub headers: SmallVec<[Header<'a>; 4]>,
    /// The label of the operation's `host_prefix`.
    pub host_label: Option<&'a str>,
    /// Which of the operation's `actions` this request needs: bit n stands for `actions[n]`.
    pub needed_actions: u32,
    /// Fields whose value AWS does not know, though the store of a tenant may.
    pub unknown_to_aws: Vec<&'static Field>,
    /// What a form leaves to its client. `None`: it is no form, and a URL leaves nothing.
    pub left_open: Option<LeftOpen<'a>>,
    /// Whether headers that S3 also reads from the query travel there.
    pub headers_in_query: bool,
}

/// What a form leaves to its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOpen<'a> {
    /// What the key has to begin with. `None`: the command has a key.
    pub key_starts_with: Option<&'a str>,
    /// The least and the most bytes. `None`: nothing bounds them.
    pub content_length: Option<LengthRange>,
    /// Whether the media type is the client's to choose.
    pub content_type: bool,
    /// Whether the ACL is.
    pub acl: bool,
}

impl Operation {
    /// Whether the request's body names the objects, where a signature cannot hold the client to them: `DeleteObjects`.
    #[must_use]
    pub fn keys_in_body(&self) -> bool {
        self.path == PathForm::Bucket
            && self
                .actions
                .iter()
                .any(|a| a.resource == IamResource::Object)
    }
}

impl BoundCommand<'_> {
    /// Every header that is signed as one, but `host`: what the client has to send, by lower-case name.
    #[must_use]
    pub fn headers_to_send(&self) -> Vec<(String, String)> {
        let owned = |header: &Header<'_>| {
            let name = format!("{}{}", header.name, header.suffix);
            (name, header.value.as_str().to_owned())
        };
        self.sent_headers().map(owned).collect()
    }
}

impl<'a> BoundCommand<'a> {
    /// Puts a value in the place of what a query parameter holds, if the command has it.
    pub fn set_query(&mut self, name: &str, value: Value<'a>) {
        let mut query = self.query.iter_mut();
        if let Some(parameter) = query.find(|parameter| parameter.name == name) {
            parameter.value = value;
        }
    }

    /// Has the client send a header with this number, and with nothing else.
    pub fn set_header(&mut self, name: &'static str, number: u64) {
        self.headers.retain(|header| header.name != name);
        let mut value = ArrayString::new();
        value.push_str(itoa::Buffer::new().format(number));
        self.headers.push(Header {
            name,
            suffix: Cow::Borrowed(""),
            value: Value::Formatted(value),
        });
    }
}
