//! An OTLP collector, as a gRPC client sees it: batches go out as the bytes that they are.
//!
//! The messages of spans and of metrics have other names and one shape: the fields that are written and read here have the same
//! numbers in both.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.

use std::convert::Infallible;
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::channel::ResponseFuture;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;
use tower::Service;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Fields `spans` of a `ScopeSpans`.
    Spans,
    /// Fields `metrics` of a `ScopeMetrics`.
    Metrics,
}

impl Signal {
    /// The RPC.
    const fn export(self) -> &'static str {
        match self {
            Self::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The word for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Metrics => "metrics",
        }
    }
}

/// Field 1 of an `ExportTraceServiceRequest`, and field 2 of a `ResourceSpans`.
const RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS: u32 = 2;

/// OTLP's recommendation: so many tries after the first, and how long to wait between them.
const RETRIES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_millis(1_600);

/// A connection to a collector, made when it is first needed.
pub(super) struct Collector {
    signal: Signal,
    channel: Channel,
    headers: MetadataMap,
    /// The beginning of each `ResourceSpans`: who sends.
    resource: Vec<u8>,
    /// The beginning of each `ScopeSpans`: what made them.
    scope: Vec<u8>,
}

impl Collector {
    /// The collector at this URL. Over TLS, with the system's roots, unless it is a plain `http` one.
    pub(super) fn new(
        signal: Signal,
        endpoint: &str,
        headers: http::HeaderMap,
        resource: &Resource,
        scope: InstrumentationScope,
    ) -> Result<Self, tonic::transport::Error> {
        let mut target = Endpoint::from_shared(endpoint.to_owned())?;
        if !endpoint.starts_with("http://") {
            target = target.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
        }
        let target = target.user_agent(concat!("presignd/", env!("CARGO_PKG_VERSION")))?;
        let resource = ResourceAttributesWithSchema::from(resource);
        let resource = ResourceSpans {
            resource: Some(ResourceMessage {
                attributes: resource.attributes.0,
                ..ResourceMessage::default()
            }),
            schema_url: resource.schema_url.unwrap_or_default(),
            ..ResourceSpans::default()
        };
        let scope = ScopeSpans {
            scope: Some((scope, None).into()),
            ..ScopeSpans::default()
        };
        Ok(Self {
            signal,
            channel: target.connect_lazy(),
            headers: MetadataMap::from_headers(headers),
            resource: resource.encode_to_vec(),
            scope: scope.encode_to_vec(),
        })
    }

    /// Sends a batch, and again where the collector cannot take them now, for as long as the caller waits. Answers how many of
    /// them the collector rejected.
    pub(super) async fn export(&self, batch: &[Bytes]) -> Result<u64, Status> {
        let mut frames = Vec::with_capacity(1 + batch.len());
        frames.push(self.head(batch.iter().map(Bytes::len).sum()).into());
        frames.extend_from_slice(batch);
        let mut delay = FIRST_DELAY;
        for _ in 0..RETRIES {
            match self.send(frames.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(status) => {
                    let asked = retry_delay(&status).ok_or(status)?;
                    tokio::time::sleep(delay.max(asked)).await;
                    delay = (delay * 2).min(LONGEST_DELAY);
                }
            }
        }
        self.send(frames).await
    }

    async fn send(&self, frames: Vec<Bytes>) -> Result<u64, Status> {
        let mut client = tonic::client::Grpc::new(Exporting {
            channel: self.channel.clone(),
            frames,
        });
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(());
        *request.metadata_mut() = self.headers.clone();
        let path = PathAndQuery::from_static(self.signal.export());
        let codec = ProstCodec::<(), ExportTraceServiceResponse>::default();
        let answer = client.unary(request, path, codec).await?.into_inner();
        let partial = answer.partial_success.unwrap_or_default();
        if !partial.error_message.is_empty() {
            tracing::warn!(
                rejected = partial.rejected_spans,
                message = partial.error_message,
                "the OTLP collector has something to say about {}",
                self.signal.name()
            );
        }
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }

    /// gRPC's framing, and an `ExportTraceServiceRequest` up to so many bytes of a batch.
    fn head(&self, batch: usize) -> Vec<u8> {
        let scope_spans = self.scope.len() + batch;
        let resource_spans =
            self.resource.len() + 1 + encoded_len_varint(scope_spans as u64) + scope_spans;
        let message = 1 + encoded_len_varint(resource_spans as u64) + resource_spans;
        let mut head = Vec::with_capacity(self.resource.len() + self.scope.len() + 27);
        // Not compressed, and so long: far below the 4 GiB that fit.
        head.push(0);
        head.extend_from_slice(&u32::try_from(message).unwrap_or(u32::MAX).to_be_bytes());
        encode_key(RESOURCE_SPANS, WireType::LengthDelimited, &mut head);
        encode_varint(resource_spans as u64, &mut head);
        head.extend_from_slice(&self.resource);
        encode_key(SCOPE_SPANS, WireType::LengthDelimited, &mut head);
        encode_varint(scope_spans as u64, &mut head);
        head.extend_from_slice(&self.scope);
        head
    }
}

/// What to wait at the least before trying again; `None`: that would not help.
///
/// Source: <https://opentelemetry.io/docs/specs/otlp/#failures>.
fn retry_delay(status: &Status) -> Option<Duration> {
    let asked = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    match status.code() {
        Code::ResourceExhausted => asked,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Some(asked.unwrap_or_default()),
        _ => None,
    }
}

/// A channel for one export, which sends its bytes whatever message it is called with: they need not be put together for that.
struct Exporting {
    channel: Channel,
    frames: Vec<Bytes>,
}

impl Service<http::Request<Body>> for Exporting {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> ResponseFuture {
        let frames = mem::take(&mut self.frames).into_iter();
        let frames = stream::iter(frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
        let request = request.map(|_| Body::new(StreamBody::new(frames)));
        self.channel.call(request)
    }
}
