//! `presignd presign`: a URL at the terminal, from a presignd that serves.
//!
//! Standard output holds the URL alone, or what was asked for instead of it, so that `curl "$(presignd presign ..)"` works; what a person
//! has to know besides goes to standard error.

pub(super) mod connection;
mod curl;
mod location;
mod parameters;
mod request;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use self::connection::Connection;
use self::curl::Upload;
use self::request::Asked;
pub(super) use self::request::{Wanted, request_of};
use super::check::say;
use crate::sign::command::BodyKind;

const EXAMPLES: &str = r#"Examples:
  curl "$(presignd presign get s3://acme-files/report.pdf --tenant acme --expires-in 15m)"
  curl -T report.pdf "$(presignd presign put s3://acme-files/report.pdf --tenant acme)"
  bash -c "$(presignd presign put s3://acme-files/report.pdf --tenant acme --param ContentType=application/pdf --curl)"
  presignd presign post 's3://acme-files/in/${filename}' --tenant acme --param content_length_range=1-1048576 --html
  presignd presign list s3://acme-files/in/ --tenant acme --param MaxKeys=10
  presignd presign PutObjectTagging s3://acme-files/report.pdf --tenant acme --curl --file tags.xml
  presignd presign GetObject --param Bucket=acme-files --param Key=report.pdf --param VersionId=3HL4k --tenant acme --json

Names of parameters are those of S3's API or of the message: `grpcurl -plaintext 127.0.0.1:50051 describe presignd.s3.v1.GetObject`
lists them. A parameter with several values is given several times, one of names and values as Metadata=NAME=VALUE."#;

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, after_help = "Examples: presignd presign --help")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct PresignOptions {
    /// `get`, `put`, `head`, `delete`, `list`, `post` for an upload form, or any command of S3's API, such as `PutObjectTagging`.
    #[arg(value_name = "COMMAND")]
    command: String,
    /// The bucket and, if the command takes one, the key: as it is, without escapes.
    #[arg(value_name = "s3://BUCKET/KEY")]
    location: Option<String>,
    /// The tenant whose permissions the URL carries.
    #[arg(long, value_name = "TENANT", env = "PRESIGND_TENANT")]
    tenant: String,
    /// A parameter of the command. Several times for several.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// For how long, such as `90s`, `15m`, `1h30m`. The tenant's default, if it is left out.
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    expires_in: Option<std::time::Duration>,
    /// Take less than `--expires-in` where that is more than what is allowed.
    #[arg(long)]
    clamp: bool,
    /// Why the URL is issued, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// For whom the URL is issued, for the record.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// An address or a network, the only ones from which the URL works. Several times for several.
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Vec<String>,
    /// Print a curl command, quoted for a shell, with the method, the headers and the file.
    #[arg(long, group = "printed")]
    curl: bool,
    /// Print the whole answer as JSON.
    #[arg(long, group = "printed")]
    json: bool,
    /// Print the upload form of `post` as HTML.
    #[arg(long, group = "printed")]
    html: bool,
    /// The file that the curl command uploads, or for `get` writes. For uploads the key's last part, if it is left out.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(options: PresignOptions) -> anyhow::Result<ExitCode> {
    let asked = request::read(&options)?;
    let client = options.connection.client(None)?;
    let answer = client.call(asked.method, &asked.request).await?;
    let file = options.file.as_deref().map(|file| file.to_string_lossy());
    let file = file.as_deref();
    if options.json {
        say(&format!("{answer:#}\n"));
    } else if let Some(operation) = asked.operation {
        let url = text(&answer, "url");
        let headers = headers(&answer);
        let method = text(&answer, "method");
        let checksum = answer["checksumRequired"] == true;
        if options.curl {
            let upload = match operation.body {
                BodyKind::None => Upload::Nothing,
                _ if checksum => Upload::FileWithMd5,
                _ => Upload::File,
            };
            let line = curl::request(method, url, &headers, upload, file, &asked.file_name);
            say(&format!("{line}\n"));
        } else {
            note(&asked, method, &headers);
            if checksum {
                eprintln!("presignd: S3 wants a content-md5 with the body (--curl writes one)");
            }
            say(&format!("{url}\n"));
        }
    } else if options.html {
        say(&format!("{}\n", text(&answer, "htmlForm")));
    } else {
        let fields = pairs(&answer, "fields");
        for (name, start) in pairs(&answer, "fieldsToFill") {
            eprintln!("presignd: add the field {name}, whose value begins with {start:?}");
        }
        let line = curl::form(text(&answer, "url"), &fields, file, &asked.file_name);
        say(&format!("{line}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the URL does not say of itself.
fn note(asked: &Asked, method: &str, headers: &[(&str, &str)]) {
    if headers.is_empty() {
        if asked.by_name && method != "GET" {
            eprintln!("presignd: the URL is for {method}");
        }
        return;
    }
    eprintln!(
        "presignd: the URL is for {method} with these headers, exactly so (--curl writes them):"
    );
    for (name, value) in headers {
        eprintln!("  {name}: {value}");
    }
}

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_default()
}

/// The headers to send, sorted: an answer has them in any order.
fn headers(answer: &Value) -> Vec<(&str, &str)> {
    let headers = answer["headers"].as_object().into_iter().flatten();
    let mut headers: Vec<_> = headers
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    headers.sort_unstable();
    headers
}

/// Names and values of a form, in their order.
fn pairs<'a>(answer: &'a Value, field: &str) -> Vec<(&'a str, &'a str)> {
    let fields = answer[field].as_array().into_iter().flatten();
    fields
        .map(|field| (text(field, "name"), text(field, "value")))
        .collect()
}

/// Whether the host of a URL is this machine.
fn is_here(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
