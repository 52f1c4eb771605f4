//! Where the URL points: S3's own endpoint rules, as aws-sdk-s3 carries them.
//!
//! The rules know regions, partitions, path style for dotted buckets, access points and much more, and nobody should write them again.
//! They are asked once for each bucket and set of options; the answer is kept, and looking it up allocates nothing.

pub mod buckets;
pub mod options;
mod refused;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::config::endpoint::{DefaultResolver, Endpoint, Params, ResolveEndpoint};
use equivalent::Equivalent;

use self::options::{Options, Variant, is_accelerated};
pub use self::refused::NoEndpoint;
use crate::admit::alike::Alike;
use crate::sign::command::Operation;
use crate::sign::{Algorithm, SigningEndpoint};

/// How many endpoints are kept: about half a kilobyte each.
const CAPACITY: u64 = 50_000;

/// Where a tenant's buckets are.
#[derive(Debug)]
pub struct TenantEndpoint {
    id: u64,
    /// The region that is signed for, such as `eu-west-1`.
    pub region: String,
    /// A store of its own; `None`: AWS.
    pub url: Option<String>,
    /// Whether the bucket goes into the path rather than the host.
    pub path_style: bool,
    /// What goes for requests that do not say.
    pub defaults: Defaults,
}

/// What goes for requests that do not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Which of S3's endpoints.
    pub variant: Variant,
    /// Whether an ARN of another region is signed for that region.
    pub use_arn_region: bool,
    /// Whether whoever asks pays, in buckets where they have to say so.
    pub requester_pays: bool,
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
            defaults: Defaults::default(),
        }
    }

    /// The same, there once for all tenants whose buckets are in the same place.
    #[must_use]
    pub fn shared(self) -> Arc<Self> {
        static ALIKE: Alike<TenantEndpoint> = Alike::new();
        ALIKE.shared(self)
    }

    /// The same with these defaults.
    #[must_use]
    pub fn by_default(mut self, defaults: Defaults) -> Self {
        self.defaults = defaults;
        self
    }
}

/// Whether buckets are in the same place by both, whichever was there first.
impl PartialEq for TenantEndpoint {
    fn eq(&self, other: &Self) -> bool {
        let what = |endpoint: &'_ Self| (endpoint.path_style, endpoint.defaults);
        self.region == other.region && self.url == other.url && what(self) == what(other)
    }
}

/// Finds endpoints, and keeps them.
#[derive(Debug)]
pub struct Endpoints {
    resolver: DefaultResolver,
    known: moka::sync::Cache<Key, Arc<SigningEndpoint>>,
}

/// Everything that the rules look at.
type Key = KeyOf<Box<str>>;

/// The same, with the bucket kept or borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct KeyOf<B> {
    tenant_endpoint: u64,
    bucket: Option<B>,
    parameters: &'static [&'static str],
    variant: Variant,
}

impl Equivalent<Key> for KeyOf<&str> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.borrowed()
    }
}

impl Key {
    fn borrowed(&self) -> KeyOf<&str> {
        KeyOf {
            tenant_endpoint: self.tenant_endpoint,
            bucket: self.bucket.as_deref(),
            parameters: self.parameters,
            variant: self.variant,
        }
    }
}

impl KeyOf<&str> {
    fn kept(&self) -> Key {
        KeyOf {
            tenant_endpoint: self.tenant_endpoint,
            bucket: self.bucket.map(Into::into),
            parameters: self.parameters,
            variant: self.variant,
        }
    }
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
    /// If S3's rules refuse the combination: the field at fault, relative to the command.
    pub async fn resolve(
        &self,
        tenant: &TenantEndpoint,
        operation: &'static Operation,
        bucket: Option<&str>,
        asked: Options,
    ) -> Result<Arc<SigningEndpoint>, NoEndpoint> {
        let variant = asked.or(tenant.defaults.variant, operation);
        let key = KeyOf {
            tenant_endpoint: tenant.id,
            bucket,
            parameters: operation.endpoint_parameters,
            variant,
        };
        if variant.accelerate && !is_accelerated(operation) {
            return Err(NoEndpoint::not_accelerated(operation.name));
        }
        if let Some(endpoint) = self.known.get(&key) {
            return Ok(endpoint);
        }
        let params = params(tenant, operation, bucket, variant)
            .map_err(|e| NoEndpoint::of_bucket(e.to_string()))?;
        let resolved = ResolveEndpoint::resolve_endpoint(&self.resolver, &params)
            .await
            .map_err(|e| NoEndpoint::said_by_rules(&e.to_string()))?;
        let endpoint = Arc::new(read(&resolved, &tenant.region)?);
        self.known.insert(key.kept(), Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

fn params(
    tenant: &TenantEndpoint,
    operation: &Operation,
    bucket: Option<&str>,
    variant: Variant,
) -> Result<Params, aws_sdk_s3::config::endpoint::InvalidParams> {
    let mut params = Params::builder()
        .region(tenant.region.as_str())
        .set_endpoint(tenant.url.clone())
        .set_bucket(bucket.map(str::to_owned))
        .force_path_style(tenant.path_style)
        .use_dual_stack(variant.dual_stack)
        .use_fips(variant.fips)
        .accelerate(variant.accelerate)
        .use_arn_region(tenant.defaults.use_arn_region)
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
    let unreadable = || {
        NoEndpoint::of_bucket(format!(
            "has an endpoint {:?} that is no URL",
            resolved.url()
        ))
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
    let schemes = resolved.auth_schemes();
    // Where either would do, one region is enough: it is by far the cheaper.
    let one_region = schemes.iter().find(|scheme| scheme.name() == "sigv4");
    let any_region = schemes.iter().find(|scheme| scheme.name() == "sigv4a");
    let Some(signed_by) = one_region.or(any_region).or(schemes.first()) else {
        return Err(NoEndpoint::of_bucket("has an endpoint without a signature"));
    };
    let property = |name: &str| signed_by.get(name).and_then(|value| value.as_string());
    let (algorithm, region) = match signed_by.name() {
        "sigv4" => (
            Algorithm::HmacSha256,
            property("signingRegion").unwrap_or(region).to_owned(),
        ),
        "sigv4a" => {
            let regions = signed_by.get("signingRegionSet").and_then(|v| v.as_array());
            let regions = regions.into_iter().flatten();
            let regions: Vec<&str> = regions.filter_map(|region| region.as_string()).collect();
            (Algorithm::EcdsaP256Sha256, regions.join(","))
        }
        other => {
            return Err(NoEndpoint::of_bucket(format!(
                "would have to be signed for by {other}, which presignd does not do"
            )));
        }
    };
    Ok(SigningEndpoint {
        origin: format!("{scheme}://{host}"),
        host: host.to_owned(),
        base_path,
        algorithm,
        region,
        service: property("signingName").unwrap_or("s3").to_owned(),
    })
}
