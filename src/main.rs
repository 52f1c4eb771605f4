//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use presignd::cli::Cli;
use presignd::telemetry::log_panics;

// Of `serve`, only what is not a request runs here: those have threads of their own.
#[tokio::main(worker_threads = 2)]
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
