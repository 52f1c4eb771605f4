//! `session`: what narrows the sessions of a tenant's role, besides its grants.
//!
//! Invariant: what is given here goes into a session policy of presignd's; where there is none, it is a mistake.

use std::time::Duration;

use super::credentials::Credentials;
use super::deny::{DenyStatement, deny};
use super::expiry::EXPIRIES;
use super::grant::Grant;
use super::mistake::Located;
use super::reader::Reader;
use super::tree::Node;

/// `session`: what one session of the tenant's role may do.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// What its policy covers.
    pub scope: SessionScope,
    /// How old a signature may be where it is used, from 1 second to 7 days.
    pub signature_age: Option<Located<Duration>>,
    /// Statements that every policy has besides. Each denies.
    pub deny: Option<Located<Vec<DenyStatement>>>,
}

/// What a session's policy covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionScope {
    /// All of the tenant's grants.
    #[default]
    Tenant,
    /// The grants on the bucket of the command.
    Bucket,
    /// What the command needs.
    Object,
}

pub(super) fn session(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Located<Session>> {
    let mut section = reader.section(node)?;
    let at = section.at();
    let scope = section.or("scope", SessionScope::default(), |r, n| {
        r.choice(
            n,
            &[
                ("tenant", SessionScope::Tenant),
                ("bucket", SessionScope::Bucket),
                ("object", SessionScope::Object),
            ],
        )
    });
    let signature_age = section.optional("signature_age", |reader, node| {
        let age = reader.duration(node, &EXPIRIES)?;
        Some(reader.locate(node.at, age))
    });
    let deny = section.optional("deny", deny);
    section.finish();
    let session = Session {
        scope: scope?,
        signature_age: signature_age?,
        deny: deny?,
    };
    Some(reader.locate(at, session))
}

/// Refuses what only a session policy could hold, where these credentials have none.
pub(super) fn check_held(
    reader: &mut Reader<'_>,
    credentials: &Credentials,
    session: Option<&Located<Session>>,
    grants: &[Located<Grant>],
) {
    let role = match credentials {
        Credentials::Role(role) if role.policy_arns.is_none() => return,
        Credentials::Role(_) => true,
        Credentials::Static(_) => false,
    };
    if let Some(session) = session {
        let Session {
            scope,
            signature_age,
            deny,
        } = &session.value;
        if !role {
            let message = "`session` narrows the sessions of a role, and `credentials.static` has none: remove `session`";
            reader.mistake_in(session, message);
        } else if *scope != SessionScope::Tenant {
            let message = "`session.scope` is about the session policy that the grants come to, and with `policy_arns` there is \
                           none: remove one of the two";
            reader.mistake_in(session, message);
        }
        if let (true, Some(age)) = (role, signature_age) {
            let message = "`session.signature_age` is a condition of presignd's session policy, and with `policy_arns` there is none: \
                           remove it, and write `s3:signatureAge` into those policies";
            reader.mistake_in(age, message);
        }
        if let (true, Some(deny)) = (role, deny) {
            let message = "`session.deny` is a part of presignd's session policy, and with `policy_arns` there is none: remove it, and \
                           deny in those policies";
            reader.mistake_in(deny, message);
        }
    }
    let why = if role {
        "with `policy_arns` presignd sends none"
    } else {
        "`credentials.static` has none"
    };
    for source_ip in grants.iter().filter_map(|g| g.value.source_ip.as_ref()) {
        let message = format!(
            "`source_ip` is held by a session policy, and {why}, so the URLs would work from everywhere: remove it"
        );
        reader.mistake_in(source_ip, message);
    }
}

/// Warns of what compatible stores are known to make something else of than AWS.
pub(super) fn warn_of_stores(reader: &mut Reader<'_>, session: &Session) {
    if let Some(age) = &session.signature_age {
        let message = "not every store knows `s3:signatureAge`: one that does not, such as Ceph RGW, refuses every URL of this tenant. \
                       Try one before relying on it";
        reader.warn_in(age, message);
    }
    if let Some(deny) = &session.deny
        && deny.value.iter().any(DenyStatement::has_not_action)
    {
        let message = "not every store heeds `NotAction`: Ceph RGW 16 ignores such a statement. Name what is denied with `Action`";
        reader.warn_in(deny, message);
    }
}
