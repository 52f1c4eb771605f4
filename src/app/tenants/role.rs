//! A tenant's role, and the session policies that its grants come to, from its settings.

use std::sync::Arc;
use std::time::Duration;

use super::grants::{denials, grants};
use super::seconds;
use crate::admit::grant::Grant;
use crate::config::{self, Located};
use crate::scope::identity::{Identity, OwnIdentity, SessionTag};
use crate::scope::session_policy::{self, SessionPolicyInput};
use crate::scope::{PolicyTerms, Role, SessionBounds, SessionPolicies, SessionScope, StsEndpoint};

/// A tenant's role, as whoever assumes it knows it.
///
/// # Errors
/// If a command or resource is not one.
pub fn build_role(id: &str, tenant: &config::Tenant, role: &config::Role) -> anyhow::Result<Role> {
    Ok(role_granted(
        id,
        tenant,
        role,
        &Arc::new(grants(id, tenant)?),
    ))
}

/// The same, of a tenant whose grants are known.
pub(super) fn role_granted(
    id: &str,
    tenant: &config::Tenant,
    role: &config::Role,
    grants: &Arc<Vec<Grant>>,
) -> Role {
    let identity = match &role.identity {
        config::Identity::AssumeRole(own) => Identity::Own(OwnIdentity {
            external_id: own.external_id.clone(),
            session_tags: own.session_tags.iter().map(session_tag).collect(),
            source_identity: own.source_identity.clone(),
        }),
        config::Identity::WebIdentity(web) => Identity::Web {
            token_file: web.token_file.clone(),
        },
    };
    let bounds = match &role.policy_arns {
        Some(arns) => SessionBounds::Managed(
            arns.value
                .iter()
                .map(|arn| arn.as_str().to_owned())
                .collect(),
        ),
        None => SessionBounds::Grants(session_policies(id, tenant, role, Arc::clone(grants))),
    };
    let url = role.sts_endpoint.as_ref();
    let sts = StsEndpoint {
        region: tenant.region.clone(),
        url: url.map(|url| url.as_str().to_owned()),
    };
    Role {
        arn: role.role_arn.value.as_str().to_owned(),
        identity,
        duration: seconds(role.duration.value),
        sts: sts.shared(),
        bounds,
        longest_expiry: longest_expiry(tenant),
    }
}

/// The longest that any URL of the tenant may live.
fn longest_expiry(tenant: &config::Tenant) -> Duration {
    let cap = |grant: &Located<config::Grant>| {
        let cap = grant.value.max_expiry.as_ref();
        cap.map_or(Duration::MAX, |cap| cap.value)
    };
    let longest = tenant.grants.iter().map(cap).max();
    longest.unwrap_or_default().min(tenant.expiry.max)
}

fn session_tag(tag: &config::SessionTag) -> SessionTag {
    SessionTag {
        key: tag.key.clone(),
        value: tag.value.clone(),
        transitive: tag.transitive,
    }
}

/// The session policies that a tenant's grants come to.
#[must_use]
pub fn session_policies(
    id: &str,
    tenant: &config::Tenant,
    role: &config::Role,
    grants: Arc<Vec<Grant>>,
) -> SessionPolicies {
    let scope = match tenant.session.scope {
        config::SessionScope::Tenant => SessionScope::Tenant,
        config::SessionScope::Bucket => SessionScope::Bucket,
        config::SessionScope::Object => SessionScope::Object,
    };
    let deny = tenant.session.deny.iter().flat_map(|deny| &deny.value);
    let partition = role.role_arn.value.partition();
    // What is not read is reported, and whatever is made of the tenant then is not used.
    let denials = denials(id, tenant).unwrap_or_default();
    let terms = PolicyTerms {
        kms_keys: kms_keys(tenant),
        partition: partition.to_owned(),
        signature_age: signature_age(tenant),
        deny: deny.map(config::DenyStatement::json).collect(),
        denials: Arc::new(denials),
    };
    SessionPolicies::new(grants, terms, scope)
}

pub(super) fn signature_age(tenant: &config::Tenant) -> Option<u32> {
    let age = tenant.session.signature_age.as_ref();
    age.map(|age| seconds(age.value))
}

/// The permissions that a tenant's role needs: what all the grants carry.
///
/// # Errors
/// If a command or resource is not one.
pub fn role_policy(
    id: &str,
    tenant: &config::Tenant,
    role: &config::Role,
) -> anyhow::Result<serde_json::Value> {
    let input = SessionPolicyInput {
        grants: &grants(id, tenant)?,
        kms_keys: &kms_keys(tenant),
        partition: role.role_arn.value.partition(),
        // What narrows a session besides its grants is the sessions' own.
        signature_age: None,
        deny: &[],
    };
    Ok(session_policy::role_policy(&input))
}

fn kms_keys(tenant: &config::Tenant) -> Vec<String> {
    let keys = tenant.kms_keys.iter();
    keys.map(|key| key.value.as_str().to_owned()).collect()
}
