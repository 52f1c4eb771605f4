//! `endpoint`: which store a tenant's or a bucket's requests go to, and which of its endpoints.
//!
//! Invariant: what only AWS has is not asked of another store, and what excludes each other is not set together.

use super::mistake::Located;
use super::reader::Reader;
use super::tenant::region;
use super::tree::Node;
use super::url::{BaseUrl, base_url};

/// Where requests go.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// An S3-compatible store; `None`: AWS.
    pub url: Option<BaseUrl>,
    /// Whether buckets are named in the path rather than in the host.
    pub path_style: bool,
    /// The region that is signed for at `url`; `None`: the tenant's or the bucket's.
    pub signing_region: Option<String>,
    /// Whether URLs are for endpoints with IPv6, unless asked otherwise.
    pub dual_stack: bool,
    /// Whether they are for endpoints with FIPS 140 modules, unless asked otherwise.
    pub fips: bool,
    /// Whether they are for S3 Transfer Acceleration, unless asked otherwise.
    pub accelerate: bool,
    /// Whether an ARN of another region is signed for that region.
    pub use_arn_region: bool,
    /// Whether the tenant pays for requests, in buckets where requesters do, unless asked otherwise.
    pub requester_pays: bool,
}

pub(super) fn endpoint(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Endpoint> {
    let flag = |reader: &mut Reader<'_>, node: &Node<'_>| {
        let on = reader.boolean(node)?;
        Some(reader.locate(node.at, on))
    };
    let mut section = reader.section(node)?;
    let at = section.at();
    let url = section.optional("url", |r, n| r.parsed(n, base_url));
    let path_style = section.optional("path_style", flag);
    let signing_region = section.optional("signing_region", |r, n| {
        let region = r.parsed(n, region)?;
        Some(r.locate(n.at, region))
    });
    let dual_stack = section.optional("dual_stack", flag);
    let fips = section.optional("fips", flag);
    let accelerate = section.optional("accelerate", flag);
    let use_arn_region = section.optional("use_arn_region", flag);
    let requester_pays = section.optional("requester_pays", flag);
    section.finish();
    let url = url?;
    let signing_region = signing_region?;
    let [
        path_style,
        dual_stack,
        fips,
        accelerate,
        use_arn_region,
        requester_pays,
    ] = [
        path_style?,
        dual_stack?,
        fips?,
        accelerate?,
        use_arn_region?,
        requester_pays?,
    ];
    let flags = [
        &path_style,
        &dual_stack,
        &fips,
        &accelerate,
        &use_arn_region,
        &requester_pays,
    ];
    if url.is_none() && signing_region.is_none() && flags.iter().all(|flag| flag.is_none()) {
        let message = "says nothing: give `url` for a store that is not AWS or one of the other keys, or remove it";
        reader.mistake(at, message);
        return None;
    }
    let set = |flag: &Option<Located<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
    let mut adds_up = true;
    let mut refuse = |setting: &Option<Located<bool>>, wrong: bool, message: &str| {
        if let Some(setting) = setting.as_ref().filter(|setting| setting.value && wrong) {
            reader.mistake_in(setting, message);
            adds_up = false;
        }
    };
    let of_aws = "is for AWS, and `url` names another store: remove one of the two";
    for flag in [&dual_stack, &fips, &accelerate] {
        refuse(flag, url.is_some(), of_aws);
    }
    let with_fips = "S3 has no accelerated endpoints with FIPS: remove `accelerate` or `fips`";
    refuse(&accelerate, set(&fips), with_fips);
    let in_path = "needs buckets in the host's name: remove `accelerate` or `path_style`";
    refuse(&accelerate, set(&path_style), in_path);
    if let (None, Some(region)) = (&url, &signing_region) {
        let message = "is for a store at `url`: AWS is signed for in the `region` of the bucket";
        reader.mistake_in(region, message);
        adds_up = false;
    }
    adds_up.then(|| Endpoint {
        url,
        path_style: set(&path_style),
        signing_region: signing_region.map(|region| region.value),
        dual_stack: set(&dual_stack),
        fips: set(&fips),
        accelerate: set(&accelerate),
        use_arn_region: set(&use_arn_region),
        requester_pays: set(&requester_pays),
    })
}
