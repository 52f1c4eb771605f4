//! `state.redis`: the Redis or Valkey that replicas share.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::mistake::quoted;
use super::quantity;
use super::reader::Reader;
use super::secret::{Alphabet, secret};
use super::server::file;
use super::tree::{Content, Node};

/// The section `state.redis`.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Hosts and ports; at least one, and one alone of a single server.
    pub servers: Vec<(String, u16)>,
    /// What they are.
    pub mode: RedisMode,
    /// The user's name. `None`: the default user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// Whether to speak TLS alone, and whom to trust.
    pub tls: Option<RedisTls>,
    /// The number of the database; 0 in a Cluster.
    pub database: u32,
    /// What the names of all keys start with.
    pub prefix: String,
    /// How long an answer may take: 1 ms to 10 s.
    pub timeout: Duration,
    /// How many replicas there are: what each may issue on its own of a limit while Redis is away.
    pub replicas: NonZeroU32,
    /// How much a replica may take ahead of requests.
    pub lease: RedisLease,
}

/// What the servers are.
#[derive(Debug, Clone)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Sentinels.
    Sentinel {
        /// The master's name.
        master: String,
        /// The user's name at the Sentinels.
        username: Option<String>,
        /// The password at the Sentinels.
        password: Option<SecretString>,
    },
    /// A Cluster.
    Cluster,
}

/// The section `state.redis.tls`.
#[derive(Debug, Clone, Default)]
pub struct RedisTls {
    /// The file of the authorities, in PEM. `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The files of a certificate to show, and of its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The section `state.redis.lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisLease {
    /// The most that a replica holds of a limit, in parts per thousand.
    pub share: u16,
    /// How long it holds what nobody asks for.
    pub life: Duration,
}

impl Default for RedisLease {
    fn default() -> Self {
        Self {
            share: 10,
            life: Duration::from_secs(2),
        }
    }
}

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
const LIFE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);
/// In parts per thousand.
const MOST_SHARE: u16 = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Single,
    Sentinel,
    Cluster,
}

pub(super) fn redis(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Redis> {
    let mut section = reader.section(node)?.guarded();
    let at = section.at();
    let servers = section.required("servers", |r, n| r.distinct(n, server));
    let mode = section.or("mode", Mode::Single, |r, n| {
        let modes = [
            ("single", Mode::Single),
            ("sentinel", Mode::Sentinel),
            ("cluster", Mode::Cluster),
        ];
        r.choice(n, &modes)
    });
    let sentinel = section.optional("sentinel", sentinel);
    let username = section.optional("username", name);
    let password = section.optional("password", |r, n| secret(r, n, Alphabet::Printable));
    let tls = section.optional("tls", tls);
    let database = section.or("database", 0, |r, n| r.number(n, &(0..=65_535)));
    let prefix = section.or("prefix", "presignd".to_owned(), |r, n| r.parsed(n, prefix));
    let timeout = section.or("timeout", Duration::from_millis(50), |r, n| {
        r.parsed(n, timeout)
    });
    let replicas = section.or("replicas", NonZeroU32::MIN, |r, n| {
        r.number(n, &(1..=10_000)).and_then(NonZeroU32::new)
    });
    let lease = section.or("lease", RedisLease::default(), lease);
    section.finish();

    let servers: Vec<_> = servers?.into_iter().map(|server| server.value).collect();
    let (mode, sentinel, database) = (mode?, sentinel?, database?);
    let problem = match mode {
        _ if servers.is_empty() => Some("`servers` is empty: name one"),
        Mode::Single if servers.len() > 1 => {
            Some("names several servers: add `mode: sentinel` or `mode: cluster`, or name one")
        }
        Mode::Sentinel if sentinel.is_none() => {
            Some("`mode: sentinel` needs `sentinel: { master: NAME }`")
        }
        Mode::Single | Mode::Cluster if sentinel.is_some() => {
            Some("`sentinel` is for `mode: sentinel`: add that, or remove this")
        }
        Mode::Cluster if database != 0 => Some("a Cluster has no other database than 0"),
        _ => None,
    };
    if let Some(problem) = problem {
        reader.mistake(at, problem);
        return None;
    }
    Some(Redis {
        servers,
        mode: match (mode, sentinel) {
            (Mode::Sentinel, Some(sentinel)) => sentinel,
            (Mode::Cluster, _) => RedisMode::Cluster,
            _ => RedisMode::Single,
        },
        username: username?,
        password: password?,
        tls: tls?.flatten(),
        database,
        prefix: prefix?,
        timeout: timeout?,
        replicas: replicas?,
        lease: lease?,
    })
}

fn sentinel(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RedisMode> {
    let mut section = reader.section(node)?.guarded();
    let master = section.required("master", name);
    let username = section.optional("username", name);
    let password = section.optional("password", |r, n| secret(r, n, Alphabet::Printable));
    section.finish();
    Some(RedisMode::Sentinel {
        master: master?,
        username: username?,
        password: password?,
    })
}

/// `true` and `false`, or whom to trust.
#[expect(
    clippy::option_option,
    reason = "the outer one is about mistakes, as of every reader function"
)]
fn tls(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Option<RedisTls>> {
    if !matches!(node.content, Content::Mapping(_)) {
        return reader.boolean(node).map(|on| on.then(RedisTls::default));
    }
    let mut section = reader.section(node)?.guarded();
    let at = section.at();
    let ca = section.optional("ca", |r, n| r.parsed(n, file));
    let certificate = section.optional("certificate", |r, n| r.parsed(n, file));
    let key = section.optional("key", |r, n| r.parsed(n, file));
    section.finish();
    let (ca, certificate, key) = (ca?, certificate?, key?);
    if certificate.is_some() != key.is_some() {
        reader.mistake(
            at,
            "`certificate` and `key` go together: name both or neither",
        );
        return None;
    }
    let path = |file| reader.folder.join(file);
    Some(Some(RedisTls {
        ca: ca.map(path),
        identity: certificate.map(path).zip(key.map(path)),
    }))
}

fn lease(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<RedisLease> {
    let default = RedisLease::default();
    let mut section = reader.section(node)?;
    let share = section.or("share", default.share, |r, n| r.parsed(n, share));
    let life = section.or("life", default.life, |r, n| r.duration(n, &LIFE));
    section.finish();
    Some(RedisLease {
        share: share?,
        life: life?,
    })
}

fn name(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<String> {
    reader.parsed(node, |text| {
        let good = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| text.to_owned())
            .ok_or_else(|| "a name is 1 to 128 visible characters of ASCII".to_owned())
    })
}

/// `host:port`. What is refused is not repeated: it may be a URL with a password.
fn server(text: &str) -> Result<(String, u16), String> {
    let form = "write it as `host:6379` or `[::1]:6379`";
    let refused = || format!("this is not a host and a port: {form}");
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let is_name = (1..=253).contains(&host.len()) && host.bytes().all(known);
    let good = bare.map_or(is_name, |bare| bare.parse::<std::net::Ipv6Addr>().is_ok());
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port @ 1..) if good && digits => Ok((bare.unwrap_or(host).to_owned(), port)),
        _ => Err(refused()),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'/');
    if (1..=64).contains(&text.len()) && text.bytes().all(known) {
        Ok(text.to_owned())
    } else {
        // Braces would say which part of a key chooses its slot.
        Err(format!(
            "{} is no prefix: it is 1 to 64 of letters, digits, `-`, `.`, `_`, `:` and `/`",
            quoted(text)
        ))
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let value = quantity::short_duration(text)?;
    if TIMEOUT.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{} is out of range: from 1ms to 10s", quoted(text)))
    }
}

/// Per cent, in parts per thousand.
fn share(text: &str) -> Result<u16, String> {
    let refused = || {
        format!(
            "{} is no share: write it as `1%` or `0.5%`, from 0% to {}%",
            quoted(text),
            MOST_SHARE / 10
        )
    };
    let number = text.strip_suffix('%').ok_or_else(refused)?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return Err(refused());
    }
    let parts = format!("{whole}{tenth}").parse::<u16>().ok();
    parts
        .filter(|parts| *parts <= MOST_SHARE)
        .ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_and_ports() {
        let long = "x".repeat(254);
        for (text, host) in [
            ("redis:6379", "redis"),
            ("10.0.0.1:6379", "10.0.0.1"),
            ("[::1]:6379", "::1"),
        ] {
            assert_eq!(server(text), Ok((host.to_owned(), 6379)));
        }
        for text in [
            "",
            ":",
            "redis",
            "redis:",
            ":6379",
            "redis:0",
            "redis:65536",
            "redis:+1",
            "::1:6379",
            "redis://redis:6379",
            "u:p@redis:6379",
            "[redis]:6379",
            &format!("{long}:1"),
        ] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_per_cent_in_tenths() {
        for (text, parts) in [("0%", 0), ("1%", 10), ("0.5%", 5), ("20.0%", 200)] {
            assert_eq!(share(text), Ok(parts), "{text}");
        }
        for text in [
            "",
            "%",
            "1",
            "-1%",
            "20.1%",
            "1.%",
            ".5%",
            "1.25%",
            "1 %",
            "99999999%",
        ] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
