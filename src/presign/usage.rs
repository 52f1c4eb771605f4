//! How much of its limits a tenant has used, without charging them.

use super::Presigner;
use crate::admit::quota::Usage;
use crate::authenticate::{Caller, Right};
use crate::tenant::Tenant;

impl Presigner {
    /// Each limit that requests of a tenant are charged to, and where it stands. Those of the whole service tell what others use: they are
    /// for whoever may see that of all tenants.
    pub async fn usage(&self, caller: &Caller, tenant: &Tenant) -> Vec<Usage> {
        let mut usage = if caller.may_for_all(Right::Usage) {
            self.quotas.service_usage().await
        } else {
            Vec::new()
        };
        let own = self.quotas.usage(&tenant.id, &tenant.rules.limits, None);
        usage.extend(own.await);
        usage
    }
}
