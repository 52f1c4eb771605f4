//! API keys, for installations without an issuer of tokens.
//!
//! A key is `presignd_` and 64 hexadecimal digits: 256 random bits. The configuration holds its SHA-256 alone. That is enough, and no slow
//! hash would be better: what makes passwords guessable is that people choose them, and nobody guesses 256 random bits, however fast
//! guesses are checked. The beginning lets scanners find keys where they should not be, and lets presignd refuse everything that was
//! not made so. Invariant: how long a check takes does not tell how much of a key was right.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

/// How keys begin.
pub const PREFIX: &str = "presignd_";
/// Random bits of a key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

/// As the configuration writes it: `sha256:` and 64 hexadecimal digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        let mut bytes = self.0.iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A hash is no secret, but of no use in a log either.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// A new key of these random bytes, and its hash.
#[must_use]
pub fn new_key(random: &[u8; KEY_BYTES]) -> (SecretString, KeyHash) {
    let digits = random.iter().map(|byte| format!("{byte:02x}"));
    let key: String = std::iter::once(PREFIX.to_owned()).chain(digits).collect();
    let key = SecretString::from(key);
    let hash = KeyHash::of(key.expose_secret().as_bytes());
    (key, hash)
}

/// The keys of a configuration: several for each holder, so that a new one can be handed out before the old one goes.
#[derive(Debug, Clone)]
pub struct ApiKeys<H> {
    holders: Vec<H>,
    /// Each with the place of its holder.
    hashes: Vec<(KeyHash, u32)>,
}

impl<H> ApiKeys<H> {
    /// Whether there is any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whose key it is. Looks at all of them, whichever it is.
    #[must_use]
    pub fn holder(&self, key: &[u8]) -> Option<&H> {
        if key.len() != PREFIX.len() + 2 * KEY_BYTES || !key.starts_with(PREFIX.as_bytes()) {
            return None;
        }
        let shown = KeyHash::of(key);
        let (mut found, mut place) = (Choice::from(0), 0);
        for (hash, holder) in &self.hashes {
            let same = hash.0.ct_eq(&shown.0);
            place = u32::conditional_select(&place, holder, same);
            found |= same;
        }
        let place = usize::try_from(place).ok()?;
        self.holders.get(place).filter(|_| found.into())
    }
}

impl<H> FromIterator<(H, Vec<KeyHash>)> for ApiKeys<H> {
    fn from_iter<I: IntoIterator<Item = (H, Vec<KeyHash>)>>(holders: I) -> Self {
        let mut keys = Self {
            holders: Vec::new(),
            hashes: Vec::new(),
        };
        for (place, (holder, hashes)) in (0..).zip(holders) {
            keys.holders.push(holder);
            keys.hashes
                .extend(hashes.into_iter().map(|hash| (hash, place)));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> (SecretString, KeyHash) {
        new_key(&[byte; KEY_BYTES])
    }

    #[test]
    fn a_key_and_its_hash_have_their_form() {
        let (key, hash) = key(0xab);
        assert_eq!(key.expose_secret(), format!("presignd_{}", "ab".repeat(32)));
        // As sha256sum prints it.
        let sum = "28dab4ac73312ad1b72a03c165e947e39d535ce7f55f6a2c7b725f34e7608590";
        assert_eq!(hash.to_string(), format!("sha256:{sum}"));
        assert!(!format!("{hash:?}").contains("28da"));
        assert!(!format!("{key:?}").contains("abab"));
    }

    #[test]
    fn every_key_of_a_holder_works_and_no_other() {
        let keys: ApiKeys<&str> = [
            ("media", vec![key(1).1, key(2).1]),
            ("billing", vec![key(3).1]),
            ("nobody", vec![]),
        ]
        .into_iter()
        .collect();
        let holder = |text: &str| keys.holder(text.as_bytes()).copied();
        for (byte, name) in [(1, "media"), (2, "media"), (3, "billing")] {
            assert_eq!(holder(key(byte).0.expose_secret()), Some(name));
        }
        assert_eq!(holder(key(4).0.expose_secret()), None);
        let none: ApiKeys<&str> = [].into_iter().collect();
        assert_eq!(none.holder(key(1).0.expose_secret().as_bytes()), None);
        // The hash itself opens nothing.
        assert_eq!(holder(&key(1).1.to_string()), None);
    }

    #[test]
    fn a_key_that_is_wrong_by_one_bit_is_wrong() {
        let (right, hash) = key(0x5a);
        let keys: ApiKeys<&str> = [("media", vec![hash])].into_iter().collect();
        let right = right.expose_secret().as_bytes();
        assert!(keys.holder(right).is_some());
        for bit in 0..right.len() * 8 {
            let mut wrong = right.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(keys.holder(&wrong), None, "bit {bit}");
        }
        for wrong in [
            &right[..right.len() - 1],
            &[right, b"0"].concat(),
            b"",
            b"presignd_",
        ] {
            assert_eq!(keys.holder(wrong), None);
        }
    }
}
