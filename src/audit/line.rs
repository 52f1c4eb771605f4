//! A record as one JSON line.
//!
//! Invariant: whatever text a record holds, its line is one line of printable characters to whoever reads or displays it.
//! JSON itself escapes what is below U+0020; this escapes the other characters that end a line, steer a terminal or reorder
//! text on a screen.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::SystemTime;

use jiff::Timestamp;
use opentelemetry::trace::SpanContext;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::ser::Formatter;

use super::{AuditError, Record};

/// Room for most lines, so that encoding allocates once.
pub(super) const TYPICAL_BYTES: usize = 1024;

/// Appends the line of `record`. On an error, nothing is appended.
pub(super) fn append(
    lines: &mut Vec<u8>,
    record: &Record<'_>,
    span: &SpanContext,
) -> Result<(), AuditError> {
    let start = lines.len();
    encode(lines, record, span).map_err(|error| {
        lines.truncate(start);
        AuditError::Encode(error.to_string())
    })
}

fn encode(lines: &mut Vec<u8>, record: &Record<'_>, span: &SpanContext) -> io::Result<()> {
    record.serialize(&mut serde_json::Serializer::with_formatter(
        &mut *lines,
        OneLine,
    ))?;
    // The object is reopened for what the recorder adds: serde's `flatten` would copy the record into a map first.
    lines.pop();
    let duration = record
        .decided
        .duration_since(record.started)
        .unwrap_or_default();
    write!(lines, ",\"duration_us\":{}", duration.as_micros())?;
    if span.is_valid() {
        write!(
            lines,
            ",\"trace_id\":\"{}\",\"span_id\":\"{}\"",
            span.trace_id(),
            span.span_id()
        )?;
    }
    lines.extend_from_slice(b"}\n");
    Ok(())
}

pub(super) fn display<S: Serializer>(
    value: &impl Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(
    clippy::ref_option,
    reason = "serde hands a reference to the field to serialize_with"
)]
pub(super) fn option_display<S: Serializer>(
    value: &Option<impl Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

pub(super) fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let timestamp = Timestamp::try_from(*time).map_err(S::Error::custom)?;
    serializer.collect_str(&format_args!("{timestamp:.3}"))
}

#[expect(
    clippy::ref_option,
    reason = "serde hands a reference to the field to serialize_with"
)]
pub(super) fn option_rfc3339<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Compact JSON in which nothing but the line's own end acts like one.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // The first bytes, in UTF-8, of all that is escaped here: most text has none of them.
        if !fragment
            .bytes()
            .any(|byte| matches!(byte, 0x7f | 0xc2 | 0xe2))
        {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| acts_on_display(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// DEL and the C1 controls, the line and paragraph separators, and the marks that reorder text (Unicode's `Bidi_Control`).
fn acts_on_display(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}
