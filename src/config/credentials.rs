//! `tenants.*.credentials`: with whose rights a tenant's URLs are signed.
//!
//! Invariant: exactly one source. No secret of this section appears in a message or in `Debug` output.

use secrecy::SecretString;

use super::reader::Reader;
use super::role::{Role, assume_role, web_identity};
use super::secret::{Alphabet, secret, secret_or_text};
use super::suggestion::alternatives;
use super::tree::Node;

/// Where a tenant's credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Sessions of a role.
    Role(Box<Role>),
    /// Long-lived keys, for stores without STS: what limits them is the store alone.
    Static(StaticCredentials),
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

const SOURCES: [&str; 3] = ["assume_role", "web_identity", "static"];

impl Credentials {
    /// The role, unless the credentials are static.
    pub fn role(&self) -> Option<&Role> {
        match self {
            Self::Role(role) => Some(role),
            Self::Static(_) => None,
        }
    }
}

pub(super) fn credentials(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Credentials> {
    let mut section = reader.section(node)?.guarded();
    let at = section.at();
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.has(key)).collect();
    let assumed = section.optional("assume_role", assume_role);
    let web = section.optional("web_identity", web_identity);
    let keys = section.optional("static", static_credentials);
    section.finish();
    if let [one, other, rest @ ..] = &given[..] {
        let (both, remove) = if rest.is_empty() {
            (format!("both `{one}` and `{other}`"), "remove one")
        } else {
            (
                alternatives(&given).replace(" or ", " and "),
                "remove all but one",
            )
        };
        reader.mistake(at, format!("holds {both}: {remove}"));
        return None;
    }
    match (assumed?, web?, keys?) {
        (Some(role), ..) | (_, Some(role), _) => Some(Credentials::Role(Box::new(role))),
        (.., Some(keys)) => Some(Credentials::Static(keys)),
        (None, None, None) => {
            let message = format!("names no source: add {}", alternatives(&SOURCES));
            reader.mistake(at, message);
            None
        }
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
