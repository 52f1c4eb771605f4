use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, SpanFlags};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::stdout::{Limits, StdoutSink};
use super::{
    AuditError, Batch, Confirmation, Outcome, Record, Recorder, Sink, SpanSink, TraceContext,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Keeps every span that ends, as a collector would read it.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

impl SpanSink for Spans {
    fn is_listening(&self) -> bool {
        true
    }

    fn take(&self, spans: &[u8], count: usize) {
        let spans = ScopeSpans::decode(spans).unwrap().spans;
        assert_eq!(spans.len(), count);
        self.0.lock().unwrap().extend(spans);
    }
}

impl Spans {
    fn all(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }

    fn only(&self) -> Span {
        let mut spans = self.all();
        assert_eq!(spans.len(), 1, "one span for one record");
        spans.remove(0)
    }
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let map: BTreeMap<_, _> = span
        .attributes
        .iter()
        .map(
            |pair| match pair.value.clone().and_then(|value| value.value) {
                Some(any_value::Value::StringValue(text)) => (pair.key.clone(), text),
                Some(any_value::Value::IntValue(number)) => (pair.key.clone(), number.to_string()),
                other => panic!("{}: {other:?}", pair.key),
            },
        )
        .collect();
    assert_eq!(map.len(), span.attributes.len(), "no attribute twice");
    map
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The message of an error; `None` where the span is none.
fn error(span: &Span) -> Option<String> {
    let status = span.status.clone().unwrap_or_default();
    match status.code() {
        StatusCode::Error => Some(status.message),
        StatusCode::Unset | StatusCode::Ok => None,
    }
}

/// Nanoseconds since 1970.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_nanos().try_into().unwrap()
}

/// As far as 64 bits go: until the year 2554.
fn nanos_within(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Answers what it was told to, and keeps the lines.
#[derive(Debug, Clone)]
struct Kept {
    lines: Arc<Mutex<Vec<u8>>>,
    answer: Result<(), AuditError>,
}

impl Kept {
    fn answering(answer: Result<(), AuditError>) -> Self {
        Self {
            lines: Arc::default(),
            answer,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Sink for Kept {
    fn write(&self, lines: &[u8]) -> Confirmation {
        self.lines.lock().unwrap().extend_from_slice(lines);
        let answer = self.answer.clone();
        Box::pin(async move { answer })
    }

    fn close(&self, _within: Duration) -> Confirmation {
        Box::pin(async { Ok(()) })
    }
}

fn recorder() -> (Recorder, Spans, Kept) {
    recorder_answering(Ok(()))
}

fn recorder_answering(answer: Result<(), AuditError>) -> (Recorder, Spans, Kept) {
    let (spans, kept) = (Spans::default(), Kept::answering(answer));
    let recorder = Recorder::new(Arc::new(spans.clone()), kept.clone());
    (recorder, spans, kept)
}

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_000 + millis)
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | n)
}

fn issued(n: u128) -> Record<'static> {
    let mut record = Record::new(id(n), at(0), "presignd.v1.PresignService/Presign", "anyone");
    record.peer = Some("192.0.2.7:40000".parse().unwrap());
    record.tenant = Some("acme".into());
    record.command = Some("CopyObject");
    record.bucket = Some("acme-files".into());
    record.bucket_alias = Some("files".into());
    record.key = Some("reports/1.pdf".into());
    record.version_id = Some("v1".into());
    record.copy_source = Some("acme-in/1.pdf".into());
    record.region = Some("eu-west-1".into());
    record.endpoint = Some("acme-files.s3.eu-west-1.amazonaws.com".into());
    record.expires_in = Some(900);
    record.expires_at = Some(at(900_000));
    record.expiry_bound = Some("GRANT_CAP");
    record.role_session_name = Some("acme.anyone".into());
    record.access_key_id = Some("ASIAEXAMPLE".into());
    record.source_ip = vec!["192.0.2.0/24".into(), "2001:db8::1/128".into()];
    record.reason = Some("monthly report".into());
    record.subject = Some("user-17".into());
    record.batch = Some(Batch { index: 3, size: 5 });
    record.issued(at(42));
    record
}

/// A form, which is bounded to keys and to a length.
fn form() -> Record<'static> {
    let mut record = Record::new(
        id(3),
        at(0),
        "presignd.v1.PresignService/PresignPost",
        "anyone",
    );
    record.command = Some("PutObject");
    record.key_starts_with = Some("in/".into());
    record.content_length_range = Some([1, u64::MAX]);
    record.issued(at(1));
    record
}

fn denied() -> Record<'static> {
    let mut record = Record::new(id(2), at(0), "presignd.v1.PresignService/Presign", "anyone");
    record.tenant = Some("acme".into());
    record.refused(
        at(1),
        Outcome::Denied,
        "PERMISSION_DENIED",
        "COMMAND_DENIED",
        "no grant of the tenant allows GetObject on this key",
    );
    record
}

fn caller() -> TraceContext {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
    TraceContext::from_headers(&headers)
}

#[tokio::test]
async fn an_issued_url_has_a_line_with_all_that_is_known() {
    let (recorder, spans, kept) = recorder();
    recorder.record(&issued(1), &caller()).await.unwrap();
    let span = spans.only();
    assert_eq!(
        kept.lines(),
        [json!({
            "time": "2026-01-01T00:00:00.042Z",
            "issuance_id": "01990000-0000-7000-8000-000000000001",
            "outcome": "issued",
            "status": "OK",
            "method": "presignd.v1.PresignService/Presign",
            "caller": "anyone",
            "peer": "192.0.2.7:40000",
            "tenant": "acme",
            "command": "CopyObject",
            "bucket": "acme-files",
            "bucket_alias": "files",
            "key": "reports/1.pdf",
            "version_id": "v1",
            "copy_source": "acme-in/1.pdf",
            "region": "eu-west-1",
            "endpoint": "acme-files.s3.eu-west-1.amazonaws.com",
            "expires_in": 900,
            "expires_at": "2026-01-01T00:15:00.000Z",
            "expiry_bound": "GRANT_CAP",
            "role_session_name": "acme.anyone",
            "access_key_id": "ASIAEXAMPLE",
            "source_ip": ["192.0.2.0/24", "2001:db8::1/128"],
            "reason": "monthly report",
            "subject": "user-17",
            "batch": {"index": 3, "size": 5},
            "duration_us": 42_000,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": hex(&span.span_id),
        })]
    );
}

#[tokio::test]
async fn a_form_says_what_it_is_bounded_to() {
    let (recorder, spans, kept) = recorder();
    recorder.record(&form(), &caller()).await.unwrap();
    let line = kept.lines().remove(0);
    assert_eq!(line["key_starts_with"], "in/");
    assert_eq!(line["content_length_range"], json!([1, u64::MAX]));
    assert_eq!(line.get("key"), None);
    let attributes = attributes(&spans.only());
    assert_eq!(attributes["presignd.key_starts_with"], "in/");
    assert_eq!(attributes["presignd.content_length.min"], "1");
    assert_eq!(
        attributes["presignd.content_length.max"],
        i64::MAX.to_string()
    );
}

#[tokio::test]
async fn an_issued_url_has_one_server_span_under_the_callers() {
    let (recorder, spans, _) = recorder();
    recorder.record(&issued(1), &caller()).await.unwrap();
    let span = spans.only();
    assert_eq!(span.name, "presignd.v1.PresignService/Presign");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(span.start_time_unix_nano, nanos(at(0)));
    assert_eq!(span.end_time_unix_nano, nanos(at(42)));
    assert_eq!(error(&span), None);
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    let remote = SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32;
    let sampled = 1;
    assert_eq!(
        span.flags,
        remote | sampled,
        "although the caller's is not sampled"
    );
    assert_eq!(span.trace_state, "vendor=1");
    let expected = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "presignd.v1.PresignService/Presign"),
        ("rpc.response.status_code", "OK"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "40000"),
        ("aws.s3.bucket", "acme-files"),
        ("presignd.bucket_alias", "files"),
        ("aws.s3.key", "reports/1.pdf"),
        ("aws.s3.copy_source", "acme-in/1.pdf"),
        ("cloud.region", "eu-west-1"),
        (
            "presignd.issuance_id",
            "01990000-0000-7000-8000-000000000001",
        ),
        ("presignd.caller", "anyone"),
        ("presignd.tenant", "acme"),
        ("presignd.command", "CopyObject"),
        ("presignd.version_id", "v1"),
        ("presignd.endpoint", "acme-files.s3.eu-west-1.amazonaws.com"),
        ("presignd.expiry", "900"),
        ("presignd.expiry_bound", "GRANT_CAP"),
        ("presignd.role_session_name", "acme.anyone"),
        ("presignd.access_key_id", "ASIAEXAMPLE"),
        ("presignd.source_ip", "192.0.2.0/24,2001:db8::1/128"),
        ("presignd.reason", "monthly report"),
        ("presignd.subject", "user-17"),
        ("presignd.batch.index", "3"),
        ("presignd.batch.size", "5"),
        ("presignd.outcome", "issued"),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(attributes(&span), expected);
}

#[tokio::test]
async fn a_denial_is_recorded_and_is_no_error_of_the_server() {
    let (recorder, spans, kept) = recorder();
    recorder
        .record(&denied(), &TraceContext::default())
        .await
        .unwrap();
    let line = &kept.lines()[0];
    assert_eq!(line["outcome"], "denied");
    assert_eq!(line["status"], "PERMISSION_DENIED");
    assert_eq!(line["reason_code"], "COMMAND_DENIED");
    assert_eq!(
        line["detail"],
        "no grant of the tenant allows GetObject on this key"
    );
    let span = spans.only();
    assert_eq!(error(&span), None);
    assert_eq!(
        (span.trace_id.len(), span.span_id.len()),
        (16, 8),
        "a trace of its own"
    );
    assert!(span.parent_span_id.is_empty() && span.trace_state.is_empty());
    assert_eq!(span.flags, SpanFlags::ContextHasIsRemoteMask as u32 | 1);
    let attributes = attributes(&span);
    assert_eq!(attributes["presignd.outcome"], "denied");
    assert_eq!(attributes["presignd.reason_code"], "COMMAND_DENIED");
    assert!(!attributes.contains_key("error.type"));
}

#[tokio::test]
async fn what_is_not_said_to_be_issued_has_failed() {
    let (recorder, spans, kept) = recorder();
    let record = Record::new(id(1), at(0), "presignd.v1.PresignService/Presign", "anyone");
    recorder
        .record(&record, &TraceContext::default())
        .await
        .unwrap();
    assert_eq!(kept.lines()[0]["outcome"], "failed");
    let span = spans.only();
    assert_eq!(error(&span).as_deref(), Some("INTERNAL"));
    assert_eq!(attributes(&span)["error.type"], "INTERNAL");
}

#[tokio::test]
async fn a_record_that_is_not_confirmed_is_an_error_and_its_span_says_so() {
    let (recorder, spans, _) = recorder_answering(Err(AuditError::Closed));
    let refused = recorder.record(&issued(1), &caller()).await;
    assert_eq!(refused, Err(AuditError::Closed));
    let span = spans.only();
    assert_eq!(error(&span).as_deref(), Some("AUDIT_UNAVAILABLE"));
    let attributes = attributes(&span);
    assert_eq!(attributes["presignd.outcome"], "failed");
    assert_eq!(attributes["presignd.reason_code"], "AUDIT_UNAVAILABLE");
    assert_eq!(attributes["rpc.response.status_code"], "UNAVAILABLE");
}

#[tokio::test]
async fn a_time_that_no_calendar_has_is_an_error_and_no_half_a_line() {
    let (recorder, spans, kept) = recorder();
    let mut late = issued(2);
    late.expires_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60));
    let refused = recorder.record_all(&[issued(1), late], &caller()).await;
    assert!(matches!(refused, Err(AuditError::Encode(_))), "{refused:?}");
    assert_eq!(kept.text(), "");
    assert!(
        spans
            .all()
            .iter()
            .all(|span| attributes(span)["presignd.outcome"] == "failed")
    );
}

#[tokio::test]
async fn a_batch_is_a_line_and_a_span_each() {
    let (recorder, spans, kept) = recorder();
    let records: Vec<_> = (0..500).map(issued).collect();
    recorder.record_all(&records, &caller()).await.unwrap();
    let (lines, spans) = (kept.lines(), spans.all());
    assert_eq!((lines.len(), spans.len()), (500, 500));
    for ((line, span), record) in lines.iter().zip(&spans).zip(&records) {
        assert_eq!(line["issuance_id"], record.issuance_id.to_string());
        assert_eq!(line["span_id"], hex(&span.span_id));
    }
    recorder.record_all(&[], &caller()).await.unwrap();
    assert_eq!(kept.lines().len(), 500);
}

#[tokio::test]
async fn no_text_breaks_out_of_its_line() {
    let nasty =
        "a\nb\r\0\"\\\u{1b}[2J\u{7f}\u{9b}1m\u{85}\u{2028}\u{2029}\u{202e}\u{2066}é€\u{1f600}\"},{";
    let (recorder, _, kept) = recorder();
    let mut record = issued(1);
    record.key = Some(nasty.into());
    record.reason = Some(nasty.into());
    recorder.record(&record, &caller()).await.unwrap();
    let text = kept.text();
    let shown = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(text.trim_end_matches('\n').chars().all(shown), "{text}");
    assert!(
        text.contains("é€\u{1f600}"),
        "what can be read is left: {text}"
    );
    assert_eq!(kept.lines()[0]["key"], nasty);
}

/// Text that is out to break JSON, protobuf, terminals and lengths.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/.-]{0,20}",
        "\\PC{0,40}",
        "[\\x00-\\x1f\"\\\\\\x7f\u{80}-\u{9f}\u{61c}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2066}-\u{2069}\u{10ffff}a]{0,40}",
        // Around the lengths at which protobuf's lengths get longer.
        (120..136_usize).prop_map(|length| "x".repeat(length)),
        (16_000..17_000_usize).prop_map(|length| "é".repeat(length / 2)),
    ]
}

fn some_record() -> impl Strategy<Value = Record<'static>> {
    let texts = proptest::collection::vec(proptest::option::weighted(0.7, hostile()), 16);
    let times = (0..253_402_300_800_000_u64, 0..253_402_300_800_000_u64);
    let peer = proptest::option::of(any::<std::net::SocketAddr>());
    let outcome = prop_oneof![
        Just((Outcome::Issued, "OK", None)),
        Just((Outcome::Denied, "PERMISSION_DENIED", Some("COMMAND_DENIED"))),
        Just((Outcome::Failed, "UNAVAILABLE", Some("STS_UNAVAILABLE"))),
    ];
    let numbers = proptest::option::of(any::<(u32, u32, u32, [u64; 2])>());
    (texts, times, peer, outcome, numbers).prop_map(|(texts, times, peer, outcome, numbers)| {
        let time = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let mut texts = texts.into_iter().map(|text| text.map(Into::into));
        let mut text = || texts.next().flatten();
        let caller = text().unwrap_or_default();
        let method = "presignd.v1.PresignService/Presign";
        let mut record = Record::new(id(7), time(times.0), method, caller);
        record.decided = time(times.1);
        (record.outcome, record.status, record.reason_code) = outcome;
        record.peer = peer;
        record.detail = text();
        record.tenant = text();
        record.bucket = text();
        record.bucket_alias = text();
        record.key = text();
        record.key_starts_with = text();
        record.version_id = text();
        record.upload_id = text();
        record.parts = text();
        record.copy_source = text();
        record.region = text();
        record.endpoint = text();
        record.role_session_name = text();
        record.access_key_id = text();
        record.reason = text();
        record.subject = text();
        record.content_length_range = numbers.map(|(.., range)| range);
        record.command = numbers.map(|_| "GetObject");
        record.expires_in = numbers.map(|(seconds, ..)| seconds);
        record.object_size = numbers.map(|(bytes, ..)| u64::from(bytes) << 10);
        record.expires_at = numbers.map(|_| time(times.0));
        record.expiry_bound = numbers.map(|_| "TENANT_CAP");
        record.batch = numbers.map(|(_, index, size, _)| Batch { index, size });
        record
    })
}

/// What a record says, by the names in its line and in its span.
fn said(record: &Record<'_>) -> Vec<(&'static str, &'static str, Option<String>)> {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let name = |name: Option<&'static str>| name.map(str::to_owned);
    let (caller, tenant) = (Some(record.caller.to_string()), text(&record.tenant));
    let outcome = Some(record.outcome.as_str().to_owned());
    let session = text(&record.role_session_name);
    vec![
        (
            "issuance_id",
            "presignd.issuance_id",
            Some(record.issuance_id.to_string()),
        ),
        ("outcome", "presignd.outcome", outcome),
        (
            "status",
            "rpc.response.status_code",
            name(Some(record.status)),
        ),
        (
            "reason_code",
            "presignd.reason_code",
            name(record.reason_code),
        ),
        ("detail", "presignd.detail", text(&record.detail)),
        ("method", "rpc.method", name(Some(record.method))),
        ("caller", "presignd.caller", caller),
        ("tenant", "presignd.tenant", tenant),
        ("command", "presignd.command", name(record.command)),
        ("bucket", "aws.s3.bucket", text(&record.bucket)),
        (
            "bucket_alias",
            "presignd.bucket_alias",
            text(&record.bucket_alias),
        ),
        ("key", "aws.s3.key", text(&record.key)),
        (
            "key_starts_with",
            "presignd.key_starts_with",
            text(&record.key_starts_with),
        ),
        (
            "version_id",
            "presignd.version_id",
            text(&record.version_id),
        ),
        ("upload_id", "aws.s3.upload_id", text(&record.upload_id)),
        ("parts", "presignd.parts", text(&record.parts)),
        (
            "object_size",
            "presignd.object_size",
            record.object_size.map(|n| n.to_string()),
        ),
        (
            "copy_source",
            "aws.s3.copy_source",
            text(&record.copy_source),
        ),
        ("region", "cloud.region", text(&record.region)),
        ("endpoint", "presignd.endpoint", text(&record.endpoint)),
        (
            "expires_in",
            "presignd.expiry",
            record.expires_in.map(|n| n.to_string()),
        ),
        (
            "expiry_bound",
            "presignd.expiry_bound",
            name(record.expiry_bound),
        ),
        ("role_session_name", "presignd.role_session_name", session),
        (
            "access_key_id",
            "presignd.access_key_id",
            text(&record.access_key_id),
        ),
        ("reason", "presignd.reason", text(&record.reason)),
        ("subject", "presignd.subject", text(&record.subject)),
    ]
}

/// RFC 3339 with milliseconds, as another library has it.
fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", jiff::Timestamp::try_from(time).unwrap())
}

proptest! {
    /// serde_json and OpenTelemetry's own messages read from line and span the very values that the record holds, and no others.
    #[test]
    fn whatever_a_record_holds_is_read_from_its_line_and_its_span(record in some_record()) {
        let (recorder, spans, kept) = recorder();
        let caller = caller();
        let recorded = recorder.record(&record, &caller);
        futures_util::FutureExt::now_or_never(recorded).unwrap().unwrap();
        let (text, span) = (kept.text(), spans.only());
        let unseen = |c: char| {
            c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        prop_assert_eq!(text.find(unseen), Some(text.len() - 1), "only the line's end");

        let mut line = kept.lines()[0].as_object().unwrap().clone();
        let mut attributes = attributes(&span);
        for (member, attribute, value) in said(&record) {
            let in_line = line.remove(member).map(|found| match found {
                Value::String(text) => text,
                other => other.to_string(),
            });
            prop_assert_eq!(&in_line, &value, "{}", member);
            prop_assert_eq!(attributes.remove(attribute), value, "{}", attribute);
        }
        let peer = record.peer.map(|peer| (peer.ip().to_string(), peer.port().to_string()));
        let in_span = attributes.remove("network.peer.address").zip(attributes.remove("network.peer.port"));
        prop_assert_eq!(in_span, peer);
        let range = record.content_length_range;
        let in_span = attributes.remove("presignd.content_length.min").zip(attributes.remove("presignd.content_length.max"));
        // The attributes of spans are signed.
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX).to_string();
        prop_assert_eq!(in_span, range.map(|[least, most]| (signed(least), signed(most))));
        prop_assert_eq!(line.remove("content_length_range"), range.map(|range| json!(range)));
        let peer = record.peer.map(|peer| json!(peer.to_string()));
        prop_assert_eq!(line.remove("peer"), peer);
        let batch = record.batch;
        let in_span = attributes.remove("presignd.batch.index").zip(attributes.remove("presignd.batch.size"));
        prop_assert_eq!(in_span, batch.map(|batch| (batch.index.to_string(), batch.size.to_string())));
        let batch = batch.map(|batch| json!({"index": batch.index, "size": batch.size}));
        prop_assert_eq!(line.remove("batch"), batch);
        prop_assert_eq!(line.remove("time"), Some(json!(rfc3339(record.decided))));
        let expires_at = record.expires_at.map(|time| json!(rfc3339(time)));
        prop_assert_eq!(line.remove("expires_at"), expires_at);
        let took = record.decided.duration_since(record.started).unwrap_or_default();
        prop_assert_eq!(line.remove("duration_us"), Some(json!(took.as_micros())));
        prop_assert_eq!(line.remove("trace_id"), Some(json!(hex(&span.trace_id))));
        prop_assert_eq!(line.remove("span_id"), Some(json!(hex(&span.span_id))));
        prop_assert!(line.is_empty(), "{:?}", line);

        prop_assert_eq!(attributes.remove("rpc.system.name"), Some("grpc".to_owned()));
        let failed = record.outcome == Outcome::Failed;
        prop_assert_eq!(attributes.remove("error.type").is_some(), failed);
        prop_assert_eq!(error(&span), failed.then(|| "STS_UNAVAILABLE".to_owned()));
        prop_assert!(attributes.is_empty(), "{:?}", attributes);
        prop_assert_eq!(span.start_time_unix_nano, nanos_within(record.started));
        prop_assert_eq!(span.end_time_unix_nano, nanos_within(record.decided));
        prop_assert_eq!(span.name.as_str(), record.method);
    }
}

/// Whoever adds a field has to come by here, and to think of what may be in it.
#[tokio::test]
async fn a_record_has_no_place_for_what_could_be_used() {
    let Record {
        decided: _,
        started: _,
        issuance_id: _,
        outcome: _,
        status: _,
        reason_code: _,
        detail: _,
        method: _,
        caller: _,
        peer: _,
        tenant: _,
        command: _,
        bucket: _,
        bucket_alias: _,
        key: _,
        key_starts_with: _,
        content_length_range: _,
        version_id: _,
        upload_id: _,
        parts: _,
        object_size: _,
        copy_source: _,
        region: _,
        endpoint: _,
        expires_in: _,
        expires_at: _,
        expiry_bound: _,
        role_session_name: _,
        access_key_id: _,
        source_ip: _,
        reason: _,
        subject: _,
        batch: _,
        shadow_limits: _,
    } = issued(1);
    let (recorder, _, kept) = recorder();
    recorder.record(&issued(1), &caller()).await.unwrap();
    let fields = kept.lines()[0].as_object().unwrap().clone();
    let names: BTreeSet<_> = fields.keys().cloned().collect();
    for forbidden in ["url", "signature", "token", "secret", "header", "query"] {
        assert!(
            !names.iter().any(|name| name.contains(forbidden)),
            "{forbidden}: {names:?}"
        );
    }
}

#[tokio::test]
async fn debug_output_shows_no_records() {
    let sink = StdoutSink::new(io::sink(), Limits::default()).unwrap();
    let recorder = Recorder::new(Arc::new(Spans::default()), sink);
    let mut record = issued(1);
    record.subject = Some("MARKER".into());
    recorder.record(&record, &caller()).await.unwrap();
    let shown = format!("{recorder:?}");
    assert!(
        shown.contains("StdoutSink") && !shown.contains("MARKER"),
        "{shown}"
    );
}

/// A writer that keeps what it is given.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_at_once_are_ten_thousand_lines_and_spans() {
    let (spans, bytes) = (Spans::default(), Bytes::default());
    let limits = Limits {
        stall: Duration::from_mins(1),
        queue_bytes: 64 << 20,
    };
    let sink = StdoutSink::new(bytes.clone(), limits).unwrap();
    let recorder = Arc::new(Recorder::new(Arc::new(spans.clone()), sink));
    let tasks: Vec<_> = (0..10_000)
        .map(|n| {
            let (recorder, bytes) = (Arc::clone(&recorder), bytes.clone());
            tokio::spawn(async move {
                recorder.record(&issued(n), &caller()).await.unwrap();
                // The reply would leave here: what had been written by then?
                (id(n).to_string(), bytes.0.lock().unwrap().len())
            })
        })
        .collect();
    let mut written_at_reply = BTreeMap::new();
    for task in tasks {
        written_at_reply.extend([task.await.unwrap()]);
    }
    recorder.close(Duration::from_mins(1)).await.unwrap();
    let text = String::from_utf8(bytes.0.lock().unwrap().clone()).unwrap();
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        let line: Value = serde_json::from_str(line).unwrap();
        let written = written_at_reply.remove(line["issuance_id"].as_str().unwrap());
        assert!(written.is_some_and(|written| written >= end), "{line}");
    }
    assert!(written_at_reply.is_empty(), "a reply without a record");
    assert_eq!(spans.all().len(), 10_000);
}
