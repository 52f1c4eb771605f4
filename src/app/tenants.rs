//! A configured tenant, as what each room has to know of it.

mod checks;
mod grants;
mod role;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

pub use self::checks::ProcessSurroundings;
pub(super) use self::grants::selectors;
pub use self::grants::{denials, grants};
pub use self::role::{build_role, role_policy, session_policies};
use self::role::{role_granted, signature_age};
use super::limits;
use crate::admit::expiry::TenantExpiry;
use crate::admit::quota::TenantLimits;
use crate::admit::quota::limit::Counting;
use crate::admit::{RulesByCaller, TenantRules};
use crate::config::{self, Located};
use crate::endpoint::buckets::Buckets;
use crate::endpoint::options::Variant;
use crate::endpoint::{Defaults, TenantEndpoint};
use crate::names::TenantId;
use crate::scope::TenantSession;
use crate::sign::Credentials;
use crate::tenant::{ById, Tenant, Tenants};

/// The tenants of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build(
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    counting: &Counting,
) -> anyhow::Result<Tenants> {
    tenants
        .iter()
        .map(|(id, tenant)| {
            build_one(id, &tenant.value, counting).with_context(|| format!("the tenant {id:?}"))
        })
        .collect()
}

/// Tenants as a configuration that was read anew has them.
#[derive(Debug)]
pub struct Renewed {
    /// All of them.
    pub tenants: ById,
    /// How many there were not before.
    pub added: usize,
    /// How many were otherwise before.
    pub changed: usize,
    /// How many there are no more.
    pub removed: usize,
}

impl Renewed {
    /// Whether nothing is new.
    #[must_use]
    pub const fn is_as_before(&self) -> bool {
        self.added == 0 && self.changed == 0 && self.removed == 0
    }
}

/// The tenants of a configuration that has been read anew. Those whose settings are as before stay the very same, with all that is known of
/// them; of the others, limits and roles that are as before go on where they were.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn renew(
    current: &ById,
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    counting: &Counting,
) -> anyhow::Result<Renewed> {
    let mut renewed = Renewed {
        tenants: ById::with_capacity(tenants.len()),
        added: 0,
        changed: 0,
        removed: 0,
    };
    for (name, tenant) in tenants {
        let id = TenantId::parse(name)?;
        let earlier = current.get(&id);
        let same = earlier.filter(|earlier| earlier.settings == tenant.value.fingerprint.bytes());
        let tenant = if let Some(same) = same {
            Arc::clone(same)
        } else {
            let built = build_one(name, &tenant.value, counting);
            let built = built.with_context(|| format!("the tenant {name:?}"))?;
            Arc::new(if let Some(earlier) = earlier {
                renewed.changed += 1;
                continuing(built, earlier)
            } else {
                renewed.added += 1;
                built
            })
        };
        renewed.tenants.insert(id, tenant);
    }
    renewed.removed = current.len() + renewed.added - renewed.tenants.len();
    Ok(renewed)
}

/// A tenant with what still holds of what is known from its earlier settings.
fn continuing(mut tenant: Tenant, earlier: &Tenant) -> Tenant {
    let earlier_limits = &earlier.rules.limits;
    tenant.rules.limits.continue_from(earlier_limits);
    tenant.session = tenant.session.continuing(&earlier.session);
    tenant
}

/// One tenant of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build_one(id: &str, tenant: &config::Tenant, counting: &Counting) -> anyhow::Result<Tenant> {
    let id = TenantId::parse(id)?;
    let grants = Arc::new(grants(id.as_str(), tenant)?);
    let deny = denials(id.as_str(), tenant)?;
    let limits = limits::build(&tenant.limits, Some(&id), counting)?;
    let session = match &tenant.credentials {
        config::Credentials::Role(role) => {
            TenantSession::assume_role(id.clone(), role_granted(id.as_str(), tenant, role, &grants))
                .limited(limits::sts_calls(&tenant.limits, &id))
        }
        config::Credentials::Static(fixed) => {
            let access_key_id = fixed.access_key_id.expose_secret().to_owned();
            let secret = fixed.secret_access_key.clone();
            let credentials =
                Credentials::new(access_key_id, secret, fixed.session_token.clone(), None);
            TenantSession::fixed(id.clone(), credentials)
        }
    };
    Ok(Tenant {
        rules: TenantRules {
            callers: RulesByCaller::new(&grants, &deny),
            grants,
            deny,
            expiry: TenantExpiry {
                default: seconds(tenant.expiry.default),
                max: seconds(tenant.expiry.max),
                backdate: seconds(tenant.expiry.backdate),
                signature_age: signature_age(tenant),
            },
            limits: TenantLimits::new(limits),
            has_session_policy: tenant
                .credentials
                .role()
                .is_some_and(|role| role.policy_arns.is_none()),
        },
        session,
        buckets: build_buckets(tenant),
        settings: tenant.fingerprint.bytes(),
        id,
    })
}

fn build_buckets(tenant: &config::Tenant) -> Buckets {
    let place = |region: &String, endpoint: &config::Endpoint| {
        TenantEndpoint::new(
            endpoint.signing_region.as_ref().unwrap_or(region).clone(),
            endpoint.url.as_ref().map(|url| url.as_str().to_owned()),
            endpoint.path_style,
        )
        .by_default(Defaults {
            variant: Variant {
                dual_stack: endpoint.dual_stack,
                fips: endpoint.fips,
                accelerate: endpoint.accelerate,
            },
            use_arn_region: endpoint.use_arn_region,
            requester_pays: endpoint.requester_pays,
        })
    };
    let home = place(&tenant.region, &tenant.endpoint);
    let buckets = tenant.buckets.iter().map(|bucket| &bucket.value);
    buckets.fold(Buckets::at(home), |known, bucket| {
        let region = bucket.region.as_ref().unwrap_or(&tenant.region);
        let endpoint = bucket.endpoint.as_ref().unwrap_or(&tenant.endpoint);
        let elsewhere = bucket.region.is_some() || bucket.endpoint.is_some();
        let own = elsewhere.then(|| place(region, endpoint));
        known.with(&bucket.name, &bucket.bucket, own)
    })
}

/// Settings hold whole seconds of at most seven days, which fit.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
