//! Names that are valid by construction.
//!
//! A [`TenantId`] that exists has passed its rule, so that no later step has to think of `../b`, a NUL, a look-alike letter
//! or a megabyte of text.

use std::fmt;
use std::sync::Arc;

/// A tenant's id: 1 to 63 of `a-z`, `0-9`, `-` and `_`, the first a letter or a digit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// The text is not a tenant id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id is 1 to 63 of a-z, 0-9, '-' and '_', and starts with a letter or a digit")]
pub struct InvalidTenantId;

impl TenantId {
    /// Reads a tenant id.
    ///
    /// # Errors
    /// If the text breaks the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantId> {
        let bytes = text.as_bytes();
        let starts_well = bytes
            .first()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let known =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if starts_well && bytes.len() <= 63 && bytes.iter().all(known) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenantId)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TenantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_mislead_are_refused() {
        for good in ["acme", "a", "0day", "a-b_c", &"x".repeat(63)] {
            assert_eq!(TenantId::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(1 << 20);
        for bad in [
            "",
            "*",
            "../b",
            "a/b",
            "a\0",
            "Acme",
            "аcme",
            "-a",
            "_a",
            "a b",
            "a.b",
            long.as_str(),
        ] {
            assert_eq!(
                TenantId::parse(bad),
                Err(InvalidTenantId),
                "{}",
                &bad[..bad.len().min(20)]
            );
        }
    }
}
