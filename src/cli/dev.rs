//! `presignd dev`: presignd with two demo tenants, over the embedded S3 and STS, and a page to try it in a browser.
//!
//! The configuration is the text that an operator would write, and runs through the same code as `serve`; only presignd's own
//! credentials come from the sandbox instead of the environment. With `--config` the configuration is an operator's own.

mod page;
mod welcome;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use clap::Args;
use secrecy::ExposeSecret as _;

use self::page::Served;
use super::presign::connection::Connection;
use super::serve::{start_logs, stop_signal};
use crate::app::tenants::ProcessSurroundings;
use crate::app::{App, Surroundings, aws_from_environment};
use crate::audit::stdout::{Limits, StdoutSink};
use crate::clock::{Clock as _, SystemClock};
use crate::config;
use crate::dev::{CorsRule, Sandbox, SandboxOptions};
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
    /// Where the page listens. Port 0 takes a free one. [default: 127.0.0.1:8080, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    page: Option<SocketAddr>,
    /// The page over this configuration, its tenants and their stores, instead of the sandbox's own.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grpc", "s3", "data"])]
    config: Option<PathBuf>,
    /// Replace the CORS rules of the tenants' buckets by those that the page needs. The tenants have to be granted `PutBucketCors`.
    #[arg(long, requires = "config")]
    set_cors: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(options: DevOptions) -> anyhow::Result<ExitCode> {
    let addresses = [("--grpc", options.grpc), ("--s3", options.s3)];
    let page = options.page.map(|address| ("--page", address));
    for (flag, address) in addresses.into_iter().chain(page) {
        anyhow::ensure!(
            address.ip().is_loopback(),
            "{flag} {address} is not a loopback address: the sandbox lets in whoever can connect, so it stays on this machine"
        );
    }
    if let Some(path) = &options.config {
        return over(path, &options).await;
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
    let place = page::place(options.page).await?;
    let (grpc, s3) = (app.address().to_string(), sandbox.endpoint_url());
    let client = options.connection.client(Some(&format!("http://{grpc}")))?;
    sandbox.put_cors(vec![CorsRule::for_pages(&place.origins())]);
    let stop = stop_signal()?;
    let shown = page::sandbox(&sandbox, &grpc);
    let url = place.url();
    let page = place.serve(&shown, page::ask(client));
    eprintln!("{}", welcome::welcome(&grpc, s3, &url));
    let ran = app.run(stop).await;
    page.shutdown().await;
    sandbox.shutdown().await;
    ran.map(|()| ExitCode::SUCCESS)
}

/// presignd and the page, with an operator's configuration.
async fn over(path: &Path, options: &DevOptions) -> anyhow::Result<ExitCode> {
    let settings = config::load(path, &ProcessSurroundings)?;
    let _logs = start_logs(&settings)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let place = page::place(options.page).await?;
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock::new()),
        aws: aws_from_environment().await,
        sink: StdoutSink::stdout(Limits::default())?,
    };
    let app = App::start(&settings, surroundings).await?;
    let address = app.address();
    let scheme = if settings.server.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let client = options
        .connection
        .client(Some(&format!("{scheme}://{address}")))?;
    let stop = stop_signal()?;
    // Whoever serves the page needs presignd's answers, to set CORS rules even before it is served.
    let served = tokio::spawn(
        Served {
            ask: page::ask(client),
            place,
            shown: page::configured(&settings, &address.to_string()),
            set_cors: options.set_cors,
        }
        .start(),
    );
    let ran = app.run(stop).await;
    if served.is_finished() {
        served.await?.shutdown().await;
    } else {
        served.abort();
    }
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
