//! `server`: where presignd listens and what it bounds.
//!
//! Invariant: an address that others can reach is there only together with `tls` or `insecure: true`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::connections::{self, Connections};
use super::mistake::{Located, quoted};
use super::quantity;
use super::reader::Reader;
use super::tree::Node;

/// The section `server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address and port of the gRPC service.
    pub listen: SocketAddr,
    /// Whether to serve plaintext to other hosts.
    pub insecure: bool,
    /// Whether clients may ask for the services' descriptions.
    pub reflection: bool,
    /// How many threads answer requests; without it, as many as there are cores.
    pub workers: Option<NonZeroUsize>,
    /// A certificate to encrypt with.
    pub tls: Option<Tls>,
    /// How long a stop waits for requests in flight.
    pub grace: Duration,
    /// The largest request that is decoded, in bytes.
    pub max_request_bytes: usize,
    /// The longest that any request may take; callers may ask for less.
    pub request_timeout: Duration,
    /// How far this machine's clock and that of a tenant's STS may be apart.
    pub max_clock_skew: Duration,
    /// The most requests that are under way at once.
    pub max_requests_in_flight: usize,
    /// What clients may take.
    pub connections: Connections,
}

/// The section `server.tls`. The files are read by whoever serves: they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The file of the certificate and its chain.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
    /// The file of the CAs whose client certificates tell who a caller is.
    pub client_ca: Option<PathBuf>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            insecure: false,
            reflection: true,
            workers: None,
            tls: None,
            grace: Duration::from_secs(30),
            max_request_bytes: 4 << 20,
            request_timeout: Duration::from_secs(10),
            max_clock_skew: Duration::from_secs(30),
            max_requests_in_flight: 2048,
            connections: Connections::default(),
        }
    }
}

const WORKERS: std::ops::RangeInclusive<u32> = 1..=1024;
const GRACE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const REQUEST_TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_mins(5);
/// To what S3 itself puts up with.
const CLOCK_SKEW: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_mins(15);
/// From 1 KiB, below which a long key does not fit, to 256 MiB.
const REQUEST_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 20;

pub(super) fn server(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Server> {
    let default = Server::default();
    let mut section = reader.section(node)?;
    let listen = section.optional("listen", listen);
    let insecure = section.or("insecure", default.insecure, Reader::boolean);
    let reflection = section.or("reflection", default.reflection, Reader::boolean);
    let workers = section.optional("workers", workers);
    let tls = section.optional("tls", tls);
    let grace = section.or("grace", default.grace, |r, n| r.duration(n, &GRACE));
    let max_request_bytes = section.or(
        "max_request_bytes",
        default.max_request_bytes,
        max_request_bytes,
    );
    let request_timeout = section.or("request_timeout", default.request_timeout, |r, n| {
        r.duration(n, &REQUEST_TIMEOUT)
    });
    let max_clock_skew = section.or("max_clock_skew", default.max_clock_skew, |r, n| {
        r.duration(n, &CLOCK_SKEW)
    });
    let max_requests_in_flight = section.or(
        "max_requests_in_flight",
        default.max_requests_in_flight,
        connections::count,
    );
    let connections = section.or("connections", default.connections, connections::connections);
    section.finish();

    if let (Some(Some(listen)), Some(false), Some(None)) = (&listen, insecure, &tls)
        && !is_loopback(listen.value.ip())
    {
        let message = format!(
            "{} can be reached by other hosts and presignd serves plaintext: give it a certificate with `server.tls`, add \
             `server.insecure: true` if the network is trusted, or let `server.listen` be a loopback address",
            quoted(&listen.value.to_string())
        );
        reader.mistake_in(listen, message);
    }
    Some(Server {
        listen: listen?.map_or(default.listen, |listen| listen.value),
        insecure: insecure?,
        reflection: reflection?,
        workers: workers?,
        tls: tls?,
        grace: grace?,
        max_request_bytes: max_request_bytes?,
        request_timeout: request_timeout?,
        max_clock_skew: max_clock_skew?,
        max_requests_in_flight: max_requests_in_flight?,
        connections: connections?,
    })
}

fn tls(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Tls> {
    let mut section = reader.section(node)?.guarded();
    let certificate = section.required("certificate", |r, n| r.parsed(n, file));
    let key = section.required("key", |r, n| r.parsed(n, file));
    let client_ca = section.optional("client_ca", |r, n| r.parsed(n, file));
    section.finish();
    Some(Tls {
        certificate: reader.folder.join(certificate?),
        key: reader.folder.join(key?),
        client_ca: client_ca?.map(|file| reader.folder.join(file)),
    })
}

/// A path, and not what the file holds, which logs would repeat where it is not found.
pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    let good = (1..=1024).contains(&text.len()) && !text.contains(char::is_control);
    if good && !text.contains("-----BEGIN") {
        Ok(PathBuf::from(text))
    } else {
        Err("this is not the path of a file: name the file that holds it, in PEM".to_owned())
    }
}

pub(super) fn is_loopback(address: IpAddr) -> bool {
    // `::ffff:127.0.0.1` is loopback as well.
    address.to_canonical().is_loopback()
}

pub(super) fn listen(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<SocketAddr>> {
    let address = reader.parsed(node, |text| {
        let form = "write it as `127.0.0.1:50051` or `[::1]:50051`";
        text.parse::<SocketAddr>().map_err(|_| {
            let shown = quoted(text);
            let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
            if text.parse::<IpAddr>().is_ok() {
                format!("{shown} has no port: {form}")
            } else if host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains(':') {
                format!(
                    "{shown} is not an IP address and a port; a host name is not accepted, because what it resolves to \
                     may change and may not be loopback: {form}"
                )
            } else {
                format!("{shown} is not an IP address and a port: {form}")
            }
        })
    })?;
    Some(reader.locate(node.at, address))
}

fn workers(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<NonZeroUsize> {
    let count = reader.number(node, &WORKERS)?;
    NonZeroUsize::new(usize::try_from(count).ok()?)
}

fn max_request_bytes(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<usize> {
    reader.parsed(node, |text| {
        let bytes = quantity::size(text)?;
        if !REQUEST_BYTES.contains(&bytes) {
            return Err(format!(
                "{} is out of range: from 1KiB to 256MiB",
                quoted(text)
            ));
        }
        usize::try_from(bytes).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_several_forms() {
        for (address, loopback) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), loopback, "{address}");
        }
    }
}
