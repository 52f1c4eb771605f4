//! The record of a decision: who asked for which URL, what presignd answered, and why.
//!
//! Invariant: no URL leaves presignd before its record was confirmed by the sink that keeps it. The reverse is allowed: a
//! record may exist whose URL was never delivered. A record holds nothing that could be used, only names.
//!
//! [`Recorder`] is the one entry point of the flow. It gives each record a span and a JSON line; where the line goes is the
//! [`Sink`]'s matter, one file each under `audit/`.

mod line;
mod span;
pub mod stdout;
mod trace_context;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::trace::SdkTracer;
use serde::Serialize;
use smallvec::SmallVec;
use uuid::Uuid;

pub use trace_context::TraceContext;

/// What was decided about one URL.
///
/// Serialised as one JSON object; fields that are `None` are left out. The recorder adds `duration_us`, `trace_id` and
/// `span_id`. No field takes a URL, a signature, a token, a secret or a header's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record<'a> {
    /// When the decision fell: the end of the span. RFC 3339 in UTC with milliseconds.
    #[serde(rename = "time", serialize_with = "line::rfc3339")]
    pub decided: SystemTime,
    /// When the request arrived: the start of the span. The line holds it as `duration_us`, counted to `decided`.
    #[serde(skip)]
    pub started: SystemTime,
    /// Names the URL in the answer, in the span and here: a UUID of version 7.
    #[serde(serialize_with = "line::display")]
    pub issuance_id: Uuid,
    /// Whether a URL was issued.
    pub outcome: Outcome,
    /// The gRPC status of this URL by its name, such as `PERMISSION_DENIED`. In a batch, that of the item.
    pub status: &'static str,
    /// The `ErrorReason` without its prefix, such as `COMMAND_DENIED`, where no URL was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<&'static str>,
    /// Why no URL was issued: presignd's own sentence, which may hold names of the request, and never text from STS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// The full name of the RPC's method, such as `presignd.v1.PresignService/Presign`.
    pub method: &'static str,
    /// Who asked, as authenticated.
    pub caller: Cow<'a, str>,
    /// The address that the request came from.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "line::option_display"
    )]
    pub peer: Option<SocketAddr>,
    /// The tenant whose permissions were asked for, as far as it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Cow<'a, str>>,
    /// S3's name of the command, such as `GetObject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'static str>,
    /// The bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Cow<'a, str>>,
    /// The object's key, not encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// What the key of an upload by a form has to begin with, not encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_starts_with: Option<Cow<'a, str>>,
    /// The least and the most bytes that a form takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_length_range: Option<[u64; 2]>,
    /// The object's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<Cow<'a, str>>,
    /// The source of a copy as `bucket/key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_source: Option<Cow<'a, str>>,
    /// The region that the URL is signed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
    /// The host, and the port where there is one, of the endpoint that the URL leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Cow<'a, str>>,
    /// For how long the URL works, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u32>,
    /// When the URL stops working.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "line::option_rfc3339"
    )]
    pub expires_at: Option<SystemTime>,
    /// What set the expiry: the `ExpiryBound` without its prefix, such as `GRANT_CAP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry_bound: Option<&'static str>,
    /// The `RoleSessionName` that S3's own logs show for the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_session_name: Option<Cow<'a, str>>,
    /// The session's access key id, which names it in S3's own logs and is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Cow<'a, str>>,
    /// The request's `reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The request's `subject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Cow<'a, str>>,
    /// The place in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

impl<'a> Record<'a> {
    /// A record of nothing decided yet: [`Outcome::Failed`] with `INTERNAL`, so that a path which forgets to say what
    /// became of the request is never taken for an issued URL.
    pub fn new(
        issuance_id: Uuid,
        started: SystemTime,
        method: &'static str,
        caller: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self {
            decided: started,
            started,
            issuance_id,
            outcome: Outcome::Failed,
            status: "INTERNAL",
            reason_code: Some("INTERNAL"),
            detail: None,
            method,
            caller: caller.into(),
            peer: None,
            tenant: None,
            command: None,
            bucket: None,
            key: None,
            key_starts_with: None,
            content_length_range: None,
            version_id: None,
            copy_source: None,
            region: None,
            endpoint: None,
            expires_in: None,
            expires_at: None,
            expiry_bound: None,
            role_session_name: None,
            access_key_id: None,
            reason: None,
            subject: None,
            batch: None,
        }
    }

    /// Notes that a URL was issued.
    pub fn issued(&mut self, decided: SystemTime) {
        self.decided = decided;
        self.outcome = Outcome::Issued;
        self.status = "OK";
        self.reason_code = None;
        self.detail = None;
    }

    /// Notes that no URL was issued: `outcome` is [`Outcome::Denied`] or [`Outcome::Failed`].
    pub fn refused(
        &mut self,
        decided: SystemTime,
        outcome: Outcome,
        status: &'static str,
        reason_code: &'static str,
        detail: impl Into<Cow<'a, str>>,
    ) {
        self.decided = decided;
        self.outcome = outcome;
        self.status = status;
        self.reason_code = Some(reason_code);
        self.detail = Some(detail.into());
    }
}

/// What became of one URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was signed and, once its record is confirmed, answered.
    Issued,
    /// The request was understood and refused: by policy, by a limit, or because it is not well formed.
    Denied,
    /// presignd, or something it needs, could not do its part.
    Failed,
}

impl Outcome {
    /// The word in the line and in the span.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// The place of one command in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Batch {
    /// The command's place, counted from 0.
    pub index: u32,
    /// How many commands the batch holds.
    pub size: u32,
}

/// Why a record was not confirmed. Nothing that it describes may leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Nobody reads the records any more.
    #[error("the audit output is closed: restart what reads presignd's standard output")]
    Closed,
    /// The sink did not confirm in time.
    #[error(
        "the audit output has not taken a record for {0:?}: see to it that presignd's standard output is read"
    )]
    Blocked(Duration),
    /// More records wait than the sink may hold.
    #[error("the audit output is slower than the requests: its queue of {0} bytes is full")]
    Full(usize),
    /// The output refused the bytes.
    #[error("the audit output refused a record: {0}")]
    Write(io::ErrorKind),
    /// The record could not be put into words.
    #[error("the audit record could not be encoded: {0}")]
    Encode(String),
    /// The sink was closed by presignd itself.
    #[error("the audit output takes no more records: presignd is shutting down")]
    Stopped,
}

/// Resolves when the sink has confirmed, or says why it did not.
pub type Confirmation = Pin<Box<dyn Future<Output = Result<(), AuditError>> + Send>>;

/// Keeps records.
///
/// Implementations take the lines within the call, so that records are in the order of the calls, and must never write a
/// part of a line without the rest of it following. Several sinks at once are a sink that holds them.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Takes one or more whole JSON lines, each ended by a newline. The future ends with `Ok` once all of them are as durable
    /// as this sink makes them, and is bounded in time by the sink. Lines whose future ended with an error, or was dropped,
    /// may still be kept.
    fn write(&self, lines: &[u8]) -> Confirmation;

    /// Takes no more lines, and ends when those taken are kept, or with an error after `within`.
    fn close(&self, within: Duration) -> Confirmation;
}

/// Gives each decision its span and its line.
#[derive(Debug)]
pub struct Recorder {
    tracer: SdkTracer,
    sink: Box<dyn Sink>,
}

impl Recorder {
    /// Spans go to `tracer`, lines to `sink`.
    pub fn new(tracer: SdkTracer, sink: impl Sink + 'static) -> Self {
        Self {
            tracer,
            sink: Box::new(sink),
        }
    }

    /// Records one decision; see [`record_all`](Self::record_all).
    pub async fn record(
        &self,
        record: &Record<'_>,
        caller: &TraceContext,
    ) -> Result<(), AuditError> {
        self.record_all(std::slice::from_ref(record), caller).await
    }

    /// Records decisions that are answered together: one span and one line each, in one write.
    ///
    /// With `Ok` the sink has confirmed all of them. With an error none of their URLs may be answered, and their spans say
    /// that presignd failed, whatever the records say. `caller` is the parent of the spans.
    pub async fn record_all(
        &self,
        records: &[Record<'_>],
        caller: &TraceContext,
    ) -> Result<(), AuditError> {
        let mut spans: SmallVec<[_; 1]> = SmallVec::with_capacity(records.len());
        let mut lines = Vec::with_capacity(records.len() * line::TYPICAL_BYTES);
        let mut encoded = Ok(());
        for record in records {
            let span = span::start(&self.tracer, record, caller);
            encoded = encoded.and_then(|()| line::append(&mut lines, record, span.context()));
            spans.push(span);
        }
        let confirmed = match encoded {
            Ok(()) if records.is_empty() => Ok(()),
            Ok(()) => self.sink.write(&lines).await,
            Err(error) => Err(error),
        };
        for (span, record) in spans.into_iter().zip(records) {
            span.end(record, confirmed.is_ok());
        }
        confirmed
    }

    /// Takes no more records, and waits at most `within` until those taken are kept.
    pub async fn close(&self, within: Duration) -> Result<(), AuditError> {
        self.sink.close(within).await
    }
}

#[cfg(test)]
mod tests;
