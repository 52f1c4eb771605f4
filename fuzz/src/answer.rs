//! What must be true of every answer: a URL says what was asked, as S3 would read it, and a refusal names what it refuses.
//!
//! Where each field travels is read from the protos' options here, so that this does not believe the code that it checks.

use std::collections::BTreeMap;

use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, Command, PresignRequest, PresignResponse,
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::MARKER;
use crate::build::{message, pool};

/// The most that the status of one command may be, in bytes: clients take 8 KiB of trailers and more.
const STATUS_BYTES: usize = 8 << 10;

/// Holds the answer to a request against it.
pub fn check_answer(
    request: &PresignRequest,
    answer: Result<Response<PresignResponse>, Status>,
    records: &[serde_json::Value],
) {
    assert_eq!(records.len(), 1, "one record for each request");
    if let Ok(response) = &answer {
        let (_, signature) = response
            .get_ref()
            .url
            .split_once("&X-Amz-Signature=")
            .expect("it is signed");
        assert_eq!(signature.len(), 64);
        assert!(!records[0].to_string().contains(signature), "{records:?}");
    }
    match answer {
        Ok(response) => check_url(
            request.command.as_ref().expect("nothing is issued without"),
            response.get_ref(),
        ),
        Err(status) => check_refusal("presignd.v1.PresignRequest", &status),
    }
}

/// Holds the answer to a batch against it.
pub fn check_batch_answer(
    request: &BatchPresignRequest,
    answer: Result<Response<BatchPresignResponse>, Status>,
) {
    let results = match answer {
        Ok(response) => response.into_inner().results,
        Err(status) => return check_refusal("presignd.v1.BatchPresignRequest", &status),
    };
    assert_eq!(results.len(), request.commands.len());
    for (index, (command, result)) in request.commands.iter().zip(results).enumerate() {
        match result.result.expect("a result") {
            ItemResult::Response(response) => check_url(command, &response),
            ItemResult::Error(error) => {
                let code = Code::from_i32(error.code);
                let bytes = error.encode_to_vec();
                let status = Status::with_details(code, error.message, bytes.into());
                check_refusal("presignd.v1.BatchPresignRequest", &status);
                for field in fields(&status) {
                    assert!(
                        field.starts_with(&format!("commands[{index}]")) || field == "expires_in",
                        "{field}"
                    );
                }
            }
        }
    }
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let bad = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    bad.unwrap_or_default()
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// A refusal is no accident, names its reason, and the fields that it refuses; and it cannot be made any length.
fn check_refusal(request: &str, status: &Status) {
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    assert_eq!(info.domain, "presignd");
    assert!(details.request_info().is_some());
    assert!(
        !matches!(status.code(), Code::Internal | Code::Unknown | Code::Ok),
        "{status:?}"
    );
    let size = status.message().len() + status.details().len();
    assert!(size <= STATUS_BYTES, "{size} bytes: {status:?}");
    let told = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
    assert!(!told.contains(MARKER), "{told}");
    let fields = fields(status);
    if info.reason == "INVALID_REQUEST" {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(!fields.is_empty(), "{status:?}");
    }
    for field in fields {
        assert!(
            leads_somewhere(request, &field),
            "{field:?} is no field of {request}"
        );
    }
}

/// Whether a path leads to a field of the message: `commands[3].get_object.key`, `command.put_object.metadata["a"]`.
fn leads_somewhere(request: &str, path: &str) -> bool {
    let mut kind = Some(message(request));
    let mut rest = path;
    while !rest.is_empty() {
        if rest == "*" {
            // The message as a whole.
            return true;
        }
        let Some(known) = kind else { return false };
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let Some(field) = known.get_field_by_name(&rest[..end]) else {
            return false;
        };
        rest = &rest[end..];
        if rest.starts_with('[') {
            if field.is_map() {
                // The entry's name stands in quotes, and may hold anything.
                return rest.ends_with("\"]");
            }
            let Some((index, after)) = rest[1..].split_once(']') else {
                return false;
            };
            if !field.is_list() || index.parse::<usize>().is_err() {
                return false;
            }
            rest = after;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        kind = field.kind().as_message().cloned();
    }
    true
}

/// One request as S3 would read it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    bucket: Option<String>,
    key: Option<String>,
    query: Vec<(String, Option<String>)>,
    /// `None`: the value has a form of its own.
    headers: BTreeMap<String, Option<String>>,
}

fn check_url(command: &Command, response: &PresignResponse) {
    let dynamic = DynamicMessage::decode(message("presignd.v1.Command"), &*command.encode_to_vec())
        .expect("the same message");
    let (_, inner) = dynamic
        .fields()
        .find(|(field, _)| field.containing_oneof().is_some())
        .expect("a command");
    let inner = inner.as_message().expect("a message");
    let kind = inner.descriptor();
    let extension = pool()
        .get_extension_by_name("presignd.s3.v1.operation")
        .expect("the option");
    let options = kind.options();
    let operation = options.get_extension(&extension);
    let operation = operation.as_message().expect("an operation");
    let text = |name: &str| {
        operation
            .get_field_by_name(name)
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    assert_eq!(response.method, text("method"));

    let mut asked = asked(inner);
    if command
        .options
        .is_some_and(|options| options.requester_pays())
    {
        let payer = asked.headers.entry("x-amz-request-payer".to_owned());
        payer.or_insert(Some("requester".to_owned()));
    }
    if let Some(fixed) = operation.get_field_by_name("fixed_query") {
        for parameter in fixed.as_list().expect("a list") {
            let parameter = parameter.as_str().expect("text");
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // What is fixed and what is asked may be one, as encoding-type is not: both stand there.
            asked.query.push((name.to_owned(), Some(value.to_owned())));
        }
    }

    let url = &response.url;
    assert!(
        url.is_ascii() && !url.contains(['#', ' ', '+', '"', '<', '>', '\\']),
        "{url}"
    );
    let (_, rest) = url.split_once("://").expect("a scheme");
    let (target, query) = rest.split_once('?').expect("a query");
    let (host, path) = target.split_at(target.find('/').expect("a path"));
    assert!(
        !path.split('/').any(|segment| matches!(segment, "." | "..")),
        "{url}"
    );
    check_path(operation, &asked, host, &decode(path), &text("fixed_path"));

    let (mut held, mut own) = (Vec::new(), BTreeMap::new());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').expect("every parameter has a =");
        let (name, value) = (decode(name), decode(value));
        if name.starts_with("X-Amz-") {
            assert!(own.insert(name, value).is_none(), "twice in {url}");
        } else {
            held.push((name, value));
        }
    }
    check_own(&own, response);
    held.sort();
    asked.query.sort();
    assert_eq!(held.len(), asked.query.len(), "{held:?} {:?}", asked.query);
    for ((name, value), (asked_name, asked_value)) in held.iter().zip(&asked.query) {
        assert_eq!(name, asked_name, "{url}");
        assert!(
            asked_value.as_ref().is_none_or(|asked| asked == value),
            "{name}: {value:?} for {asked_value:?}"
        );
    }

    let names: Vec<&String> = response.headers.keys().collect();
    assert_eq!(
        names.len(),
        asked.headers.len(),
        "{names:?} {:?}",
        asked.headers
    );
    for (name, value) in &response.headers {
        let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(
            printable && !value.starts_with(' ') && !value.ends_with(' '),
            "{name}: {value:?}"
        );
        let wanted = asked
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("{name} was not asked for"));
        assert!(
            wanted.as_ref().is_none_or(|wanted| wanted == value),
            "{name}: {value:?} for {wanted:?}"
        );
    }
}

/// presignd's own parameters are there, and fit what the answer says.
fn check_own(own: &BTreeMap<String, String>, response: &PresignResponse) {
    for name in [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    ] {
        assert!(own.contains_key(name), "no {name} in {own:?}");
    }
    assert!(
        own.len() == 6 || (own.len() == 7 && own.contains_key("X-Amz-Security-Token")),
        "{own:?}"
    );
    let expires: u32 = own["X-Amz-Expires"].parse().expect("a number");
    assert!((1..=604_800).contains(&expires));
    let mut signed: Vec<String> = response
        .headers
        .keys()
        .cloned()
        .chain(["host".to_owned()])
        .collect();
    signed.sort();
    assert_eq!(own["X-Amz-SignedHeaders"], signed.join(";"));
}

fn check_path(operation: &DynamicMessage, asked: &Asked, host: &str, path: &str, fixed: &str) {
    let form = operation
        .get_field_by_name("path")
        .and_then(|form| form.as_enum_number());
    let bucket = asked.bucket.as_deref().unwrap_or_default();
    let in_host = !bucket.is_empty() && host.starts_with(&format!("{bucket}."));
    let base = if in_host {
        String::new()
    } else {
        format!("/{bucket}")
    };
    match form {
        Some(3) => assert_eq!(
            path,
            format!("{base}/{}", asked.key.as_deref().expect("a key"))
        ),
        Some(2) => assert_eq!(path.trim_end_matches('/'), base),
        Some(4) => assert_eq!(path, fixed),
        _ => assert_eq!(path, "/"),
    }
}

/// What the message says, by the options of its fields.
fn asked(command: &DynamicMessage) -> Asked {
    let extension = pool()
        .get_extension_by_name("presignd.s3.v1.binding")
        .expect("the option");
    let mut asked = Asked::default();
    for (field, value) in command.fields() {
        let options = field.options();
        let binding = options.get_extension(&extension);
        let binding = binding.as_message().expect("a binding");
        let place = binding
            .get_field_by_name("place")
            .and_then(|place| place.as_enum_number());
        let name = binding
            .get_field_by_name("name")
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default();
        let is_reference = binding
            .get_field_by_name("object_reference")
            .and_then(|is| is.as_bool())
            == Some(true);
        match (place, value) {
            (Some(1), value) if name == "Bucket" => {
                asked.bucket = value.as_str().map(str::to_owned)
            }
            (Some(1), value) => asked.key = value.as_str().map(str::to_owned),
            (Some(2), value) => asked.query.push((name, plain(value))),
            (Some(3), value) => {
                let value = if is_reference { None } else { plain(value) };
                asked.headers.insert(name, value);
            }
            (Some(4), Value::Map(entries)) => {
                for (suffix, value) in entries {
                    let suffix = suffix.as_str().expect("text").to_ascii_lowercase();
                    asked
                        .headers
                        .insert(format!("{name}{suffix}"), value.as_str().map(str::to_owned));
                }
            }
            (place, value) => panic!("{name} travels in {place:?}: {value:?}"),
        }
    }
    asked
}

/// A value as it travels; `None` for times.
fn plain(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::List(items) => items
            .iter()
            .map(|item| item.as_str().expect("text"))
            .collect::<Vec<_>>()
            .join(","),
        _ => return None,
    })
}

/// Undoes percent-encoding, once, as a server does.
fn decode(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || {
                char::from(bytes.next().expect("two digits"))
                    .to_digit(16)
                    .expect("hexadecimal")
            };
            u8::try_from(digit() * 16 + digit()).expect("a byte")
        } else {
            byte
        });
    }
    String::from_utf8(decoded).expect("what was asked was UTF-8")
}
