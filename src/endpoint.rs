//! Where the URL points: S3's own endpoint rules, as aws-sdk-s3 carries them.
//!
//! The rules know regions, partitions, path style for dotted buckets and much more, and nobody should write them again. They are
//! asked once for each bucket and set of options; the answer is kept.

pub mod buckets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, Params, ResolveEndpoint};

use crate::sign::SigningEndpoint;
use crate::sign::command::Operation;

/// How many endpoints are kept: about half a kilobyte each.
const CAPACITY: u64 = 50_000;

/// Where a tenant's buckets are.
#[derive(Debug)]
pub struct TenantEndpoint {
    id: u64,
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// A store of its own; `None`: AWS.
    pub url: Option<String>,
    /// Whether the bucket goes into the path rather than the host.
    pub path_style: bool,
}

impl TenantEndpoint {
    /// Buckets in this region of AWS, or of the store at `url`.
    #[must_use]
    pub fn new(region: String, url: Option<String>, path_style: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            region,
            url,
            path_style,
        }
    }
}

/// S3's endpoint rules have no endpoint for the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("S3 has no endpoint for this: {detail}")]
pub struct NoEndpoint {
    /// What the rules say.
    pub detail: String,
}

/// Finds endpoints, and keeps them.
#[derive(Debug)]
pub struct Endpoints {
    resolver: DefaultResolver,
    known: moka::sync::Cache<Key, Arc<SigningEndpoint>>,
}

/// Everything that the rules look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant_endpoint: u64,
    bucket: Option<Box<str>>,
    parameters: &'static [&'static str],
}

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            resolver: DefaultResolver::new(),
            known: moka::sync::Cache::new(CAPACITY),
        }
    }
}

impl Endpoints {
    /// The endpoint for an operation on a bucket of the tenant.
    ///
    /// # Errors
    /// If S3's rules refuse the combination.
    pub async fn resolve(
        &self,
        tenant: &TenantEndpoint,
        operation: &'static Operation,
        bucket: Option<&str>,
    ) -> Result<Arc<SigningEndpoint>, NoEndpoint> {
        let key = Key {
            tenant_endpoint: tenant.id,
            bucket: bucket.map(Into::into),
            parameters: operation.endpoint_parameters,
        };
        if let Some(endpoint) = self.known.get(&key) {
            return Ok(endpoint);
        }
        let refused = |detail: String| NoEndpoint { detail };
        let params = params(tenant, operation, bucket).map_err(|e| refused(e.to_string()))?;
        let resolved = ResolveEndpoint::resolve_endpoint(&self.resolver, &params)
            .await
            .map_err(|e| refused(e.to_string()))?;
        let endpoint = Arc::new(read(&resolved, &tenant.region)?);
        self.known.insert(key, Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

fn params(
    tenant: &TenantEndpoint,
    operation: &Operation,
    bucket: Option<&str>,
) -> Result<Params, aws_sdk_s3::config::endpoint::InvalidParams> {
    let mut params = Params::builder()
        .region(tenant.region.as_str())
        .set_endpoint(tenant.url.clone())
        .set_bucket(bucket.map(str::to_owned))
        .force_path_style(tenant.path_style)
        .use_arn_region(false)
        // Presigned requests carry the credentials themselves, never those of a CreateSession.
        .disable_s3_express_session_auth(true);
    for parameter in operation.endpoint_parameters {
        params = match *parameter {
            "DisableAccessPoints" => params.disable_access_points(true),
            "UseS3ExpressControlEndpoint" => params.use_s3_express_control_endpoint(true),
            "UseObjectLambdaEndpoint" => params.use_object_lambda_endpoint(true),
            // Set for all, above.
            _ => params,
        };
    }
    params.build()
}

fn read(resolved: &Endpoint, region: &str) -> Result<SigningEndpoint, NoEndpoint> {
    let unreadable = || NoEndpoint {
        detail: format!("the endpoint {:?} is not a URL", resolved.url()),
    };
    let (scheme, rest) = resolved.url().split_once("://").ok_or_else(unreadable)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // Clients leave a scheme's own port out of the Host header, which is signed.
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = authority.strip_suffix(default_port).unwrap_or(authority);
    let base_path = match path.trim_end_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    };
    let scheme_of = resolved.auth_schemes().first();
    if let Some(scheme) = scheme_of.filter(|scheme| scheme.name() != "sigv4") {
        return Err(NoEndpoint {
            detail: format!(
                "it would have to be signed by {}, which presignd does not do",
                scheme.name()
            ),
        });
    }
    let property = |name: &str| {
        scheme_of
            .and_then(|s| s.get(name))
            .and_then(|v| v.as_string())
    };
    Ok(SigningEndpoint {
        origin: format!("{scheme}://{host}"),
        host: host.to_owned(),
        base_path,
        region: property("signingRegion").unwrap_or(region).to_owned(),
        service: property("signingName").unwrap_or("s3").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::operations::operation;

    async fn resolve(
        url: Option<&str>,
        path_style: bool,
        name: &str,
        bucket: Option<&str>,
    ) -> SigningEndpoint {
        let tenant = TenantEndpoint::new("eu-west-1".into(), url.map(Into::into), path_style);
        let endpoints = Endpoints::default();
        let first = endpoints
            .resolve(&tenant, operation(name).unwrap(), bucket)
            .await
            .unwrap();
        let again = endpoints
            .resolve(&tenant, operation(name).unwrap(), bucket)
            .await
            .unwrap();
        assert!(
            Arc::ptr_eq(&first, &again),
            "the second answer is the kept one"
        );
        (*first).clone()
    }

    #[tokio::test]
    async fn buckets_go_where_s3_expects_them() {
        let local = Some("http://127.0.0.1:9000");
        let cases = [
            (
                None,
                false,
                "GetObject",
                Some("acme"),
                "https://acme.s3.eu-west-1.amazonaws.com",
                "",
            ),
            (
                None,
                true,
                "GetObject",
                Some("acme"),
                "https://s3.eu-west-1.amazonaws.com",
                "/acme",
            ),
            (
                None,
                false,
                "GetObject",
                Some("a.b.c"),
                "https://s3.eu-west-1.amazonaws.com",
                "/a.b.c",
            ),
            (
                None,
                false,
                "ListBuckets",
                None,
                "https://s3.eu-west-1.amazonaws.com",
                "",
            ),
            (
                local,
                true,
                "GetObject",
                Some("acme"),
                "http://127.0.0.1:9000",
                "/acme",
            ),
            (
                Some("https://store.example"),
                false,
                "GetObject",
                Some("acme"),
                "https://acme.store.example",
                "",
            ),
            (
                Some("https://store.example:443"),
                true,
                "GetObject",
                Some("acme"),
                "https://store.example",
                "/acme",
            ),
            (
                Some("http://store.example:80"),
                true,
                "ListBuckets",
                None,
                "http://store.example",
                "",
            ),
            (
                Some("https://store.example:8443"),
                true,
                "PutObject",
                Some("acme"),
                "https://store.example:8443",
                "/acme",
            ),
        ];
        for (url, path_style, name, bucket, origin, base_path) in cases {
            let endpoint = resolve(url, path_style, name, bucket).await;
            let case = format!("{name} on {bucket:?} at {url:?}, path style {path_style}");
            assert_eq!(
                (endpoint.origin.as_str(), endpoint.base_path.as_str()),
                (origin, base_path),
                "{case}"
            );
            assert_eq!(
                (endpoint.region.as_str(), endpoint.service.as_str()),
                ("eu-west-1", "s3"),
                "{case}"
            );
            assert_eq!(
                endpoint.origin.split_once("://").unwrap().1,
                endpoint.host,
                "{case}"
            );
        }
    }

    #[tokio::test]
    async fn operations_with_an_endpoint_of_their_own_get_it() {
        let endpoint = resolve(None, false, "WriteGetObjectResponse", None).await;
        assert_eq!(endpoint.host, "s3-object-lambda.eu-west-1.amazonaws.com");
        assert_eq!(endpoint.service, "s3-object-lambda");
        let endpoint = resolve(None, false, "GetObject", Some("acme--euw1-az1--x-s3")).await;
        assert_eq!(endpoint.service, "s3express");
    }

    #[tokio::test]
    async fn two_tenants_never_share_an_endpoint() {
        let endpoints = Endpoints::default();
        let get = operation("GetObject").unwrap();
        let aws = TenantEndpoint::new("eu-west-1".into(), None, false);
        let store = TenantEndpoint::new(
            "eu-west-1".into(),
            Some("http://127.0.0.1:9000".into()),
            true,
        );
        let a = endpoints.resolve(&aws, get, Some("files")).await.unwrap();
        let b = endpoints.resolve(&store, get, Some("files")).await.unwrap();
        assert_ne!(a.host, b.host);
    }
}
