use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stdout::{Limits, StdoutSink};
use super::{AuditError, Batch, Confirmation, Outcome, Record, Recorder, Sink, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Keeps every span that ends.
#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Spans {
    fn provider(&self) -> SdkTracerProvider {
        SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_simple_exporter(self.clone())
            .build()
    }

    fn all(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }

    fn only(&self) -> SpanData {
        let mut spans = self.all();
        assert_eq!(spans.len(), 1, "one span for one record");
        spans.remove(0)
    }
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    let map: BTreeMap<_, _> = span
        .attributes
        .iter()
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect();
    assert_eq!(map.len(), span.attributes.len(), "no attribute twice");
    map
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
    let recorder = Recorder::new(spans.provider().tracer("presignd"), kept.clone());
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
            "reason": "monthly report",
            "subject": "user-17",
            "batch": {"index": 3, "size": 5},
            "duration_us": 42_000,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": span.span_context.span_id().to_string(),
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
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!((span.start_time, span.end_time), (at(0), at(42)));
    assert_eq!(span.status, Status::Unset);
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(span.parent_span_is_remote);
    assert!(
        span.span_context.is_sampled(),
        "although the caller's is not"
    );
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    let expected = [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "presignd.v1.PresignService/Presign"),
        ("rpc.response.status_code", "OK"),
        ("network.peer.address", "192.0.2.7"),
        ("network.peer.port", "40000"),
        ("aws.s3.bucket", "acme-files"),
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
    assert_eq!(span.status, Status::Unset);
    assert!(span.span_context.is_valid(), "a trace of its own");
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
    assert_eq!(span.status, Status::error("INTERNAL"));
    assert_eq!(attributes(&span)["error.type"], "INTERNAL");
}

#[tokio::test]
async fn a_record_that_is_not_confirmed_is_an_error_and_its_span_says_so() {
    let (recorder, spans, _) = recorder_answering(Err(AuditError::Closed));
    let refused = recorder.record(&issued(1), &caller()).await;
    assert_eq!(refused, Err(AuditError::Closed));
    let span = spans.only();
    assert_eq!(span.status, Status::error("AUDIT_UNAVAILABLE"));
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
        assert_eq!(line["span_id"], span.span_context.span_id().to_string());
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

/// Whoever adds a field has to come by here, and to think of what may be in it.
#[test]
fn a_record_has_no_place_for_what_could_be_used() {
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
        key: _,
        key_starts_with: _,
        content_length_range: _,
        version_id: _,
        copy_source: _,
        region: _,
        endpoint: _,
        expires_in: _,
        expires_at: _,
        expiry_bound: _,
        role_session_name: _,
        access_key_id: _,
        reason: _,
        subject: _,
        batch: _,
    } = issued(1);
    let names: BTreeSet<_> = match serde_json::to_value(issued(1)).unwrap() {
        Value::Object(fields) => fields.keys().cloned().collect(),
        other => panic!("{other}"),
    };
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
    let recorder = Recorder::new(Spans::default().provider().tracer("presignd"), sink);
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
    let recorder = Arc::new(Recorder::new(spans.provider().tracer("presignd"), sink));
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
