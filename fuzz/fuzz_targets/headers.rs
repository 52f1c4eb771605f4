//! The metadata of a request: deadlines and traces that are read right, or not at all, and never refuse a request.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use presignd::proto::s3::ListBuckets;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::presign_service_server::PresignService as _;
use presignd::proto::v1::{Command, PresignRequest};
use presignd_fuzz::{House, block_on};
use tonic::metadata::MetadataMap;

const NAMES: [&str; 6] = [
    "grpc-timeout",
    "traceparent",
    "tracestate",
    "authorization",
    "user-agent",
    "x-forwarded-for",
];

fuzz_target!(|data: &[u8]| {
    let headers = headers(data);
    let mut request = tonic::Request::new(PresignRequest {
        tenant: "store".to_owned(),
        command: Some(Box::new(Command {
            command: Some(Variant::ListBuckets(ListBuckets::default())),
            ..Command::default()
        })),
        ..PresignRequest::default()
    });
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    House::with(|house| {
        let answer = block_on(house.api.presign(request));
        let records = house.sink.take();
        assert_eq!(records.len(), 1);
        let waits = headers.contains_key("grpc-timeout");
        assert!(
            answer.is_ok()
                || waits
                    && answer.is_err_and(|status| status.code() == tonic::Code::DeadlineExceeded)
        );
        let trace_id = records[0]["trace_id"].as_str().expect("a trace");
        let mut parents = headers.get_all("traceparent").iter();
        match (parents.next(), parents.next()) {
            (Some(parent), None) if well_formed(parent.as_bytes()) => {
                assert_eq!(trace_id.as_bytes(), &parent.as_bytes()[3..35])
            }
            (Some(parent), _) => assert!(
                !parent
                    .as_bytes()
                    .windows(32)
                    .any(|id| id == trace_id.as_bytes()),
                "{parent:?}"
            ),
            (None, _) => {}
        }
    });
});

/// A line for each header: a byte for the name, and the value.
fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(20) {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let name = HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn well_formed(parent: &[u8]) -> bool {
    let hex = |field: &[u8]| {
        field
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let set = |field: &[u8]| hex(field) && field.iter().any(|byte| *byte != b'0');
    let fields: Vec<&[u8]> = parent.split(|byte| *byte == b'-').collect();
    let [version, trace, span, flags, rest @ ..] = &fields[..] else {
        return false;
    };
    version.len() == 2
        && hex(version)
        && *version != b"ff"
        && trace.len() == 32
        && set(trace)
        && span.len() == 16
        && set(span)
        && flags.len() == 2
        && hex(flags)
        && (rest.is_empty() || *version != b"00")
}
