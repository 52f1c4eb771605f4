//! The command line.

mod api_key;
mod aws;
mod check;
#[cfg(feature = "dev")]
mod dev;
mod health;
mod presign;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Issues presigned S3 URLs for many tenants, each with a session of its own role, and a record of every one.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves PresignService over gRPC. Records go to standard output, one JSON object a line; logs to standard error.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", env = "PRESIGND_CONFIG")]
        config: PathBuf,
    },
    /// Checks a configuration: prints every mistake with its line and column, or who may ask and what each tenant may do.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE", env = "PRESIGND_CONFIG")]
        config: PathBuf,
        /// Assume each tenant's role once with every session policy that is known, by presignd's own credentials, and say what fails.
        #[arg(long, conflicts_with = "caller")]
        live: bool,
        #[command(flatten)]
        question: check::question::Question,
    },
    /// Asks a presignd whether it serves, prints its status, and fails unless that is SERVING: for probes and operators.
    Health(health::HealthOptions),
    /// Asks a presignd for a URL, or for an upload form: `curl "$(presignd presign get s3://bucket/key --tenant acme)"`.
    Presign(Box<presign::PresignOptions>),
    /// Prints the IAM documents that a tenant's role needs, from the configuration.
    #[command(subcommand)]
    Aws(aws::AwsCommand),
    /// API keys, for callers without tokens or certificates.
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    /// Runs a sandbox: presignd with two demo tenants, on an S3 and an STS in this process. Needs no account and no configuration.
    #[cfg(feature = "dev")]
    Dev(dev::DevOptions),
}

impl Cli {
    /// Does what was asked. `Ok` holds the exit code.
    ///
    /// # Errors
    /// Why it could not be done, for a person to read.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve { config } => serve::run(&config).await,
            Command::Check {
                config,
                live,
                question,
            } => Ok(check::run(&config, live, &question).await),
            Command::Health(options) => health::run(options).await,
            Command::Presign(options) => presign::run(*options).await,
            Command::Aws(command) => aws::run(&command),
            Command::ApiKey(command) => api_key::run(&command),
            #[cfg(feature = "dev")]
            Command::Dev(options) => Box::pin(dev::run(options)).await,
        }
    }
}
