//! A record as one JSON line.
//!
//! Invariant: whatever text a record holds, its line is one line of printable characters to whoever reads or displays it, and
//! JSON's own reading of it gives the very text. Besides what JSON asks for, this escapes the other characters that end a line,
//! steer a terminal or reorder text on a screen.
//!
//! Written by hand, in one pass over one buffer: every URL waits for its line.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::Offset;
use uuid::Uuid;

use super::span::OpenSpan;
use super::{AuditError, Record, address};

/// Room for most lines, so that encoding allocates once.
pub(super) const TYPICAL_BYTES: usize = 1024;

/// Appends the line of `record`. On an error, nothing is appended.
pub(super) fn append(
    lines: &mut Vec<u8>,
    record: &Record<'_>,
    span: &OpenSpan<'_>,
) -> Result<(), AuditError> {
    // The only values that may have no text: they come first, so that an error leaves no half a line.
    let decided = rfc3339(record.decided)?;
    let expires_at = record.expires_at.map(rfc3339).transpose()?;

    lines.extend_from_slice(b"{\"time\":\"");
    lines.extend_from_slice(&decided);
    lines.push(b'"');
    let mut id = Uuid::encode_buffer();
    let id = record.issuance_id.hyphenated().encode_lower(&mut id);
    plain(lines, ",\"issuance_id\":\"", Some(id));
    plain(lines, ",\"outcome\":\"", Some(record.outcome.as_str()));
    plain(lines, ",\"status\":\"", Some(record.status));
    plain(lines, ",\"reason_code\":\"", record.reason_code);
    text(lines, ",\"detail\":\"", record.detail.as_deref());
    plain(lines, ",\"method\":\"", Some(record.method));
    text(lines, ",\"caller\":\"", Some(&record.caller));
    if let Some(peer) = record.peer {
        plain(lines, ",\"peer\":\"", Some(&address::socket(peer)));
    }
    text(lines, ",\"tenant\":\"", record.tenant.as_deref());
    plain(lines, ",\"command\":\"", record.command);
    text(lines, ",\"bucket\":\"", record.bucket.as_deref());
    text(
        lines,
        ",\"bucket_alias\":\"",
        record.bucket_alias.as_deref(),
    );
    text(lines, ",\"key\":\"", record.key.as_deref());
    let beginning = record.key_starts_with.as_deref();
    text(lines, ",\"key_starts_with\":\"", beginning);
    if let Some([least, most]) = record.content_length_range {
        number(lines, ",\"content_length_range\":[", least);
        number(lines, ",", most);
        lines.push(b']');
    }
    text(lines, ",\"version_id\":\"", record.version_id.as_deref());
    text(lines, ",\"upload_id\":\"", record.upload_id.as_deref());
    text(lines, ",\"parts\":\"", record.parts.as_deref());
    if let Some(bytes) = record.object_size {
        number(lines, ",\"object_size\":", bytes);
    }
    text(lines, ",\"copy_source\":\"", record.copy_source.as_deref());
    text(lines, ",\"region\":\"", record.region.as_deref());
    text(lines, ",\"endpoint\":\"", record.endpoint.as_deref());
    if let Some(seconds) = record.expires_in {
        number(lines, ",\"expires_in\":", seconds);
    }
    let expires_at = expires_at.as_ref().map(<[u8; 24]>::as_slice);
    bytes(lines, ",\"expires_at\":\"", expires_at);
    plain(lines, ",\"expiry_bound\":\"", record.expiry_bound);
    let session = record.role_session_name.as_deref();
    text(lines, ",\"role_session_name\":\"", session);
    let access_key_id = record.access_key_id.as_deref();
    text(lines, ",\"access_key_id\":\"", access_key_id);
    list(
        lines,
        ",\"source_ip\":[\"",
        record.source_ip.iter().map(String::as_str),
    );
    text(lines, ",\"reason\":\"", record.reason.as_deref());
    text(lines, ",\"subject\":\"", record.subject.as_deref());
    if let Some(batch) = record.batch {
        number(lines, ",\"batch\":{\"index\":", batch.index);
        number(lines, ",\"size\":", batch.size);
        lines.push(b'}');
    }
    let shadows = record.shadow_limits.iter().map(AsRef::as_ref);
    list(lines, ",\"shadow_limits\":[\"", shadows);
    let duration = record.decided.duration_since(record.started);
    let micros = duration.unwrap_or_default().as_micros();
    number(lines, ",\"duration_us\":", micros);
    lines.extend_from_slice(b",\"trace_id\":\"");
    hex(lines, &span.trace_id());
    lines.extend_from_slice(b"\",\"span_id\":\"");
    hex(lines, &span.span_id().to_bytes());
    lines.extend_from_slice(b"\"}\n");
    Ok(())
}

/// A member whose text needs no escapes, after what comes before it.
fn plain(lines: &mut Vec<u8>, before: &str, value: Option<&str>) {
    bytes(lines, before, value.map(str::as_bytes));
}

/// The same, of bytes that are such text.
fn bytes(lines: &mut Vec<u8>, before: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        lines.extend_from_slice(before.as_bytes());
        lines.extend_from_slice(value);
        lines.push(b'"');
    }
}

/// A member with text that may hold anything.
fn text(lines: &mut Vec<u8>, before: &str, value: Option<&str>) {
    if let Some(value) = value {
        lines.extend_from_slice(before.as_bytes());
        escape(lines, value);
        lines.push(b'"');
    }
}

/// A member with a list of texts that need no escapes; of none, nothing.
fn list<'a>(lines: &mut Vec<u8>, before: &str, values: impl Iterator<Item = &'a str>) {
    let mut before = before;
    for value in values {
        plain(lines, before, Some(value));
        before = ",\"";
    }
    if before == ",\"" {
        lines.push(b']');
    }
}

fn number(lines: &mut Vec<u8>, before: &str, value: impl itoa::Integer) {
    lines.extend_from_slice(before.as_bytes());
    lines.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn hex<const N: usize>(lines: &mut Vec<u8>, bytes: &[u8; N]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.map(|byte| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
    lines.extend_from_slice(digits.as_flattened());
}

fn escape(lines: &mut Vec<u8>, text: &str) {
    // The first bytes, in UTF-8, of all that is escaped here: most text has none of them, and no branch within the loop lets the
    // compiler look at many bytes at once.
    let suspicious = |byte: u8| {
        u8::from(byte < 0x20)
            | u8::from(byte == b'"')
            | u8::from(byte == b'\\')
            | u8::from(byte == 0x7f)
            | u8::from(byte == 0xc2)
            | u8::from(byte == 0xd8)
            | u8::from(byte == 0xe2)
    };
    if text.bytes().fold(0, |any, byte| any | suspicious(byte)) == 0 {
        lines.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        match c {
            '"' => lines.extend_from_slice(b"\\\""),
            '\\' => lines.extend_from_slice(b"\\\\"),
            '\n' => lines.extend_from_slice(b"\\n"),
            '\r' => lines.extend_from_slice(b"\\r"),
            '\t' => lines.extend_from_slice(b"\\t"),
            c if c < ' ' || acts_on_display(c) => {
                // All of them are below U+10000.
                let [_, _, high, low] = u32::from(c).to_be_bytes();
                lines.extend_from_slice(b"\\u");
                hex(lines, &[high, low]);
            }
            c => lines.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// DEL and the C1 controls, the line and paragraph separators, and the marks that reorder text (Unicode's `Bidi_Control`).
fn acts_on_display(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// RFC 3339 in UTC with milliseconds, in the years 0 to 9999.
fn rfc3339(time: SystemTime) -> Result<[u8; 24], AuditError> {
    let timestamp =
        Timestamp::try_from(time).map_err(|error| AuditError::Encode(error.to_string()))?;
    let civil = Offset::UTC.to_datetime(timestamp);
    let year = u32::try_from(civil.year())
        .map_err(|_| AuditError::Encode("a time before the year 0".to_owned()))?;
    let [month, day, hour, minute, second] = [
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second(),
    ]
    .map(|part| u32::from(part.unsigned_abs()));
    let millis = civil.subsec_nanosecond().unsigned_abs() / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (part, place) in [
        (year, 0..4),
        (month, 5..7),
        (day, 8..10),
        (hour, 11..13),
        (minute, 14..16),
        (second, 17..19),
        (millis, 20..23),
    ] {
        put_digits(&mut text[place], part);
    }
    Ok(text)
}

/// Writes the last digits of a number, as many as there is room for.
fn put_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}
