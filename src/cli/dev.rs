//! `presignd dev`: presignd with two demo tenants, over the embedded S3 and STS.
//!
//! The configuration is the text that an operator would write, and runs through the same code as `serve`; only presignd's own
//! credentials come from the sandbox instead of the environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use clap::Args;
use secrecy::ExposeSecret as _;

use super::serve::{start_logs, stop_signal};
use crate::app::tenants::ProcessSurroundings;
use crate::app::{App, Surroundings, aws_from_environment};
use crate::audit::stdout::{Limits, StdoutSink};
use crate::clock::{Clock as _, SystemClock};
use crate::config;
use crate::dev::{Sandbox, SandboxOptions};
use crate::grpc::server::ServerError;

#[derive(Debug, Args)]
pub(super) struct DevOptions {
    /// Where presignd listens. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    grpc: SocketAddr,
    /// Where the sandbox's S3 and STS listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    s3: SocketAddr,
    /// The folder for buckets and objects. A temporary one, removed at the end, if it is left out.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

pub(super) async fn run(options: DevOptions) -> anyhow::Result<ExitCode> {
    for (flag, address) in [("--grpc", options.grpc), ("--s3", options.s3)] {
        anyhow::ensure!(
            address.ip().is_loopback(),
            "{flag} {address} is not a loopback address: the sandbox lets in whoever can connect, so it stays on this machine"
        );
    }
    let clock = Arc::new(SystemClock::new());
    let sandbox_clock = Arc::clone(&clock);
    let sandbox = Sandbox::start(
        SandboxOptions {
            s3_listen: options.s3,
            data: options.data,
        },
        Arc::new(move || sandbox_clock.now()),
    )
    .await?;

    let text = configuration(&sandbox, options.grpc);
    let settings = config::parse(
        &text,
        "the sandbox's configuration",
        Path::new(""),
        &ProcessSurroundings,
    )
    .map_err(config::ConfigError::Mistakes)?;
    let _logs = start_logs(&settings)?;
    let surroundings = Surroundings {
        clock,
        aws: aws(&sandbox).await,
        sink: StdoutSink::stdout(Limits::default())?,
    };
    let app = App::start(&settings, surroundings)
        .await
        .map_err(name_the_flag)?;
    let stop = stop_signal()?;
    eprintln!(
        "{}",
        welcome(&app.address().to_string(), sandbox.endpoint_url())
    );
    let ran = app.run(stop).await;
    sandbox.shutdown().await;
    ran.map(|()| ExitCode::SUCCESS)
}

/// Where presignd cannot listen, names the flag: there is no configuration file to change.
fn name_the_flag(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(ServerError::Listen { address, source }) => anyhow::anyhow!(
            "presignd cannot listen on {address}: {source}; name another address with --grpc (port 0 takes a free one)"
        ),
        _ => error,
    }
}

/// presignd's own credentials are the sandbox's, whatever the environment holds.
async fn aws(sandbox: &Sandbox) -> SdkConfig {
    let secret = sandbox.secret_access_key();
    let credentials = Credentials::new(
        sandbox.access_key_id(),
        secret.expose_secret(),
        None,
        None,
        "sandbox",
    );
    aws_from_environment()
        .await
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The sandbox's configuration, as an operator would write it.
fn configuration(sandbox: &Sandbox, listen: SocketAddr) -> String {
    let url = sandbox.endpoint_url();
    let mut text = format!(
        "server:\n  listen: \"{listen}\"\n  grace: 5s\ncallers: [{{ match: anyone }}]\ntenants:\n"
    );
    for tenant in sandbox.tenants() {
        let (id, bucket, region) = (&tenant.tenant, &tenant.bucket, &tenant.region);
        let others = sandbox.tenants().iter().filter(|other| other.tenant != *id);
        let theirs: Vec<String> = others
            .map(|other| format!("\"{}/*\"", other.bucket))
            .collect();
        text += &format!(
            "  {id}:
    region: {region}
    endpoint: {{ url: \"{url}\", path_style: true }}
    credentials:
      assume_role: {{ role_arn: \"{role}\", external_id: {external_id}, sts_endpoint: \"{url}\" }}
    expiry: {{ default: 15m, max: 1h }}
    grants:
      - {{ commands: [read, list, write, delete], resources: [\"{bucket}/*\"] }}
      # Too wide on purpose: presignd would sign it, and the tenant's role is what stops the URL.
      - {{ commands: [GetObject], resources: [{theirs}] }}
    limits:
      - {{ name: all, rate: 100/s, burst: 2000 }}
",
            role = tenant.role_arn,
            external_id = tenant.external_id,
            theirs = theirs.join(", "),
        );
    }
    text
}

fn welcome(grpc: &str, s3: &str) -> String {
    // grpcurl writes `&` as \u0026, and sed takes that back: what is printed needs no other tool.
    format!(
        r#"presignd dev: a SANDBOX. It lets in whoever can connect, and its S3 keeps nothing of worth.

  PresignService   {grpc}   (gRPC without TLS, with reflection)
  S3 and STS       {s3}   (embedded; tenants acme and globex, buckets acme-files and globex-files)

To try it, tell another terminal how to ask for a URL:

  presign() {{ # presign TENANT COMMAND
    grpcurl -plaintext -d "{{\"tenant\":\"$1\",\"command\":$2,\"reason\":\"a first try\"}}" \
      {grpc} presignd.v1.PresignService/Presign |
      sed -n 's/\\u0026/\&/g; s/.*"url": *"\([^"]*\)".*/\1/p'
  }}

Upload as acme, and download it again:

  echo 'hello from acme' | curl -fsS -T - "$(presign acme '{{"putObject":{{"bucket":"acme-files","key":"hello.txt"}}}}')"
  curl -fsS "$(presign acme '{{"getObject":{{"bucket":"acme-files","key":"hello.txt"}}}}')"

Upload by a form, as a browser would: to this key, of 1 byte to 1 MiB. curl gets its fields in their order:

  form() {{ # form TENANT REQUEST
    grpcurl -plaintext -d "{{\"tenant\":\"$1\",$2}}" {grpc} presignd.v1.PresignService/PresignPost |
      sed -n 's/\\u0026/\&/g; s/^  "url": \("[^"]*"\).*/url = \1/p
        /^      "name": /{{N; s/^ *"name": "\(.*\)",\n *"value": "\(.*\)"$/form-string = "\1=\2"/p}}'
  }}
  echo 'hello by form' | curl -fsS -K <(form acme \
    '"bucket":"acme-files","key":"forms/hello.txt","contentLengthRange":{{"min":1,"max":1048576}}') -F 'file=@-;filename=hello.txt'
  curl -fsS "$(presign acme '{{"getObject":{{"bucket":"acme-files","key":"forms/hello.txt"}}}}')"

Begin an upload in parts: presignd has S3 name it, and the answer has a URL for each part, and those to complete and to abort it:

  grpcurl -plaintext -d '{{"tenant":"acme","create":{{"bucket":"acme-files","key":"large.bin"}},"size":"20000000"}}' \
    {grpc} presignd.v1.PresignService/StartMultipartUpload

Reach for the other tenant: acme's grants here are too wide on purpose, so presignd signs, and S3 refuses, because a URL
carries no more than the permissions of acme's own role:

  curl -sS "$(presign acme '{{"getObject":{{"bucket":"globex-files","key":"hello.txt"}}}}')"

Look around:

  grpcurl -plaintext {grpc} describe presignd.v1.PresignService
  grpcurl -plaintext {grpc} describe presignd.s3.v1.GetObject

Every decision is one JSON line on standard output. Ctrl-C stops the sandbox.
"#
    )
}
