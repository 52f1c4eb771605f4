//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use presignd::cli::Cli;
use presignd::telemetry::log_panics;

#[tokio::main]
async fn main() -> ExitCode {
    log_panics();
    match Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("presignd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
