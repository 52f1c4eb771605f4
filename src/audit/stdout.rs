//! Records as lines on standard output, or on any writer.
//!
//! Invariant: a line is confirmed after it was written and flushed, never before; and no line is ever cut by another: what an
//! error left of a line is written first when the writer takes bytes again.
//!
//! Lines gather for as long as their thread has other work at hand: the first of them gives way once, and then writes them all at
//! once (`gathering`, group commit). So a busy core makes one system call for many records, and an idle one waits for nobody.
//! What a pipe takes without waiting is written where the request is. Whatever might wait is left to a thread of its own
//! (`output`), because a pipe that nobody reads blocks whoever writes to it.

mod gathering;
mod output;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::gathering::Gathering;
use self::output::Output;
use super::{AuditError, Confirmation, Sink};

/// Places where lines gather. Threads beyond that share.
const PLACES: usize = 64;
/// A buffer that grew beyond this in a burst is given back.
const KEPT_BYTES: usize = 1 << 20;

/// What the sink waits for and holds at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a record may wait for its confirmation.
    pub stall: Duration,
    /// How many bytes may wait to be written; as many again may be in the write under way.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(1),
            queue_bytes: 16 << 20,
        }
    }
}

/// Writes records as lines.
pub struct StdoutSink {
    /// One for each thread, so that a core's lines are confirmed on that core, and wake nobody elsewhere.
    gatherings: Vec<Arc<Gathering>>,
    output: Arc<Output>,
}

impl StdoutSink {
    /// Writes to the process's standard output, past the buffer and the lock of [`std::io::Stdout`].
    pub fn stdout(limits: Limits) -> io::Result<Self> {
        Self::to_descriptor(io::stdout().as_fd().try_clone_to_owned()?, limits)
    }

    /// Writes to this descriptor: at once, as far as it takes bytes without waiting.
    fn to_descriptor(descriptor: OwnedFd, limits: Limits) -> io::Result<Self> {
        let file = Arc::new(File::from(descriptor));
        let output = Output::start(Arc::clone(&file), Some(file), limits)?;
        Ok(Self::over(output))
    }

    /// Writes to `writer`, on a thread that ends with the sink.
    pub fn new(writer: impl Write + Send + 'static, limits: Limits) -> io::Result<Self> {
        Ok(Self::over(Output::start(writer, None, limits)?))
    }

    fn over(output: Output) -> Self {
        let output = Arc::new(output);
        let gathering = |_| Arc::new(Gathering::new(Arc::clone(&output)));
        Self {
            gatherings: (0..PLACES).map(gathering).collect(),
            output,
        }
    }

    /// Writes what has gathered, and nothing more.
    fn end(&self) {
        for gathering in &self.gatherings {
            gathering.flush();
        }
        self.output.close();
    }
}

impl Sink for StdoutSink {
    fn write(&self, lines: &[u8]) -> Confirmation {
        debug_assert!(lines.ends_with(b"\n"));
        Box::pin(self.gatherings[place()].join(lines))
    }

    fn close(&self, within: Duration) -> Confirmation {
        self.end();
        let output = Arc::clone(&self.output);
        Box::pin(async move {
            match tokio::time::timeout(within, output.ended()).await {
                Ok(()) => Ok(()),
                Err(_elapsed) => Err(AuditError::Blocked(within)),
            }
        })
    }
}

/// Where this thread's lines gather.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % PLACES);
    }
    PLACE.get()
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutSink")
            .field("limits", &self.output.limits)
            .finish_non_exhaustive()
    }
}

impl Drop for StdoutSink {
    fn drop(&mut self) {
        self.end();
    }
}
