//! The text of a configuration file, and through it every duration, size, rate, ARN, URL and resource.
//!
//! There are settings that are whole, or mistakes that have a place; and neither repeats a secret.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use presignd::admit::quota::limit::Counting;
use presignd::app::tenants;
use presignd::clock::SharedClock;
use presignd::config;
use presignd_fuzz::{Known, MARKER, Still, holds_marker};

/// The longest that one mistake may be: it quotes the file, and must not flood a terminal.
const MISTAKE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Files may be anything on this machine, devices among them.
    if text.contains("file") || holds_marker(data) {
        return;
    }
    let read = config::parse(text, "fuzz.yaml", Path::new("/nonexistent"), &Known);
    let said = format!("{read:?}");
    assert!(!said.contains(MARKER), "{said}");
    match read {
        Ok(settings) => {
            let clock: SharedClock = Arc::new(Still);
            let built = tenants::build(&settings.tenants, &Counting::new(clock));
            let said = format!("{built:?}");
            assert!(!said.contains(MARKER), "{said}");
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "no settings, and no mistake");
            for mistake in mistakes {
                let said = mistake.to_string();
                assert!(mistake.at.line >= 1 && mistake.at.column >= 1, "{said}");
                assert!(
                    !mistake.message.is_empty() && said.len() <= MISTAKE,
                    "{said}"
                );
                assert!(!said.chars().any(char::is_control), "{said:?}");
            }
        }
    }
});
