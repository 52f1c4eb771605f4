//! The page's surroundings: where it listens, whom it asks, and what it shows of a configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;

use crate::config::{Settings, Tenant};
use crate::dev::Sandbox;
use crate::dev::page::{Ask, Page, PageError, Place, Shown, ShownTenant, store};
use crate::grpc::client::{Client, ClientError};

/// Where the page listens where nothing else is said.
const USUAL_PORT: u16 = 8080;

/// The address asked for; else the usual one, or a free one.
pub(super) async fn place(asked: Option<SocketAddr>) -> Result<Place, PageError> {
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match asked {
        Some(address) => Place::take(address).await,
        None => match Place::take(here(USUAL_PORT)).await {
            Ok(place) => Ok(place),
            Err(_) => Place::take(here(0)).await,
        },
    }
}

/// The page's way to presignd: as any caller's.
pub(super) fn ask(client: Client) -> Ask {
    Arc::new(move |method, request| {
        let client = client.clone();
        Box::pin(async move {
            let answer = client.call(&method, &request).await;
            answer.map_err(|error| match error {
                ClientError::Refused(refused) => refused.json().clone(),
                other => json!({ "message": other.to_string() }),
            })
        })
    })
}

/// What the page shows of the sandbox.
pub(super) fn sandbox(sandbox: &Sandbox, grpc: &str) -> Shown {
    let tenants = sandbox.tenants().iter().map(|tenant| ShownTenant {
        tenant: tenant.tenant.clone(),
        bucket: tenant.bucket.clone(),
        prefix: String::new(),
    });
    Shown {
        sandbox: true,
        grpcurl: format!("-plaintext {grpc}"),
        tenants: tenants.collect(),
        stores: vec![sandbox.endpoint_url().to_owned()],
        cors: "The sandbox's buckets have these rules.".to_owned(),
    }
}

/// What the page shows of a configuration: every tenant that has a grant with a bucket in it.
pub(super) fn configured(settings: &Settings, grpc: &str) -> Shown {
    let tenants = settings.tenants.iter();
    let tenants: Vec<(&Tenant, ShownTenant)> = tenants
        .filter_map(|(id, tenant)| {
            let grants = tenant.value.grants.iter();
            let mut resources = grants.flat_map(|grant| &grant.value.resources);
            let (bucket, prefix) = resources.find_map(|resource| place_of(&resource.value))?;
            let shown = ShownTenant {
                tenant: id.clone(),
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            };
            Some((&tenant.value, shown))
        })
        .collect();
    let mut stores: Vec<String> = tenants
        .iter()
        .flat_map(|(tenant, _)| stores(tenant))
        .collect();
    stores.sort();
    stores.dedup();
    let plaintext = if settings.server.tls.is_none() {
        "-plaintext "
    } else {
        ""
    };
    Shown {
        sandbox: false,
        grpcurl: format!("{plaintext}{grpc}"),
        tenants: tenants.into_iter().map(|(_, shown)| shown).collect(),
        stores,
        cors: "Every bucket needs these rules; --set-cors puts them.".to_owned(),
    }
}

/// The bucket of a grant's resource, and how the keys begin that it covers.
fn place_of(resource: &str) -> Option<(&str, &str)> {
    let (bucket, keys) = resource.split_once('/')?;
    let prefix = keys.strip_suffix('*')?;
    (!bucket.contains(['*', ':'])).then_some((bucket, prefix))
}

/// Where a tenant's URLs lead.
fn stores(tenant: &Tenant) -> Vec<String> {
    let Some(url) = &tenant.endpoint.url else {
        let aws = ["https://*.amazonaws.com", "https://*.amazonaws.com.cn"];
        return aws.map(str::to_owned).to_vec();
    };
    let url = url.as_str();
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or_default();
    let mut stores = vec![format!("{scheme}://{host}")];
    if !tenant.endpoint.path_style {
        stores.push(format!("{scheme}://*.{host}"));
    }
    stores
}

/// A page that is about to be served.
pub(super) struct Served {
    pub(super) ask: Ask,
    pub(super) place: Place,
    pub(super) shown: Shown,
    pub(super) set_cors: bool,
}

impl Served {
    /// Sets CORS rules, if it is asked to, and serves the page.
    pub(super) async fn start(mut self) -> Page {
        let mut failed = Vec::new();
        if self.set_cors {
            for tenant in &self.shown.tenants {
                let put = store::put_cors(&self.ask, tenant, &self.place.origins()).await;
                if let Err(why) = put {
                    failed.push(format!(
                        "{} has no CORS rules for the page: {why}",
                        tenant.bucket
                    ));
                }
            }
            self.shown.cors = if failed.is_empty() {
                "The tenants' buckets have these rules.".to_owned()
            } else {
                failed.join(" ")
            };
        }
        for why in failed {
            eprintln!("presignd dev: {why}");
        }
        let url = self.place.url();
        let page = self.place.serve(&self.shown, self.ask);
        eprintln!("presignd dev: the page is at {url}");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_shown_where_it_may_write() {
        assert_eq!(place_of("acme-files/*"), Some(("acme-files", "")));
        assert_eq!(place_of("acme-files/in/*"), Some(("acme-files", "in/")));
        for resource in [
            "*",
            "acme-files",
            "acme-files/key",
            "acme-*/*",
            "arn:aws:s3:::a/*",
        ] {
            assert_eq!(place_of(resource), None, "{resource}");
        }
    }
}
