//! What S3 or HTTP would misread in a value, by the place where it travels. Pure, and without a word of the value itself.

use super::Field;
use crate::sign::bucket::{self, BucketKind};
use crate::sign::command::ObjectReference;
use crate::sign::parameterized::{is_token, value_of};

/// The longest key that S3 takes, in bytes of UTF-8.
const MAX_KEY_BYTES: usize = 1024;
/// The longest header value that presignd takes, in bytes: S3 takes 8 KB of headers in all.
const MAX_HEADER_BYTES: usize = 8192;
/// The longest query value that presignd takes, in bytes: continuation tokens are the longest, and far below.
const MAX_QUERY_BYTES: usize = 8192;
/// The longest version id, in bytes. Source: the S3 user guide, "Using versioning in S3 buckets".
const MAX_VERSION_BYTES: usize = 1024;
/// The longest name that presignd takes after a header's prefix, in bytes.
const MAX_HEADER_NAME_BYTES: usize = 256;

/// What is wrong with the caller's part of a header's name, if anything. RFC 9110, section 5.6.2.
pub(in crate::sign) fn header_name_problem(name: &str) -> Option<&'static str> {
    if name.len() > MAX_HEADER_NAME_BYTES || !is_token(name) {
        Some("is not a header name: use ASCII letters, digits and -._ (RFC 9110, section 5.6.2)")
    } else {
        None
    }
}

/// What is wrong with the text of a header of this name, if anything: of the request, or of the answer that the request asks for.
pub(in crate::sign) fn header_problem(name: &str, value: &str) -> Option<&'static str> {
    if name.ends_with("content-disposition") {
        disposition_problem(value)
    } else {
        header_value_problem(value)
    }
}

/// What is wrong with a Content-Disposition, if anything. Those that are malformed mean one thing to this browser, and another to
/// that. RFC 6266, section 4.1.
fn disposition_problem(value: &str) -> Option<&'static str> {
    if !value.is_ascii() {
        Some(
            "travels in a header, which holds ASCII only: give the name as filename*=UTF-8''na%C3%AFve.txt (RFC 6266, RFC 8187)",
        )
    } else if let Some(problem) = header_value_problem(value) {
        Some(problem)
    } else if value_of(value).is_some_and(is_token) {
        None
    } else {
        Some(
            "is not a Content-Disposition: write it as attachment; filename=\"a b.txt\", with a backslash before a quote or backslash of \
             the name (RFC 6266)",
        )
    }
}

/// What is wrong with a header value, if anything. RFC 9110, section 5.5, without `obs-text`.
pub(in crate::sign) fn header_value_problem(value: &str) -> Option<&'static str> {
    if value.len() > MAX_HEADER_BYTES {
        Some("is longer than 8192 bytes")
    } else if !value.is_ascii() {
        Some(
            "travels in a header, which holds ASCII only: percent-encode it, or use RFC 2047 or RFC 8187 where the reader knows it",
        )
    } else if value.bytes().any(|b| b.is_ascii_control()) {
        Some("travels in a header, which holds no control characters such as CR, LF or TAB")
    } else if value.starts_with(' ') || value.ends_with(' ') {
        Some("travels in a header, whose surrounding spaces are lost on the way: leave them out")
    } else {
        None
    }
}

/// What is wrong with a query value, if anything.
pub(super) fn query_problem(name: &str, value: &str) -> Option<&'static str> {
    if name == "versionId" && value.len() > MAX_VERSION_BYTES {
        Some("is longer than 1024 bytes, which no version id is")
    } else if name.starts_with("response-") {
        // The store writes it into a header of its answer.
        header_problem(name, value)
    } else if value.len() > MAX_QUERY_BYTES {
        Some("is longer than 8192 bytes")
    } else {
        None
    }
}

/// What is wrong with a key, if anything.
pub(in crate::sign) fn key_problem(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("must not be empty")
    } else if key.len() > MAX_KEY_BYTES {
        Some("is longer than 1024 bytes of UTF-8")
    } else if key.split('/').any(|segment| matches!(segment, "." | "..")) {
        Some(
            "has a '.' or '..' segment, which URL parsers collapse, so that the client would address another object",
        )
    } else {
        None
    }
}

/// Reads `bucket/key`, `/bucket/key` or `ARN/object/key`, unencoded, with an optional `?versionId=`, that stands in this field.
pub(super) fn parse_reference<'a>(
    field: &'static Field,
    text: &'a str,
) -> Result<ObjectReference<'a>, &'static str> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let (path, version_id) = match path.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (path, None),
    };
    if let Some(version) = version_id
        && (version.is_empty()
            || !version
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)))
    {
        return Err("names a version that is not one: use ASCII letters, digits and -._~");
    }
    let (bucket, key) = bucket::split(path);
    let key = key.ok_or("is not of the form bucket/key")?;
    let key = match bucket::kind(bucket) {
        BucketKind::General | BucketKind::Directory => key,
        BucketKind::AccessPoint | BucketKind::Outposts => key
            .strip_prefix("object/")
            .ok_or("is an access point: write it as ARN/object/key")?,
        BucketKind::MultiRegion | BucketKind::ObjectLambda => {
            return Err(
                "is an access point that nothing is copied from: name the source as bucket/key",
            );
        }
    };
    if bucket::problem(bucket).is_some() {
        return Err("names a bucket that is not a bucket name: write it as bucket/key, unencoded");
    }
    if key_problem(key).is_some() {
        return Err("names a key that is empty, too long, or has a '.' or '..' segment");
    }
    Ok(ObjectReference {
        field: field.field,
        header: field.name,
        bucket,
        key,
        version_id,
    })
}
