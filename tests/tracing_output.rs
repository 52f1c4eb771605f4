//! Spans as a collector gets them: one for each decision, in the caller's trace, sent before presignd ends, and never in the way.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use presignd::proto::v1::{BatchPresignRequest, Command, PresignRequest};
use serde_json::Value;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::harness::ceph::Ceph;
use crate::harness::presignd::{ceph_tenant, get_object, put_object, request};
use crate::harness::process::{self, static_tenant, with_config};

/// Keeps what it is sent, if the sender waits for its slow answer.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        // tonic drops this, and nothing is kept, where the connection is closed.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves for as long as the test runs. The endpoint's URL.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(self.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        format!("http://{address}")
    }

    /// All spans, by their issuance ids, with their attributes as text.
    fn spans(&self) -> BTreeMap<String, (Span, BTreeMap<String, String>)> {
        let requests = self.0.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let mut spans = BTreeMap::new();
        for resource in resources {
            let of = resource.resource.as_ref().expect("a resource");
            assert_eq!(texts(&of.attributes)["service.name"], "presignd-eu");
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let attributes = texts(&span.attributes);
                let id = attributes["presignd.issuance_id"].clone();
                let twice = spans.insert(id, (span.clone(), attributes));
                assert!(twice.is_none(), "two spans of one decision: {span:?}");
            }
        }
        spans
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((pair.key.clone(), text.clone())),
        any_value::Value::IntValue(number) => Some((pair.key.clone(), number.to_string())),
        other => panic!("{}: {other:?}", pair.key),
    };
    attributes.iter().filter_map(text).collect()
}

fn telemetry(endpoint: &str) -> String {
    format!(
        "telemetry: {{ service_name: presignd-eu, otlp: {{ endpoint: \"{endpoint}\", timeout: 1s }} }}\n"
    )
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// With the headers of a caller's trace.
fn traced(request: PresignRequest, traceparent: &str) -> Request<PresignRequest> {
    let mut request = Request::new(request);
    let value = traceparent.parse().expect("a header");
    request.metadata_mut().insert("traceparent", value);
    request
}

#[tokio::test]
async fn each_decision_is_one_server_span_in_the_callers_trace() {
    let collector = Collector::default();
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [GetObject], resources: ["acme-files/*"] }]"#;
    let tenant = ceph_tenant(ceph.tenant("acme"), grants).replace('\n', "\n    ");
    let config = format!(
        "server: {{ listen: 127.0.0.1:0 }}\ncallers: [{{ match: anyone }}]\n{}tenants:\n  acme:\n    {tenant}\n",
        telemetry(&collector.serve().await)
    );
    let keys = ceph.presignd_credentials();
    let presignd = with_config("serve", &config)
        .env("AWS_ACCESS_KEY_ID", keys.access_key_id())
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key())
        .start();
    let mut client = presignd.client().await;

    // The caller samples neither of its traces; a record is no sample.
    let first = PresignRequest {
        reason: "why".to_owned(),
        subject: "whom".to_owned(),
        ..request("acme", get_object("acme-files", "tracing/k"))
    };
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let issued = client.presign(traced(first, parent)).await;
    let issued = issued.unwrap().into_inner();
    let denied = request("acme", put_object("acme-files", "tracing/k"));
    let parent = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00";
    client.presign(traced(denied, parent)).await.unwrap_err();
    let nobody = request("nobody", get_object("acme-files", "k"));
    client.presign(nobody).await.unwrap_err();
    let commands = ["a", "b"].map(|key| Command {
        command: Some(get_object("acme-files", key)),
        ..Command::default()
    });
    let batch = BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands: commands.to_vec(),
        ..BatchPresignRequest::default()
    };
    client.batch_presign(batch).await.unwrap();
    drop(client);

    // At once: what the exporter still holds goes out before the process ends.
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let spans = collector.spans();
    let records: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((records.len(), spans.len()), (5, 5));
    for record in &records {
        let (span, attributes) = &spans[record["issuance_id"].as_str().unwrap()];
        assert_eq!(span.kind, SpanKind::Server as i32);
        assert_eq!(span.name, record["method"].as_str().unwrap());
        assert_eq!(hex(&span.trace_id), record["trace_id"].as_str().unwrap());
        assert_eq!(hex(&span.span_id), record["span_id"].as_str().unwrap());
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let status = span.status.clone().unwrap_or_default();
        assert_eq!(
            status.code,
            StatusCode::Unset as i32,
            "no fault of presignd's"
        );
        for (attribute, field) in [
            ("presignd.outcome", "outcome"),
            ("presignd.caller", "caller"),
            ("presignd.tenant", "tenant"),
            ("presignd.command", "command"),
            ("presignd.reason_code", "reason_code"),
            ("presignd.expiry_bound", "expiry_bound"),
            ("presignd.role_session_name", "role_session_name"),
            ("presignd.reason", "reason"),
            ("presignd.subject", "subject"),
            ("aws.s3.bucket", "bucket"),
            ("aws.s3.key", "key"),
            ("cloud.region", "region"),
            ("rpc.response.status_code", "status"),
            ("rpc.method", "method"),
        ] {
            let in_span = attributes.get(attribute).map(String::as_str);
            assert_eq!(in_span, record[field].as_str(), "{attribute}");
        }
    }
    let of = |index: usize| &spans[records[index]["issuance_id"].as_str().unwrap()];
    let (span, attributes) = of(0);
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    for (attribute, value) in [
        ("presignd.issuance_id", &*issued.issuance_id),
        ("presignd.outcome", "issued"),
        ("presignd.expiry", "900"),
        ("presignd.role_session_name", "presignd-acme.anyone"),
        ("presignd.reason", "why"),
        ("presignd.subject", "whom"),
        ("rpc.system.name", "grpc"),
        ("rpc.response.status_code", "OK"),
    ] {
        assert_eq!(attributes[attribute], value, "{attribute}");
    }
    let (span, attributes) = of(1);
    assert_eq!(hex(&span.trace_id), "1af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "c7ad6b7169203331");
    assert_eq!(attributes["presignd.outcome"], "denied");
    let (span, attributes) = of(2);
    assert!(span.parent_span_id.is_empty(), "{span:?}");
    assert_eq!(attributes["presignd.reason_code"], "TENANT_DENIED");
    assert_eq!(of(3).1["presignd.batch.size"], "2");
    assert_eq!(of(4).1["presignd.batch.index"], "1");

    let sent = format!("{:?}", collector.0.lock().unwrap());
    let value = |name: &str| {
        let (_, rest) = issued.url.split_once(name).expect("a signed URL");
        rest.split('&').next().expect("a value").to_owned()
    };
    let (signature, token) = (value("X-Amz-Signature="), value("X-Amz-Security-Token="));
    let secrets = [
        &signature,
        &token[..20],
        "X-Amz-",
        "http://",
        keys.secret_access_key(),
    ];
    for secret in secrets {
        assert!(!sent.contains(secret), "{secret} in a span");
    }
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_nobody_up() {
    // The kernel takes the connections, and nobody reads; and a port where nobody listens.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = hole.local_addr().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for collector in [silent, gone] {
        let config = telemetry(&format!("http://{collector}")) + &static_tenant("[GetObject]", "");
        let (presignd, mut client) = process::serve(&config).await;
        for _ in 0..1000 {
            let asked = client.presign(request("acme", get_object("acme-files", "k")));
            let issued = tokio::time::timeout(Duration::from_secs(5), asked).await;
            issued.expect("an answer in time").expect("a URL");
        }
        drop(client);
        let ended = tokio::time::timeout(Duration::from_secs(20), presignd.terminated()).await;
        let ended = ended.expect("spans hold up the end for seconds at most");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(ended.stdout.lines().count(), 1000, "the records are whole");
        assert!(
            ended.stderr.contains("span"),
            "the loss is told: {}",
            ended.stderr
        );
    }
}
