//! `presignd api-key`: keys for callers without tokens or certificates.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::authenticate::api_key::{KEY_BYTES, new_key};

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Makes a key, for its holder alone, and its SHA-256, for the configuration. Neither is kept.
    New,
}

pub(super) fn run(ApiKeyCommand::New: &ApiKeyCommand) -> anyhow::Result<ExitCode> {
    let mut random = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *random).context("the operating system gives no random bytes")?;
    let (key, hash) = new_key(&random);
    let text = Zeroizing::new(format!("key: {}\nhash: {hash}\n", key.expose_secret()));
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("the key could not be written, and is lost: make another one")?;
    eprintln!(
        "The key is for its holder, as `x-api-key`. The hash is for presignd.yaml: authentication.api_keys.NAME takes a list of them."
    );
    Ok(ExitCode::SUCCESS)
}
