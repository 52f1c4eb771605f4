//! The URL, before and after it is signed.
//!
//! Invariant: the path decodes to the endpoint's base path and the very key that was asked for, and the canonical request reads
//! path and query from the URL as they stand.

use std::fmt;
use std::net::Ipv4Addr;

use super::command::{BoundCommand, PathForm};
use super::encode::Kept;
use super::endpoint::SigningEndpoint;
use super::query::Query;
use super::sink::{Length, Sink};

/// A signed URL: whoever holds it can use it, so nothing but [`as_str`](Self::as_str) and [`into_string`](Self::into_string)
/// shows it.
#[derive(PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// A URL that ends in its signature.
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL, for the one who asked for it.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresignedUrl(..)")
    }
}

/// A URL with everything but its signature, and room for that.
pub(super) struct UnsignedUrl {
    text: String,
    path_start: usize,
    query_start: usize,
}

/// What comes before the signature.
pub(super) const SIGNATURE: &str = "&X-Amz-Signature=";

impl UnsignedUrl {
    pub(super) fn new(
        command: &BoundCommand<'_>,
        base_path: &str,
        host: &Host<'_>,
        query: &Query<'_, '_>,
        signature_length: usize,
    ) -> Self {
        let mut length = Length::default();
        host.write_origin(&mut length);
        write_path(&mut length, command, base_path);
        query.write(&mut length);

        let capacity = length.0 + "?".len() + SIGNATURE.len() + signature_length;
        let mut text = String::with_capacity(capacity);
        host.write_origin(&mut text);
        let path_start = text.len();
        write_path(&mut text, command, base_path);
        text.push('?');
        let query_start = text.len();
        query.write(&mut text);
        Self {
            text,
            path_start,
            query_start,
        }
    }

    /// As it stands in the canonical request.
    pub(super) fn path(&self) -> &str {
        self.text
            .get(self.path_start..self.query_start - 1)
            .unwrap_or_default()
    }

    /// As it stands in the canonical request.
    pub(super) fn query(&self) -> &str {
        self.text.get(self.query_start..).unwrap_or_default()
    }

    /// All that comes before the query, its `?` included.
    pub(super) fn up_to_query(&self) -> &str {
        self.text.get(..self.query_start).unwrap_or_default()
    }

    pub(super) fn signed(mut self, signature: &str) -> PresignedUrl {
        self.text.push_str(SIGNATURE);
        self.text.push_str(signature);
        PresignedUrl(self.text)
    }
}

/// The host that a request is sent to: the endpoint's, with the operation's prefix if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    endpoint: &'a SigningEndpoint,
    /// What stands before the label, the label, and what stands after it.
    prefix: Option<[&'a str; 3]>,
}

impl<'a> Host<'a> {
    pub(super) fn new(command: &'a BoundCommand<'_>, endpoint: &'a SigningEndpoint) -> Self {
        let prefix = command.operation.host_prefix;
        let prefix = prefix
            .filter(|_| !is_address(&endpoint.host))
            .map(|prefix| {
                let (before, label_and_after) = prefix.split_once('{').unwrap_or((prefix, ""));
                let (label, after) = match label_and_after.split_once('}') {
                    Some((_, after)) => (command.host_label.unwrap_or_default(), after),
                    None => ("", ""),
                };
                [before, label, after]
            });
        Self { endpoint, prefix }
    }

    /// The value of the `Host` header.
    pub(super) fn write(&self, sink: &mut impl Sink) {
        self.write_prefix(sink);
        sink.put(&self.endpoint.host);
    }

    fn write_origin(&self, sink: &mut impl Sink) {
        let origin = &self.endpoint.origin;
        let scheme_end = match self.prefix {
            Some(_) => origin.find("://").map_or(0, |colon| colon + 3),
            None => 0,
        };
        let (scheme, authority) = origin.split_at(scheme_end);
        sink.put(scheme);
        self.write_prefix(sink);
        sink.put(authority);
    }

    fn write_prefix(&self, sink: &mut impl Sink) {
        if let Some([before, label, after]) = self.prefix {
            sink.put(before);
            // The label is a caller's: encoded, it can at worst name no host, but never another one.
            sink.put_encoded(label, Kept::Unreserved);
            sink.put(after);
        }
    }
}

/// Whether the host is an IP address, which has no labels and takes none.
fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, _)) => name,
        None => host,
    };
    host.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
}

/// Writes the path: the endpoint's base path, and what the operation puts after it.
fn write_path(sink: &mut impl Sink, command: &BoundCommand<'_>, base_path: &str) {
    sink.put(base_path);
    match command.operation.path {
        // Path style ends in the bucket; a virtual-hosted bucket is a root and keeps its slash.
        PathForm::Bucket if names(base_path, command.bucket) => {}
        PathForm::Service | PathForm::Bucket => sink.put("/"),
        PathForm::Object => {
            sink.put("/");
            sink.put_encoded(command.key.unwrap_or_default(), Kept::UnreservedAndSlash);
        }
        PathForm::Fixed(path) => sink.put(path),
    }
}

/// Whether the last segment of a path is the bucket.
pub(super) fn names(base_path: &str, bucket: Option<&str>) -> bool {
    let last = base_path.rsplit_once('/').map(|(_, last)| last);
    last.is_some() && last == bucket
}
