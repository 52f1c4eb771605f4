//! What is counted of the process, for whoever watches it: names, and the numbers behind them.
//!
//! Counting is an addition or two, on no lock; telemetry reads the numbers when it sends them, and `docs/metrics.md` says what they
//! mean. Invariant: attributes come from short lists in the code, and never from a request, so that the number of series is
//! bounded whatever is asked and by whomever.

mod counter;
mod histogram;
mod level;
mod reading;
mod shard;
mod words;

pub use self::counter::Counter;
pub use self::histogram::{BOUNDS, Histogram};
pub use self::level::{Gauge, Held, Level};
pub use self::reading::{Attributes, Distribution, Kind, Metric, Point, Reading, Value};
pub use self::words::Words;

/// The codes of gRPC by their numbers: those of OpenTelemetry's `rpc.response.status_code`.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Of these, the server's own failures, by the conventions of OpenTelemetry for gRPC.
const SERVER_ERRORS: [usize; 6] = [2, 4, 12, 13, 14, 15];
/// Methods whose calls are told apart.
const METHODS: usize = 16;

/// The methods that were called.
static CALLED: Words<METHODS> = Words::new();

/// How long RPCs took, by method and status: the place is that of [`call`].
pub static CALLS: Histogram<{ METHODS * CODES.len() }> = Histogram::new(
    "rpc.server.call.duration",
    "How long calls took, from their headers to their answer, and of streams to their end",
    |place| {
        let (method, code) = (CALLED.word(place / CODES.len()), CODES[place % CODES.len()]);
        let mut attributes = Attributes::from_slice(&[
            ("rpc.system.name", "grpc"),
            ("rpc.method", method),
            ("rpc.response.status_code", code),
        ]);
        if SERVER_ERRORS.contains(&(place % CODES.len())) {
            attributes.push(("error.type", code));
        }
        attributes
    },
);

/// The place in [`CALLS`] of a method, by its full name, and a gRPC status, by its number.
#[must_use]
pub fn call(method: &'static str, code: usize) -> usize {
    let code = if code < CODES.len() { code } else { 2 };
    CALLED.place(method) * CODES.len() + code
}

/// Requests that hold one of the places of `server.max_requests_in_flight`.
pub static IN_FLIGHT: Level = Level::new(
    "presignd.requests.in_flight",
    "Requests under way, each on a place of server.max_requests_in_flight",
    "{request}",
);

/// Requests for which there was no such place.
pub static OVERLOADED: Counter<1> = Counter::new(
    "presignd.requests.overloaded",
    "Requests that were refused, unread, for want of room",
    "presignd.reason",
    ["in_flight"],
);

/// Streams whose requests are read.
pub static STREAMS: Level = Level::new(
    "presignd.streams.open",
    "Streams of StreamPresign that are open",
    "{stream}",
);

/// Connections that are served.
pub static CONNECTIONS: Level = Level::new(
    "presignd.connections.open",
    "Connections of clients that are open",
    "{connection}",
);

/// Connections that were closed at once: [`ALL_SEATS`] or [`SEATS_OF_PEER`] are taken.
pub static CONNECTIONS_REFUSED: Counter<2> = Counter::new(
    "presignd.connections.refused",
    "Connections that were closed at once, since as many were open as may be",
    "presignd.reason",
    ["all", "peer"],
);
/// The place in [`CONNECTIONS_REFUSED`].
pub const ALL_SEATS: usize = 0;
/// The place in [`CONNECTIONS_REFUSED`].
pub const SEATS_OF_PEER: usize = 1;

/// The reasons for which something was refused.
static REASONS: Words<64> = Words::new();
/// What becomes of a request for a URL.
const OUTCOMES: [&str; 4] = ["issued", "denied", "failed", "explained"];

/// Decisions whose records were confirmed, or that failed for want of that: the place is that of [`decision`].
pub static DECISIONS: Counter<{ OUTCOMES.len() * 64 }> = Counter::of_places(
    "presignd.decisions",
    "Decisions, as many as there are records: whether URLs were issued, and if not, why",
    "{decision}",
    |place| {
        let mut attributes = Attributes::from_slice(&[("presignd.outcome", OUTCOMES[place / 64])]);
        if !place.is_multiple_of(64) {
            attributes.push(("presignd.reason_code", REASONS.word(place % 64 - 1)));
        }
        attributes
    },
);

/// The place in [`DECISIONS`] of an outcome, by its word, and of a reason.
#[must_use]
pub fn decision(outcome: &str, reason: Option<&'static str>) -> usize {
    let outcome = OUTCOMES.iter().position(|known| *known == outcome);
    let reason = reason.map_or(0, |reason| (REASONS.place(reason) + 1).min(63));
    outcome.unwrap_or(2) * 64 + reason
}

/// Records that the output confirmed, or did not.
pub static RECORDS: Counter<2> = Counter::new(
    "presignd.audit.records",
    "Records that the audit output confirmed, and those that it did not: nothing is issued without",
    "presignd.result",
    ["confirmed", "failed"],
);
/// The place in [`RECORDS`].
pub const CONFIRMED: usize = 0;
/// The place in [`RECORDS`].
pub const UNCONFIRMED: usize = 1;

/// The bytes of those that were confirmed.
pub static RECORD_BYTES: Counter<1> = Counter::of_places(
    "presignd.audit.bytes",
    "Bytes of records that the audit output confirmed",
    "By",
    |_| Attributes::new(),
);

/// Records that wait for the output to confirm them.
pub static RECORDS_WAITING: Level = Level::new(
    "presignd.audit.waiting",
    "Records that wait for the audit output to confirm them",
    "{record}",
);

/// Calls of STS, by what came of them: [`STS_OK`] and so on.
pub static STS_CALLS: Histogram<3> = Histogram::new(
    "presignd.sts.call.duration",
    "How long calls of STS for a session took, with their retries",
    |place| {
        Attributes::from_slice(&[(
            "presignd.result",
            ["ok", "refused", "unavailable"][place.min(2)],
        )])
    },
);
/// The place in [`STS_CALLS`]: there is a session.
pub const STS_OK: usize = 0;
/// The place in [`STS_CALLS`]: STS refuses the role.
pub const STS_REFUSED: usize = 1;
/// The place in [`STS_CALLS`]: STS did not do its part.
pub const STS_UNAVAILABLE: usize = 2;

/// Why STS was called.
pub static STS_FLIGHTS: Counter<2> = Counter::new(
    "presignd.sessions.requested",
    "Sessions that STS was asked for: because a request waits, or ahead of need",
    "presignd.cause",
    ["needed", "renewal"],
);
/// The place in [`STS_FLIGHTS`].
pub const NEEDED: usize = 0;
/// The place in [`STS_FLIGHTS`].
pub const RENEWAL: usize = 1;

/// Circuit breakers that opened, each time.
pub static BREAKERS: Counter<1> = Counter::of_places(
    "presignd.sts.breaker.opened",
    "Times that a tenant's circuit breaker opened, since a call of STS failed",
    "{opening}",
    |_| Attributes::new(),
);

/// Sessions in memory.
pub static SESSIONS: Gauge = Gauge::new(
    "presignd.sessions.cached",
    "Sessions of tenants and callers that are kept to be used again",
    "{session}",
);

/// The furthest that a clock of STS is from this machine's, in milliseconds.
pub static CLOCK_SKEW: Gauge = Gauge::new(
    "presignd.clock.skew",
    "How far this machine's clock is from that of STS: the furthest, where several were asked",
    "ms",
);

/// Attempts to authenticate that failed, by what was wrong.
pub static AUTHENTICATION_FAILURES: Counter<8> = Counter::new(
    "presignd.authentication.failures",
    "Requests whose caller could not be identified",
    "presignd.reason",
    [
        "missing",
        "two_credentials",
        "repeated",
        "no_bearer",
        "token",
        "api_key",
        "no_keys",
        "too_many_failures",
    ],
);

/// Configurations that were read while presignd served: [`GOOD`] ones that serve now, and [`BROKEN`] ones that do not.
pub static RELOADS: Counter<2> = Counter::new(
    "presignd.configuration.reloads",
    "Configurations that were read while presignd served",
    "presignd.result",
    ["good", "broken"],
);
/// The place in [`RELOADS`].
pub const GOOD: usize = 0;
/// The place in [`RELOADS`].
pub const BROKEN: usize = 1;

/// When the counts that replicas share went [`AWAY`], and when they came [`BACK`].
pub static COUNTS_SWITCHES: Counter<2> = Counter::new(
    "presignd.counts.switches",
    "Times that the shared counts went away, or came back",
    "presignd.to",
    ["away", "back"],
);
/// The place in [`COUNTS_SWITCHES`].
pub const AWAY: usize = 0;
/// The place in [`COUNTS_SWITCHES`].
pub const BACK: usize = 1;

/// Requests that a limit had no room for: [`ENFORCED`] ones were refused, [`SHADOW`] ones let through.
pub static LIMITS_REFUSED: Counter<2> = Counter::new(
    "presignd.limits.refused",
    "Requests that a limit had no room for",
    "presignd.mode",
    ["enforced", "shadow"],
);
/// The place in [`LIMITS_REFUSED`].
pub const ENFORCED: usize = 0;
/// The place in [`LIMITS_REFUSED`].
pub const SHADOW: usize = 1;

/// Whether the configuration that was found last serves: 1 or 0.
pub static CONFIGURATION: Gauge = Gauge::new(
    "presignd.configuration.good",
    "1 if the configuration that was found last is the one that serves; 0 if it has mistakes",
    "1",
);

/// Tenants that are served.
pub static TENANTS: Gauge = Gauge::new(
    "presignd.tenants",
    "Tenants that are configured",
    "{tenant}",
);

/// What became of spans: [`EXPORTED`] and so on.
pub static SPANS: Counter<3> = Counter::new(
    "presignd.spans",
    "Spans that the collector took, did not take, or that were dropped since too many waited",
    "presignd.result",
    ["exported", "failed", "dropped"],
);
/// The place in [`SPANS`].
pub const EXPORTED: usize = 0;
/// The place in [`SPANS`].
pub const FAILED: usize = 1;
/// The place in [`SPANS`].
pub const DROPPED: usize = 2;

/// Spans that wait to be sent.
pub static SPANS_WAITING: Gauge = Gauge::new(
    "presignd.spans.waiting",
    "Spans that wait to be sent or answered for",
    "{span}",
);

/// Exports of these numbers: [`EXPORTED`] and [`FAILED`].
pub static EXPORTS: Counter<2> = Counter::new(
    "presignd.metrics.exports",
    "Times that these numbers were sent to the collector",
    "presignd.result",
    ["exported", "failed"],
);

/// How long the process runs.
pub static UPTIME: Gauge = Gauge::new(
    "process.uptime",
    "How long the process has been running",
    "s",
);

/// All that is counted.
pub static ALL: [&dyn Metric; 25] = [
    &CALLS,
    &IN_FLIGHT,
    &OVERLOADED,
    &STREAMS,
    &CONNECTIONS,
    &CONNECTIONS_REFUSED,
    &DECISIONS,
    &RECORDS,
    &RECORD_BYTES,
    &RECORDS_WAITING,
    &STS_CALLS,
    &STS_FLIGHTS,
    &BREAKERS,
    &SESSIONS,
    &CLOCK_SKEW,
    &AUTHENTICATION_FAILURES,
    &RELOADS,
    &CONFIGURATION,
    &COUNTS_SWITCHES,
    &LIMITS_REFUSED,
    &TENANTS,
    &SPANS,
    &SPANS_WAITING,
    &EXPORTS,
    &UPTIME,
];

#[cfg(test)]
mod tests;
