use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::output::Activity;
use super::{AuditError, Confirmation, Limits, Sink, StdoutSink};

/// Longer than any test waits.
const LONG: Duration = Duration::from_mins(1);
/// Long enough for another thread to do something, where a test asserts that it does not.
const MOMENT: Duration = Duration::from_millis(50);

/// A writer that a test holds by the reins.
#[derive(Clone, Default)]
struct Reins(Arc<(Mutex<Script>, Condvar)>);

#[derive(Default)]
struct Script {
    write_blocked: bool,
    flush_blocked: bool,
    /// Bytes that are still taken before the errors begin.
    room: Option<usize>,
    error: Option<ErrorKind>,
    /// Bytes taken at once.
    chunk: Option<usize>,
    /// Errors that go away by asking again, one for each write.
    passing: Vec<ErrorKind>,
    panics: bool,
    written: Vec<u8>,
    flushes: usize,
}

impl Reins {
    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn written(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
    }

    fn flushes(&self) -> usize {
        self.0.0.lock().unwrap().flushes
    }
}

impl Write for Reins {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let script = self.0.0.lock().unwrap();
        let mut script = self.0.1.wait_while(script, |s| s.write_blocked).unwrap();
        assert!(!script.panics, "the writer panics, as the test asks");
        if let Some(kind) = script.passing.pop() {
            return Err(kind.into());
        }
        let mut taken = bytes.len().min(script.chunk.unwrap_or(usize::MAX));
        if let Some(kind) = script.error {
            match &mut script.room {
                None | Some(0) => return Err(kind.into()),
                Some(room) => {
                    taken = taken.min(*room);
                    *room -= taken;
                }
            }
        }
        script.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let script = self.0.0.lock().unwrap();
        let mut script = self.0.1.wait_while(script, |s| s.flush_blocked).unwrap();
        script.flushes += 1;
        Ok(())
    }
}

fn limits(stall: Duration) -> Limits {
    Limits {
        stall,
        ..Limits::default()
    }
}

fn sink(stall: Duration) -> (StdoutSink, Reins) {
    let reins = Reins::default();
    let sink = StdoutSink::new(reins.clone(), limits(stall)).unwrap();
    (sink, reins)
}

/// Polls as often as it takes to have the lines written, or handed to the thread: once to give way, and once to act.
fn begin(confirmation: &mut Confirmation) -> Poll<Result<(), AuditError>> {
    let mut poll = || Pin::new(&mut *confirmation).poll(&mut Context::from_waker(Waker::noop()));
    match poll() {
        Poll::Pending => poll(),
        done @ Poll::Ready(_) => done,
    }
}

#[tokio::test]
async fn a_line_is_confirmed_after_it_is_written_and_flushed() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| (s.write_blocked, s.flush_blocked) = (true, true));
    let mut confirmation = sink.write(b"one\n");
    assert!(
        tokio::time::timeout(MOMENT, &mut confirmation)
            .await
            .is_err()
    );
    assert_eq!(reins.written(), "");

    reins.set(|s| s.write_blocked = false);
    assert!(
        tokio::time::timeout(MOMENT, &mut confirmation)
            .await
            .is_err(),
        "written, but not flushed"
    );
    assert_eq!((reins.written().as_str(), reins.flushes()), ("one\n", 0));

    reins.set(|s| s.flush_blocked = false);
    assert_eq!(confirmation.await, Ok(()));
    assert_eq!(reins.flushes(), 1);
}

#[tokio::test]
async fn lines_that_gather_share_a_write_and_a_flush() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| s.write_blocked = true);
    let confirmations: Vec<_> = (0..100)
        .map(|i| sink.write(format!("{i}\n").as_bytes()))
        .collect();
    reins.set(|s| s.write_blocked = false);
    for confirmation in confirmations {
        assert_eq!(confirmation.await, Ok(()));
    }
    assert!(reins.flushes() <= 2, "{}", reins.flushes());
    let written = reins.written();
    let expected = (0..100).map(|i| i.to_string());
    assert!(written.lines().eq(expected), "in the order of the calls");
}

#[tokio::test]
async fn what_passes_by_asking_again_is_no_error() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| {
        s.chunk = Some(3);
        s.passing = vec![ErrorKind::Interrupted, ErrorKind::WouldBlock];
    });
    assert_eq!(sink.write(b"a line in pieces\n").await, Ok(()));
    assert_eq!(reins.written(), "a line in pieces\n");
}

#[tokio::test]
async fn a_closed_pipe_refuses_until_it_is_open_again() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| s.error = Some(ErrorKind::BrokenPipe));
    assert_eq!(sink.write(b"one\n").await, Err(AuditError::Closed));
    assert_eq!(sink.write(b"two\n").await, Err(AuditError::Closed));
    reins.set(|s| s.error = None);
    assert_eq!(sink.write(b"three\n").await, Ok(()));
    assert_eq!(reins.written(), "three\n");
}

#[tokio::test]
async fn a_line_cut_by_an_error_is_ended_before_the_next() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| (s.error, s.room) = (Some(ErrorKind::StorageFull), Some(7)));
    let refused = Err(AuditError::Write(ErrorKind::StorageFull));
    assert_eq!(sink.write(b"first\nsecond\nthird\n").await, refused);
    assert_eq!(reins.written(), "first\ns");
    reins.set(|s| s.room = Some(2));
    assert_eq!(sink.write(b"fourth\n").await, refused);
    assert_eq!(reins.written(), "first\nsec");
    reins.set(|s| s.error = None);
    assert_eq!(sink.write(b"fifth\n").await, Ok(()));
    assert_eq!(reins.written(), "first\nsecond\nfifth\n");
}

#[tokio::test]
async fn a_blocked_writer_refuses_after_the_stall_and_then_at_once() {
    let (sink, reins) = sink(MOMENT);
    reins.set(|s| s.write_blocked = true);
    let blocked = Err(AuditError::Blocked(MOMENT));
    assert_eq!(sink.write(b"one\n").await, blocked);
    let mut second = sink.write(b"two\n");
    assert_eq!(begin(&mut second), Poll::Ready(blocked));

    // It recovers as soon as the blocked write goes through.
    reins.set(|s| s.write_blocked = false);
    while sink.write(b"three\n").await.is_err() {
        tokio::task::yield_now().await;
    }
    let written = reins.written();
    assert!(written.starts_with("one\nthree\n"), "{written}");
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_at_once() {
    let reins = Reins::default();
    let limits = Limits {
        stall: LONG,
        queue_bytes: 10,
    };
    let sink = StdoutSink::new(reins.clone(), limits).unwrap();
    reins.set(|s| s.write_blocked = true);
    let mut first = sink.write(b"in the writer\n");
    assert!(begin(&mut first).is_pending());
    while sink.output.activity() != Activity::Writing {
        tokio::task::yield_now().await;
    }
    let mut second = sink.write(b"12345678\n");
    assert!(begin(&mut second).is_pending());
    let mut third = sink.write(b"12\n");
    assert_eq!(begin(&mut third), Poll::Ready(Err(AuditError::Full(10))));
    reins.set(|s| s.write_blocked = false);
    assert_eq!((first.await, second.await), (Ok(()), Ok(())));
    assert_eq!(sink.write(b"a batch above the limit\n").await, Ok(()));
}

#[tokio::test]
async fn closing_waits_for_the_queue_but_not_for_ever() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| s.write_blocked = true);
    let line = sink.write(b"one\n");
    assert_eq!(sink.close(MOMENT).await, Err(AuditError::Blocked(MOMENT)));
    assert_eq!(sink.write(b"two\n").await, Err(AuditError::Stopped));
    reins.set(|s| s.write_blocked = false);
    assert_eq!(sink.close(LONG).await, Ok(()));
    assert_eq!(line.await, Ok(()));
    assert_eq!(sink.close(LONG).await, Ok(()), "closing twice is closing");
    assert_eq!(reins.written(), "one\n");
}

#[tokio::test]
async fn a_writer_that_panics_is_a_closed_one() {
    let (sink, reins) = sink(LONG);
    reins.set(|s| s.panics = true);
    assert_eq!(sink.write(b"one\n").await, Err(AuditError::Closed));
    assert_eq!(sink.write(b"two\n").await, Err(AuditError::Closed));
    assert_eq!(sink.close(LONG).await, Ok(()));
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_blocks_and_recovers_and_closes() {
    let (mut reader, writer) = io::pipe().unwrap();
    let stall = Duration::from_millis(200);
    let sink = StdoutSink::to_descriptor(writer.into(), limits(stall)).unwrap();
    let line = format!("{}\n", "x".repeat(4_000));
    let mut confirmed = 0;
    let refused = loop {
        match sink.write(line.as_bytes()).await {
            Ok(()) => confirmed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AuditError::Blocked(stall));

    // The reader comes back: what was confirmed is there, and the refused line may follow.
    let mut read = vec![0; (confirmed + 1) * line.len()];
    reader.read_exact(&mut read).unwrap();
    assert!(
        read.chunks(line.len())
            .all(|chunk| chunk == line.as_bytes())
    );
    while sink.write(b"again\n").await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut again = [0; 6];
    reader.read_exact(&mut again).unwrap();
    assert_eq!(&again, b"again\n");

    drop(reader);
    assert_eq!(sink.write(b"gone\n").await, Err(AuditError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_do_not_disturb_the_others() {
    let (sink, reins) = sink(LONG);
    let sink = Arc::new(sink);
    let tasks: Vec<_> = (0..1_000)
        .map(|i| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                let confirmation = sink.write(format!("{i}\n").as_bytes());
                if i % 2 == 0 {
                    drop(confirmation);
                    return Ok(());
                }
                confirmation.await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(sink.close(LONG).await, Ok(()));
    let written = reins.written();
    let lines: HashSet<_> = written.lines().collect();
    assert_eq!((written.lines().count(), lines.len()), (1_000, 1_000));
}

/// Counts the system calls that a pipe's reader can tell apart: none of these lines waits for the thread.
#[tokio::test]
async fn what_a_pipe_takes_at_once_is_written_at_once_and_together() {
    let (mut reader, writer) = io::pipe().unwrap();
    let sink = StdoutSink::to_descriptor(writer.into(), limits(LONG)).unwrap();
    while sink.output.activity() != Activity::Asleep {
        tokio::task::yield_now().await;
    }
    let mut confirmations: Vec<_> = (0..10)
        .map(|i| sink.write(format!("{i}\n").as_bytes()))
        .collect();
    assert_eq!(begin(&mut confirmations[3]), Poll::Ready(Ok(())));
    // The leader has written for all.
    for confirmation in confirmations.iter_mut().take(3) {
        assert_eq!(begin(confirmation), Poll::Ready(Ok(())));
    }
    assert_eq!(
        sink.output.activity(),
        Activity::Asleep,
        "the thread was not needed"
    );
    drop((sink, confirmations));
    let mut written = String::new();
    reader.read_to_string(&mut written).unwrap();
    assert!(
        written.lines().eq((0..10).map(|i| i.to_string())),
        "{written}"
    );
}

#[tokio::test]
async fn a_leader_who_hangs_up_writes_first() {
    let (mut reader, writer) = io::pipe().unwrap();
    let sink = StdoutSink::to_descriptor(writer.into(), limits(LONG)).unwrap();
    let mut leader = sink.write(b"one\n");
    let follower = sink.write(b"two\n");
    let poll = Pin::new(&mut leader).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll, Poll::Pending);
    drop(leader);
    assert_eq!(follower.await, Ok(()));
    let mut written = [0; 8];
    reader.read_exact(&mut written).unwrap();
    assert_eq!(&written, b"one\ntwo\n");
}

/// A pipe that takes a part at once leaves the rest to the thread, and nothing gets between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_stay_whole_where_the_pipe_is_full_in_the_middle_of_one() {
    let (mut reader, writer) = io::pipe().unwrap();
    let sink = StdoutSink::to_descriptor(writer.into(), limits(LONG)).unwrap();
    let reading = std::thread::spawn(move || {
        let (mut text, mut chunk) = (Vec::new(), [0; 777]);
        while let Ok(read @ 1..) = reader.read(&mut chunk) {
            text.extend_from_slice(&chunk[..read]);
            std::thread::yield_now();
        }
        String::from_utf8(text).unwrap()
    });
    let sink = Arc::new(sink);
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                for i in 0..20 {
                    let line = format!("{task}.{i} {}\n", "x".repeat(i * 499));
                    let lines = line.repeat(1 + i % 3);
                    sink.write(lines.as_bytes()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(sink);
    let text = reading.join().unwrap();
    let mut counts = std::collections::BTreeMap::<(usize, usize), usize>::new();
    for line in text.lines() {
        let (name, filling) = line.split_once(' ').unwrap();
        let (task, i) = name.split_once('.').unwrap();
        let (task, i) = (task.parse().unwrap(), i.parse().unwrap());
        assert_eq!(filling, "x".repeat(i * 499), "{name}");
        *counts.entry((task, i)).or_default() += 1;
    }
    let expected = (0..64).flat_map(|task| (0..20).map(move |i| ((task, i), 1 + i % 3)));
    assert!(counts.into_iter().eq(expected));
}
