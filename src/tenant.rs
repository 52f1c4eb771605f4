//! A tenant: what each room knows about it, under one id.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::admit::TenantRules;
use crate::authenticate::{Caller, Right};
use crate::endpoint::buckets::Buckets;
use crate::names::TenantId;
use crate::scope::TenantSession;

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What it may ask for.
    pub rules: TenantRules,
    /// Where its credentials come from.
    pub session: TenantSession,
    /// What its buckets are called, and where they are.
    pub buckets: Buckets,
    /// Tells its settings from others.
    pub settings: [u8; 32],
}

/// The tenant does not exist, or the caller may not do this for it: the two are told alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant does not exist, or you may not do this for it")]
pub struct TenantDenied;

/// Tenants by their ids.
pub type ById = HashMap<TenantId, Arc<Tenant>>;

/// All tenants. They may be replaced at any time; what was begun with one ends with it.
#[derive(Debug, Default)]
pub struct Tenants(ArcSwap<ById>);

impl Tenants {
    /// The tenant, if the caller may do this for it.
    ///
    /// # Errors
    /// If there is none of this id, or the caller may not. Both are always looked at, so that how long it takes does not tell them apart.
    pub fn of(
        &self,
        caller: &Caller,
        right: Right,
        id: &TenantId,
    ) -> Result<Arc<Tenant>, TenantDenied> {
        let allowed = caller.may(right, id);
        match self.0.load().get(id) {
            Some(tenant) if allowed => Ok(Arc::clone(tenant)),
            _ => Err(TenantDenied),
        }
    }

    /// All, as they are now.
    pub fn all(&self) -> Arc<ById> {
        self.0.load_full()
    }

    /// From now on there are these. Returns those that there were.
    pub fn replace(&self, tenants: ById) -> Arc<ById> {
        self.0.swap(Arc::new(tenants))
    }
}

impl From<ById> for Tenants {
    fn from(tenants: ById) -> Self {
        Self(ArcSwap::from_pointee(tenants))
    }
}

impl FromIterator<Tenant> for Tenants {
    fn from_iter<I: IntoIterator<Item = Tenant>>(tenants: I) -> Self {
        let by_id: ById = tenants
            .into_iter()
            .map(|tenant| (tenant.id.clone(), Arc::new(tenant)))
            .collect();
        Self(ArcSwap::from_pointee(by_id))
    }
}
