//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use presignd::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("presignd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
