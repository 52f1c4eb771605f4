//! Where the texts of a signature are written: a string, a hash, or a mere count.
//!
//! Each text (URL, canonical request, string to sign) has one writer, generic over its sink. So the string that explains a
//! signature is the one that was hashed, and the length that was reserved is the one that was written.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::encode::{Kept, encode, encoded_length};

/// Takes a text in pieces.
pub(super) trait Sink {
    /// Appends a piece.
    fn put(&mut self, text: &str);

    /// Appends the percent-encoded form of a text.
    #[inline]
    fn put_encoded(&mut self, text: &str, kept: Kept)
    where
        Self: Sized,
    {
        encode(self, text, kept);
    }
}

impl Sink for String {
    #[inline]
    fn put(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl Sink for Sha256 {
    #[inline]
    fn put(&mut self, text: &str) {
        Digest::update(self, text);
    }
}

impl Sink for Hmac<Sha256> {
    #[inline]
    fn put(&mut self, text: &str) {
        Mac::update(self, text.as_bytes());
    }
}

/// Counts the bytes that are put.
#[derive(Debug, Default)]
pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    #[inline]
    fn put(&mut self, text: &str) {
        self.0 += text.len();
    }

    #[inline]
    fn put_encoded(&mut self, text: &str, kept: Kept) {
        self.0 += encoded_length(text, kept);
    }
}
