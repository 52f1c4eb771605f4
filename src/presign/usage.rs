//! How much of its limits a tenant has used, without charging them.

use std::time::Duration;

use super::Presigner;
use crate::admit::quota::Usage;
use crate::tenant::Tenant;

impl Presigner {
    /// Each limit of a tenant, and where it stands.
    #[expect(clippy::unused_async, reason = "counts may be asked of a store")]
    pub async fn usage(&self, tenant: &Tenant) -> Vec<Usage> {
        let limits = tenant.rules.limits.iter();
        let usage = limits.map(|limit| {
            let left = limit.left();
            Usage {
                limit: left.limit.to_string(),
                unit: "urls",
                scope: "tenant",
                caller: None,
                most: left.burst.into(),
                left: left.left.into(),
                reset: limit.whole_after(&left).unwrap_or(Duration::ZERO),
                shadow: false,
            }
        });
        usage.collect()
    }
}
