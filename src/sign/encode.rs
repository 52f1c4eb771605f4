//! Percent-encoding as Signature Version 4 asks for it.
//!
//! Every byte outside RFC 3986's unreserved set becomes `%XX` in upper-case hexadecimal, a space `%20` and never `+`.
//! Invariant: decoding what [`encode`] wrote once gives the very bytes of its input, and nothing is normalised on the way.

use std::cmp::Ordering;

use super::sink::Sink;

/// Which characters are written as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Letters, digits and `-._~`: for query names and values.
    Unreserved,
    /// These and `/`: for paths.
    UnreservedAndSlash,
}

impl Kept {
    /// The bit that marks this set's members in [`KEPT`].
    const fn bit(self) -> u8 {
        match self {
            Self::Unreserved => 1,
            Self::UnreservedAndSlash => 2,
        }
    }
}

/// For every byte, the sets that keep it.
static KEPT: [u8; 256] = {
    let mut table = [0; 256];
    let unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    let mut i = 0;
    while i < unreserved.len() {
        table[unreserved[i] as usize] = Kept::Unreserved.bit() | Kept::UnreservedAndSlash.bit();
        i += 1;
    }
    table[b'/' as usize] = Kept::UnreservedAndSlash.bit();
    table
};

/// `%00%01` and so on up to `%FF`: the escape of a byte starts at three times its value.
static ESCAPES: &str = {
    const BYTES: [u8; 768] = {
        let hex = b"0123456789ABCDEF";
        let mut bytes = [b'%'; 768];
        let mut byte = 0;
        while byte < 256 {
            bytes[3 * byte + 1] = hex[byte >> 4];
            bytes[3 * byte + 2] = hex[byte & 15];
            byte += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(escapes) => escapes,
        Err(_) => panic!("the escapes are ASCII"),
    }
};

fn is_kept(byte: u8, kept: Kept) -> bool {
    KEPT[usize::from(byte)] & kept.bit() != 0
}

/// Writes the percent-encoded form of `text`.
pub(super) fn encode(sink: &mut impl Sink, text: &str, kept: Kept) {
    let mut rest = text;
    loop {
        let run = rest
            .bytes()
            .position(|byte| !is_kept(byte, kept))
            .unwrap_or(rest.len());
        // What is kept is ASCII, so a run always ends between two characters.
        let (plain, tail) = rest.split_at(run);
        sink.put(plain);
        let Some(first) = tail.chars().next() else {
            return;
        };
        let (character, tail) = tail.split_at(first.len_utf8());
        for byte in character.bytes() {
            let at = 3 * usize::from(byte);
            sink.put(&ESCAPES[at..at + 3]);
        }
        rest = tail;
    }
}

/// How many bytes [`encode`] writes.
pub(super) fn encoded_length(text: &str, kept: Kept) -> usize {
    let escaped: usize = text
        .bytes()
        .map(|byte| usize::from(!is_kept(byte, kept)))
        .sum();
    text.len() + 2 * escaped
}

/// Appends the percent-encoded form of `text`, with `/` kept: for `x-amz-copy-source` and its like, which hold an encoded path.
pub fn path_into(out: &mut String, text: &str) {
    encode(out, text, Kept::UnreservedAndSlash);
}

/// Compares the query-encoded forms of two texts without writing them.
pub(super) fn compare_encoded(left: &str, right: &str) -> Ordering {
    // `%` sorts before every unreserved character, and upper-case hexadecimal sorts like the bytes it stands for.
    let rank = |byte| (is_kept(byte, Kept::Unreserved), byte);
    left.bytes().map(rank).cmp(right.bytes().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    use crate::sign::laws::decode;

    fn encoded(text: &str, kept: Kept) -> String {
        let mut out = String::new();
        encode(&mut out, text, kept);
        out
    }

    #[test]
    fn keeps_the_unreserved_characters_and_escapes_all_others() {
        for byte in 0..128_u8 {
            let text = char::from(byte).to_string();
            let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let escape = format!("%{byte:02X}");
            let query = if unreserved { &text } else { &escape };
            let path = if byte == b'/' { "/" } else { query };
            assert_eq!(encoded(&text, Kept::Unreserved), *query);
            assert_eq!(encoded(&text, Kept::UnreservedAndSlash), path);
        }
        assert_eq!(
            encoded("ü €𝄞", Kept::Unreserved),
            "%C3%BC%20%E2%82%AC%F0%9D%84%9E"
        );
    }

    #[test]
    fn keeps_empty_segments_and_dots() {
        let path = "//a//../b/./";
        assert_eq!(encoded(path, Kept::UnreservedAndSlash), path);
    }

    proptest! {
        #[test]
        fn decodes_to_its_input(text in any::<String>()) {
            for kept in [Kept::Unreserved, Kept::UnreservedAndSlash] {
                let encoded = encoded(&text, kept);
                prop_assert_eq!(encoded_length(&text, kept), encoded.len());
                prop_assert_eq!(decode(&encoded), text.as_bytes());
            }
        }

        #[test]
        fn compares_like_the_encoded_texts(left in "[ -~é]{0,3}", right in "[ -~é]{0,3}") {
            let written = encoded(&left, Kept::Unreserved).cmp(&encoded(&right, Kept::Unreserved));
            prop_assert_eq!(compare_encoded(&left, &right), written);
        }
    }
}
