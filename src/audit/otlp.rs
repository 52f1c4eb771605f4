//! Spans as the bytes of OTLP: the little of protobuf that one kind of span needs.
//!
//! Invariant: what is written decodes to the message of `opentelemetry/proto/trace/v1/trace.proto` with the very values that were
//! given, whatever they hold; the tests hold it against the published messages. A general encoder would first build the message,
//! with some thirty strings on the heap: many times the cost of writing it down.

use std::time::SystemTime;

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

/// The field `spans` of a `ScopeSpans`: what is appended for each span is one such field, so that spans one after the other are
/// the end of a `ScopeSpans`.
const SPANS: u32 = 2;

/// The bytes that hold the length of nearly every span: it has 128 to 16,383 bytes.
const LENGTH_BYTES: usize = 2;

/// Appends a span, whose fields `write` appends.
pub(super) fn span(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(SPANS, WireType::LengthDelimited, out);
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    write(out);
    let length = out.len() - start - LENGTH_BYTES;
    let mut encoded = [0; 10];
    let bytes = encoded_len_varint(length as u64);
    encode_varint(length as u64, &mut &mut encoded[..]);
    if bytes == LENGTH_BYTES {
        out[start..start + LENGTH_BYTES].copy_from_slice(&encoded[..bytes]);
    } else {
        out.splice(
            start..start + LENGTH_BYTES,
            encoded[..bytes].iter().copied(),
        );
    }
}

/// A field of text or bytes; nothing for an empty one, as proto3 has it.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        delimited(out, field, value);
    }
}

/// A field of an enum.
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

/// A field of type `fixed32`.
pub(super) fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    encode_key(field, WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field with a time: nanoseconds since 1970, in which times before that are 0, and those after 2554 its end.
pub(super) fn time(out: &mut Vec<u8>, field: u32, time: SystemTime) {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    encode_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&nanos.to_le_bytes());
}

/// A field with a `Status` of code `STATUS_CODE_ERROR`.
pub(super) fn error(out: &mut Vec<u8>, field: u32, message: &str) {
    let code = [3 << 3, 2];
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint((delimited_len(message.len()) + code.len()) as u64, out);
    delimited(out, 2, message.as_bytes());
    out.extend_from_slice(&code);
}

/// A field with a `KeyValue` whose value is text.
pub(super) fn text_attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let any = value.len() + 2;
    // Nearly all are short, and then each key and each length is one byte.
    if let [
        Ok(key @ ..0x80),
        Ok(whole @ ..0x80),
        Ok(name_length),
        Ok(any),
        Ok(length),
    ] = [
        u8::try_from(field << 3 | 2),
        u8::try_from(name.len() + any + 4),
        u8::try_from(name.len()),
        u8::try_from(any),
        u8::try_from(value.len()),
    ] {
        out.extend_from_slice(&[key, whole, 0x0a, name_length]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[0x12, any, 0x0a, length]);
        out.extend_from_slice(value.as_bytes());
        return;
    }
    key_value(out, field, name, delimited_len(value.len()));
    // `AnyValue.string_value`: one of a `oneof`, so an empty one is written too.
    delimited(out, 1, value.as_bytes());
}

/// A field with a `KeyValue` whose value is a number; of those above its 63 bits, the largest that they hold.
pub(super) fn number_attribute(out: &mut Vec<u8>, field: u32, name: &str, value: u64) {
    let value = value.min(i64::MAX.unsigned_abs());
    key_value(out, field, name, 1 + encoded_len_varint(value));
    // `AnyValue.int_value`.
    number(out, 3, value);
}

/// All of a `KeyValue` up to the content of its value, which has `value` bytes.
fn key_value(out: &mut Vec<u8>, field: u32, name: &str, value: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(
        (delimited_len(name.len()) + delimited_len(value)) as u64,
        out,
    );
    delimited(out, 1, name.as_bytes());
    encode_key(2, WireType::LengthDelimited, out);
    encode_varint(value as u64, out);
}

fn delimited(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// The size of a delimited field with a number below 16.
fn delimited_len(value: usize) -> usize {
    1 + encoded_len_varint(value as u64) + value
}
