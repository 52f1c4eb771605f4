//! The canonical request: what the signature vouches for, line by line.
//!
//! Method, path, query, headers, the signed headers' names, and the payload's hash. Invariant: path and query are slices of the
//! URL that is handed out, never written a second time, so what is signed is what is sent.
//!
//! Source: the IAM user guide, "Create a signed AWS API request", step 1.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::command::{BoundCommand, Header};
use super::encode::Kept;
use super::payload::CONTENT_SHA256;
use super::sink::Sink;
use super::url::{Host, UnsignedUrl};

/// The payload hash of a request whose body the signature does not bind.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

const HOST: &str = "host";

/// The headers to sign, `host` among them, in the order of their names.
#[derive(Debug)]
pub(super) struct SignedHeaders<'a> {
    sorted: SmallVec<[&'a Header<'a>; 16]>,
    /// How many of them come before `host`.
    before_host: usize,
}

impl<'a> SignedHeaders<'a> {
    pub(super) fn new(command: &'a BoundCommand<'_>) -> Self {
        let mut sorted: SmallVec<[&Header<'_>; 16]> = command.sent_headers().collect();
        sorted.sort_unstable_by(|left, right| compare_names(left, right));
        let before_host = sorted.partition_point(|header| header.name < HOST);
        Self {
            sorted,
            before_host,
        }
    }

    /// The value of the `SignedHeaders` line: names, separated by `;`.
    fn write_names(&self, sink: &mut impl Sink) {
        let (before, after) = self.sorted.split_at(self.before_host);
        for header in before {
            sink.put(header.name);
            sink.put(&header.suffix);
            sink.put(";");
        }
        sink.put(HOST);
        for header in after {
            sink.put(";");
            sink.put(header.name);
            sink.put(&header.suffix);
        }
    }

    /// The same as it stands in the query.
    pub(super) fn write_encoded_names(&self, sink: &mut impl Sink) {
        let (before, after) = self.sorted.split_at(self.before_host);
        for header in before {
            encode_name(sink, header);
            sink.put("%3B");
        }
        sink.put(HOST);
        for header in after {
            sink.put("%3B");
            encode_name(sink, header);
        }
    }

    /// A line for each header.
    fn write_lines(&self, sink: &mut impl Sink, host: &Host<'_>) {
        let (before, after) = self.sorted.split_at(self.before_host);
        for header in before {
            write_line(sink, header);
        }
        sink.put("host:");
        host.write(sink);
        sink.put("\n");
        for header in after {
            write_line(sink, header);
        }
    }

    /// The payload's hash: the one that the command binds, if any.
    fn payload_hash(&self) -> &'a str {
        self.sorted
            .iter()
            .find(|header| header.name == CONTENT_SHA256)
            .map_or(UNSIGNED_PAYLOAD, |header| header.value.as_str().trim())
    }
}

/// Writes the canonical request of a URL's path and query.
pub(super) fn write_canonical_request(
    sink: &mut impl Sink,
    method: &str,
    url: &UnsignedUrl,
    host: &Host<'_>,
    headers: &SignedHeaders<'_>,
) {
    write_up_to_query(sink, method, url.path());
    sink.put(url.query());
    write_after_query(sink, host, headers);
}

/// Writes what comes before the query.
pub(super) fn write_up_to_query(sink: &mut impl Sink, method: &str, path: &str) {
    sink.put(method);
    sink.put("\n");
    sink.put(path);
    sink.put("\n");
}

/// Writes what comes after the query.
pub(super) fn write_after_query(
    sink: &mut impl Sink,
    host: &Host<'_>,
    headers: &SignedHeaders<'_>,
) {
    sink.put("\n");
    headers.write_lines(sink, host);
    sink.put("\n");
    headers.write_names(sink);
    sink.put("\n");
    sink.put(headers.payload_hash());
}

/// `name:value`, with the value's runs of spaces made one and those around it left out.
fn write_line(sink: &mut impl Sink, header: &Header<'_>) {
    sink.put(header.name);
    sink.put(&header.suffix);
    let mut words = header
        .value
        .as_str()
        .split(' ')
        .filter(|word| !word.is_empty());
    sink.put(":");
    if let Some(first) = words.next() {
        sink.put(first);
    }
    for word in words {
        sink.put(" ");
        sink.put(word);
    }
    sink.put("\n");
}

fn encode_name(sink: &mut impl Sink, header: &Header<'_>) {
    sink.put_encoded(header.name, Kept::Unreserved);
    sink.put_encoded(&header.suffix, Kept::Unreserved);
}

fn compare_names(left: &Header<'_>, right: &Header<'_>) -> Ordering {
    if left.suffix.is_empty() && right.suffix.is_empty() {
        return left.name.cmp(right.name);
    }
    let left = left.name.bytes().chain(left.suffix.bytes());
    left.cmp(right.name.bytes().chain(right.suffix.bytes()))
}
