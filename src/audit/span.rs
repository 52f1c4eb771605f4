//! The OpenTelemetry span of one decision.
//!
//! Invariant: one span for each record, a server span under the caller's, never sampled away by what the caller says; it
//! says `issued` only if the record was confirmed.
//!
//! presignd makes one kind of span, all of whose content is in the record. So a span is no object that gathers attributes: it is
//! an identity, and is written down as OTLP once, when it ends.
//!
//! Attributes follow the semantic conventions 1.45 (`rpc.*`, `network.*`, `aws.s3.*`, `cloud.*`, `error.type`) and are named
//! `presignd.*` where those have no name. By the same conventions a server's span is an error for the statuses that are the
//! server's fault, and not for those that tell the caller of its own: a denial is presignd doing its work.
//! Source: <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>.

use std::borrow::Cow;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use uuid::Uuid;

use super::{Outcome, Record, TraceContext, address, otlp};

/// The fields of OTLP's `Span`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const TRACE_STATE: u32 = 3;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START_TIME: u32 = 7;
    pub(super) const END_TIME: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
}

/// `SPAN_KIND_SERVER`.
const SERVER: u64 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: it is known whether the parent is another process's.
const KNOWS_PARENT: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: it is.
const REMOTE_PARENT: u32 = 0x200;

/// A span that has its identity, and waits for the record to be confirmed.
pub(super) struct OpenSpan<'a> {
    trace_id: [u8; 16],
    span_id: SpanId,
    parent: Option<&'a SpanContext>,
}

impl<'a> OpenSpan<'a> {
    /// A new span under the caller's, or in a trace of its own.
    pub(super) fn under(caller: &'a TraceContext) -> Self {
        let (ids, parent) = (RandomIdGenerator::default(), caller.span_context());
        Self {
            trace_id: parent
                .map_or_else(|| ids.new_trace_id(), SpanContext::trace_id)
                .to_bytes(),
            span_id: ids.new_span_id(),
            parent,
        }
    }

    /// The trace.
    pub(super) fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The span.
    pub(super) fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Ends the span at the record's time, and appends it. Without a confirmed record nothing is answered but UNAVAILABLE.
    pub(super) fn end(&self, spans: &mut Vec<u8>, record: &Record<'_>, confirmed: bool) {
        let (outcome, status, reason_code) = if confirmed {
            (record.outcome, record.status, record.reason_code)
        } else {
            (Outcome::Failed, "UNAVAILABLE", Some("AUDIT_UNAVAILABLE"))
        };
        otlp::span(spans, |span| {
            self.identify(span);
            otlp::bytes(span, field::NAME, record.method.as_bytes());
            otlp::number(span, field::KIND, SERVER);
            otlp::time(span, field::START_TIME, record.started);
            otlp::time(span, field::END_TIME, record.decided);
            describe(span, record);
            set(span, "presignd.outcome", outcome.as_str());
            set(span, "rpc.response.status_code", status);
            set_name(span, "presignd.reason_code", reason_code);
            if is_server_fault(status) {
                set(span, "error.type", status);
                otlp::error(span, field::STATUS, reason_code.unwrap_or(status));
            }
        });
    }

    fn identify(&self, span: &mut Vec<u8>) {
        otlp::bytes(span, field::TRACE_ID, &self.trace_id);
        otlp::bytes(span, field::SPAN_ID, &self.span_id.to_bytes());
        let mut flags = u32::from(TraceFlags::SAMPLED.to_u8()) | KNOWS_PARENT;
        if let Some(parent) = self.parent {
            let state = parent.trace_state().header();
            otlp::bytes(span, field::TRACE_STATE, state.as_bytes());
            otlp::bytes(span, field::PARENT_SPAN_ID, &parent.span_id().to_bytes());
            flags |= REMOTE_PARENT;
        }
        otlp::fixed32(span, field::FLAGS, flags);
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

fn describe(span: &mut Vec<u8>, record: &Record<'_>) {
    set(span, "rpc.system.name", "grpc");
    set(span, "rpc.method", record.method);
    if let Some(peer) = record.peer {
        set(span, "network.peer.address", &address::ip(peer.ip()));
        set_number(span, "network.peer.port", peer.port().into());
    }
    let mut id = Uuid::encode_buffer();
    let id = record.issuance_id.hyphenated().encode_lower(&mut id);
    set(span, "presignd.issuance_id", id);
    set(span, "presignd.caller", &record.caller);
    set_text(span, "presignd.tenant", record.tenant.as_ref());
    set_name(span, "presignd.command", record.command);
    set_text(span, "aws.s3.bucket", record.bucket.as_ref());
    set_text(span, "presignd.bucket_alias", record.bucket_alias.as_ref());
    set_text(span, "aws.s3.key", record.key.as_ref());
    let beginning = record.key_starts_with.as_ref();
    set_text(span, "presignd.key_starts_with", beginning);
    if let Some([least, most]) = record.content_length_range {
        set_number(span, "presignd.content_length.min", least);
        set_number(span, "presignd.content_length.max", most);
    }
    set_text(span, "presignd.version_id", record.version_id.as_ref());
    set_text(span, "aws.s3.upload_id", record.upload_id.as_ref());
    set_text(span, "presignd.parts", record.parts.as_ref());
    if let Some(bytes) = record.object_size {
        set_number(span, "presignd.object_size", bytes);
    }
    set_text(span, "aws.s3.copy_source", record.copy_source.as_ref());
    set_text(span, "cloud.region", record.region.as_ref());
    set_text(span, "presignd.endpoint", record.endpoint.as_ref());
    if let Some(seconds) = record.expires_in {
        set_number(span, "presignd.expiry", seconds.into());
    }
    set_name(span, "presignd.expiry_bound", record.expiry_bound);
    let session = record.role_session_name.as_ref();
    set_text(span, "presignd.role_session_name", session);
    let access_key_id = record.access_key_id.as_ref();
    set_text(span, "presignd.access_key_id", access_key_id);
    if !record.source_ip.is_empty() {
        set(span, "presignd.source_ip", &record.source_ip.join(","));
    }
    set_text(span, "presignd.reason", record.reason.as_ref());
    set_text(span, "presignd.subject", record.subject.as_ref());
    set_text(span, "presignd.detail", record.detail.as_ref());
    if !record.shadow_limits.is_empty() {
        set(
            span,
            "presignd.shadow_limits",
            &record.shadow_limits.join(","),
        );
    }
    if let Some(batch) = record.batch {
        set_number(span, "presignd.batch.index", batch.index.into());
        set_number(span, "presignd.batch.size", batch.size.into());
    }
}

fn set(span: &mut Vec<u8>, name: &'static str, value: &str) {
    otlp::text_attribute(span, field::ATTRIBUTES, name, value);
}

fn set_number(span: &mut Vec<u8>, name: &'static str, value: u64) {
    otlp::number_attribute(span, field::ATTRIBUTES, name, value);
}

fn set_text(span: &mut Vec<u8>, name: &'static str, value: Option<&Cow<'_, str>>) {
    if let Some(value) = value {
        set(span, name, value);
    }
}

fn set_name(span: &mut Vec<u8>, name: &'static str, value: Option<&'static str>) {
    if let Some(value) = value {
        set(span, name, value);
    }
}
