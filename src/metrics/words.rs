//! Words that the code has, and that are given places as they are first met.

use std::sync::OnceLock;

/// What stands for every word that found no place.
const OTHER: &str = "_OTHER";

/// Up to `N` words. They are the program's own, as their lifetime says, and so nobody who asks can bring one.
#[derive(Debug)]
pub struct Words<const N: usize>([OnceLock<&'static str>; N]);

impl<const N: usize> Words<N> {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; N])
    }

    /// The place of a word. The last one is everybody's.
    pub fn place(&self, word: &'static str) -> usize {
        let last = N.saturating_sub(1);
        let mut places = self.0.iter().take(last);
        let place = places.position(|known| *known.get_or_init(|| word) == word);
        place.unwrap_or(last)
    }

    /// The word in a place.
    pub fn word(&self, place: usize) -> &'static str {
        self.0.get(place).and_then(OnceLock::get).unwrap_or(&OTHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_place_and_the_last_one_is_for_the_rest() {
        let words: Words<3> = Words::new();
        assert_eq!(["a", "b", "a"].map(|word| words.place(word)), [0, 1, 0]);
        assert_eq!(["c", "d", "b"].map(|word| words.place(word)), [2, 2, 1]);
        assert_eq!(
            [0, 1, 2, 9].map(|p| words.word(p)),
            ["a", "b", OTHER, OTHER]
        );
    }
}
