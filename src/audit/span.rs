//! The OpenTelemetry span of one decision.
//!
//! Invariant: one span for each record, a server span under the caller's, never sampled away by what the caller says; it
//! says `issued` only if the record was confirmed.
//!
//! Attributes follow the semantic conventions 1.45 (`rpc.*`, `network.*`, `aws.s3.*`, `cloud.*`, `error.type`) and are named
//! `presignd.*` where those have no name. By the same conventions a server's span is an error for the statuses that are the
//! server's fault, and not for those that tell the caller of its own: a denial is presignd doing its work.
//! Source: <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>.

use std::borrow::Cow;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::{Outcome, Record, TraceContext};

/// Room for every attribute of a record.
const ATTRIBUTES: usize = 32;

/// A span that has its identity, and waits for the record to be confirmed.
pub(super) struct OpenSpan(Span);

/// Opens the span of `record` under the caller's.
pub(super) fn start(tracer: &SdkTracer, record: &Record<'_>, caller: &TraceContext) -> OpenSpan {
    let parent = caller.span_context().map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(parent.clone())
    });
    let mut builder = SpanBuilder::from_name(record.method)
        .with_kind(SpanKind::Server)
        .with_start_time(record.started);
    builder.attributes = Some(Vec::with_capacity(ATTRIBUTES));
    OpenSpan(tracer.build_with_context(builder, &parent))
}

impl OpenSpan {
    pub(super) fn context(&self) -> &SpanContext {
        self.0.span_context()
    }

    /// Ends the span at the record's time. Without a confirmed record nothing is answered but UNAVAILABLE.
    pub(super) fn end(mut self, record: &Record<'_>, confirmed: bool) {
        // Without an exporter there is no one to describe the span to.
        if self.0.is_recording() {
            let (outcome, status, reason_code) = if confirmed {
                (record.outcome, record.status, record.reason_code)
            } else {
                (Outcome::Failed, "UNAVAILABLE", Some("AUDIT_UNAVAILABLE"))
            };
            describe(&mut self.0, record);
            set(&mut self.0, "presignd.outcome", outcome.as_str());
            set(&mut self.0, "rpc.response.status_code", status);
            set_name(&mut self.0, "presignd.reason_code", reason_code);
            if is_server_fault(status) {
                set(&mut self.0, "error.type", status);
                self.0
                    .set_status(Status::error(reason_code.unwrap_or(status)));
            }
        }
        self.0.end_with_timestamp(record.decided);
    }
}

/// The gRPC statuses that the conventions count as a server's errors.
fn is_server_fault(status: &str) -> bool {
    matches!(
        status,
        "UNKNOWN"
            | "DEADLINE_EXCEEDED"
            | "UNIMPLEMENTED"
            | "INTERNAL"
            | "UNAVAILABLE"
            | "DATA_LOSS"
    )
}

fn describe(span: &mut Span, record: &Record<'_>) {
    set(span, "rpc.system.name", "grpc");
    set(span, "rpc.method", record.method);
    if let Some(peer) = record.peer {
        set(span, "network.peer.address", peer.ip().to_string());
        set(span, "network.peer.port", i64::from(peer.port()));
    }
    set(
        span,
        "presignd.issuance_id",
        record.issuance_id.hyphenated().to_string(),
    );
    set_text(span, "presignd.caller", Some(&record.caller));
    set_text(span, "presignd.tenant", record.tenant.as_ref());
    set_name(span, "presignd.command", record.command);
    set_text(span, "aws.s3.bucket", record.bucket.as_ref());
    set_text(span, "aws.s3.key", record.key.as_ref());
    set_text(
        span,
        "presignd.key_starts_with",
        record.key_starts_with.as_ref(),
    );
    if let Some([least, most]) = record.content_length_range {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        set(span, "presignd.content_length.min", number(least));
        set(span, "presignd.content_length.max", number(most));
    }
    set_text(span, "presignd.version_id", record.version_id.as_ref());
    set_text(span, "aws.s3.copy_source", record.copy_source.as_ref());
    set_text(span, "cloud.region", record.region.as_ref());
    set_text(span, "presignd.endpoint", record.endpoint.as_ref());
    if let Some(seconds) = record.expires_in {
        set(span, "presignd.expiry", i64::from(seconds));
    }
    set_name(span, "presignd.expiry_bound", record.expiry_bound);
    let session = record.role_session_name.as_ref();
    set_text(span, "presignd.role_session_name", session);
    set_text(
        span,
        "presignd.access_key_id",
        record.access_key_id.as_ref(),
    );
    set_text(span, "presignd.reason", record.reason.as_ref());
    set_text(span, "presignd.subject", record.subject.as_ref());
    set_text(span, "presignd.detail", record.detail.as_ref());
    if let Some(batch) = record.batch {
        set(span, "presignd.batch.index", i64::from(batch.index));
        set(span, "presignd.batch.size", i64::from(batch.size));
    }
}

fn set(span: &mut Span, name: &'static str, value: impl Into<Value>) {
    span.set_attribute(KeyValue::new(name, value));
}

fn set_text(span: &mut Span, name: &'static str, value: Option<&Cow<'_, str>>) {
    if let Some(value) = value {
        set(span, name, String::from(&**value));
    }
}

fn set_name(span: &mut Span, name: &'static str, value: Option<&'static str>) {
    if let Some(value) = value {
        set(span, name, value);
    }
}
