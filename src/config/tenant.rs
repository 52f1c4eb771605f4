//! One of `tenants`: for whom presignd signs.
//!
//! Invariant: what belongs to the sessions of a role is not given beside static credentials, and a role that AWS is to answer
//! for has an account of AWS.

use super::arn::{KmsKeyArn, kms_key_arn};
use super::buckets::{Bucket, buckets, warn_of_buckets};
use super::credentials::{Credentials, credentials};
use super::endpoint::{Endpoint, endpoint};
use super::expiry::{Expiry, WrittenExpiry, check_age, expiry, warn_of_expiry, warn_of_grants};
use super::fingerprint::Fingerprint;
use super::grant::{Denial, Grant, denial, grant};
use super::limit::{Limit, limits};
use super::mistake::{Located, Mark, quoted};
use super::reader::Reader;
use super::session::{Session, check_held, session, warn_of_stores};
use super::tree::Node;

/// One tenant.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The region of its buckets.
    pub region: String,
    /// Its store, and which of its endpoints.
    pub endpoint: Endpoint,
    /// Its buckets that have another name or place.
    pub buckets: Vec<Located<Bucket>>,
    /// With whose rights its URLs are signed.
    pub credentials: Credentials,
    /// How wide a session is.
    pub session: Session,
    /// How long its URLs live.
    pub expiry: Expiry,
    /// What it may do; without any, nothing.
    pub grants: Vec<Located<Grant>>,
    /// What it may not, whatever the grants say.
    pub deny: Vec<Located<Denial>>,
    /// How often it may.
    pub limits: Vec<Located<Limit>>,
    /// The KMS keys that its objects are encrypted with, each once.
    pub kms_keys: Vec<Located<KmsKeyArn>>,
    /// Tells these settings from others.
    pub fingerprint: Fingerprint,
}

/// Reads one tenant, named by its key.
pub(super) fn tenant(
    reader: &mut Reader<'_>,
    id_text: &str,
    id_at: Mark,
    node: &Node<'_>,
) -> Option<Located<Tenant>> {
    let mut print = None;
    let tenant = reader.fingerprinted(node, &mut print, |r, n| settings(r, id_text, id_at, n));
    let fingerprint = print?;
    let tenant = Tenant {
        fingerprint,
        ..tenant?
    };
    let tenant = reader.locate(id_at, tenant);
    let mistakes = reader.surroundings.tenant(id_text, &tenant);
    if mistakes.is_empty() {
        Some(tenant)
    } else {
        reader.report.mistakes.extend(mistakes);
        None
    }
}

/// Reads its settings; the fingerprint is that of none.
fn settings(
    reader: &mut Reader<'_>,
    id_text: &str,
    id_at: Mark,
    node: &Node<'_>,
) -> Option<Tenant> {
    let id = tenant_id(reader, id_text, id_at);
    let mut section = reader.section(node)?;
    let region = section.required("region", |r, n| r.parsed(n, region));
    let endpoint = section.or("endpoint", Endpoint::default(), endpoint);
    let buckets = section.or("buckets", Vec::new(), buckets);
    let credentials = section.required("credentials", credentials);
    let session = section.optional("session", session);
    let expiry = section.or("expiry", WrittenExpiry::default(), expiry);
    let grants = section.or("grants", Vec::new(), |r, n| r.list(n, grant));
    let deny = section.or("deny", Vec::new(), |r, n| r.list(n, denial));
    let limits = section.or("limits", Vec::new(), limits);
    let kms_keys = section.optional("kms_keys", kms_keys);
    section.finish();

    if let (Some(endpoint), Some(credentials)) = (&endpoint, &credentials) {
        check_account(reader, endpoint, credentials);
    }
    if let (Some(credentials), Some(session), Some(grants)) = (&credentials, &session, &grants) {
        check_held(reader, credentials, session.as_ref(), grants);
    }
    if let (Some(endpoint), Some(Some(session))) = (&endpoint, &session)
        && endpoint.url.is_some()
    {
        warn_of_stores(reader, &session.value);
    }
    if let (Some(Credentials::Static(_)), Some(Some(keys))) = (&credentials, &kms_keys) {
        let message =
            "`kms_keys` widens the session of a role, and `credentials.static` has none: remove it";
        reader.warn_in(keys, message);
    }
    let role = credentials.as_ref().and_then(Credentials::role);
    if role.is_some_and(|role| role.policy_arns.is_some())
        && let Some(Some(keys)) = &kms_keys
    {
        let message = "`kms_keys` are for the session policy that the grants come to, and with `policy_arns` there is none: \
                       remove it, and allow the keys in those policies";
        reader.warn_in(keys, message);
    }
    if let (Some(expiry), Some(credentials)) = (&expiry, &credentials) {
        warn_of_expiry(reader, expiry, credentials);
    }
    if let (Some(expiry), Some(Some(session))) = (&expiry, &session)
        && let Some(age) = &session.value.signature_age
    {
        check_age(reader, expiry, age);
    }
    if let (Some(expiry), Some(grants)) = (&expiry, &grants) {
        warn_of_grants(reader, expiry, grants);
    }
    if let (Some(buckets), Some(grants)) = (&buckets, &grants) {
        warn_of_buckets(reader, buckets, grants);
    }

    id?;
    Some(Tenant {
        region: region?,
        endpoint: endpoint?,
        buckets: buckets?,
        credentials: credentials?,
        session: session?.map_or_else(Session::default, |session| session.value),
        expiry: expiry?.effective,
        grants: grants?,
        deny: deny?,
        limits: limits?,
        kms_keys: kms_keys?.map_or_else(Vec::new, |keys| keys.value),
        fingerprint: Fingerprint::NONE,
    })
}

/// What a tenant's name is.
pub(super) const TENANT_NAME: &str =
    "1 to 63 lower-case letters, digits, `_` or `-`, the first a letter or a digit";

pub(super) fn is_tenant_name(id: &str) -> bool {
    let start = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let allowed = |b: u8| start(b) || b == b'_' || b == b'-';
    id.len() <= 63 && id.bytes().next().is_some_and(start) && id.bytes().all(allowed)
}

fn tenant_id(reader: &mut Reader<'_>, id: &str, at: Mark) -> Option<()> {
    let good = is_tenant_name(id);
    if !good {
        reader.mistake(
            at,
            format!("{} is not a tenant's name: {TENANT_NAME}", quoted(id)),
        );
    }
    good.then_some(())
}

pub(super) fn region(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    // A region is a label of AWS's host names.
    let edge = text.starts_with('-') || text.ends_with('-');
    if (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !edge {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not a region, such as `eu-west-1`: lower-case letters, digits and `-`",
            quoted(text)
        ))
    }
}

fn kms_keys(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Vec<Located<KmsKeyArn>>>> {
    let keys = reader.distinct(node, kms_key_arn)?;
    Some(reader.locate(node.at, keys))
}

/// AWS knows only accounts of twelve digits; stores such as Ceph know roles without one.
fn check_account(reader: &mut Reader<'_>, endpoint: &Endpoint, credentials: &Credentials) {
    if let Credentials::Role(role) = credentials
        && endpoint.url.is_none()
        && role.sts_endpoint.is_none()
        && !role.role_arn.value.has_aws_account()
    {
        let message = "the account of this ARN is not 12 digits, as AWS demands: correct it, or give `endpoint` and \
                       `sts_endpoint` if the store is not AWS";
        reader.mistake_in(&role.role_arn, message);
    }
}
