//! What rules come to for each caller, where they name their callers.
//!
//! A tenant whose rules name none has nothing of this. Invariant: what is kept for a name was made for that name, and of so many callers
//! at most; who comes after them begins anew.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::deny::Denial;
use super::grant::Grant;

/// How many callers of a tenant are kept.
const MOST: usize = 512;

/// Something for each caller, made when it is first asked for. Reading takes no lock.
#[derive(Debug)]
pub struct ByCaller<T>(ArcSwap<HashMap<Arc<str>, Arc<T>>>);

/// A tenant's grants and denials, for one caller.
#[derive(Debug)]
pub struct RulesOfCaller {
    /// What the tenant may ask for.
    pub grants: Vec<Grant>,
    /// What it may not.
    pub deny: Vec<Denial>,
}

impl<T> Default for ByCaller<T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<T> ByCaller<T> {
    /// What was made for this caller, or is now.
    pub fn of(&self, caller: &str, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(known) = self.0.load().get(caller) {
            return Arc::clone(known);
        }
        let (name, own) = (Arc::from(caller), Arc::new(make()));
        self.0.rcu(|known| {
            let mut known = if known.len() < MOST {
                HashMap::clone(known)
            } else {
                HashMap::new()
            };
            known.insert(Arc::clone(&name), Arc::clone(&own));
            known
        });
        own
    }
}

impl RulesOfCaller {
    /// What these come to for a caller of this name.
    #[must_use]
    pub fn of(grants: &[Grant], deny: &[Denial], caller: &str) -> Self {
        let grants = grants.iter().map(|grant| grant.of_caller(caller));
        let deny = deny.iter().map(|denial| denial.of_caller(caller));
        Self {
            grants: grants.collect(),
            deny: deny.collect(),
        }
    }
}

/// Whether any of these names its caller.
#[must_use]
pub fn name_callers(grants: &[Grant], deny: &[Denial]) -> bool {
    grants.iter().any(Grant::names_caller) || deny.iter().any(Denial::names_caller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_their_own_and_no_more_than_so_many_are_kept() {
        let names = ByCaller::default();
        for number in 0..=MOST * 2 {
            let name = number.to_string();
            assert_eq!(*names.of(&name, || name.clone()), name);
            let kept = names.of(&name, || panic!("it is kept"));
            assert_eq!(*kept, name);
            assert!(names.0.load().len() <= MOST);
        }
        assert_eq!(*names.of("0", || "anew".to_owned()), "anew");
    }
}
