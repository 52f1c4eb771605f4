//! `presignd health`: whether a presignd serves, for probes and operators.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::app::tenants::ProcessSurroundings;
use crate::config;
use crate::grpc::health::{Reach, SERVING, health};

#[derive(Debug, Args)]
pub(super) struct HealthOptions {
    /// Where presignd listens.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50051",
        conflicts_with = "config"
    )]
    address: SocketAddr,
    /// The configuration of a presignd on this machine: asks it where it listens, with TLS if it has that.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Use TLS, and trust the roots in this PEM file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    ca: Option<PathBuf>,
    /// The name that the server's certificate has to be for. The address, if it is left out.
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
    /// The service whose health is asked for; left out: the server as a whole. `liveness` is healthy as long as it answers.
    #[arg(
        long,
        value_name = "SERVICE",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
    /// How long to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

pub(super) async fn run(options: HealthOptions) -> anyhow::Result<ExitCode> {
    let (address, reach) = match (options.config, options.ca) {
        (Some(path), _) => {
            let server = config::load(&path, &ProcessSurroundings)?.server;
            let reach = match server.tls {
                // Its name is its clients' affair, and may not be this machine's.
                Some(_) => Reach::AnyCertificate,
                None => Reach::Plaintext,
            };
            (on_this_machine(server.listen), reach)
        }
        (None, Some(ca)) => {
            let name = options.server_name;
            let name = name.unwrap_or_else(|| options.address.ip().to_string());
            (options.address, Reach::Verified { ca, name })
        }
        (None, None) => (options.address, Reach::Plaintext),
    };
    let patience = Duration::from_secs(options.timeout.into());
    let status = health(address, &reach, &options.service, patience).await?;
    super::check::say(&format!("{status}\n"));
    Ok(if status == SERVING {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where to reach whoever listens there: everywhere is here as well.
fn on_this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let asked: SocketAddr = asked.parse().unwrap();
            assert_eq!(on_this_machine(listen.parse().unwrap()), asked);
        }
    }
}
