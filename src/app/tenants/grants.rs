//! What a tenant may and may not, from its settings.

use super::seconds;
use crate::admit::content::{ContentRules, ResponseRule};
use crate::admit::deny::Denial;
use crate::admit::grant::{CommandSelector, Grant, Store, Terms};
use crate::admit::header::{HeaderRule, HeaderRules};
use crate::admit::media_type::MediaRange;
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::{self, SourceIps};
use crate::config::{self, Located};

/// A tenant's grants, as admission knows them.
///
/// # Errors
/// If a command or resource is not one.
pub fn grants(id: &str, tenant: &config::Tenant) -> anyhow::Result<Vec<Grant>> {
    let store = store(tenant);
    let grant = |grant: &Located<config::Grant>| -> anyhow::Result<Grant> {
        let resources = grant.value.resources.iter();
        Ok(Grant::new(
            selectors(&grant.value.commands)?,
            resources
                .map(|text| resource(id, tenant, &text.value))
                .collect::<anyhow::Result<_>>()?,
            terms(&grant.value)?,
            store,
        ))
    };
    let mut grants = Vec::with_capacity(tenant.grants.len());
    for one in &tenant.grants {
        grants.push(grant(one)?);
    }
    Ok(grants)
}

/// What a tenant is denied, as admission knows it.
///
/// # Errors
/// If a command or resource is not one.
pub fn denials(id: &str, tenant: &config::Tenant) -> anyhow::Result<Vec<Denial>> {
    let denial = |denial: &Located<config::Denial>| -> anyhow::Result<Denial> {
        let resources = denial.value.resources.iter();
        Ok(Denial::new(
            selectors(&denial.value.commands)?,
            resources
                .map(|text| resource(id, tenant, &text.value))
                .collect::<anyhow::Result<_>>()?,
            store(tenant),
        ))
    };
    tenant.deny.iter().map(denial).collect()
}

pub(super) fn store(tenant: &config::Tenant) -> Store {
    if tenant.endpoint.url.is_some() {
        Store::Compatible
    } else {
        Store::Aws
    }
}

/// A resource of a grant, in the bucket that its name stands for.
fn resource(id: &str, tenant: &config::Tenant, text: &str) -> anyhow::Result<ResourcePattern> {
    let pattern = ResourcePattern::of_tenant(text, id)?;
    let mut buckets = tenant.buckets.iter().map(|bucket| &bucket.value);
    let named = buckets.find(|bucket| pattern.bucket() == Some(&bucket.name));
    Ok(match named {
        Some(bucket) => pattern.in_bucket(&bucket.bucket),
        None => pattern,
    })
}

fn terms(grant: &config::Grant) -> anyhow::Result<Terms> {
    let ranges = |types: &[Located<String>]| -> anyhow::Result<Vec<MediaRange>> {
        let types = types.iter();
        types
            .map(|text| Ok(MediaRange::parse(&text.value)?))
            .collect()
    };
    let content = ContentRules {
        uploads: grant.content_types.as_deref().map(ranges).transpose()?,
        responses: match &grant.response_headers {
            config::ResponseHeaders::Inert => ResponseRule::Inert,
            config::ResponseHeaders::Types(types) => ResponseRule::Types(ranges(types)?),
            config::ResponseHeaders::Denied => ResponseRule::Nothing,
        },
    };
    let networks = grant.source_ip.iter().flat_map(|networks| &networks.value);
    let networks: Vec<_> = networks
        .map(|network| source_ip::parse(&network.value))
        .collect::<Result<_, _>>()?;
    Ok(Terms {
        max_expiry: grant.max_expiry.as_ref().map(|cap| seconds(cap.value)),
        max_upload: grant.max_upload,
        content,
        headers: grant
            .headers
            .as_ref()
            .map(|headers| Box::new(headers_of(&headers.value))),
        source_ip: SourceIps::of(networks),
        not_after: grant.not_after.as_ref().map(|end| end.value.time),
    })
}

fn headers_of(headers: &config::Headers) -> HeaderRules {
    let rule = |rule: &Option<config::HeaderRule>| {
        rule.as_ref().map(|rule| match rule {
            config::HeaderRule::Require(values) => HeaderRule::Require(values.clone()),
            config::HeaderRule::Allow(values) => HeaderRule::Allow(values.clone()),
            config::HeaderRule::Forbid => HeaderRule::Forbid,
        })
    };
    HeaderRules {
        server_side_encryption: rule(&headers.server_side_encryption),
        kms_keys: headers.kms_keys.clone(),
        acl: rule(&headers.acl),
        storage_class: rule(&headers.storage_class),
    }
}

pub(in crate::app) fn selectors(names: &[Located<String>]) -> anyhow::Result<Vec<CommandSelector>> {
    names
        .iter()
        .map(|name| Ok(CommandSelector::parse(&name.value)?))
        .collect()
}
