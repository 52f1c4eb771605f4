//! `--param NAME=VALUE`: fields of a message, by the names of S3's API or the message's own, with values of their types.
//!
//! Invariant: what passes becomes the field that was named and no other; names differ in more than letter case and separators.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Number, Value, json};

use crate::config::nearest;

/// The fields of `message` that the parameters set, by their names in JSON, added to those in `fields`.
pub(super) fn read(
    message: &MessageDescriptor,
    parameters: &[String],
    fields: &mut Map<String, Value>,
) -> Result<(), String> {
    for parameter in parameters {
        let (name, value) = parameter
            .split_once('=')
            .ok_or_else(|| format!("`{parameter}` has no `=`: write --param NAME=VALUE"))?;
        let field = field(message, name)?;
        set(&field, value, fields).map_err(|why| format!("--param {name}: {why}"))?;
    }
    Ok(())
}

/// The field by this name: `VersionId`, `version_id`, `version-id`.
pub(super) fn field(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    let wanted = plain(name);
    let found = message.fields().find(|field| plain(field.name()) == wanted);
    found.ok_or_else(|| {
        let fields: Vec<_> = message.fields().collect();
        let known: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
        let meant = nearest(name, &known);
        let meant = meant.map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
        format!(
            "{} has no parameter `{name}`{meant}\n  it has {}",
            message.name(),
            known.join(", ")
        )
    })
}

/// A name without what S3's API and the messages write differently.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

fn set(
    field: &FieldDescriptor,
    value: &str,
    fields: &mut Map<String, Value>,
) -> Result<(), String> {
    let name = field.json_name().to_owned();
    if field.is_map() {
        let (key, value) = value
            .split_once('=')
            .ok_or("it takes names and values: write NAME=VALUE after the first `=`")?;
        let entries = fields.entry(name).or_insert_with(|| json!({}));
        if entries.get(key).is_some() {
            return Err(format!("`{key}` is given twice"));
        }
        entries[key] = value.into();
    } else if field.is_list() {
        let value = typed(field, value)?;
        let list = fields.entry(name).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(value);
        }
    } else if fields.insert(name, typed(field, value)?).is_some() {
        return Err("it is given twice".to_owned());
    }
    Ok(())
}

/// The value as protobuf's JSON has it.
fn typed(field: &FieldDescriptor, value: &str) -> Result<Value, String> {
    let whole = || format!("`{value}` is no whole number that it takes");
    match field.kind() {
        Kind::String => Ok(value.into()),
        Kind::Int32 => Ok(value.parse::<i32>().map_err(|_| whole())?.into()),
        Kind::Int64 => Ok(Number::from(value.parse::<i64>().map_err(|_| whole())?).into()),
        Kind::Bool => match value {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(format!("`{value}` is neither `true` nor `false`")),
        },
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => timestamp(value),
            "presignd.v1.ContentLengthRange" => range(value),
            _ => Err("no text stands for its value: ask with grpcurl".to_owned()),
        },
        _ => Err("no text stands for its value: ask with grpcurl".to_owned()),
    }
}

fn timestamp(value: &str) -> Result<Value, String> {
    let time: jiff::Timestamp = value
        .parse()
        .map_err(|_| format!("`{value}` is no time, such as 2026-11-28T17:45:00Z"))?;
    Ok(time.to_string().into())
}

fn range(value: &str) -> Result<Value, String> {
    let read = || {
        let (min, max) = value.split_once('-')?;
        Some((min.parse::<u64>().ok()?, max.parse::<u64>().ok()?))
    };
    let (min, max) =
        read().ok_or_else(|| format!("`{value}` is no range: write MIN-MAX, in bytes"))?;
    Ok(json!({ "min": min, "max": max }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::grpc::client::DESCRIPTORS;
    use crate::sign::operations::OPERATIONS;

    fn message(name: &str) -> MessageDescriptor {
        DESCRIPTORS.get_message_by_name(name).unwrap()
    }

    fn read_all(of: &str, parameters: &[&str]) -> Result<Value, String> {
        let parameters: Vec<String> = parameters.iter().map(|&text| text.to_owned()).collect();
        let mut fields = Map::new();
        read(&message(of), &parameters, &mut fields)?;
        Ok(fields.into())
    }

    #[test]
    fn values_have_the_types_of_their_fields() {
        let read = read_all(
            "presignd.s3.v1.PutObject",
            &[
                "Bucket=b",
                "key=a=b",
                "SSEKMSKeyId=k",
                "BucketKeyEnabled=true",
                "ContentLength=5",
                "ChecksumCRC32C=x",
                "expires=2026-11-28T18:45:00+01:00",
                "Metadata=a=1=2",
                "metadata=B=",
            ],
        );
        let wanted = json!({
            "bucket": "b", "key": "a=b", "ssekmsKeyId": "k", "bucketKeyEnabled": true, "contentLength": 5, "checksumCrc32C": "x",
            "expires": "2026-11-28T17:45:00Z", "metadata": { "a": "1=2", "B": "" },
        });
        assert_eq!(read, Ok(wanted));
        let form = "presignd.v1.PresignPostRequest";
        let read = read_all(
            form,
            &[
                "content_length_range=1-10",
                "source-ip=10.0.0.1",
                "SourceIp=10.0.0.2",
            ],
        );
        let wanted = json!({ "contentLengthRange": { "min": 1, "max": 10 }, "sourceIp": ["10.0.0.1", "10.0.0.2"] });
        assert_eq!(read, Ok(wanted));
    }

    #[test]
    fn mistakes_name_the_parameter_and_the_way_out() {
        for (parameter, words) in [
            ("Key", "NAME=VALUE"),
            ("VersoinId=1", "did you mean `version_id`"),
            ("Shoe=1", "it has bucket, if_match"),
            ("PartNumber=x", "--param PartNumber: `x` is no whole number"),
            ("PartNumber=9999999999", "no whole number"),
            ("IfModifiedSince=now", "is no time"),
        ] {
            let why = read_all("presignd.s3.v1.GetObject", &[parameter]).unwrap_err();
            assert!(why.contains(words), "{parameter}: {why}");
        }
        let twice = read_all("presignd.s3.v1.GetObject", &["Key=a", "key=b"]).unwrap_err();
        assert_eq!(twice, "--param key: it is given twice");
        let flag = read_all("presignd.s3.v1.PutObject", &["BucketKeyEnabled=yes"]).unwrap_err();
        assert!(flag.contains("neither"), "{flag}");
    }

    #[test]
    fn no_two_fields_of_a_command_read_alike() {
        for operation in OPERATIONS {
            let message = message(&format!("presignd.s3.v1.{}", operation.name));
            let names: BTreeSet<String> =
                message.fields().map(|field| plain(field.name())).collect();
            assert_eq!(names.len(), message.fields().len(), "{}", operation.name);
        }
    }
}
