//! What lists of commands carry, made once for all who list the same.
//!
//! Most tenants are granted what many others are, and the IAM actions of a class take more memory than all the rest of a grant.
//! Invariant: what is shared is what each would have made alone; and of what nobody has any more, no more is kept than of what somebody has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::grant::{CommandSelector, Store};

/// As much is kept without asking whether somebody still has it.
const FEW: usize = 64;

/// What was made, by the commands and classes in their order, and whose they are.
#[derive(Debug)]
pub(super) struct Shared<T>(Mutex<Option<Kept<T>>>);

#[derive(Debug)]
struct Kept<T> {
    made: HashMap<(Vec<&'static str>, Store), Arc<T>>,
    /// With so many it is time to look at who has them.
    many: usize,
}

impl<T> Shared<T> {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// What these commands carry at the store.
    pub(super) fn of(
        &self,
        commands: Vec<CommandSelector>,
        store: Store,
        make: impl FnOnce(Vec<CommandSelector>) -> T,
    ) -> Arc<T> {
        let names = commands.iter().map(|selector| match selector {
            CommandSelector::Class(class) => class.name(),
            CommandSelector::Named(operation) => operation.name,
        });
        let key = (names.collect(), store);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(|| Kept {
            made: HashMap::new(),
            many: FEW,
        });
        if let Some(made) = kept.made.get(&key) {
            return Arc::clone(made);
        }
        if kept.made.len() >= kept.many {
            kept.made.retain(|_, made| Arc::strong_count(made) > 1);
            kept.many = FEW.max(2 * kept.made.len());
        }
        let new = Arc::new(make(commands));
        kept.made.insert(key, Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::operations::OPERATIONS;

    fn parsed(names: &[&str]) -> Vec<CommandSelector> {
        let names = names.iter().map(|name| CommandSelector::parse(name));
        names.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn what_differs_is_not_shared() {
        let shared = Shared::new();
        let read = || parsed(&["read", "GetObject"]);
        let one = shared.of(read(), Store::Aws, |_| 1);
        assert_eq!(*shared.of(read(), Store::Aws, |_| 2), 1);
        assert_eq!(*shared.of(read(), Store::Compatible, |_| 3), 3);
        assert_eq!(*shared.of(parsed(&["read"]), Store::Aws, |_| 4), 4);
        assert_eq!(*one, 1);
    }

    #[test]
    fn what_nobody_has_any_more_does_not_pile_up() {
        let shared = Shared::new();
        let held = shared.of(Vec::new(), Store::Aws, |_| 0);
        for (index, one) in OPERATIONS.iter().enumerate() {
            for other in OPERATIONS {
                let commands = [one, other].map(CommandSelector::Named);
                shared.of(commands.into(), Store::Aws, |_| index);
            }
        }
        let kept = shared.0.lock().unwrap();
        let kept = kept.as_ref().unwrap();
        assert!(kept.made.len() <= FEW, "{}", kept.made.len());
        drop(held);
    }
}
