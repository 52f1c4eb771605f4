//! Orders, and what a change makes of them. Pure.
//!
//! Invariant: an order that stands is not replaced by another one: who gave it first, when and why stays until it is ended.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Halted;
use crate::names::TenantId;

/// An order: who gave it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Why.
    pub reason: String,
    /// The caller's name.
    pub ordered_by: String,
    /// RFC 3339 where it is written down.
    #[serde(with = "rfc3339")]
    pub ordered_at: SystemTime,
}

/// A time in text.
mod rfc3339 {
    use std::time::SystemTime;

    use jiff::Timestamp;
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::try_from(*time).map_err(S::Error::custom)?;
        to.collect_str(&time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        let time: Timestamp = text.parse().map_err(D::Error::custom)?;
        time.try_into().map_err(D::Error::custom)
    }
}

/// All orders that stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// That nothing is signed.
    pub frozen: Option<Order>,
    /// That nothing is signed for these.
    pub suspended: BTreeMap<TenantId, Order>,
}

/// What an operator wants to be otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Signing stops.
    Freeze(Order),
    /// It goes on.
    Unfreeze,
    /// Signing stops for a tenant.
    Suspend(TenantId, Order),
    /// It goes on.
    Resume(TenantId),
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The order that stood before.
    pub before: Option<Order>,
    /// The order that stands now.
    pub standing: Option<Order>,
}

impl Order {
    /// An order of this caller, now.
    #[must_use]
    pub fn new(reason: &str, ordered_by: &str, now: SystemTime) -> Self {
        Self {
            reason: reason.to_owned(),
            ordered_by: ordered_by.to_owned(),
            ordered_at: now,
        }
    }
}

impl Change {
    /// The tenant that it is about. `None`: the service.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Freeze(_) | Self::Unfreeze => None,
            Self::Suspend(tenant, _) | Self::Resume(tenant) => Some(tenant),
        }
    }
}

impl Ordered {
    /// Whether anything is otherwise than before.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.before != self.standing
    }
}

impl Orders {
    /// Whether none stands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frozen.is_none() && self.suspended.is_empty()
    }

    /// Whether anything may be signed for a tenant.
    ///
    /// # Errors
    /// What stands against it.
    pub fn allow(&self, tenant: &TenantId) -> Result<(), Halted> {
        if self.frozen.is_some() {
            Err(Halted::Frozen)
        } else if self.suspended.contains_key(tenant) {
            Err(Halted::Suspended)
        } else {
            Ok(())
        }
    }

    /// The order about a tenant, or about the service.
    #[must_use]
    pub fn about(&self, tenant: Option<&TenantId>) -> Option<&Order> {
        match tenant {
            None => self.frozen.as_ref(),
            Some(tenant) => self.suspended.get(tenant),
        }
    }

    /// The changes that make these orders of none.
    pub fn as_changes(&self) -> impl Iterator<Item = Change> {
        let frozen = self.frozen.iter().cloned().map(Change::Freeze);
        let suspended = self.suspended.iter();
        frozen
            .chain(suspended.map(|(tenant, order)| Change::Suspend(tenant.clone(), order.clone())))
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) -> Ordered {
        let before = self.about(change.tenant()).cloned();
        match change {
            Change::Freeze(order) => {
                self.frozen.get_or_insert_with(|| order.clone());
            }
            Change::Unfreeze => self.frozen = None,
            Change::Suspend(tenant, order) => {
                let of_tenant = self.suspended.entry(tenant.clone());
                of_tenant.or_insert_with(|| order.clone());
            }
            Change::Resume(tenant) => {
                self.suspended.remove(tenant);
            }
        }
        Ordered {
            before,
            standing: self.about(change.tenant()).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn order(reason: &str) -> Order {
        Order::new(reason, "on-call", SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn what_stands_is_not_replaced_and_what_is_ended_is_told() {
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        let suspend = |reason| Change::Suspend(tenant("acme"), order(reason));
        let resume = Change::Resume(tenant("acme"));
        let (first, none) = (Some("leak"), None);
        let mut orders = Orders::default();
        for (change, before, standing) in [
            (&suspend("leak"), none, first),
            (&suspend("again"), first, first),
            (&resume, first, none),
            (&resume, none, none),
            (&Change::Freeze(order("fire")), none, Some("fire")),
            (&Change::Freeze(order("more")), Some("fire"), Some("fire")),
            (&suspend("other"), none, Some("other")),
            (&Change::Unfreeze, Some("fire"), none),
        ] {
            let ordered = orders.apply(change);
            let why = |order: &Option<Order>| order.as_ref().map(|order| order.reason.clone());
            assert_eq!(why(&ordered.before).as_deref(), before, "{change:?}");
            assert_eq!(why(&ordered.standing).as_deref(), standing, "{change:?}");
            assert_eq!(ordered.is_news(), before != standing, "{change:?}");
        }
        assert_eq!(orders.allow(&acme), Err(Halted::Suspended));
        assert_eq!(orders.allow(&globex), Ok(()));
        assert!(!orders.is_empty());
        orders.apply(&Change::Freeze(order("fire")));
        assert_eq!(orders.allow(&globex), Err(Halted::Frozen));
        assert_eq!(orders.allow(&acme), Err(Halted::Frozen));
    }
}
