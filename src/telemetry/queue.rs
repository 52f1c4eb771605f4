//! Where spans wait to be sent, within bounds.
//!
//! Invariant: each span that is taken is in exactly one count: waiting, exported, failed or dropped. Nobody who brings a span waits
//! for more than a copy of its bytes.
//!
//! Their bytes are copied here once and sent from where they are, in pieces of memory that are used again and again: that of whole
//! batches would be fetched anew from the system for each of them, which costs more than all that is done with it.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::audit::SpanSink;

/// Whatever the spans hold: the most that wait. They have about a kilobyte each, a few at the most.
const QUEUE_BYTES: usize = 20 << 20;
/// A batch with so much is sent, however few its spans: with what comes in one piece it stays below the 4 MiB that collectors take.
const BATCH_BYTES: usize = 1 << 20;
/// The bytes that lie together. What comes in one piece and is longer lies in a piece of its own.
const PIECE_BYTES: usize = 32 << 10;
/// The most pieces that are kept for later: two full batches.
const KEPT_PIECES: usize = 32;

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

/// How much waits at most, and is sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Spans that wait before others are dropped.
    pub(super) queue: u64,
    /// Spans that are sent without waiting for more.
    pub(super) batch: u64,
}

/// Spans that are sent together.
#[derive(Default)]
pub(super) struct Batch {
    /// Fields `spans` of one `ScopeSpans`, cut anywhere.
    pub(super) spans: Vec<Bytes>,
    /// How many.
    pub(super) count: u64,
}

/// The batch that is being filled.
#[derive(Default)]
struct Open {
    /// Pieces that are full.
    full: Vec<Bytes>,
    /// The piece that is being filled.
    last: BytesMut,
    /// The bytes of all.
    bytes: usize,
    /// The spans.
    count: u64,
}

impl Open {
    fn take(&mut self, spans: &[u8], count: u64, kept: &mut Vec<BytesMut>) {
        if spans.len() > self.last.capacity() - self.last.len() {
            self.end_piece();
            let kept = (spans.len() <= PIECE_BYTES).then(|| kept.pop()).flatten();
            self.last =
                kept.unwrap_or_else(|| BytesMut::with_capacity(PIECE_BYTES.max(spans.len())));
        }
        self.last.extend_from_slice(spans);
        self.bytes += spans.len();
        self.count += count;
    }

    fn end_piece(&mut self) {
        if !self.last.is_empty() {
            self.full.push(mem::take(&mut self.last).freeze());
        }
    }

    fn end(&mut self) -> Batch {
        self.end_piece();
        let ended = mem::take(self);
        Batch {
            spans: ended.full,
            count: ended.count,
        }
    }
}

/// Spans on their way from the requests to the one task that sends them.
pub(super) struct SpanQueue {
    bounds: Bounds,
    state: Mutex<State>,
    /// Told when a batch is full.
    full: Notify,
}

#[derive(Default)]
struct State {
    open: Open,
    /// Batches that are full.
    full: VecDeque<Batch>,
    /// Pieces with nothing in them, for later.
    kept: Vec<BytesMut>,
    /// All bytes that wait.
    bytes: usize,
    /// Nothing more is taken.
    closed: bool,
    counts: SpanCounts,
    /// Of those that are queued, the ones that were handed out to be sent.
    sending: u64,
    /// The losses at which to warn next.
    warn_at: u64,
    /// Whether any span of the last batch was taken; `None`: there was none yet.
    last_taken: Option<bool>,
}

impl SpanQueue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            full: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> SpanCounts {
        self.state().counts
    }

    /// Whether the collector took any span of the last batch that came to its end; `None`: there was none yet.
    pub(super) fn last_taken(&self) -> Option<bool> {
        self.state().last_taken
    }

    /// Takes no more spans.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Ends when a batch is full.
    pub(super) async fn full(&self) {
        self.full.notified().await;
    }

    /// The next batch to send: a full one, or with `all` whatever there is. What becomes of it is to be told by
    /// [`sent`](Self::sent).
    pub(super) fn next(&self, all: bool) -> Option<Batch> {
        let mut state = self.state();
        let state = &mut *state;
        let batch = match state.full.pop_front() {
            Some(batch) => batch,
            None if all && state.open.count > 0 => state.open.end(),
            None => return None,
        };
        state.bytes -= batch.spans.iter().map(Bytes::len).sum::<usize>();
        state.sending += batch.count;
        Some(batch)
    }

    /// Takes back what a batch was in, as far as nobody else reads it any more.
    pub(super) fn reuse(&self, pieces: Vec<Bytes>) {
        let pieces = pieces
            .into_iter()
            .filter_map(|piece| piece.try_into_mut().ok());
        let mut state = self.state();
        for mut piece in pieces {
            piece.clear();
            if piece.capacity() == PIECE_BYTES && state.kept.len() < KEPT_PIECES {
                state.kept.push(piece);
            }
        }
    }

    /// Counts what became of a batch: some of its spans may have been rejected, or all have `failed`.
    ///
    /// Answers the counts if there is reason to warn: when losses begin and whenever they have doubled, so that an outage of
    /// hours is some lines of log.
    pub(super) fn sent(&self, count: u64, failed: u64) -> Option<SpanCounts> {
        let mut state = self.state();
        let failed = failed.min(count);
        state.sending -= count;
        state.counts.queued -= count;
        state.counts.failed += failed;
        state.counts.exported += count - failed;
        if count > 0 {
            state.last_taken = Some(failed < count);
        }
        let counts = state.counts;
        let warns = counts.lost() > state.warn_at;
        if warns {
            state.warn_at = counts.lost() * 2;
        }
        warns.then_some(counts)
    }
}

impl SpanSink for SpanQueue {
    fn is_listening(&self) -> bool {
        true
    }

    fn take(&self, spans: &[u8], count: usize) {
        let count = count as u64;
        let mut state = self.state();
        let state = &mut *state;
        let waiting = state.counts.queued - state.sending;
        // As long as there is room, what comes in one piece is taken as one.
        if state.closed || waiting >= self.bounds.queue || state.bytes >= QUEUE_BYTES {
            state.counts.dropped += count;
            return;
        }
        state.counts.queued += count;
        state.bytes += spans.len();
        state.open.take(spans, count, &mut state.kept);
        if state.open.count >= self.bounds.batch || state.open.bytes >= BATCH_BYTES {
            state.full.push_back(state.open.end());
            self.full.notify_one();
        }
    }
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue")
            .field("bounds", &self.bounds)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// Where spans go that nobody looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nobody;

impl SpanSink for Nobody {
    fn is_listening(&self) -> bool {
        false
    }

    fn take(&self, _spans: &[u8], _count: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        queue: 10,
        batch: 4,
    };

    #[test]
    fn an_outage_is_a_few_warnings() {
        let queue = SpanQueue::new(Bounds {
            queue: u64::MAX,
            batch: 500,
        });
        let mut warnings = 0;
        for _ in 0..2_000 {
            queue.take(b"", 500);
            let batch = queue.next(false).unwrap();
            warnings += u32::from(queue.sent(batch.count, batch.count).is_some());
        }
        assert!((8..=16).contains(&warnings), "{warnings}");
        let expected = SpanCounts {
            failed: 1_000_000,
            ..SpanCounts::default()
        };
        assert_eq!(queue.counts(), expected);
    }

    #[test]
    fn the_last_batch_tells_how_it_is_now() {
        let queue = SpanQueue::new(BOUNDS);
        assert_eq!(queue.last_taken(), None);
        // All lost, some rejected, none lost, and none there were.
        for (failed, taken) in [(4, false), (1, true), (4, false), (0, true)] {
            for _ in 0..4 {
                queue.take(b"a", 1);
            }
            let batch = queue.next(false).unwrap();
            queue.sent(batch.count, failed);
            assert_eq!(queue.last_taken(), Some(taken), "{failed}");
        }
        queue.sent(0, 0);
        assert_eq!(queue.last_taken(), Some(true));
        assert_eq!(queue.counts().failed, 9, "what was lost stays so");
    }

    #[test]
    fn a_batch_is_sent_when_it_is_full_or_when_all_is() {
        let queue = SpanQueue::new(BOUNDS);
        for _ in 0..5 {
            queue.take(b"ab", 1);
        }
        let batch = queue.next(false).unwrap();
        assert_eq!(
            (batch.spans.concat(), batch.count),
            (b"abababab".to_vec(), 4)
        );
        assert!(queue.next(false).is_none(), "one is left, and may wait");
        let rest = queue.next(true).unwrap();
        assert_eq!((rest.spans.concat(), rest.count), (b"ab".to_vec(), 1));
        assert!(queue.next(true).is_none());
        assert_eq!(queue.sent(4, 1).unwrap().failed, 1);
        assert!(queue.sent(1, 9).is_none(), "not yet twice as many");
        assert_eq!(queue.counts().failed, 2, "no more than there were");
        assert_eq!(queue.counts().exported, 3);
        assert_eq!(queue.counts().queued, 0);
    }

    #[test]
    fn pieces_hold_all_that_came_and_are_used_again() {
        let queue = SpanQueue::new(Bounds {
            queue: u64::MAX,
            batch: 90,
        });
        let mut known = Vec::new();
        for round in 0..3_u8 {
            let mut came = Vec::new();
            for length in [1, 900, 40_000].into_iter().cycle().take(90) {
                let span = vec![round; length];
                came.extend_from_slice(&span);
                queue.take(&span, 1);
            }
            // 1 MiB is a batch, however few spans that are.
            let mut sent = Vec::new();
            while let Some(batch) = queue.next(true) {
                sent.extend(batch.spans.concat());
                known.push(
                    batch
                        .spans
                        .iter()
                        .map(|piece| piece.as_ptr())
                        .collect::<Vec<_>>(),
                );
                queue.sent(batch.count, 0);
                queue.reuse(batch.spans);
            }
            assert!(sent == came, "round {round}");
            assert_eq!(queue.state().bytes, 0);
        }
        let (last, earlier) = known.split_last().unwrap();
        assert!(last.iter().any(|piece| earlier.concat().contains(piece)));
        assert!(queue.state().kept.len() <= KEPT_PIECES);
    }

    #[test]
    fn a_piece_that_is_still_read_is_not_used_again() {
        let queue = SpanQueue::new(BOUNDS);
        queue.take(b"abcd", 4);
        let batch = queue.next(false).unwrap();
        let read = batch.spans[0].clone();
        queue.reuse(batch.spans);
        assert!(queue.state().kept.is_empty());
        queue.take(b"efgh", 4);
        assert_eq!(read, &b"abcd"[..]);
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let queue = SpanQueue::new(BOUNDS);
        for _ in 0..25 {
            queue.take(b"a", 1);
        }
        assert_eq!((queue.counts().queued, queue.counts().dropped), (10, 15));
        // What is being sent makes room, although it is not answered for.
        let batch = queue.next(false).unwrap();
        queue.take(b"a", 1);
        assert_eq!((queue.counts().queued, queue.counts().dropped), (11, 15));
        queue.close();
        queue.take(b"a", 1);
        assert_eq!(queue.counts().dropped, 16);
        assert!(queue.sent(batch.count, 0).is_some(), "the drops are told");
        assert!(queue.sent(0, 0).is_none(), "once");
    }

    #[test]
    fn however_few_spans_are_large_they_are_bounded() {
        let queue = SpanQueue::new(Bounds {
            queue: u64::MAX,
            batch: u64::MAX,
        });
        let large = vec![0; BATCH_BYTES];
        for _ in 0..40 {
            queue.take(&large, 1);
        }
        assert_eq!((queue.counts().queued, queue.counts().dropped), (20, 20));
        assert_eq!(queue.next(false).unwrap().count, 1, "full by its bytes");
    }
}
