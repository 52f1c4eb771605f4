//! The session that would sign, without asking anybody for it.
//!
//! Invariant: no call to STS begins here, and nothing leaves that could sign.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::session_name::role_session_name;
use super::{
    NarrowedTo, ScopeError, Scoper, SessionKey, Source, TenantSession, beyond, need, sure,
};
use crate::admit::Authorized;
use crate::authenticate::Caller;
use crate::sign::Credentials;
use crate::sign::command::BoundCommand;

/// The credentials that would sign.
#[derive(Debug)]
pub struct Preview {
    /// With no secret in them.
    pub credentials: Credentials,
    /// How long they would last; a new session, at the least. `None`: they do not end.
    pub left: Option<Duration>,
    /// The role, if they are a session's.
    pub role: Option<RolePreview>,
}

/// A role, and the session of it.
#[derive(Debug)]
pub struct RolePreview {
    /// The role's ARN.
    pub arn: String,
    /// The role session name.
    pub session_name: String,
    /// What the session is narrowed to.
    pub narrowed_to: NarrowedTo,
    /// When the session ends that is at hand. `None`: STS would be asked.
    pub cached_until: Option<SystemTime>,
}

impl Scoper {
    /// The credentials that would sign a command.
    ///
    /// # Errors
    /// What is known without STS to stand in the way.
    pub fn preview(
        &self,
        authorized: &Authorized,
        caller: &Caller,
        tenant: &TenantSession,
        command: &BoundCommand<'_>,
    ) -> Result<Preview, ScopeError> {
        let now = self.clock.now();
        let (role, calls) = match &tenant.source {
            Source::Static(session) => {
                let ends = session.credentials.expires_at();
                return Ok(Preview {
                    credentials: session.credentials.redacted(),
                    left: ends.map(|_| session.left(now).unwrap_or_default()),
                    role: None,
                });
            }
            Source::Role(role, calls) => (role, calls.get_or_init(Arc::default)),
        };
        self.skews.check(calls.clock(&self.skews, &role.sts))?;
        let narrowed_to = role.narrowed_for(caller.name(), &[command], authorized.source_ip())?;
        let need = need(authorized.expiry(), role, !narrowed_to.of_one_request())?;
        let key = SessionKey {
            role: role.digest(&tenant.tenant, &narrowed_to),
            caller: caller.name().into(),
            of_one_request: narrowed_to.of_one_request(),
        };
        let session = self.cache.known(&key, need.at_least, now);
        if let Some(session) = &session
            && need.or_else.is_none()
            && session.life < need.at_least
        {
            return Err(beyond(authorized.expiry(), session.life).into());
        }
        let session = session.as_ref();
        let left = session.map(|session| session.left(now).unwrap_or_default());
        Ok(Preview {
            credentials: session.map_or_else(Credentials::of_no_session_yet, |session| {
                session.credentials.redacted()
            }),
            left: Some(left.unwrap_or_else(|| sure(role))),
            role: Some(RolePreview {
                arn: role.arn.clone(),
                session_name: role_session_name(&tenant.tenant, caller.name()),
                narrowed_to,
                cached_until: session.and_then(|session| session.credentials.expires_at()),
            }),
        })
    }
}
