//! A name, or every name that begins so.
//!
//! Invariant: a `*` stands at the end or nowhere, and everything before it is compared as it is.

/// What names are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Box<str>,
    prefix: bool,
}

impl Pattern {
    /// Takes this name alone.
    pub fn exactly(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            prefix: false,
        }
    }

    /// Takes every name that begins so.
    pub fn starting(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            prefix: true,
        }
    }

    /// The one name that it takes, if it takes no others.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.prefix).then_some(&*self.text)
    }

    /// Whether it takes every name.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.prefix && self.text.is_empty()
    }

    /// Whether it takes this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        if self.prefix {
            name.starts_with(&*self.text)
        } else {
            *name == *self.text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are() {
        let exact = Pattern::exactly("media-api");
        assert!(exact.takes("media-api"));
        for other in ["", "media", "media-api2", "Media-api", "media-api ", "*"] {
            assert!(!exact.takes(other), "{other}");
        }
        let start = Pattern::starting("media-");
        for taken in ["media-", "media-api", "media-*"] {
            assert!(start.takes(taken), "{taken}");
        }
        for other in ["", "media", "Media-api", "xmedia-api"] {
            assert!(!start.takes(other), "{other}");
        }
        assert!(Pattern::starting("").takes("") && Pattern::starting("").takes("anything"));
        assert!(!Pattern::exactly("").takes("a"));
    }
}
