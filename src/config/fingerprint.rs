//! What tells settings from others without holding them: a hash of what was written, and of the secrets that it names.
//!
//! Where it was written does not count, nor do comments: a line more above a tenant does not change the tenant.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::tree::{Content, Node};

/// Tells settings from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    // Secrets went into it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl Fingerprint {
    /// Of nothing.
    pub(super) const NONE: Self = Self([0; 32]);

    /// The hash.
    #[must_use]
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// Of a node, and of the secrets that were read for it.
    pub(super) fn of(node: &Node<'_>, secrets: Sha256) -> Self {
        let mut hash = secrets;
        add(&mut hash, node);
        Self(hash.finalize().into())
    }
}

/// As deep as the tree, which is bounded.
fn add(hash: &mut Sha256, node: &Node<'_>) {
    match &node.content {
        Content::Scalar { text, plain } => {
            hash.update([b's', u8::from(*plain)]);
            add_text(hash, text);
        }
        Content::Sequence(items) => {
            hash.update(b"[");
            for item in items {
                add(hash, item);
            }
            hash.update(b"]");
        }
        Content::Mapping(entries) => {
            hash.update(b"{");
            for entry in entries {
                hash.update(b"k");
                add_text(hash, &entry.key);
                add(hash, &entry.value);
            }
            hash.update(b"}");
        }
        Content::Refused => hash.update(b"!"),
    }
}

/// Where a text ends counts as well.
pub(super) fn add_text(hash: &mut Sha256, text: &str) {
    hash.update(text.len().to_be_bytes());
    hash.update(text);
}
