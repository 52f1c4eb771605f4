//! What tenants have in common, kept once for all of them.
//!
//! Most tenants are granted and limited on the terms of many others. Invariant: so many different ones at the most are looked through, whatever there is.

use std::sync::{Arc, Mutex, PoisonError};

/// How many different ones are known.
const KNOWN: usize = 64;

/// What is known to be said.
#[derive(Debug)]
pub(crate) struct Alike<T>(Mutex<Vec<Arc<T>>>);

impl<T: PartialEq> Alike<T> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The same, shared with all who said it before.
    pub(crate) fn shared(&self, said: T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|known| ***known == said) {
            return Arc::clone(same);
        }
        let said = Arc::new(said);
        if known.len() >= KNOWN {
            known.retain(|known| Arc::strong_count(known) > 1);
        }
        if known.len() < KNOWN {
            known.push(Arc::clone(&said));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_there_once_and_no_more_is_known_than_can_be_looked_through() {
        let alike = Alike::new();
        let held: Vec<Arc<usize>> = (0..KNOWN - 1).map(|n| alike.shared(n)).collect();
        assert!(Arc::ptr_eq(&held[7], &alike.shared(7)));
        // One after the other takes the last place, and leaves it.
        for n in 1_000..1_010 {
            assert_eq!(*alike.shared(n), n);
        }
        let last = alike.shared(2_000);
        assert!(Arc::ptr_eq(&last, &alike.shared(2_000)));
        let more = alike.shared(3_000);
        assert!(!Arc::ptr_eq(&more, &alike.shared(3_000)));
        assert_eq!(alike.0.lock().unwrap().len(), KNOWN);
    }
}
