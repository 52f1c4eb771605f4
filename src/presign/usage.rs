//! How much of its limits a tenant has used, without charging them.

use std::time::Duration;

use super::Presigner;
use crate::admit::quota::Usage;
use crate::authenticate::{Caller, Right};
use crate::tenant::Tenant;

impl Presigner {
    /// Each limit that requests of a tenant are charged to, and where it stands; last, that of its calls of STS. Those of the whole
    /// service tell what others use: they are for whoever may see that of all tenants.
    pub async fn usage(&self, caller: &Caller, tenant: &Tenant) -> Vec<Usage> {
        let mut usage = if caller.may_for_all(Right::Usage) {
            self.quotas.service_usage().await
        } else {
            Vec::new()
        };
        let own = self.quotas.usage(&tenant.id, &tenant.rules.limits, None);
        usage.extend(own.await);
        usage.extend(calls(tenant));
        usage
    }
}

/// The limit of calls of STS: of several, the one that holds.
fn calls(tenant: &Tenant) -> Option<Usage> {
    let (limit, under_way) = tenant.session.calls()?;
    let most = u64::from(limit.most.get());
    Some(Usage {
        limit: limit.limit.name.to_string(),
        unit: "sts_calls",
        scope: limit.limit.scope,
        caller: None,
        most,
        left: most.saturating_sub(u64::try_from(under_way).unwrap_or(u64::MAX)),
        // It is there again when the calls end, whenever that is.
        reset: Duration::ZERO,
        shadow: false,
    })
}
