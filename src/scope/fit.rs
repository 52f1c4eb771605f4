//! Names that STS takes, from names that it may not. Pure.
//!
//! What has to be shortened or replaced ends in a hash of the whole, so that two names never come to be one.

use sha2::{Digest as _, Sha256};

const HASH_DIGITS: usize = 12;

/// What STS takes in one place: ASCII letters and digits, and a few more.
#[derive(Debug)]
pub(super) struct Alphabet {
    /// At least so many characters.
    pub(super) least: usize,
    /// At most so many.
    pub(super) most: usize,
    /// The characters beside letters and digits; `.` and `-` are among them.
    pub(super) also: &'static str,
}

impl Alphabet {
    /// The longest beginning of a text that survives whatever follows it.
    pub(super) fn sure(&self) -> usize {
        self.most - HASH_DIGITS - 1
    }

    /// The text itself, or one that fits.
    pub(super) fn fit(&self, text: String) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || self.also.contains(c);
        if (self.least..=self.most).contains(&text.len()) && text.chars().all(allowed) {
            return text;
        }
        let hash: String = Sha256::digest(text.as_bytes())
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .take(HASH_DIGITS)
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        let mut name: String = text
            .chars()
            .map(|c| if allowed(c) { c } else { '.' })
            .take(self.sure())
            .collect();
        name.push('-');
        name.push_str(&hash);
        name
    }
}
