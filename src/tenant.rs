//! A tenant: what each room knows about it, under one id.

use std::collections::HashMap;
use std::sync::Arc;

use crate::admit::TenantRules;
use crate::authenticate::Caller;
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
}

/// The tenant does not exist, or is not the caller's: the two are told alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant does not exist, or is not yours to use")]
pub struct TenantDenied;

/// All tenants.
#[derive(Debug, Default)]
pub struct Tenants(HashMap<TenantId, Arc<Tenant>>);

impl Tenants {
    /// The tenant, if the caller may use it.
    ///
    /// # Errors
    /// If there is none of this id, or it is not the caller's.
    pub fn of(&self, caller: &Caller, id: &TenantId) -> Result<Arc<Tenant>, TenantDenied> {
        match self.0.get(id) {
            Some(tenant) if caller.may_use(id) => Ok(Arc::clone(tenant)),
            _ => Err(TenantDenied),
        }
    }
}

impl FromIterator<Tenant> for Tenants {
    fn from_iter<I: IntoIterator<Item = Tenant>>(tenants: I) -> Self {
        Self(
            tenants
                .into_iter()
                .map(|tenant| (tenant.id.clone(), Arc::new(tenant)))
                .collect(),
        )
    }
}
