//! What the command line asks for, as the request that says it.

use anyhow::{Context as _, anyhow};
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

use super::PresignOptions;
use super::location::Location;
use super::parameters::{self, plain};
use crate::config::nearest;
use crate::grpc::client::DESCRIPTORS;
use crate::grpc::request::read_presign;
use crate::presign::Request;
use crate::proto::v1::Command;
use crate::sign::command::{Operation, PathForm};
use crate::sign::operations::OPERATIONS;

/// Commands that have a short name.
const SHORT: [(&str, &str); 5] = [
    ("get", "GetObject"),
    ("put", "PutObject"),
    ("head", "HeadObject"),
    ("delete", "DeleteObject"),
    ("list", "ListObjectsV2"),
];
const POST: &str = "post";

/// A request, and what to do with its answer.
#[derive(Debug)]
pub(super) struct Asked {
    /// The method of PresignService.
    pub(super) method: &'static str,
    /// Its message.
    pub(super) request: Value,
    /// The command; `None`: an upload form.
    pub(super) operation: Option<&'static Operation>,
    /// Whether the command was named as in S3's API, so that its method may not be known.
    pub(super) by_name: bool,
    /// A name for the file that is uploaded.
    pub(super) file_name: String,
}

/// Reads the command line.
pub(super) fn read(options: &PresignOptions) -> anyhow::Result<Asked> {
    let location = options.location.as_deref().map(Location::read);
    let location = location.transpose().map_err(|why| anyhow!(why))?;
    let file_name = location.as_ref().map_or("FILE", Location::file_name);
    let mut request = common(options);
    let asked = |method, request, operation, by_name| Asked {
        method,
        request,
        operation,
        by_name,
        file_name: file_name.to_owned(),
    };
    if options.command == POST {
        if let Some(Location { bucket, key }) = location {
            request.insert("bucket".to_owned(), bucket.into());
            if !key.is_empty() {
                request.insert("key".to_owned(), key.into());
            }
        }
        if options.html {
            request.insert("htmlForm".to_owned(), true.into());
        }
        fill(
            "presignd.v1.PresignPostRequest",
            &options.parameters,
            &mut request,
        )?;
        return Ok(asked("PresignPost", request.into(), None, false));
    }
    anyhow::ensure!(
        !options.html,
        "--html is for `post`: only an upload form is HTML"
    );
    let (operation, by_name) = operation(&options.command)?;
    let command = command(operation, location.as_ref(), &options.parameters)?;
    request.insert("command".to_owned(), command);
    Ok(asked("Presign", request.into(), Some(operation), by_name))
}

/// A command of a tenant, as somebody wants it.
#[derive(Debug)]
pub(in crate::cli) struct Wanted<'a> {
    /// The tenant's id.
    pub(in crate::cli) tenant: &'a str,
    /// The command, by its short name or its own.
    pub(in crate::cli) command: &'a str,
    /// `s3://bucket/key`.
    pub(in crate::cli) location: Option<&'a str>,
    /// Each `NAME=VALUE`.
    pub(in crate::cli) parameters: &'a [String],
    /// For how long.
    pub(in crate::cli) expires_in: Option<std::time::Duration>,
}

/// The request that a presignd would read for it.
pub(in crate::cli) fn request_of(wanted: &Wanted<'_>) -> anyhow::Result<(Request, Box<Command>)> {
    anyhow::ensure!(
        wanted.command != POST,
        "forms are not explained: ask for `put`, which grants allow alike"
    );
    let location = wanted.location.map(Location::read);
    let location = location.transpose().map_err(|why| anyhow!(why))?;
    let (operation, _) = operation(wanted.command)?;
    let mut request = json!({
        "tenant": wanted.tenant,
        "command": command(operation, location.as_ref(), wanted.parameters)?,
    });
    if let Some(lasting) = wanted.expires_in {
        request["expiresIn"] = format!("{}s", lasting.as_secs()).into();
    }
    let message = DESCRIPTORS.get_message_by_name("presignd.v1.PresignRequest");
    let message = message.context("the protos lack a message of their own")?;
    let message = DynamicMessage::deserialize(message, request)?;
    read_presign(message.transcode_to()?).map_err(|invalid| anyhow!("{}", invalid.sentence()))
}

/// The command in protobuf's JSON.
fn command(
    operation: &Operation,
    location: Option<&Location<'_>>,
    parameters: &[String],
) -> anyhow::Result<Value> {
    let mut command = Map::new();
    if let Some(location) = location {
        place(operation, location, &mut command)?;
    }
    let message = format!("presignd.s3.v1.{}", operation.name);
    fill(&message, parameters, &mut command)?;
    Ok(json!({ operation.field: command }))
}

/// What every request has.
fn common(options: &PresignOptions) -> Map<String, Value> {
    let mut request = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            request.insert(name.to_owned(), value);
        }
    };
    set("tenant", Some(options.tenant.clone().into()));
    let lasting = options.expires_in;
    set(
        "expiresIn",
        lasting.map(|d| format!("{}s", d.as_secs()).into()),
    );
    set(
        "expiryMode",
        options.clamp.then(|| "EXPIRY_MODE_CLAMP".into()),
    );
    set("reason", options.reason.clone().map(Value::from));
    set("subject", options.subject.clone().map(Value::from));
    let source_ip = &options.source_ip;
    set(
        "sourceIp",
        (!source_ip.is_empty()).then(|| json!(source_ip)),
    );
    request
}

fn fill(
    message: &str,
    parameters: &[String],
    fields: &mut Map<String, Value>,
) -> anyhow::Result<()> {
    let message = DESCRIPTORS.get_message_by_name(message);
    let message = message.context("the protos lack a message of their own")?;
    parameters::read(&message, parameters, fields).map_err(|why| anyhow!(why))
}

/// The command by its short name or its own.
fn operation(name: &str) -> anyhow::Result<(&'static Operation, bool)> {
    let short = SHORT.iter().find(|(short, _)| *short == name);
    let wanted = plain(short.map_or(name, |(_, name)| name));
    let found = OPERATIONS
        .into_iter()
        .find(|operation| plain(operation.name) == wanted);
    if let Some(operation) = found {
        return Ok((operation, short.is_none()));
    }
    let mut known: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
    known.push(POST);
    known.extend(OPERATIONS.iter().map(|operation| operation.name));
    let meant = nearest(name, &known);
    let meant = meant.map_or_else(String::new, |meant| format!(", did you mean `{meant}`"));
    Err(anyhow!(
        "`{name}` is no command{meant}? There are get, put, head, delete, list, post, and those of S3's API, such as GetObjectTagging"
    ))
}

/// Sets what the location says.
fn place(
    operation: &Operation,
    location: &Location<'_>,
    command: &mut Map<String, Value>,
) -> anyhow::Result<()> {
    let name = operation.name;
    let field = match operation.path {
        PathForm::Object => "key",
        PathForm::Bucket => "prefix",
        PathForm::Service | PathForm::Fixed(_) => {
            return Err(anyhow!(
                "{name} is for no bucket: leave out s3://{}",
                location.bucket
            ));
        }
    };
    command.insert("bucket".to_owned(), location.bucket.into());
    if location.key.is_empty() {
        return Ok(());
    }
    let message = DESCRIPTORS.get_message_by_name(&format!("presignd.s3.v1.{name}"));
    let takes = message.is_some_and(|message| message.get_field_by_name(field).is_some());
    anyhow::ensure!(
        takes,
        "{name} is for a bucket as a whole: write s3://{}",
        location.bucket
    );
    command.insert(field.to_owned(), location.key.into());
    Ok(())
}
