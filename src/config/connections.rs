//! `server.connections`: what a client may take, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::quoted;
use super::quantity;
use super::reader::Reader;
use super::tree::Node;

/// The section `server.connections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// Open at once, in all.
    pub max: usize,
    /// Open at once, from one address.
    pub max_per_peer: usize,
    /// Requests under way on one connection.
    pub max_streams: u32,
    /// The headers of one request, in bytes, as HTTP/2 counts them.
    pub max_header_bytes: u32,
    /// From the connection to the first bytes of HTTP/2, TLS between them.
    pub handshake_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How often clients are asked whether they are still there.
    pub keepalive_interval: Duration,
    /// How long they may take to say so.
    pub keepalive_timeout: Duration,
    /// How long a connection lives, a tenth more or less.
    pub max_age: Duration,
    /// How long its last requests may take then.
    pub max_age_grace: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 4096,
            max_per_peer: 1024,
            max_streams: 200,
            max_header_bytes: 16 << 10,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            max_age: Duration::from_hours(1),
            max_age_grace: Duration::from_mins(1),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const COUNT: RangeInclusive<u32> = 1..=1_000_000;
const STREAMS: RangeInclusive<u32> = 1..=10_000;
/// From 4 KiB, which a token in a header may need, to 1 MiB.
const HEADER_BYTES: RangeInclusive<u64> = 4 << 10..=1 << 20;
const HANDSHAKE: RangeInclusive<Duration> = SECOND..=Duration::from_mins(1);
const KEEPALIVE: RangeInclusive<Duration> = SECOND..=Duration::from_hours(1);
const LIFE: RangeInclusive<Duration> = SECOND..=Duration::from_hours(24 * 30);

pub(super) fn connections(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Connections> {
    let default = Connections::default();
    let mut section = reader.section(node)?;
    let max = section.or("max", default.max, count);
    let max_per_peer = section.or("max_per_peer", default.max_per_peer, count);
    let max_streams = section.or("max_streams", default.max_streams, |r, n| {
        r.number(n, &STREAMS)
    });
    let max_header_bytes = section.or("max_header_bytes", default.max_header_bytes, header_bytes);
    let mut duration = |key, default, range| section.or(key, default, |r, n| r.duration(n, range));
    let handshake_timeout = duration("handshake_timeout", default.handshake_timeout, &HANDSHAKE);
    let idle_timeout = duration("idle_timeout", default.idle_timeout, &LIFE);
    let keepalive_interval = duration("keepalive_interval", default.keepalive_interval, &KEEPALIVE);
    let keepalive_timeout = duration("keepalive_timeout", default.keepalive_timeout, &KEEPALIVE);
    let max_age = duration("max_age", default.max_age, &LIFE);
    let max_age_grace = duration("max_age_grace", default.max_age_grace, &KEEPALIVE);
    section.finish();
    Some(Connections {
        max: max?,
        max_per_peer: max_per_peer?,
        max_streams: max_streams?,
        max_header_bytes: max_header_bytes?,
        handshake_timeout: handshake_timeout?,
        idle_timeout: idle_timeout?,
        keepalive_interval: keepalive_interval?,
        keepalive_timeout: keepalive_timeout?,
        max_age: max_age?,
        max_age_grace: max_age_grace?,
    })
}

pub(super) fn count(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<usize> {
    usize::try_from(reader.number(node, &COUNT)?).ok()
}

fn header_bytes(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<u32> {
    reader.parsed(node, |text| {
        let bytes = quantity::size(text)?;
        u32::try_from(bytes)
            .ok()
            .filter(|_| HEADER_BYTES.contains(&bytes))
            .ok_or_else(|| format!("{} is out of range: from 4KiB to 1MiB", quoted(text)))
    })
}
