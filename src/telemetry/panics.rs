//! Panics go to the log, like everything else that goes wrong.
//!
//! Invariant: of what a panic says, only words that stand in the program are shown. What was put together at run time may hold
//! anything: Rust itself repeats the text that was cut in the middle of a character. The place says enough.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};

/// From now on every panic of the process is an error on the log; on standard error, where nothing is logged yet. With
/// `RUST_BACKTRACE` set, the way there is shown too, which names functions and holds no values.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let words = words(panic.payload());
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!("a defect of presignd: panicked at {place}: {words}{backtrace}");
        } else {
            eprintln!("presignd: a defect: panicked at {place}: {words}{backtrace}");
        }
    }));
}

/// The words of a panic, where they cannot hold a value.
fn words(payload: &dyn Any) -> &'static str {
    let constant = payload.downcast_ref::<&'static str>();
    constant
        .copied()
        .unwrap_or("(its words are made at run time, and may hold anything)")
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::process::Command;

    use super::log_panics;
    use crate::telemetry::{LogFormat, start_logs};

    /// Set where this very test runs again, in a process whose hook nobody else needs.
    const AGAIN: &str = "PRESIGND_TEST_PANICS";

    #[test]
    fn a_panic_says_where_it_was_and_no_value() {
        if std::env::var_os(AGAIN).is_some() {
            panic_in_every_way();
            return;
        }
        let test = "telemetry::panics::tests::a_panic_says_where_it_was_and_no_value";
        for backtrace in ["0", "1"] {
            let ended = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(AGAIN, "1")
                .env("RUST_BACKTRACE", backtrace)
                .output()
                .unwrap();
            let said =
                String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{said}");
            assert_eq!(
                said.matches("panicked at src/telemetry/panics.rs:").count(),
                6,
                "{said}"
            );
            assert_eq!(said.matches("words of the program").count(), 2, "{said}");
            assert_eq!(said.matches("made at run time").count(), 4, "{said}");
            assert_eq!(said.contains("catch_unwind"), backtrace == "1", "{said}");
            assert!(!said.contains("MARKER"), "{said}");
        }
    }

    /// Three panics before there is a log, and three on it.
    #[expect(clippy::string_slice, reason = "it panics, and that is wanted")]
    fn panic_in_every_way() {
        log_panics();
        let secret = String::from_utf8(b"MARKER-\xc3\xa9".to_vec()).unwrap();
        let mut logs = None;
        for _ in 0..2 {
            let _ = catch_unwind(|| panic!("words of the program"));
            let _ = catch_unwind(|| panic!("it holds {secret}"));
            let _ = catch_unwind(|| secret[..8].len());
            logs = logs.or_else(|| Some(start_logs(LogFormat::Json, "error").unwrap()));
        }
        drop(logs);
    }
}
