//! The caller's place in its trace, from the W3C headers `traceparent` and `tracestate`.
//!
//! Invariant: a header that is not well formed is as good as none; it never fails a request.
//! Source: <https://www.w3.org/TR/trace-context/>.

use std::str::FromStr;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// What must be kept of `tracestate` at the least, and all that is kept.
const TRACESTATE_BYTES: usize = 512;

/// The caller's span, where the request names one. Most do not, and need not carry room for it.
#[derive(Debug, Clone, Default)]
pub struct TraceContext(Option<Box<SpanContext>>);

impl TraceContext {
    /// Reads the headers of a request, or a gRPC request's metadata as headers.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else {
            return Self(None);
        };
        let Some((trace_id, span_id, flags)) = parse_traceparent(parent.as_bytes()) else {
            return Self(None);
        };
        let context = SpanContext::new(trace_id, span_id, flags, true, trace_state(headers));
        Self(context.is_valid().then(|| Box::new(context)))
    }

    pub(super) fn span_context(&self) -> Option<&SpanContext> {
        self.0.as_deref()
    }
}

/// `version-traceid-parentid-flags` in lower-case hexadecimal. Versions above 00 may go on after the flags.
fn parse_traceparent(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (fields, rest) = value.split_at_checked(55)?;
    if [2, 35, 52].iter().any(|&at| fields[at] != b'-') {
        return None;
    }
    let version = hex::<2>(&fields[..2])?;
    let known = version == 0 && rest.is_empty();
    let newer = (1..0xff).contains(&version) && rest.first().is_none_or(|&next| next == b'-');
    if !known && !newer {
        return None;
    }
    let trace_id = TraceId::from(hex::<32>(&fields[3..35])?);
    let span_id = SpanId::from(u64::try_from(hex::<16>(&fields[36..52])?).ok()?);
    let flags = TraceFlags::new(u8::try_from(hex::<2>(&fields[53..])?).ok()?);
    Some((trace_id, span_id, flags & TraceFlags::SAMPLED))
}

/// `DIGITS` lower-case hexadecimal digits: `from_str_radix` alone would take a sign and capitals too.
fn hex<const DIGITS: usize>(digits: &[u8]) -> Option<u128> {
    let digits: &[u8; DIGITS] = digits.try_into().ok()?;
    if !digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn trace_state(headers: &HeaderMap) -> TraceState {
    let mut state = String::new();
    for value in headers.get_all("tracestate") {
        let Ok(value) = value.to_str() else {
            return TraceState::NONE;
        };
        if state.len() + value.len() >= TRACESTATE_BYTES {
            return TraceState::NONE;
        }
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(value);
    }
    TraceState::from_str(&state).unwrap_or(TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::TraceContext;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(headers: &[(&'static str, &[u8])]) -> TraceContext {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        TraceContext::from_headers(&map)
    }

    #[test]
    fn the_callers_span_is_read() {
        let context = parse(&[
            ("traceparent", PARENT.as_bytes()),
            ("tracestate", b"a=1"),
            ("tracestate", b"b=2"),
        ]);
        let context = context.span_context().unwrap();
        assert_eq!(
            context.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2");
    }

    #[test]
    fn a_newer_version_may_say_more() {
        let newer = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-comes";
        let context = parse(&[("traceparent", newer.as_bytes())]);
        assert!(context.span_context().unwrap().is_sampled());
    }

    #[test]
    fn what_is_not_well_formed_is_ignored() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let context = parse(&[("traceparent", bad.as_bytes())]);
            assert!(context.span_context().is_none(), "{bad}");
        }
        let bytes = parse(&[("traceparent", &[0xff; 55])]);
        assert!(bytes.span_context().is_none());
        let twice = parse(&[
            ("traceparent", PARENT.as_bytes()),
            ("traceparent", PARENT.as_bytes()),
        ]);
        assert!(twice.span_context().is_none());
    }

    #[test]
    fn a_bad_or_endless_tracestate_leaves_the_parent() {
        for state in [&b"no equals sign"[..], &[0xff], &[b'a'; 4096]] {
            let context = parse(&[("traceparent", PARENT.as_bytes()), ("tracestate", state)]);
            let context = context.span_context().unwrap();
            assert_eq!(context.trace_state().header(), "");
        }
    }
}
