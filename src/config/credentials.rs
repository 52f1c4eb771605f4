//! `tenants.*.credentials`: with whose rights a tenant's URLs are signed.
//!
//! Invariant: exactly one source. No value of this section appears in a message or in `Debug` output, but for ARNs and URLs
//! that have been found good.

use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

use super::arn::{RoleArn, role_arn};
use super::mistake::Located;
use super::reader::Reader;
use super::secret::{Alphabet, secret, secret_or_text};
use super::tree::Node;
use super::url::{BaseUrl, base_url};

/// Where a tenant's credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A session of a role, narrowed to the tenant's grants.
    AssumeRole(AssumeRole),
    /// Long-lived keys, for stores without STS: what limits them is the store alone.
    Static(StaticCredentials),
}

/// `assume_role`: STS `AssumeRole`, called with presignd's own credentials.
#[derive(Debug, Clone)]
pub struct AssumeRole {
    /// The tenant's role.
    pub role_arn: Located<RoleArn>,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// How long a session lives, from 15 minutes to 12 hours.
    pub duration: Duration,
    /// The STS to ask; `None`: AWS's, in the tenant's region.
    pub sts_endpoint: Option<BaseUrl>,
}

/// `static`: keys as they are.
#[derive(Debug, Clone)]
pub struct StaticCredentials {
    /// The access key id.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// The life of a session where none is configured, STS's own default.
pub(super) const DURATION: Duration = Duration::from_hours(1);

/// What STS accepts.
const DURATIONS: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);

pub(super) fn credentials(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Credentials> {
    let mut section = reader.section(node)?.guarded();
    let at = section.at();
    let both = section.has("assume_role") && section.has("static");
    let role = section.optional("assume_role", assume_role);
    let keys = section.optional("static", static_credentials);
    section.finish();
    if both {
        reader.mistake(at, "holds both `assume_role` and `static`: remove one");
        return None;
    }
    match (role?, keys?) {
        (Some(role), _) => Some(Credentials::AssumeRole(role)),
        (None, Some(keys)) => Some(Credentials::Static(keys)),
        (None, None) => {
            reader.mistake(at, "names no source: add `assume_role` or `static`");
            None
        }
    }
}

fn assume_role(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<AssumeRole> {
    let mut section = reader.section(node)?.guarded();
    let role = section.required("role_arn", |reader, node| {
        let arn = reader.parsed(node, role_arn)?;
        Some(reader.locate(node.at, arn))
    });
    let external_id = section.optional("external_id", |r, n| r.parsed(n, external_id));
    let duration = section.or("duration", DURATION, |r, n| r.duration(n, &DURATIONS));
    let sts_endpoint = section.optional("sts_endpoint", |r, n| r.parsed(n, base_url));
    section.finish();
    Some(AssumeRole {
        role_arn: role?,
        external_id: external_id?,
        duration: duration?,
        sts_endpoint: sts_endpoint?,
    })
}

/// STS's rule for `ExternalId`.
fn external_id(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if (2..=1224).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("an external id is 2 to 1,224 letters, digits or `_+=,.@:/-`".to_owned())
    }
}

fn static_credentials(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<StaticCredentials> {
    let mut section = reader.section(node)?.guarded();
    let access_key_id = section.required("access_key_id", secret_or_text);
    let secret_access_key = section.required("secret_access_key", |r, n| {
        secret(r, n, Alphabet::Printable)
    });
    let session_token = section.optional("session_token", |r, n| secret(r, n, Alphabet::Visible));
    section.finish();
    Some(StaticCredentials {
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        session_token: session_token?,
    })
}
