use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::super::{Otlp, TelemetryError};
use super::{Metrics, Observe};
use crate::metrics::{EXPORTED, EXPORTS, FAILED};

/// The tests count in the same numbers, and so take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    rejects: i64,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.requests.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success: (self.rejects > 0).then(|| ExportMetricsPartialSuccess {
                rejected_data_points: self.rejects,
                error_message: "too many".to_owned(),
            }),
        }))
    }
}

impl Collector {
    async fn serve(&self) -> Otlp {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = MetricsServiceServer::new(self.clone());
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

/// A second later each time that somebody looks.
fn observe() -> Observe {
    let seconds = Mutex::new(0);
    Arc::new(move || {
        let mut seconds = seconds.lock().unwrap();
        *seconds += 1;
        SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds)
    })
}

fn start(otlp: &Otlp) -> Metrics {
    Metrics::start_with(otlp, observe(), |_| None).unwrap()
}

fn metrics(request: &ExportMetricsServiceRequest) -> Vec<&Metric> {
    let resources = request.resource_metrics.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).collect()
}

#[tokio::test]
async fn all_metrics_are_sent_at_once_and_at_the_end() {
    let _turn = TURN.lock().await;
    let collector = Collector::default();
    let before = EXPORTS.of(EXPORTED);
    let sent = start(&collector.serve().await);
    while EXPORTS.of(EXPORTED) == before {
        tokio::task::yield_now().await;
    }
    sent.shutdown(Duration::from_secs(30)).await.unwrap();
    sent.shutdown(Duration::from_secs(30)).await.unwrap();
    let requests = collector.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    let resource = requests[0].resource_metrics[0].resource.as_ref().unwrap();
    let names = resource.attributes.iter().map(|pair| pair.key.as_str());
    assert!(names.clone().any(|name| name == "service.name"));
    let last = metrics(&requests[1]);
    let exports = last
        .iter()
        .find(|metric| metric.name == "presignd.metrics.exports");
    let Some(metric::Data::Sum(sum)) = &exports.unwrap().data else {
        panic!("{exports:?}");
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality, 2, "cumulative");
    let point = &sum.data_points[EXPORTED];
    assert_eq!(point.start_time_unix_nano, 1_000_000_000);
    assert_eq!(point.time_unix_nano, 3_000_000_000);
    let expected = i64::try_from(before + 1).unwrap();
    let expected = number_data_point::Value::AsInt(expected);
    assert_eq!(point.value, Some(expected), "the first export, counted");
}

#[tokio::test]
async fn without_a_collector_nothing_is_sent_and_the_environment_may_decline() {
    let collector = Collector::default();
    let otlp = collector.serve().await;
    let declined = |name: &str| (name == "OTEL_METRICS_EXPORTER").then(|| "none".to_owned());
    for sent in [
        start(&Otlp::default()),
        Metrics::start_with(&otlp, observe(), declined).unwrap(),
    ] {
        sent.shutdown(Duration::from_secs(30)).await.unwrap();
    }
    assert!(collector.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_a_collector_rejects_counts_as_failed() {
    let _turn = TURN.lock().await;
    let collector = Collector {
        rejects: 1,
        ..Collector::default()
    };
    let before = EXPORTS.of(FAILED);
    let sent = start(&collector.serve().await);
    sent.shutdown(Duration::from_secs(30)).await.unwrap();
    assert!(EXPORTS.of(FAILED) > before);
}

#[tokio::test]
async fn a_black_hole_is_counted_and_ends_in_time() {
    let _turn = TURN.lock().await;
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = EXPORTS.of(FAILED);
    let sent = start(&Otlp {
        endpoint: Some(format!("http://{}", hole.local_addr().unwrap())),
        timeout: Some(Duration::from_millis(50)),
        interval: Some(Duration::from_millis(100)),
        ..Otlp::default()
    });
    while EXPORTS.of(FAILED) < before + 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent.shutdown(Duration::from_secs(30)).await.unwrap();

    let sent = start(&Otlp {
        endpoint: Some(format!("http://{}", hole.local_addr().unwrap())),
        timeout: Some(Duration::from_mins(10)),
        ..Otlp::default()
    });
    let error = sent.shutdown(Duration::from_millis(100)).await.unwrap_err();
    assert!(
        matches!(error, TelemetryError::UnsentMetrics { .. }),
        "{error}"
    );
}
