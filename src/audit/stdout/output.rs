//! The one output of all gatherings, and the thread that waits for it.
//!
//! A pipe or a socket says at once what it takes (`RWF_NOWAIT`), and where it takes all, the thread is not needed. Otherwise the
//! rest goes to the thread, and as long as that has anything to write, all that comes later does: nothing overtakes it.
//! Two buffers take turns there: in the long run nothing is allocated for the bytes.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio_util::sync::CancellationToken;

use super::gathering::Round;
use super::{KEPT_BYTES, Limits};
use crate::audit::AuditError;

/// How long the writer rests where a descriptor that does not block has no room.
const RETRY: Duration = Duration::from_millis(2);

/// What becomes of lines.
pub(super) enum Outcome {
    /// They are written, or refused.
    Done(Result<(), AuditError>),
    /// The thread writes them, and tells the round.
    HandedOver,
}

/// Where all lines go.
pub(super) struct Output {
    shared: Arc<Shared>,
    pub(super) limits: Limits,
}

/// What the gatherings and the thread share. The lock is held to copy bytes, or to write what is taken without waiting.
struct Shared {
    state: Mutex<State>,
    /// Told when there is something to write, or nothing ever again.
    work: Condvar,
    /// Told when the thread ends.
    ended: CancellationToken,
}

struct State {
    /// The same output, for what it takes at once; `None` where it does not say what that is.
    prompt: Option<Arc<File>>,
    /// Lines not yet taken by the thread.
    pending: Vec<u8>,
    /// They begin within a line.
    begun: bool,
    /// Who waits for them.
    rounds: Vec<Arc<Round>>,
    /// An error has left a line without its end, and the thread has that end.
    cut: bool,
    /// No more lines are taken.
    closing: bool,
    /// What the thread is at.
    thread: Activity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// It is about to look at what is pending.
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

impl Output {
    /// Starts the thread, which ends once the output is closed. `prompt` is the same output as `writer`, if it can be written to
    /// without waiting.
    pub(super) fn start(
        writer: impl Write + Send + 'static,
        prompt: Option<Arc<File>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                prompt,
                pending: Vec::new(),
                begun: false,
                rounds: Vec::new(),
                cut: false,
                closing: false,
                thread: Activity::Awake,
            }),
            work: Condvar::new(),
            ended: CancellationToken::new(),
        });
        let thread = Thread {
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || thread.run(writer))?;
        Ok(Self { shared, limits })
    }

    /// Writes lines, or has them written.
    pub(super) fn write(&self, lines: &[u8], round: &Arc<Round>) -> Outcome {
        let mut state = self.shared.state();
        if state.closing {
            return Outcome::Done(Err(AuditError::Stopped));
        }
        match state.thread {
            Activity::Ended => return Outcome::Done(Err(AuditError::Closed)),
            Activity::Stalled => {
                return Outcome::Done(Err(AuditError::Blocked(self.limits.stall)));
            }
            Activity::Awake | Activity::Asleep | Activity::Writing => {}
        }
        let written = state.write_promptly(lines);
        let rest = &lines[written..];
        if rest.is_empty() {
            return Outcome::Done(Ok(()));
        }
        // A batch above the limit goes through alone, rather than never.
        if !state.pending.is_empty() && state.pending.len() + rest.len() > self.limits.queue_bytes {
            return Outcome::Done(Err(AuditError::Full(self.limits.queue_bytes)));
        }
        state.begun |= within_line(lines, written);
        state.pending.extend_from_slice(rest);
        state.rounds.push(Arc::clone(round));
        let wake = state.thread == Activity::Asleep;
        if wake {
            state.thread = Activity::Awake;
        }
        drop(state);
        if wake {
            self.shared.work.notify_one();
        }
        Outcome::HandedOver
    }

    /// A record has waited too long for the thread.
    pub(super) fn mark_stalled(&self) {
        let mut state = self.shared.state();
        if state.thread == Activity::Writing {
            state.thread = Activity::Stalled;
        }
    }

    /// Takes no more lines. The thread ends when those taken are written.
    pub(super) fn close(&self) {
        self.shared.state().closing = true;
        self.shared.work.notify_one();
    }

    /// Ends with the thread.
    pub(super) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    #[cfg(test)]
    pub(super) fn activity(&self) -> Activity {
        self.shared.state().thread
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes as much as is taken without waiting, and says how much that is. An error is left for the thread to meet.
    fn write_promptly(&mut self, lines: &[u8]) -> usize {
        let idle = matches!(self.thread, Activity::Awake | Activity::Asleep);
        if !idle || self.cut || !self.pending.is_empty() {
            return 0;
        }
        let Some(file) = &self.prompt else {
            return 0;
        };
        // At the descriptor's own position, as write(2) does.
        let position = u64::MAX;
        let taken = pwritev2(
            file,
            &[IoSlice::new(lines)],
            position,
            ReadWriteFlags::NOWAIT,
        );
        match taken {
            Ok(written) => written,
            Err(Errno::AGAIN | Errno::INTR | Errno::PIPE) => 0,
            // A file, a terminal, or a kernel that does not know the flag.
            Err(_) => {
                self.prompt = None;
                0
            }
        }
    }
}

/// Whether the bytes that were written end within a line.
fn within_line(lines: &[u8], written: usize) -> bool {
    lines[..written].last().is_some_and(|&byte| byte != b'\n')
}

/// The thread that writes.
struct Thread {
    shared: Arc<Shared>,
}

/// What the thread takes at once.
#[derive(Default)]
struct Taken {
    lines: Vec<u8>,
    begun: bool,
    rounds: Vec<Arc<Round>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Where the writer panics.
        for round in self.rounds.drain(..) {
            round.finish(Err(AuditError::Closed));
        }
    }
}

impl Thread {
    fn run(self, writer: impl Write) {
        let mut lines = LineWriter {
            writer,
            cut: Vec::new(),
        };
        let mut taken = Taken::default();
        let mut failing = false;
        while self.next(&mut taken) {
            let written = lines.write(&taken.lines, taken.begun);
            let written = written.map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => AuditError::Closed,
                kind => AuditError::Write(kind),
            });
            let mut state = self.shared.state();
            state.thread = Activity::Awake;
            state.cut = !lines.cut.is_empty();
            drop(state);
            for round in taken.rounds.drain(..) {
                round.finish(written.clone());
            }
            taken.lines.clear();
            taken.lines.shrink_to(KEPT_BYTES);
            match written {
                Err(ref error) if !failing => tracing::error!(%error, "records are not written"),
                Ok(()) if failing => tracing::info!("records are written again"),
                _ => {}
            }
            failing = written.is_err();
        }
    }

    /// Waits for lines and takes all of them, or answers `false` when there will be none.
    fn next(&self, taken: &mut Taken) -> bool {
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
        mem::swap(&mut state.pending, &mut taken.lines);
        mem::swap(&mut state.rounds, &mut taken.rounds);
        taken.begun = mem::take(&mut state.begun);
        true
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Also where the writer panics: whoever waits learns that nobody writes any more.
        let mut state = self.shared.state();
        state.thread = Activity::Ended;
        state.pending = Vec::new();
        let rounds = mem::take(&mut state.rounds);
        drop(state);
        for round in rounds {
            round.finish(Err(AuditError::Closed));
        }
        self.shared.ended.cancel();
    }
}

/// Keeps lines whole across errors.
struct LineWriter<W> {
    writer: W,
    /// The rest of a line whose beginning was written when an error came.
    cut: Vec<u8>,
}

impl<W: Write> LineWriter<W> {
    /// Writes whole lines, or with `begun` the rest of one and whole ones after it, and flushes.
    fn write(&mut self, lines: &[u8], begun: bool) -> io::Result<()> {
        let (done, result) = write_counted(&mut self.writer, &self.cut);
        self.cut.drain(..done);
        result?;
        let (done, result) = write_counted(&mut self.writer, lines);
        let result = result.and_then(|()| retried(|| self.writer.flush()));
        if result.is_err() && (within_line(lines, done) || (begun && done == 0)) {
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
