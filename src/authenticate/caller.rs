//! A caller, and what they may do for which tenants.
//!
//! Invariant: a [`Caller`] comes from [`Rules`](super::rules::Rules) or may do nothing, so that whoever holds one need not ask where it
//! is from.

use std::fmt;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use super::pattern::Pattern;
use crate::names::TenantId;

/// Whoever asked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller(Arc<Known>);

#[derive(PartialEq, Eq)]
struct Known {
    name: Box<str>,
    allowances: SmallVec<[Allowance; 1]>,
    /// The only tenants there are for this caller, whatever the allowances say.
    bound: Option<Box<[TenantId]>>,
}

/// What may be done for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Have URLs signed.
    Sign,
    /// Have a decision explained.
    Explain,
    /// See how much was used.
    Usage,
    /// Steer presignd while it runs.
    Operate,
}

/// Some rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

/// Rights for some tenants. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// For whom.
    pub tenants: Arc<[Pattern]>,
    /// What.
    pub may: Rights,
}

impl Rights {
    /// Whether this one is among them.
    #[must_use]
    pub fn hold(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }
}

impl Right {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        let rights = rights.into_iter();
        Self(rights.fold(0, |bits, right| bits | right.bit()))
    }
}

impl Caller {
    /// Somebody of this name. `bound` are the tenants that their credential names, if it is to name any.
    pub(super) fn new(
        name: impl Into<Box<str>>,
        allowances: SmallVec<[Allowance; 1]>,
        bound: Option<Vec<TenantId>>,
    ) -> Self {
        Self(Arc::new(Known {
            name: name.into(),
            allowances,
            bound: bound.map(Vec::into_boxed_slice),
        }))
    }

    /// Somebody who did not say who they are, or not believably: known only so that the refusal can be recorded. May do nothing.
    pub(crate) fn unknown() -> Self {
        static UNKNOWN: LazyLock<Caller> =
            LazyLock::new(|| Caller::new("unknown", SmallVec::new(), None));
        UNKNOWN.clone()
    }

    /// The name in records, spans and role session names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the caller may do this for this tenant.
    #[must_use]
    pub fn may(&self, right: Right, tenant: &TenantId) -> bool {
        let bound = self.0.bound.as_deref();
        bound.is_none_or(|bound| bound.contains(tenant))
            && self.0.allowances.iter().any(|allowance| {
                let mut tenants = allowance.tenants.iter();
                allowance.may.hold(right) && tenants.any(|pattern| pattern.takes(tenant.as_str()))
            })
    }

    /// Whether the caller may do this for every tenant there is or will be.
    #[must_use]
    pub fn may_for_all(&self, right: Right) -> bool {
        self.0.bound.is_none()
            && self.0.allowances.iter().any(|allowance| {
                allowance.may.hold(right) && allowance.tenants.iter().any(Pattern::takes_all)
            })
    }

    /// Whether there may be a tenant for which the caller may do this.
    #[must_use]
    pub fn may_for_any(&self, right: Right) -> bool {
        let allowances = &self.0.allowances;
        allowances.iter().any(|allowance| allowance.may.hold(right))
    }
}

/// Without what they may do, which is long and says little.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn allowance(tenants: &[Pattern], may: &[Right]) -> Allowance {
        Allowance {
            tenants: tenants.into(),
            may: may.iter().copied().collect(),
        }
    }

    #[test]
    fn allowances_add_up_and_hold_for_their_own_tenants() {
        let allowances = [
            allowance(&[Pattern::exactly("acme")], &[Right::Sign]),
            allowance(&[Pattern::starting("media-")], &[Right::Usage]),
        ];
        let caller = Caller::new("c", allowances.into_iter().collect(), None);
        for (right, id, allowed) in [
            (Right::Sign, "acme", true),
            (Right::Usage, "media-1", true),
            (Right::Sign, "media-1", false),
            (Right::Usage, "acme", false),
            (Right::Operate, "acme", false),
            (Right::Sign, "acme2", false),
            (Right::Usage, "media", false),
        ] {
            assert_eq!(caller.may(right, &tenant(id)), allowed, "{right:?} {id}");
        }
    }

    #[test]
    fn a_credential_that_names_tenants_narrows_and_never_widens() {
        let all = || SmallVec::from([allowance(&[Pattern::starting("")], &[Right::Sign])]);
        let bound = Caller::new("c", all(), Some(vec![tenant("acme")]));
        assert!(bound.may(Right::Sign, &tenant("acme")));
        assert!(!bound.may(Right::Sign, &tenant("globex")));
        let to_none = Caller::new("c", all(), Some(Vec::new()));
        assert!(!to_none.may(Right::Sign, &tenant("acme")));
        let without = Caller::new("c", SmallVec::new(), Some(vec![tenant("acme")]));
        assert!(!without.may(Right::Sign, &tenant("acme")));
    }

    #[test]
    fn what_concerns_all_tenants_takes_a_right_for_all_and_no_narrower_credential() {
        let operate = [Right::Operate];
        for (tenants, bound, may) in [
            (vec![Pattern::starting("")], None, true),
            (
                vec![Pattern::exactly("acme"), Pattern::starting("")],
                None,
                true,
            ),
            (
                vec![Pattern::starting("")],
                Some(vec![tenant("acme")]),
                false,
            ),
            (vec![Pattern::starting("a")], None, false),
            (vec![Pattern::exactly("")], None, false),
            (vec![Pattern::exactly("*")], None, false),
        ] {
            let allowances = [
                allowance(&[Pattern::starting("")], &[Right::Sign]),
                allowance(&tenants, &operate),
            ];
            let caller = Caller::new("c", allowances.into_iter().collect(), bound);
            assert_eq!(caller.may_for_all(Right::Operate), may, "{tenants:?}");
            assert!(caller.may_for_any(Right::Operate));
            assert!(!caller.may_for_any(Right::Usage));
        }
    }

    #[test]
    fn whoever_is_unknown_may_do_nothing() {
        let all = [Right::Sign, Right::Explain, Right::Usage, Right::Operate];
        for right in all {
            assert!(!Caller::unknown().may(right, &tenant("acme")));
            assert!(!Caller::unknown().may_for_all(right) && !Caller::unknown().may_for_any(right));
            let others = all.into_iter().filter(|other| *other != right);
            assert!(!others.collect::<Rights>().hold(right), "{right:?}");
        }
    }
}
