//! The task that sends spans.
//!
//! Invariant: each export ends in time, and is counted. It cannot be the collector that decides how long: one whose host swallows
//! packets would hold an export for as long as TCP tries.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::collector::Collector;
use super::queue::{Batch, SpanQueue};

/// Sends what is in the queue.
pub(super) struct Exporter {
    pub(super) queue: Arc<SpanQueue>,
    pub(super) collector: Collector,
    /// How long one export may take with its retries.
    pub(super) timeout: Duration,
    /// How long a batch waits to be full.
    pub(super) delay: Duration,
    /// Ends the task, once all that waits was sent.
    pub(super) stop: CancellationToken,
    /// Ends what is under way: after it, an export fails at once.
    pub(super) give_up: CancellationToken,
}

impl Exporter {
    /// Sends batches as they are full, and what there is when `delay` is over.
    pub(super) async fn run(self) {
        loop {
            let (all, stopping) = tokio::select! {
                () = self.queue.full() => (false, false),
                () = tokio::time::sleep(self.delay) => (true, false),
                () = self.stop.cancelled() => (true, true),
            };
            while let Some(batch) = self.queue.next(all) {
                self.export(batch).await;
            }
            if stopping {
                return;
            }
        }
    }

    async fn export(&self, batch: Batch) {
        let count = batch.count;
        let exported = tokio::time::timeout(self.timeout, self.collector.export(&batch.spans));
        let result = tokio::select! {
            answer = exported => answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))),
            () = self.give_up.cancelled() => Err(Status::cancelled("presignd is shutting down")),
        };
        self.queue.reuse(batch.spans);
        let failed = *result.as_ref().unwrap_or(&count);
        if let Some(counts) = self.queue.sent(count, failed) {
            tracing::warn!(
                failed = counts.failed,
                dropped = counts.dropped,
                exported = counts.exported,
                reason = result.as_ref().err().map(tracing::field::display),
                "spans are lost: see to the OTLP collector, or raise the queue"
            );
        }
    }
}
