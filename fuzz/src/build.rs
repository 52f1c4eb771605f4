//! Requests that are well formed, from arbitrary bytes: any command, with any of its fields set to what is likely to be odd.
//!
//! What S3's commands and their fields are is read from the protos, so a new command is fuzzed without a word here.

use arbitrary::{Arbitrary as _, Unstructured};
use presignd::proto::FILE_DESCRIPTOR_SET;
use presignd::proto::v1::payload::Kind;
use presignd::proto::v1::{BatchPresignRequest, Command, Payload, PresignRequest, SigningOptions};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind as FieldKind, MapKey, MessageDescriptor,
    Value,
};

/// Where the bytes come from.
pub type Bytes<'a> = Unstructured<'a>;

const TEXTS: [&str; 24] = [
    "",
    "files",
    "logs.2026",
    "files/in/one",
    "in/one",
    "/files/a",
    "a//b",
    "..",
    "a/../b",
    "./a",
    "a/.",
    "ä ö/%2F",
    "%",
    "+ +",
    "a?versionId=1",
    "files/k?versionId=v1",
    "\r\nx-evil: 1",
    "\0",
    "*",
    "${aws:username}",
    "arn:aws:s3:::files/k",
    "&X-Amz-Expires=1",
    "\u{202e}",
    "#?;=",
];

/// The protos, read once.
pub(crate) fn pool() -> &'static DescriptorPool {
    static POOL: std::sync::OnceLock<DescriptorPool> = std::sync::OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the protos"))
}

pub(crate) fn message(name: &str) -> MessageDescriptor {
    pool()
        .get_message_by_name(name)
        .expect("a message of the protos")
}

/// A request for one URL.
pub fn request(bytes: &mut Bytes<'_>) -> arbitrary::Result<PresignRequest> {
    Ok(PresignRequest {
        tenant: tenant(bytes)?,
        command: Some(Box::new(command(bytes)?)),
        expires_in: expiry(bytes)?,
        expiry_mode: bytes.int_in_range(0..=3)?,
        reason: free_text(bytes)?,
        subject: free_text(bytes)?,
        source_ip: Vec::new(),
    })
}

/// A request for a few URLs.
pub fn batch(bytes: &mut Bytes<'_>) -> arbitrary::Result<BatchPresignRequest> {
    let (tenant, expires_in) = (tenant(bytes)?, expiry(bytes)?);
    let (expiry_mode, reason) = (bytes.int_in_range(0..=3)?, free_text(bytes)?);
    let mut commands = Vec::new();
    for _ in 0..bytes.int_in_range(0..=6)? {
        commands.push(command(bytes)?);
    }
    Ok(BatchPresignRequest {
        tenant,
        commands,
        expires_in,
        expiry_mode,
        reason,
        subject: String::new(),
        source_ip: Vec::new(),
    })
}

fn tenant(bytes: &mut Bytes<'_>) -> arbitrary::Result<String> {
    Ok(match bytes.int_in_range(0..=15)? {
        0..=5 => "store".to_owned(),
        6..=9 => "aws".to_owned(),
        10..=11 => "role".to_owned(),
        12..=13 => "narrow".to_owned(),
        14 => "absent".to_owned(),
        _ => text(bytes)?,
    })
}

fn expiry(bytes: &mut Bytes<'_>) -> arbitrary::Result<Option<prost_types::Duration>> {
    Ok(match bytes.int_in_range(0..=7)? {
        0..=3 => None,
        4..=6 => Some(prost_types::Duration {
            seconds: bytes.int_in_range(1..=604_800)?,
            nanos: 0,
        }),
        _ => Some(prost_types::Duration {
            seconds: i64::arbitrary(bytes)?,
            nanos: i32::arbitrary(bytes)?,
        }),
    })
}

fn free_text(bytes: &mut Bytes<'_>) -> arbitrary::Result<String> {
    if bytes.ratio(1, 4)? {
        text(bytes)
    } else {
        Ok(String::new())
    }
}

fn command(bytes: &mut Bytes<'_>) -> arbitrary::Result<Command> {
    let all = message("presignd.v1.Command");
    let variants: Vec<FieldDescriptor> = all
        .oneofs()
        .flat_map(|one| one.fields().collect::<Vec<_>>())
        .collect();
    let variant = bytes.choose(&variants)?;
    let FieldKind::Message(kind) = variant.kind() else {
        return Ok(Command::default());
    };
    let mut one = DynamicMessage::new(kind.clone());
    for field in kind.fields() {
        // What every request needs is there more often than not.
        let often = matches!(field.name(), "bucket" | "key") || bytes.ratio(1, 6)?;
        if often && let Some(value) = value(bytes, &field)? {
            one.set_field(&field, value);
        }
    }
    let mut command = DynamicMessage::new(all.clone());
    command.set_field(variant, Value::Message(one));
    let mut command = Command::decode(&*command.encode_to_vec()).expect("the same message");
    if bytes.ratio(1, 4)? {
        command.payload = Some(payload(bytes)?);
    }
    if bytes.ratio(1, 3)? {
        let mut options = SigningOptions::default();
        // Mostly what is to be looked at, and sometimes what is unknown.
        options.header_placement = if bytes.ratio(1, 8)? {
            bytes.int_in_range(0..=4)?
        } else {
            2
        };
        command.options = Some(options);
    }
    Ok(command)
}

/// A body, or something that is none.
fn payload(bytes: &mut Bytes<'_>) -> arbitrary::Result<Payload> {
    let kind = match bytes.int_in_range(0..=7)? {
        0 => None,
        1..=4 => Some(Kind::Content(text(bytes)?.into_bytes())),
        5 => Some(Kind::Sha256(text(bytes)?.into_bytes())),
        _ => Some(Kind::Sha256(<[u8; 32]>::arbitrary(bytes)?.to_vec())),
    };
    Ok(Payload { kind })
}

fn value(bytes: &mut Bytes<'_>, field: &FieldDescriptor) -> arbitrary::Result<Option<Value>> {
    if field.is_map() {
        let mut entries = std::collections::HashMap::new();
        for _ in 0..bytes.int_in_range(0..=3)? {
            entries.insert(MapKey::String(text(bytes)?), Value::String(text(bytes)?));
        }
        return Ok(Some(Value::Map(entries)));
    }
    if field.is_list() {
        let mut items = Vec::new();
        for _ in 0..bytes.int_in_range(0..=3)? {
            items.extend(single(bytes, field)?);
        }
        return Ok(Some(Value::List(items)));
    }
    single(bytes, field)
}

fn single(bytes: &mut Bytes<'_>, field: &FieldDescriptor) -> arbitrary::Result<Option<Value>> {
    Ok(Some(match field.kind() {
        FieldKind::String if field.name() == "bucket" && !bytes.ratio(1, 8)? => {
            Value::String((*bytes.choose(&["files", "logs.2026"])?).to_owned())
        }
        FieldKind::String => Value::String(text(bytes)?),
        FieldKind::Bool => Value::Bool(bool::arbitrary(bytes)?),
        FieldKind::Int32 => Value::I32(i32::arbitrary(bytes)?),
        FieldKind::Int64 => Value::I64(i64::arbitrary(bytes)?),
        FieldKind::Message(kind) => {
            let mut time = DynamicMessage::new(kind);
            time.set_field_by_name("seconds", Value::I64(i64::arbitrary(bytes)?));
            time.set_field_by_name("nanos", Value::I32(i32::arbitrary(bytes)?));
            Value::Message(time)
        }
        _ => return Ok(None),
    }))
}

/// Something odd, something of the caller's own, or both.
fn text(bytes: &mut Bytes<'_>) -> arbitrary::Result<String> {
    let mut text = String::new();
    let kind: u8 = bytes.int_in_range(0..=7)?;
    if kind < 4 {
        text += *bytes.choose(&TEXTS)?;
    }
    if kind > 2 {
        let length = bytes.int_in_range(0..=40)?;
        text += &String::from_utf8_lossy(bytes.bytes(length.min(bytes.len()))?);
    }
    if kind == 7 && bytes.ratio(1, 8)? {
        text = text.repeat(bytes.int_in_range(1..=400)?);
    }
    Ok(text)
}
