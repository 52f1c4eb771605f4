//! Logs on standard error.
//!
//! Invariant: writing a log line never blocks. Who reads standard error often reads standard output too, and is stuck with
//! both; a request that only wants to log must not wait for it. So lines go over a bounded queue to a thread that writes, and
//! what does not fit is dropped, counted, and told when there is room again.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt as format};

use super::TelemetryError;

/// Lines that may wait.
const QUEUE: usize = 1_024;
/// How long the end of the process waits for them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes the lines that wait, for at most a second, when dropped: hold it as long as the process.
#[must_use = "the last log lines are written when the guard is dropped"]
pub struct LogGuard(LogQueue);

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGuard")
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(LAST_WORDS);
    }
}

/// Sends what the process logs to standard error. `filter` is a level, or directives such as `warn,presignd=debug`.
pub fn start_logs(format: LogFormat, filter: &str) -> Result<LogGuard, TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|reason| TelemetryError::LogFilter {
        filter: filter.to_owned(),
        reason: reason.to_string(),
    })?;
    let queue = LogQueue::start(io::stderr(), QUEUE)?;
    let lines = {
        let queue = queue.clone();
        format::layer()
            .with_ansi(io::stderr().is_terminal())
            .with_writer(move || queue.clone())
    };
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    Ok(LogGuard(queue))
}

enum Message {
    Line(Vec<u8>),
    /// To be answered when all before it is written.
    Flush(SyncSender<()>),
}

/// A writer that hands each line to a thread.
#[derive(Clone)]
struct LogQueue {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl LogQueue {
    fn start(writer: impl Write + Send + 'static, lines: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(lines);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(writer, &receiver, &counted))?;
        Ok(Self { sender, dropped })
    }

    fn flush(&self, within: Duration) {
        let (done, written) = sync_channel(1);
        // A full queue is one that nobody reads: there is nothing to wait for.
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(within);
        }
    }
}

impl Write for LogQueue {
    /// Takes one event, which the subscriber writes in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// There is no one to tell of an error in writing the log: it is passed over.
fn write_lines(mut writer: impl Write, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    for message in receiver {
        match message {
            Message::Line(line) => {
                let _ = writer.write_all(&line);
                let lost = dropped.swap(0, Relaxed);
                if lost > 0 {
                    let _ =
                        writer.write_all(format!("{{\"dropped_log_lines\":{lost}}}\n").as_bytes());
                }
            }
            Message::Flush(done) => {
                let _ = writer.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::{EnvFilter, LogQueue};

    /// Lets a write go when told to, and passes on what was written.
    struct Gated {
        gate: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.gate.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.written.send(text).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_no_time() {
        let (open, gate) = channel();
        let (written, lines) = channel();
        let mut queue = LogQueue::start(Gated { gate, written }, 4).unwrap();
        // Were a write to wait for the gate, this would never end.
        for line in 0..100 {
            queue
                .write_all(format!("line {line}\n").as_bytes())
                .unwrap();
        }
        queue.flush(Duration::from_millis(10));
        for _ in 0..20 {
            open.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(5));
        drop(queue);
        let lines: String = lines.iter().collect();
        assert!(lines.starts_with("line 0\n"), "{lines}");
        let lost = 100 - lines.matches("line ").count();
        assert!(
            lines.contains(&format!("\"dropped_log_lines\":{lost}")),
            "{lost}: {lines}"
        );
    }

    #[test]
    fn filters_are_checked() {
        assert!(EnvFilter::try_new("warn,presignd=debug").is_ok());
        let error = super::start_logs(super::LogFormat::Json, "presignd=loud").unwrap_err();
        assert!(error.to_string().contains("presignd=loud"), "{error}");
    }
}
