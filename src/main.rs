//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use presignd::cli::Cli;
use presignd::telemetry::log_panics;

/// A request is many small pieces of memory for a very short time, which this one hands out for a fraction of what the system's costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// Of `serve`, only what is not a request runs here: those have threads of their own.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    log_panics();
    match Box::pin(Cli::parse().run()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("presignd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
