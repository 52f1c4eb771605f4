//! Which presignd is asked, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::is_here;
use crate::grpc::client::{Client, Proof, Target};

/// Holds an API key: a command line is shown to everybody on the machine.
const API_KEY: &str = "PRESIGND_API_KEY";

#[derive(Debug, Args)]
#[command(next_help_heading = "Which presignd, and as whom")]
pub(in crate::cli) struct Connection {
    /// Where presignd is: http://HOST:PORT, or https://HOST:PORT for TLS. Port 50051 of this machine, if it is left out.
    #[arg(long, value_name = "URL", env = "PRESIGND_SERVER")]
    server: Option<String>,
    /// The roots that are trusted, in PEM. The machine's own, if it is left out.
    #[arg(long, value_name = "FILE", env = "PRESIGND_CA")]
    ca: Option<PathBuf>,
    /// The name that the server's certificate has to be for. The host of the URL, if it is left out.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// A client certificate, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "PRESIGND_CERTIFICATE",
        requires = "key"
    )]
    certificate: Option<PathBuf>,
    /// The key of the client certificate, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "PRESIGND_KEY",
        requires = "certificate"
    )]
    key: Option<PathBuf>,
    /// A JSON Web Token. Others on this machine can read a command line: the variable or a file is better.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PRESIGND_TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
    /// A file with a JSON Web Token.
    #[arg(long, value_name = "FILE", env = "PRESIGND_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// A file with an API key. The variable `PRESIGND_API_KEY` may hold the key itself.
    #[arg(long, value_name = "FILE", env = "PRESIGND_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// How long to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

impl Connection {
    /// A caller, of the presignd at `otherwise` where no server is named.
    pub(in crate::cli) fn client(&self, otherwise: Option<&str>) -> anyhow::Result<Client> {
        let otherwise = otherwise.unwrap_or("http://127.0.0.1:50051");
        let url = self.server.as_deref().unwrap_or(otherwise).to_owned();
        let proof = self.proof()?;
        let plain = url.starts_with("http://") && !is_here(&url);
        if plain && !matches!(proof, Proof::None) {
            eprintln!(
                "presignd: {url} is not encrypted: whoever is on the way can read your token or key"
            );
        }
        let certificate = self.certificate.clone().zip(self.key.clone());
        let target = Target {
            url,
            ca: self.ca.clone(),
            server_name: self.server_name.clone(),
            certificate,
            timeout: Duration::from_secs(self.timeout.into()),
        };
        Ok(Client::new(&target, &proof)?)
    }

    fn proof(&self) -> anyhow::Result<Proof> {
        let api_key = std::env::var(API_KEY).ok().filter(|key| !key.is_empty());
        let mut proofs = Vec::new();
        if let Some(token) = &self.token {
            proofs.push(Proof::Token(token.clone()));
        }
        if let Some(path) = &self.token_file {
            proofs.push(Proof::Token(read(path)?));
        }
        if let Some(path) = &self.api_key_file {
            proofs.push(Proof::ApiKey(read(path)?));
        }
        if let Some(key) = api_key {
            proofs.push(Proof::ApiKey(key.trim().to_owned().into()));
        }
        anyhow::ensure!(
            proofs.len() < 2,
            "more than one token or API key is given: leave one of --token, --token-file, --api-key-file and their variables PRESIGND_TOKEN, \
             PRESIGND_TOKEN_FILE, PRESIGND_API_KEY_FILE, {API_KEY}"
        );
        Ok(proofs.pop().unwrap_or(Proof::None))
    }
}

/// A secret without the line's end that editors put after it.
fn read(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned().into())
}
