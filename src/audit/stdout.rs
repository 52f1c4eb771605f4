//! Records as lines on standard output, or on any writer.
//!
//! Invariant: a line is confirmed after it was written and flushed, never before; and no line is ever cut by another: what an
//! error left of a line is written first when the writer takes bytes again.
//!
//! A thread of its own writes, because a pipe that nobody reads blocks whoever writes to it. Records gather in one buffer
//! while it writes; it takes the whole buffer at once, so that under load many records share a write and a flush (group
//! commit), and confirms each. Two buffers take turns: in the long run nothing is allocated for the bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{AuditError, Confirmation, Sink};

/// How long the writer rests where a descriptor that does not block has no room.
const RETRY: Duration = Duration::from_millis(2);
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
    shared: Arc<Shared>,
    limits: Limits,
}

impl StdoutSink {
    /// Writes to the process's standard output, past the buffer and the lock of [`std::io::Stdout`].
    pub fn stdout(limits: Limits) -> io::Result<Self> {
        let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
        Self::new(File::from(descriptor), limits)
    }

    /// Writes to `writer`, on a thread that ends with the sink.
    pub fn new(writer: impl Write + Send + 'static, limits: Limits) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || thread.run(writer))?;
        Ok(Self { shared, limits })
    }
}

impl Sink for StdoutSink {
    fn write(&self, lines: &[u8]) -> Confirmation {
        debug_assert!(lines.ends_with(b"\n"));
        let receiver = match self.shared.take(lines, self.limits) {
            Ok(receiver) => receiver,
            Err(error) => return Box::pin(async move { Err(error) }),
        };
        let shared = Arc::clone(&self.shared);
        let stall = self.limits.stall;
        Box::pin(async move {
            match tokio::time::timeout(stall, receiver).await {
                Ok(Ok(written)) => written,
                Ok(Err(_thread_gone)) => Err(AuditError::Closed),
                Err(_elapsed) => {
                    shared.mark_stalled();
                    Err(AuditError::Blocked(stall))
                }
            }
        })
    }

    fn close(&self, within: Duration) -> Confirmation {
        let receiver = self.shared.close();
        Box::pin(async move {
            match tokio::time::timeout(within, receiver).await {
                // The thread drops its ends when it has written all.
                Ok(_) => Ok(()),
                Err(_elapsed) => Err(AuditError::Blocked(within)),
            }
        })
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdoutSink")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Drop for StdoutSink {
    fn drop(&mut self) {
        drop(self.shared.close());
    }
}

type Waiter = oneshot::Sender<Result<(), AuditError>>;

/// What the callers and the thread share. The lock is held to copy bytes, never to write them.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is something to write, or nothing ever again.
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Lines not yet taken by the thread.
    pending: Vec<u8>,
    /// Who waits for them.
    waiters: Vec<Waiter>,
    /// Who waits for the thread to end.
    closers: Vec<oneshot::Sender<()>>,
    /// No more lines are taken.
    closing: bool,
    /// What the thread is at.
    thread: Activity,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Activity {
    /// It is about to look at what is pending.
    #[default]
    Awake,
    /// It sleeps on `work`.
    Asleep,
    /// It is in the writer.
    Writing,
    /// It is in the writer still, and a record has waited too long: others need not wait to learn it.
    Stalled,
    /// It is no more.
    Ended,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(
        &self,
        lines: &[u8],
        limits: Limits,
    ) -> Result<oneshot::Receiver<Result<(), AuditError>>, AuditError> {
        let mut state = self.state();
        if state.closing {
            return Err(AuditError::Stopped);
        }
        match state.thread {
            Activity::Ended => return Err(AuditError::Closed),
            Activity::Stalled => return Err(AuditError::Blocked(limits.stall)),
            Activity::Awake | Activity::Asleep | Activity::Writing => {}
        }
        // A batch above the limit goes through alone, rather than never.
        if !state.pending.is_empty() && state.pending.len() + lines.len() > limits.queue_bytes {
            return Err(AuditError::Full(limits.queue_bytes));
        }
        let (sender, receiver) = oneshot::channel();
        state.pending.extend_from_slice(lines);
        state.waiters.push(sender);
        let wake = state.thread == Activity::Asleep;
        if wake {
            state.thread = Activity::Awake;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        Ok(receiver)
    }

    fn mark_stalled(&self) {
        let mut state = self.state();
        if state.thread == Activity::Writing {
            state.thread = Activity::Stalled;
        }
    }

    fn close(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.closing = true;
        if state.thread != Activity::Ended {
            state.closers.push(sender);
        }
        drop(state);
        self.work.notify_one();
        receiver
    }
}

/// The thread that writes.
struct Thread {
    shared: Arc<Shared>,
}

impl Thread {
    fn run(self, writer: impl Write) {
        let mut lines = LineWriter {
            writer,
            cut: Vec::new(),
        };
        let mut batch = Vec::new();
        let mut waiters = Vec::new();
        let mut failing = false;
        while self.next(&mut batch, &mut waiters) {
            let written = lines.write(&batch).map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => AuditError::Closed,
                kind => AuditError::Write(kind),
            });
            self.shared.state().thread = Activity::Awake;
            for waiter in waiters.drain(..) {
                // A caller that has given up is not told.
                let _ = waiter.send(written.clone());
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            match written {
                Err(ref error) if !failing => tracing::error!(%error, "records are not written"),
                Ok(()) if failing => tracing::info!("records are written again"),
                _ => {}
            }
            failing = written.is_err();
        }
    }

    /// Waits for lines and takes all of them, or answers `false` when there will be none.
    fn next(&self, batch: &mut Vec<u8>, waiters: &mut Vec<Waiter>) -> bool {
        let mut state = self.shared.state();
        while state.pending.is_empty() {
            if state.closing {
                return false;
            }
            state.thread = Activity::Asleep;
            state = self
                .shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.thread = Activity::Writing;
        std::mem::swap(&mut state.pending, batch);
        std::mem::swap(&mut state.waiters, waiters);
        true
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Also where the writer panics: whoever waits learns that nobody writes any more.
        let mut state = self.shared.state();
        state.thread = Activity::Ended;
        state.pending = Vec::new();
        state.waiters.clear();
        state.closers.clear();
    }
}

/// Keeps lines whole across errors.
struct LineWriter<W> {
    writer: W,
    /// The rest of a line whose beginning was written when an error came.
    cut: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    /// Writes whole lines and flushes.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let (done, result) = write_counted(&mut self.writer, &self.cut);
        self.cut.drain(..done);
        result?;
        let (done, result) = write_counted(&mut self.writer, lines);
        let result = result.and_then(|()| retried(|| self.writer.flush()));
        if result.is_err() && done > 0 && lines[done - 1] != b'\n' {
            let rest = &lines[done..];
            let end = rest.iter().position(|&byte| byte == b'\n');
            let line = end.map_or(rest, |end| &rest[..=end]);
            self.cut.extend_from_slice(line);
        }
        result
    }
}

/// Writes all of `bytes`, and says how many were written when it could not.
fn write_counted(writer: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match retried(|| writer.write(&bytes[done..])) {
            Ok(0) => return (done, Err(ErrorKind::WriteZero.into())),
            Ok(written) => done += written,
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// Asks again where the answer was an interruption, or that a descriptor which does not block (a pipe that another process
/// set so) has no room.
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
