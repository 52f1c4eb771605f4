//! The record of a decision: who asked for which URL, what presignd answered, and why.
//!
//! Invariant: no URL leaves presignd before its record was confirmed by the sink that keeps it. The reverse is allowed: a
//! record may exist whose URL was never delivered. A record holds nothing that could be used, only names.
//!
//! [`Recorder`] is the one entry point of the flow. It gives each record a span and a JSON line; where the line goes is the
//! [`Sink`]'s matter, one file each under `audit/`.

mod address;
mod line;
mod otlp;
mod span;
pub mod stdout;
mod trace_context;

use std::borrow::{Borrow, Cow};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use uuid::Uuid;

use self::span::OpenSpan;
pub use self::trace_context::TraceContext;
use crate::metrics;

/// What was decided about one URL.
///
/// Written as one JSON object by `audit/line.rs`; fields that are `None` are left out. The recorder adds `duration_us`, `trace_id`
/// and `span_id`. No field takes a URL, a signature, a token, a secret or a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the decision fell: the end of the span. RFC 3339 in UTC with milliseconds.
    pub decided: SystemTime,
    /// When the request arrived: the start of the span. The line holds it as `duration_us`, counted to `decided`.
    pub started: SystemTime,
    /// Names the URL in the answer, in the span and here: a UUID of version 7.
    pub issuance_id: Uuid,
    /// Whether a URL was issued.
    pub outcome: Outcome,
    /// The gRPC status of this URL by its name, such as `PERMISSION_DENIED`. In a batch, that of the item.
    pub status: &'static str,
    /// The `ErrorReason` without its prefix, such as `COMMAND_DENIED`, where no URL was issued.
    pub reason_code: Option<&'static str>,
    /// Why no URL was issued, or what came of an operation: presignd's own sentence, which may hold names of the request, and never text
    /// from STS.
    pub detail: Option<Cow<'a, str>>,
    /// The full name of the RPC's method, such as `presignd.v1.PresignService/Presign`.
    pub method: &'static str,
    /// Who asked, as authenticated.
    pub caller: Cow<'a, str>,
    /// The address that the request came from.
    pub peer: Option<SocketAddr>,
    /// The tenant whose permissions were asked for, as far as it could be read.
    pub tenant: Option<Cow<'a, str>>,
    /// S3's name of the command, such as `GetObject`.
    pub command: Option<&'static str>,
    /// The bucket, by the store's name for it.
    pub bucket: Option<Cow<'a, str>>,
    /// What the caller called the bucket, where that is another name.
    pub bucket_alias: Option<Cow<'a, str>>,
    /// The object's key, not encoded.
    pub key: Option<Cow<'a, str>>,
    /// What the key of an upload by a form has to begin with, not encoded.
    pub key_starts_with: Option<Cow<'a, str>>,
    /// The least and the most bytes that a form takes.
    pub content_length_range: Option<[u64; 2]>,
    /// The object's version.
    pub version_id: Option<Cow<'a, str>>,
    /// S3's id of the upload in parts.
    pub upload_id: Option<Cow<'a, str>>,
    /// The numbers of the parts that the URLs upload, such as `1-1000` or `3,7-9`.
    pub parts: Option<Cow<'a, str>>,
    /// The bytes of the object that the parts make, as the request says.
    pub object_size: Option<u64>,
    /// The source of a copy as `bucket/key`.
    pub copy_source: Option<Cow<'a, str>>,
    /// The region that the URL is signed for.
    pub region: Option<Cow<'a, str>>,
    /// The host, and the port where there is one, of the endpoint that the URL leads to.
    pub endpoint: Option<Cow<'a, str>>,
    /// For how long the URL works, in seconds.
    pub expires_in: Option<u32>,
    /// When the URL stops working.
    pub expires_at: Option<SystemTime>,
    /// What set the expiry: the `ExpiryBound` without its prefix, such as `GRANT_CAP`.
    pub expiry_bound: Option<&'static str>,
    /// The `RoleSessionName` that S3's own logs show for the URL.
    pub role_session_name: Option<Cow<'a, str>>,
    /// The session's access key id, which names it in S3's own logs and is no secret.
    pub access_key_id: Option<Cow<'a, str>>,
    /// The only addresses and networks that the request wants the URL to work from.
    pub source_ip: Vec<String>,
    /// The request's `reason`.
    pub reason: Option<Cow<'a, str>>,
    /// The request's `subject`.
    pub subject: Option<Cow<'a, str>>,
    /// The place in a batch.
    pub batch: Option<Batch>,
    /// The limits that would have refused the request, were they not mere shadows.
    pub shadow_limits: Vec<Cow<'a, str>>,
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
            bucket_alias: None,
            key: None,
            key_starts_with: None,
            content_length_range: None,
            version_id: None,
            upload_id: None,
            parts: None,
            object_size: None,
            copy_source: None,
            region: None,
            endpoint: None,
            expires_in: None,
            expires_at: None,
            expiry_bound: None,
            role_session_name: None,
            access_key_id: None,
            source_ip: Vec::new(),
            reason: None,
            subject: None,
            batch: None,
            shadow_limits: Vec::new(),
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

    /// Notes that the request was explained; `refusal` is the reason and the sentence of what would refuse it.
    pub fn explained(
        &mut self,
        decided: SystemTime,
        refusal: Option<(&'static str, Cow<'a, str>)>,
    ) {
        let (reason_code, detail) = refusal.unzip();
        self.decided = decided;
        self.outcome = Outcome::Explained;
        self.status = "OK";
        self.reason_code = reason_code;
        self.detail = detail;
    }

    /// Notes that an operation was done; `detail` is what came of it, where that does not go without saying.
    pub fn operated(&mut self, decided: SystemTime, detail: Option<Cow<'a, str>>) {
        self.decided = decided;
        self.outcome = Outcome::Operated;
        self.status = "OK";
        self.reason_code = None;
        self.detail = detail;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was signed and, once its record is confirmed, answered.
    Issued,
    /// The request was understood and refused: by policy, by a limit, or because it is not well formed.
    Denied,
    /// presignd, or something it needs, could not do its part.
    Failed,
    /// Nothing was asked for but what would become of it.
    Explained,
    /// An operator was shown something, or has changed something.
    Operated,
}

impl Outcome {
    /// The word in the line and in the span.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Explained => "explained",
            Self::Operated => "operated",
        }
    }
}

/// The place of one command in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Takes spans on their way to whoever looks at traces. Never in the way: what it cannot take it counts, and drops.
pub trait SpanSink: Send + Sync + fmt::Debug {
    /// Whether anybody is there to look. Otherwise spans have their identities, for the lines, and no content.
    fn is_listening(&self) -> bool;

    /// Takes so many spans that have ended, each a field `spans` of OTLP's `ScopeSpans`.
    fn take(&self, spans: &[u8], count: usize);
}

thread_local! {
    /// Room for lines and spans, empty and kept from one decision to the next: that of a batch is much to ask of the system each time.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The most room that is kept on each thread.
const KEPT_BYTES: usize = 1 << 20;

/// Gives each decision its span and its line.
#[derive(Debug)]
pub struct Recorder {
    spans: Arc<dyn SpanSink>,
    sink: Box<dyn Sink>,
    /// Why the last records were not confirmed, if they were not.
    trouble: ArcSwapOption<AuditError>,
}

impl Recorder {
    /// Spans go to `spans`, lines to `sink`.
    pub fn new(spans: Arc<dyn SpanSink>, sink: impl Sink + 'static) -> Self {
        Self {
            spans,
            sink: Box::new(sink),
            trouble: ArcSwapOption::empty(),
        }
    }

    /// Why the last records were not confirmed. `None`: they were.
    pub fn trouble(&self) -> Option<AuditError> {
        self.trouble.load().as_deref().cloned()
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
    pub async fn record_all<'r>(
        &self,
        records: impl IntoIterator<Item: Borrow<Record<'r>>, IntoIter: ExactSizeIterator + Clone>,
        caller: &TraceContext,
    ) -> Result<(), AuditError> {
        let records = records.into_iter();
        let count = records.len();
        let mut open: SmallVec<[_; 1]> = SmallVec::with_capacity(count);
        let mut bytes = ROOM.take();
        bytes.reserve(count * line::TYPICAL_BYTES);
        let mut encoded = Ok(());
        for record in records.clone() {
            let span = OpenSpan::under(caller);
            let record = record.borrow();
            encoded = encoded.and_then(|()| line::append(&mut bytes, record, &span));
            open.push((span, record.outcome, record.reason_code));
        }
        let confirmed = match encoded {
            Ok(()) if count == 0 => Ok(()),
            Ok(()) => {
                let _waiting = metrics::RECORDS_WAITING.hold_many(count as u64);
                self.sink.write(&bytes).await
            }
            Err(error) => Err(error),
        };
        let decided = open.iter().map(|(_, outcome, reason)| (*outcome, *reason));
        count_decisions(decided, bytes.len(), confirmed.is_ok());
        match &confirmed {
            Err(error) => self.trouble.store(Some(Arc::new(error.clone()))),
            Ok(()) if self.trouble.load().is_some() => self.trouble.store(None),
            Ok(()) => {}
        }
        if self.spans.is_listening() {
            // The lines are written: their room is the spans' now.
            bytes.clear();
            for ((span, ..), record) in open.iter().zip(records) {
                span.end(&mut bytes, record.borrow(), confirmed.is_ok());
            }
            self.spans.take(&bytes, count);
        }
        if bytes.capacity() <= KEPT_BYTES {
            bytes.clear();
            ROOM.set(bytes);
        }
        confirmed
    }

    /// Takes no more records, and waits at most `within` until those taken are kept.
    pub async fn close(&self, within: Duration) -> Result<(), AuditError> {
        self.sink.close(within).await
    }
}

/// Counts what was decided, and what became of its records.
fn count_decisions(
    decided: impl ExactSizeIterator<Item = (Outcome, Option<&'static str>)>,
    bytes: usize,
    confirmed: bool,
) {
    let count = decided.len() as u64;
    if confirmed {
        metrics::RECORDS.add(metrics::CONFIRMED, count);
        metrics::RECORD_BYTES.add(0, bytes as u64);
        for (outcome, reason) in decided {
            metrics::DECISIONS.count(metrics::decision(outcome.as_str(), reason));
        }
    } else {
        // Whatever was decided, it does not leave.
        let failed = metrics::decision(Outcome::Failed.as_str(), Some("AUDIT_UNAVAILABLE"));
        metrics::RECORDS.add(metrics::UNCONFIRMED, count);
        metrics::DECISIONS.add(failed, count);
    }
}

#[cfg(test)]
mod tests;
