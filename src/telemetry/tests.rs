use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Otlp, SpanCounts, TelemetryError, Traces};
use crate::audit::stdout::{Limits, StdoutSink};
use crate::audit::{Record, Recorder, TraceContext};

fn start(otlp: &Otlp) -> Traces {
    Traces::start_with(otlp, |_| None).unwrap()
}

fn recorder(traces: &Traces) -> Recorder {
    let sink = StdoutSink::new(std::io::sink(), Limits::default()).unwrap();
    Recorder::new(traces.sink(), sink)
}

async fn record(recorder: &Recorder, times: usize) {
    for _ in 0..times {
        let now = SystemTime::UNIX_EPOCH;
        let mut record = Record::new(Uuid::nil(), now, "presignd.v1.PresignService/Presign", "a");
        record.tenant = Some("acme".into());
        record.issued(now);
        recorder
            .record(&record, &TraceContext::default())
            .await
            .unwrap();
    }
}

/// A collector that keeps what it is sent, or refuses it.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    /// The header `api-key` of each request.
    keys: Arc<Mutex<Vec<String>>>,
    refuses: bool,
    /// How many requests it cannot take now.
    busy: Arc<Mutex<u32>>,
    /// How many spans of each request it does not keep.
    rejects: i64,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.refuses {
            return Err(Status::permission_denied("not here"));
        }
        {
            let mut busy = self.busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return Err(Status::unavailable("in a moment"));
            }
        }
        let key = request.metadata().get("api-key");
        let key = key.map(|key| key.to_str().unwrap().to_owned());
        self.keys.lock().unwrap().extend(key);
        self.requests.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: (self.rejects > 0).then(|| ExportTracePartialSuccess {
                rejected_spans: self.rejects,
                error_message: "too many".to_owned(),
            }),
        }))
    }
}

impl Collector {
    async fn serve(&self) -> Otlp {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Otlp {
            endpoint: Some(format!("http://{address}")),
            ..Otlp::default()
        }
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .filter_map(|pair| match pair.value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Some((pair.key.clone(), text.clone())),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn spans_reach_the_collector() {
    let collector = Collector::default();
    let traces = start(&collector.serve().await);
    record(&recorder(&traces), 700).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    let expected = SpanCounts {
        exported: 700,
        ..SpanCounts::default()
    };
    assert_eq!(traces.counts(), expected);

    let requests = collector.requests.lock().unwrap();
    let mut spans = 0;
    for resource_spans in requests.iter().flat_map(|request| &request.resource_spans) {
        let resource = texts(&resource_spans.resource.as_ref().unwrap().attributes);
        assert_eq!(resource["service.name"], "presignd");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
        for span in resource_spans.scope_spans.iter().flat_map(|s| &s.spans) {
            spans += 1;
            let attributes = texts(&span.attributes);
            assert_eq!(attributes["presignd.tenant"], "acme");
            assert_eq!(attributes["presignd.outcome"], "issued");
        }
    }
    assert_eq!(spans, 700);
}

#[tokio::test]
async fn spans_that_a_collector_refuses_are_counted() {
    let collector = Collector {
        refuses: true,
        ..Collector::default()
    };
    let traces = start(&collector.serve().await);
    record(&recorder(&traces), 3).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    assert_eq!(traces.counts().failed, 3);
}

/// The kernel accepts the connection; nobody ever reads from it.
#[tokio::test]
async fn a_black_hole_costs_spans_and_nothing_else() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = start(&Otlp {
        endpoint: Some(format!("http://{}", hole.local_addr().unwrap())),
        timeout: Some(Duration::from_millis(200)),
        queue: Some(64),
        ..Otlp::default()
    });
    let recorder = recorder(&traces);
    // All of these are recorded, without an error, while the collector answers none.
    record(&recorder, 5_000).await;
    let counts = traces.counts();
    assert!(
        counts.queued <= 64 + 64,
        "waiting and under way: {counts:?}"
    );
    assert!(counts.dropped > 0, "{counts:?}");
    assert_eq!(counts.exported, 0);

    // Either the last spans are given up in time, or the shutdown says how many it left.
    if let Err(error) = traces.shutdown(Duration::from_secs(2)).await {
        assert!(matches!(error, TelemetryError::Unsent { .. }), "{error}");
    }
    let counts = traces.counts();
    assert_eq!(counts.failed + counts.dropped, 5_000, "{counts:?}");
    assert!(counts.failed > 0, "{counts:?}");
}

#[tokio::test]
async fn a_shutdown_ends_in_time_although_an_export_does_not() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = start(&Otlp {
        endpoint: Some(format!("http://{}", hole.local_addr().unwrap())),
        timeout: Some(Duration::from_mins(10)),
        ..Otlp::default()
    });
    record(&recorder(&traces), 600).await;
    let within = Duration::from_millis(200);
    let ended = tokio::time::timeout(Duration::from_mins(1), traces.shutdown(within)).await;
    let error = ended.expect("bounded").unwrap_err();
    assert!(error.to_string().contains("spans were not sent"), "{error}");
    assert_eq!(traces.counts().failed, 600, "all are given up");
}

#[tokio::test]
async fn without_a_collector_spans_go_nowhere() {
    let traces = start(&Otlp::default());
    assert!(!traces.sink().is_listening());
    record(&recorder(&traces), 10).await;
    assert_eq!(traces.counts(), SpanCounts::default());
    traces.shutdown(Duration::from_secs(5)).await.unwrap();
    traces.shutdown(Duration::from_secs(5)).await.unwrap();
    record(&recorder(&traces), 1).await;
}

#[tokio::test]
async fn what_ends_after_the_shutdown_is_counted() {
    let collector = Collector::default();
    let traces = start(&collector.serve().await);
    record(&recorder(&traces), 2).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    record(&recorder(&traces), 3).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    let expected = SpanCounts {
        exported: 2,
        dropped: 3,
        ..SpanCounts::default()
    };
    assert_eq!(traces.counts(), expected);
}

#[tokio::test]
async fn a_collector_that_makes_no_sense_is_named() {
    let error = Traces::start_with(
        &Otlp {
            endpoint: Some("http://not a host".to_owned()),
            ..Otlp::default()
        },
        |_| None,
    )
    .unwrap_err();
    assert!(error.to_string().contains("not a host"), "{error}");
}

/// What a setting leaves open, the environment says.
#[tokio::test]
async fn settings_come_before_the_environment() {
    let (set, ambient) = (Collector::default(), Collector::default());
    let (setting, url) = (set.serve().await, ambient.serve().await.endpoint);
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => url.clone(),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("api-key=a%20key".to_owned()),
        _ => None,
    };
    for (otlp, expected) in [(setting, &set), (Otlp::default(), &ambient)] {
        let traces = Traces::start_with(&otlp, environment).unwrap();
        record(&recorder(&traces), 1).await;
        traces.shutdown(Duration::from_secs(30)).await.unwrap();
        assert_eq!(expected.requests.lock().unwrap().len(), 1);
        assert_eq!(expected.keys.lock().unwrap().as_slice(), ["a key"]);
    }
}

/// A collector that is restarted, or has no room for a moment.
#[tokio::test]
async fn spans_that_a_collector_cannot_take_now_are_sent_again() {
    let collector = Collector::default();
    *collector.busy.lock().unwrap() = 2;
    let traces = start(&collector.serve().await);
    record(&recorder(&traces), 3).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    assert_eq!(traces.counts().exported, 3);
    assert_eq!(collector.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_counted() {
    let collector = Collector {
        rejects: 2,
        ..Collector::default()
    };
    let traces = start(&collector.serve().await);
    record(&recorder(&traces), 3).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    let expected = SpanCounts {
        exported: 1,
        failed: 2,
        ..SpanCounts::default()
    };
    assert_eq!(traces.counts(), expected);
}

#[tokio::test]
async fn spans_meant_for_tls_are_never_sent_in_the_clear() {
    // Whoever listens here speaks no TLS.
    let collector = Collector::default();
    let plain = collector.serve().await.endpoint.unwrap();
    let traces = start(&Otlp {
        endpoint: Some(plain.replace("http://", "https://")),
        timeout: Some(Duration::from_secs(5)),
        ..Otlp::default()
    });
    record(&recorder(&traces), 2).await;
    traces.shutdown(Duration::from_secs(30)).await.unwrap();
    assert_eq!(traces.counts().failed, 2);
    assert!(collector.requests.lock().unwrap().is_empty());
}
