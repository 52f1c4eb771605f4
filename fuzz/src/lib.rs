//! What the fuzz targets share: a presignd without a network, and what must be true of all that it says.
//!
//! A target ends the run with a panic, which libFuzzer keeps with the input that led there.

mod answer;
mod build;
mod house;
mod sts;

pub use answer::{check_answer, check_batch_answer, check_operation};
pub use build::{Bytes, batch, request};
pub use house::{House, Known, Sink, Still, block_on};
pub use sts::{Answer, StsUnderTest, TOKEN_PIECE};

/// Stands in every secret that is planted. Nothing that presignd says may hold it, but the session token of a URL.
pub const MARKER: &str = "PLANTED0SECRET0MARKER";

/// Whether an input holds the marker itself, which libFuzzer learns from the very comparisons that look for it: it proves nothing then.
pub fn holds_marker(input: &[u8]) -> bool {
    input
        .windows(MARKER.len())
        .any(|window| window == MARKER.as_bytes())
}
