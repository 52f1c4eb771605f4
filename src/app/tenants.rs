//! A configured tenant, as what each room has to know of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use secrecy::ExposeSecret as _;

use crate::admit::TenantRules;
use crate::admit::expiry::TenantExpiry;
use crate::admit::grant::{CommandSelector, Grant, Store};
use crate::admit::limit::Limit;
use crate::admit::resource::ResourcePattern;
use crate::clock::SharedClock;
use crate::config::{self, Located, Mistake};
use crate::endpoint::TenantEndpoint;
use crate::names::TenantId;
use crate::scope::session_policy::MAX_SESSION_POLICY;
use crate::scope::{Role, SessionPolicies, SessionScope, StsEndpoint, TenantSession};
use crate::sign::Credentials;
use crate::tenant::{Tenant, Tenants};

/// The process's environment, and what this build of presignd knows of S3.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSurroundings;

impl config::Surroundings for ProcessSurroundings {
    fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn command(&self, name: &str) -> Result<(), String> {
        match CommandSelector::parse(name) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn resource(&self, text: &str) -> Result<(), String> {
        match ResourcePattern::parse(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tenant(&self, _id: &str, tenant: &Located<config::Tenant>) -> Vec<Mistake> {
        match (grants(&tenant.value), &tenant.value.credentials) {
            (Ok(grants), config::Credentials::AssumeRole(role)) => {
                session_policies(&tenant.value, role, Arc::new(grants))
                    .too_long()
                    .map(|(bucket, length)| tenant.mistake(too_long(bucket, length)))
                    .collect()
            }
            // Unknown commands and resources are reported where they stand, and static credentials have no session.
            _ => Vec::new(),
        }
    }
}

fn too_long(bucket: Option<&str>, length: usize) -> String {
    let (of, fix) = match bucket {
        Some(bucket) => (
            format!(" for the bucket {bucket:?}"),
            "grant fewer commands or resources on it",
        ),
        None => (
            String::new(),
            "grant fewer commands or resources, or set session.scope to bucket",
        ),
    };
    format!(
        "the session policy that the grants come to{of} has {length} characters, and STS takes {MAX_SESSION_POLICY}: {fix}"
    )
}

/// The tenants of a configuration that has been read.
///
/// # Errors
/// If a command or resource is not one: reading has reported those already.
pub fn build(
    tenants: &BTreeMap<String, Located<config::Tenant>>,
    clock: &SharedClock,
) -> anyhow::Result<Tenants> {
    tenants
        .iter()
        .map(|(id, tenant)| {
            build_one(id, &tenant.value, clock).with_context(|| format!("the tenant {id:?}"))
        })
        .collect()
}

fn build_one(id: &str, tenant: &config::Tenant, clock: &SharedClock) -> anyhow::Result<Tenant> {
    let id = TenantId::parse(id)?;
    let endpoint = tenant.endpoint.as_ref();
    let session = match &tenant.credentials {
        config::Credentials::AssumeRole(role) => {
            let policies = session_policies(tenant, role, Arc::new(grants(tenant)?));
            TenantSession::assume_role(id.clone(), build_role(tenant, role, policies))
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
            grants: grants(tenant)?,
            expiry: TenantExpiry {
                default: seconds(tenant.expiry.default),
                max: seconds(tenant.expiry.max),
            },
            limits: tenant
                .limits
                .iter()
                .map(|limit| build_limit(&limit.value, clock))
                .collect::<Result<_, _>>()?,
            has_session_policy: matches!(tenant.credentials, config::Credentials::AssumeRole(_)),
        },
        session,
        endpoint: TenantEndpoint::new(
            tenant.region.clone(),
            endpoint.map(|endpoint| endpoint.url.as_str().to_owned()),
            endpoint.is_some_and(|endpoint| endpoint.path_style),
        ),
        id,
    })
}

fn build_role(
    tenant: &config::Tenant,
    role: &config::AssumeRole,
    policies: SessionPolicies,
) -> Role {
    Role {
        arn: role.role_arn.value.as_str().to_owned(),
        external_id: role.external_id.clone(),
        duration: seconds(role.duration),
        sts: StsEndpoint {
            region: tenant.region.clone(),
            url: role
                .sts_endpoint
                .as_ref()
                .map(|url| url.as_str().to_owned()),
        },
        policies,
    }
}

/// The session policies that a tenant's grants come to.
#[must_use]
pub fn session_policies(
    tenant: &config::Tenant,
    role: &config::AssumeRole,
    grants: Arc<Vec<Grant>>,
) -> SessionPolicies {
    let kms_keys = tenant
        .kms_keys
        .iter()
        .map(|key| key.value.as_str().to_owned())
        .collect();
    let scope = match tenant.session.scope {
        config::SessionScope::Tenant => SessionScope::Tenant,
        config::SessionScope::Bucket => SessionScope::Bucket,
    };
    SessionPolicies::new(
        grants,
        kms_keys,
        role.role_arn.value.partition().to_owned(),
        scope,
    )
}

/// A tenant's grants, as admission knows them.
///
/// # Errors
/// If a command or resource is not one.
pub fn grants(tenant: &config::Tenant) -> anyhow::Result<Vec<Grant>> {
    let store = if tenant.endpoint.is_some() {
        Store::Compatible
    } else {
        Store::Aws
    };
    let grant = |grant: &Located<config::Grant>| -> anyhow::Result<Grant> {
        let resources = grant.value.resources.iter();
        Ok(Grant::new(
            selectors(&grant.value.commands)?,
            resources
                .map(|text| Ok(ResourcePattern::parse(&text.value)?))
                .collect::<anyhow::Result<_>>()?,
            grant
                .value
                .max_expiry
                .as_ref()
                .map(|expiry| seconds(expiry.value)),
            store,
        ))
    };
    tenant.grants.iter().map(grant).collect()
}

fn build_limit(limit: &config::Limit, clock: &SharedClock) -> anyhow::Result<Limit> {
    let commands = limit.commands.as_deref().unwrap_or_default();
    let interval = limit.rate.time_for(NonZeroU32::MIN);
    Limit::new(
        &limit.name,
        selectors(commands)?,
        interval,
        limit.burst,
        Arc::clone(clock),
    )
    .ok_or_else(|| anyhow!("the limit {:?} is faster than one a nanosecond", limit.name))
}

fn selectors(names: &[Located<String>]) -> anyhow::Result<Vec<CommandSelector>> {
    names
        .iter()
        .map(|name| Ok(CommandSelector::parse(&name.value)?))
        .collect()
}

/// Settings hold whole seconds of at most seven days, which fit.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
