//! Laws of binding, over random messages: nothing panics, and a server reads from the signed URL just what was asked.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, ReflectMessage, Value};

use super::{Bind, BindAny, Field, Place};

use crate::proto::{FILE_DESCRIPTOR_SET, s3};
use crate::sign::laws::decode;
use crate::sign::samples::{credentials, endpoint, seconds};
use crate::sign::{SigningEndpoint, presign};

/// Values for one member, whatever its type turns out to be.
#[derive(Debug, Clone)]
struct Values {
    text: String,
    header: String,
    number: i64,
    nanos: i32,
}

/// More than any of the messages has members.
const MEMBERS: usize = 64;

fn values(any_text: bool) -> impl Strategy<Value = Vec<Option<Values>>> {
    let header = if any_text {
        any::<String>().boxed()
    } else {
        "([!-~]([ -~]{0,12}[!-~])?)?".boxed()
    };
    let nanos = 0..1_000_000_000_i32;
    let one =
        (any::<String>(), header, any::<i64>(), nanos).prop_map(|(text, header, number, nanos)| {
            Values {
                text,
                header,
                number,
                nanos,
            }
        });
    vec(proptest::option::weighted(0.7, one), MEMBERS)
}

/// Keys of everything that URLs trip over, dot segments among it.
fn keys() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[/%?#&+=. ~a-z]{1,6}",
        any::<char>().prop_map(String::from),
        Just("/../".to_owned()),
    ];
    vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

/// A message of the type, for reflection.
fn empty<T: Bind>() -> DynamicMessage {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());
    let name = format!("presignd.s3.v1.{}", T::OPERATION.name);
    DynamicMessage::new(POOL.get_message_by_name(&name).unwrap())
}

/// A message whose every member has a value, or none: one that binds, unless it is to have any text. `fixed` members have these texts.
fn message<T: Bind + prost::Message + Default>(
    values: &[Option<Values>],
    any_text: bool,
    fixed: &[(&str, String)],
) -> T {
    let mut message = empty::<T>();
    assert!(T::FIELDS.len() <= MEMBERS);
    let members: Vec<_> = message.descriptor().fields().collect();
    for ((member, field), values) in members.iter().zip(T::FIELDS).zip(values) {
        assert_eq!(member.name(), field.field);
        if let Some((_, text)) = fixed.iter().find(|(name, _)| *name == field.field) {
            message.set_field(member, Value::String(text.clone()));
            continue;
        }
        let Some(values) = values else { continue };
        let text = match field.place {
            Place::Header | Place::HeaderPrefix => &values.header,
            _ if field.name.starts_with("response-") => &values.header,
            _ => &values.text,
        };
        let disposition = field.name.ends_with("content-disposition") && !any_text;
        let quoted = text.replace(['"', '\\'], "_");
        let text = if disposition {
            &format!("attachment; filename=\"{quoted}\"")
        } else {
            text
        };
        let value = match member.kind() {
            _ if member.is_map() => {
                let key = MapKey::String(values.header.clone());
                Value::Map([(key, Value::String(text.clone()))].into())
            }
            _ if member.is_list() => Value::List(vec![Value::String(text.clone())]),
            Kind::String => Value::String(text.clone()),
            Kind::Bool => Value::Bool(values.number % 2 == 0),
            Kind::Int32 => Value::I32(values.nanos),
            Kind::Int64 => Value::I64(values.number),
            Kind::Message(timestamp) => {
                let mut time = DynamicMessage::new(timestamp);
                time.set_field_by_name("seconds", Value::I64(values.number / (1 << 28)));
                time.set_field_by_name("nanos", Value::I32(values.nanos));
                Value::Message(time)
            }
            kind => panic!("{kind:?}"),
        };
        message.set_field(member, value);
    }
    message.transcode_to().unwrap()
}

/// The texts of a message by the names under which they travel in a place.
fn texts<T: Bind + prost::Message>(message: &T, place: Place) -> BTreeMap<&'static str, String> {
    let mut dynamic = empty::<T>();
    dynamic.transcode_from(message).unwrap();
    let text = |field: &Field| match dynamic.get_field_by_name(field.field)?.as_ref() {
        Value::String(text) if dynamic.has_field_by_name(field.field) => {
            Some((field.name, text.clone()))
        }
        _ => None,
    };
    T::FIELDS
        .iter()
        .filter(|field| field.place == place && !field.object_reference)
        .filter_map(text)
        .collect()
}

fn places(path_style: bool) -> SigningEndpoint {
    if path_style {
        endpoint("http://127.0.0.1:9000", "/files")
    } else {
        endpoint("https://files.s3.eu-west-1.amazonaws.com", "")
    }
}

/// Binds and signs; reads the URL as S3 does; and holds what it says against what was asked.
fn check<T: Bind + prost::Message>(
    message: &T,
    key: &str,
    source: Option<(&str, &str)>,
    path_style: bool,
) -> Result<(), TestCaseError> {
    let Ok(bound) = message.to_bound() else {
        let dots = |key: &str| key.split('/').any(|s| s == "." || s == "..");
        let source_key = source.map_or("k", |(key, _)| key);
        let reason = dots(key) || dots(source_key);
        prop_assert!(reason, "refused for nothing: {:?}", message.to_bound());
        return Ok(());
    };
    let endpoint = places(path_style);
    let url = presign(
        &bound,
        &endpoint,
        &credentials("s", Some("t")),
        seconds(0),
        1,
    );
    let rest = url.as_str().strip_prefix(&endpoint.origin).unwrap();
    let (path, query) = rest.split_once('?').unwrap();
    let asked = format!("{}/{key}", endpoint.base_path);
    prop_assert_eq!(decode(path), asked.as_bytes());

    let mut held = BTreeMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        prop_assert!(held.insert(name, decode(value)).is_none(), "{name} twice");
    }
    let asked = texts(message, Place::Query);
    for (name, value) in &asked {
        prop_assert_eq!(
            held.get(name).map(Vec::as_slice),
            Some(value.as_bytes()),
            "{}",
            name
        );
    }
    let own = held
        .keys()
        .filter(|name| name.starts_with("X-Amz-"))
        .count();
    prop_assert_eq!(own, 7);
    prop_assert_eq!(held.len(), 7 + bound.query.len());

    let headers: BTreeMap<String, &str> = bound
        .headers
        .iter()
        .map(|h| (format!("{}{}", h.name, h.suffix), h.value.as_str()))
        .collect();
    prop_assert_eq!(headers.len(), bound.headers.len());
    for (name, value) in texts(message, Place::Header) {
        prop_assert_eq!(headers.get(name), Some(&value.as_str()), "{}", name);
    }
    let signed: Vec<&str> = headers.keys().map(String::as_str).collect();
    let named = String::from_utf8(held["X-Amz-SignedHeaders"].clone()).unwrap();
    let named: Vec<&str> = named.split(';').filter(|name| *name != "host").collect();
    prop_assert_eq!(named, signed);

    if let Some((key, version)) = source {
        let header = headers["x-amz-copy-source"];
        let (path, query) = header.split_once('?').unwrap();
        let asked = format!("source-files/{key}");
        prop_assert_eq!(decode(path), asked.as_bytes());
        prop_assert_eq!(query, format!("versionId={version}"));
    }
    Ok(())
}

/// Random values, save for members that only a well-formed text passes.
fn fixed(key: &str) -> [(&'static str, String); 2] {
    [("bucket", "files".to_owned()), ("key", key.to_owned())]
}

/// Leaves out what needs a matching member, and names of metadata that are none.
fn without_checksum_and_metadata(mut message: s3::PutObject) -> s3::PutObject {
    message.checksum_algorithm = None;
    message.metadata.clear();
    message
}

proptest! {
    // Each case binds and signs several messages of some forty members.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_in_any_member_panics(values in values(true), path_style: bool) {
        fn bind_and_sign<T: Bind + prost::Message + Default>(values: &[Option<Values>], path_style: bool) {
            let valid = [("bucket", "b"), ("key", "k"), ("copy_source", "b/k")].map(|(name, text)| (name, text.to_owned()));
            for count in 0..=valid.len() {
                let message: T = message(values, true, &valid[..count]);
                match message.to_bound() {
                    Ok(bound) => drop(presign(&bound, &places(path_style), &credentials("s", None), seconds(0), 1)),
                    Err(violations) => assert!(!violations.0.is_empty()),
                }
            }
        }
        bind_and_sign::<s3::GetObject>(&values, path_style);
        bind_and_sign::<s3::PutObject>(&values, path_style);
        bind_and_sign::<s3::CopyObject>(&values, path_style);
    }

    #[test]
    fn a_signed_url_reads_back_as_what_was_asked(
        values in values(false), key in keys(), source in keys(), version in "[A-Za-z0-9._~-]{1,32}", path_style: bool,
    ) {
        let get: s3::GetObject = message(&values, false, &fixed(&key));
        check(&get, &key, None, path_style)?;
        let put: s3::PutObject = message(&values, false, &fixed(&key));
        check(&without_checksum_and_metadata(put), &key, None, path_style)?;
        let reference = format!("source-files/{source}?versionId={version}");
        let [bucket, own] = fixed(&key);
        let mut copy: s3::CopyObject = message(&values, false, &[bucket, own, ("copy_source", reference)]);
        copy.metadata.clear();
        check(&copy, &key, Some((&source, &version)), path_style)?;
    }
}
