//! A configured tenant, as what each room has to know of it.

mod checks;
mod grants;
mod role;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

pub use self::checks::ProcessSurroundings;
pub(super) use self::grants::selectors;
pub use self::grants::{denials, grants};
pub use self::role::{build_role, role_policy, session_policies};
use self::role::{role_granted, signature_age};
use super::limits::{self, Said};
use crate::admit::expiry::TenantExpiry;
use crate::admit::quota::TenantLimits;
use crate::admit::quota::limit::Counting;
use crate::admit::{RulesByCaller, TenantRules};
use crate::config::{self, ConfigError, Located, Settings};
use crate::endpoint::buckets::Buckets;
use crate::endpoint::options::Variant;
use crate::endpoint::{Defaults, TenantEndpoint};
use crate::names::TenantId;
use crate::scope::TenantSession;
use crate::sign::Credentials;
use crate::tenant::{ById, Tenant, Tenants};

/// A tenant as its settings have it, before anything of it counts. It takes as much memory as the tenant will.
#[derive(Debug)]
pub struct Draft(Drafted);

#[derive(Debug)]
enum Drafted {
    /// The settings are those of a tenant that is there already.
    Same(Arc<Tenant>),
    /// A tenant without its limits, and what they say.
    New(Arc<Tenant>, Said),
}

/// Drafts by the tenants' names. Those that failed are of commands or resources that are none, which reading reports.
pub type Drafts = BTreeMap<String, anyhow::Result<Draft>>;

/// Reads a configuration whose tenants are drafted one by one: the settings of all at once would take several times the memory. Settings
/// that are those of a current tenant are drafted as that one.
///
/// # Errors
/// If the configuration cannot be read, or holds mistakes.
pub fn read(
    path: &Path,
    threads: NonZeroUsize,
    current: &ById,
) -> Result<Settings<anyhow::Result<Draft>>, ConfigError> {
    config::load_each(path, &ProcessSurroundings, threads, &|id, tenant| {
        draft(id, &tenant.value, current)
    })
}

/// Drafts a tenant whose settings have been read.
fn draft(id: &str, tenant: &config::Tenant, current: &ById) -> anyhow::Result<Draft> {
    let earlier = current.get(id);
    let same = earlier.filter(|earlier| earlier.settings == tenant.fingerprint.bytes());
    Ok(Draft(if let Some(same) = same {
        Drafted::Same(Arc::clone(same))
    } else {
        let (tenant, limits) = without_limits(id, tenant)?;
        Drafted::New(Arc::new(tenant), limits)
    }))
}

/// The drafts of settings that have been read as a whole.
#[must_use]
pub fn drafts(tenants: &BTreeMap<String, Located<config::Tenant>>, current: &ById) -> Drafts {
    let tenants = tenants.iter();
    tenants
        .map(|(id, tenant)| (id.clone(), draft(id, &tenant.value, current)))
        .collect()
}

/// The tenants of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build(
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    counting: &Counting,
) -> anyhow::Result<Tenants> {
    let none = ById::new();
    Ok(renew(&none, drafts(tenants, &none), counting)?
        .tenants
        .into())
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
pub fn renew(current: &ById, drafts: Drafts, counting: &Counting) -> anyhow::Result<Renewed> {
    let mut renewed = Renewed {
        tenants: ById::with_capacity(drafts.len()),
        added: 0,
        changed: 0,
        removed: 0,
    };
    for (name, draft) in drafts {
        let named = || format!("the tenant {name:?}");
        let tenant = match draft.with_context(named)?.0 {
            Drafted::Same(same) => same,
            Drafted::New(mut tenant, said) => {
                let earlier = current.get(&tenant.id);
                // The draft has it alone.
                let new = Arc::get_mut(&mut tenant).with_context(named)?;
                let limits = limits::counted(said, Some(&new.id), counting).with_context(named)?;
                new.rules.limits = TenantLimits::new(limits);
                if let Some(earlier) = earlier {
                    renewed.changed += 1;
                    // What still holds of what is known from its earlier settings.
                    new.rules.limits.continue_from(&earlier.rules.limits);
                    new.session.continue_from(&earlier.session);
                } else {
                    renewed.added += 1;
                }
                tenant
            }
        };
        renewed.tenants.insert(tenant.id.clone(), tenant);
    }
    renewed.removed = current.len() + renewed.added - renewed.tenants.len();
    Ok(renewed)
}

/// One tenant of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build_one(id: &str, tenant: &config::Tenant, counting: &Counting) -> anyhow::Result<Tenant> {
    let (mut tenant, said) = without_limits(id, tenant)?;
    let limits = limits::counted(said, Some(&tenant.id), counting)?;
    tenant.rules.limits = TenantLimits::new(limits);
    Ok(tenant)
}

/// A tenant without its limits, and what they say.
fn without_limits(id: &str, tenant: &config::Tenant) -> anyhow::Result<(Tenant, Said)> {
    let id = TenantId::parse(id)?;
    let grants = Arc::new(grants(id.as_str(), tenant)?);
    let deny = denials(id.as_str(), tenant)?;
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
    let built = Tenant {
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
            limits: TenantLimits::default(),
            has_session_policy: tenant
                .credentials
                .role()
                .is_some_and(|role| role.policy_arns.is_none()),
        },
        session,
        buckets: build_buckets(tenant),
        settings: tenant.fingerprint.bytes(),
        id,
    };
    Ok((built, limits::said(&tenant.limits)?))
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
    buckets.fold(Buckets::at(home.shared()), |known, bucket| {
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
