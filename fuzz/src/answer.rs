//! What must be true of every answer: a URL says what was asked, as S3 would read it, and a refusal names what it refuses.
//!
//! Where each field travels is read from the protos' options here, so that this does not believe the code that it checks.

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::payload::Kind;
use presignd::proto::v1::{
    BatchPresignRequest, BatchPresignResponse, Command, PresignRequest, PresignResponse,
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use sha2::{Digest as _, Sha256};
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

/// Holds what came of an operation against its request, by the name of its message, and its records.
pub fn check_operation<T>(
    request: &str,
    answer: &Result<Response<T>, Status>,
    records: &[serde_json::Value],
) {
    assert_eq!(records.len(), 1, "one record for each request");
    match answer {
        Ok(_) => assert_eq!(records[0]["outcome"], "operated", "{records:?}"),
        Err(status) => check_refusal(request, status),
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
    // The others qualify it.
    let mut fields = dynamic.fields();
    let (_, inner) = fields
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

    check_body(command, operation, response);
    add_payload(command, response, &mut asked);
    let options = command.options.clone().unwrap_or_default();
    if options.header_placement == 2 {
        move_into_query(&mut asked);
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

/// The SHA-256 of the body that the command binds.
fn bound_hash(command: &Command) -> Option<Vec<u8>> {
    match command.payload.as_ref()?.kind.as_ref()? {
        Kind::Content(content) => Some(Sha256::digest(content).to_vec()),
        Kind::Sha256(hash) => Some(hash.clone()),
    }
}

fn is_checksum(name: &str) -> bool {
    name == "content-md5" || name.starts_with("x-amz-checksum-")
}

/// What the answer says of the body is what the operation takes and the command binds.
fn check_body(command: &Command, operation: &DynamicMessage, response: &PresignResponse) {
    let body = response.body.as_ref().expect("it is always told");
    let kind = operation
        .get_field_by_name("body")
        .and_then(|kind| kind.as_enum_number());
    assert_eq!(Some(body.kind), kind);
    assert!(
        command.payload.is_none() || body.kind > 1,
        "a body for what has none"
    );
    assert_eq!(body.sha256, bound_hash(command).unwrap_or_default());
    let required = operation
        .get_field_by_name("checksum_required")
        .and_then(|required| required.as_bool());
    let signed = response.headers.keys().any(|name| is_checksum(name));
    assert_eq!(
        response.checksum_required,
        required == Some(true) && !signed
    );
    assert!(!response.checksum_required || command.payload.is_none());
}

/// What a bound body adds: its hash, its length, and one checksum at most that was not asked for.
fn add_payload(command: &Command, response: &PresignResponse, asked: &mut Asked) {
    let Some(hash) = bound_hash(command) else {
        assert!(!response.headers.contains_key("x-amz-content-sha256"));
        return;
    };
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    asked
        .headers
        .insert("x-amz-content-sha256".to_owned(), Some(hex));
    if let Some(Kind::Content(content)) = command.payload.as_ref().and_then(|p| p.kind.as_ref()) {
        let length = Some(content.len().to_string());
        let declared = asked
            .headers
            .insert("content-length".to_owned(), length.clone());
        assert!(declared.is_none() || declared == Some(length));
    }
    let made = |name: &&String| is_checksum(name) && !asked.headers.contains_key(*name);
    let made: Vec<String> = response.headers.keys().filter(made).cloned().collect();
    assert!(made.len() <= 1, "{made:?}");
    for name in made {
        let value = (name == "x-amz-checksum-sha256").then(|| STANDARD.encode_to_string(&hash));
        asked.headers.insert(name, value);
    }
}

/// What S3 reads from the query as well.
fn move_into_query(asked: &mut Asked) {
    let moves = |name: &str| {
        matches!(name, "x-amz-request-payer" | "x-amz-checksum-mode")
            || name.starts_with("x-amz-meta-")
    };
    let headers = std::mem::take(&mut asked.headers);
    let (moved, sent) = headers.into_iter().partition(|(name, _)| moves(name));
    asked.headers = sent;
    let moved: BTreeMap<String, Option<String>> = moved;
    asked.query.extend(moved);
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
