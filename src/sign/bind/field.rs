//! What is known of a command's field before it has a value: generated from the command protos.

/// The place of one field.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own in the model"
)]
pub struct Field {
    /// The field's name in the command message.
    pub field: &'static str,
    /// Where it travels.
    pub place: Place,
    /// Its name there.
    pub name: &'static str,
    /// How a timestamp is written.
    pub timestamp_format: Option<TimestampFormat>,
    /// Whether S3 refuses a request without it.
    pub required: bool,
    /// Whether the value is a secret.
    pub sensitive: bool,
    /// The values that AWS knows; empty for free text.
    pub allowed_values: &'static [&'static str],
    /// Whether it names another object.
    pub object_reference: bool,
    /// Whether it is also a label of the host.
    pub host_label: bool,
    /// The operation's actions that a request needs for having it: bit n stands for `actions[n]`.
    pub asks_for: u32,
}

/// Where a field travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The bucket, in the host or in the path.
    Bucket,
    /// The key, in the path.
    Key,
    /// A query parameter.
    Query,
    /// A header.
    Header,
    /// One header for each entry of a map.
    HeaderPrefix,
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
    HttpDate,
    /// RFC 3339 in UTC: `1994-11-06T08:49:37Z`.
    Iso8601,
}
