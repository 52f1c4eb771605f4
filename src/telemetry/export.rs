//! A bounded way out for spans, on which every loss is counted.
//!
//! Invariant: each span that ends is in exactly one count: waiting, exported, failed or dropped. The SDK's batch processor
//! drops what its queue does not hold and tells no one how many; so the bound is kept here, one step before it. A span counts
//! as waiting until the SDK takes it off its queue, so that the SDK's own queue, which is as long, is never full.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// What became of the spans since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Waiting to be sent, or to be answered for.
    pub queued: u64,
    /// Taken by the collector.
    pub exported: u64,
    /// Given up: the collector did not answer in time, or refused them.
    pub failed: u64,
    /// Never sent, since too many were waiting.
    pub dropped: u64,
}

impl SpanCounts {
    /// Spans that nobody will see.
    pub const fn lost(self) -> u64 {
        self.failed + self.dropped
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    queued: AtomicU64,
    /// Taken off the queue, and not yet answered for.
    sending: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// The losses at which to warn next.
    warn_at: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> SpanCounts {
        SpanCounts {
            queued: self.queued.load(Relaxed) + self.sending.load(Relaxed),
            exported: self.exported.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }

    /// Warns when losses begin and whenever they have doubled, so that an outage of hours is some lines of log.
    ///
    /// Called after exports only: one thread, and not that of a request.
    fn warn_of_losses(&self, reason: Option<&OTelSdkError>) -> bool {
        let counts = self.read();
        if counts.lost() <= self.warn_at.load(Relaxed) {
            return false;
        }
        self.warn_at.store(counts.lost() * 2, Relaxed);
        tracing::warn!(
            failed = counts.failed,
            dropped = counts.dropped,
            exported = counts.exported,
            reason = reason.map(tracing::field::display),
            "spans are lost: see to the OTLP collector, or raise the queue"
        );
        true
    }
}

/// Keeps the queue's bound.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P> {
    next: P,
    counters: Arc<Counters>,
    queue: u64,
}

impl<P> BoundedProcessor<P> {
    pub(super) fn new(next: P, counters: Arc<Counters>, queue: usize) -> Self {
        Self {
            next,
            counters,
            queue: queue as u64,
        }
    }
}

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counters.queued.fetch_add(1, Relaxed) < self.queue {
            self.next.on_end(span);
        } else {
            self.counters.queued.fetch_sub(1, Relaxed);
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Counts what becomes of each export, and ends it in time.
///
/// The exporter's own timeout begins when it is connected: a collector whose host swallows packets would hold it for as long
/// as TCP tries.
pub(super) struct CountingExporter<E> {
    next: E,
    counters: Arc<Counters>,
    runtime: Handle,
    timeout: Duration,
    /// Ends what is under way: after it, an export fails at once.
    give_up: CancellationToken,
}

impl<E> CountingExporter<E> {
    pub(super) fn new(
        next: E,
        counters: Arc<Counters>,
        runtime: Handle,
        timeout: Duration,
        give_up: CancellationToken,
    ) -> Self {
        Self {
            next,
            counters,
            runtime,
            timeout,
            give_up,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for CountingExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingExporter")
            .field("next", &self.next)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.counters.sending.fetch_add(spans, Relaxed);
        self.counters.queued.fetch_sub(spans, Relaxed);
        let timed = {
            // Polled on the SDK's own thread, which knows no runtime: the timer is tied to one here.
            let _runtime = self.runtime.enter();
            tokio::time::timeout(self.timeout, self.next.export(batch))
        };
        let result = tokio::select! {
            answer = timed => answer.unwrap_or(Err(OTelSdkError::Timeout(self.timeout))),
            () = self.give_up.cancelled() => Err(OTelSdkError::AlreadyShutdown),
        };
        let counter = if result.is_ok() {
            &self.counters.exported
        } else {
            &self.counters.failed
        };
        counter.fetch_add(spans, Relaxed);
        self.counters.sending.fetch_sub(spans, Relaxed);
        self.counters.warn_of_losses(result.as_ref().err());
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.next.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Relaxed, SpanCounts};

    #[test]
    fn an_outage_is_a_few_warnings() {
        let counters = Counters::default();
        assert!(!counters.warn_of_losses(None));
        let mut warnings = 0;
        for _ in 0..2_000 {
            counters.failed.fetch_add(500, Relaxed);
            warnings += u32::from(counters.warn_of_losses(None));
        }
        assert!((8..=16).contains(&warnings), "{warnings}");
        assert_eq!(
            counters.read(),
            SpanCounts {
                failed: 1_000_000,
                ..SpanCounts::default()
            }
        );
    }
}
