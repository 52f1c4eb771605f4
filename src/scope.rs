//! Whose permissions the URL carries: a session of the tenant's own role, narrowed to its grants.
//!
//! Takes an [`Admitted`] and gives [`ScopedCredentials`]; nothing is signed without them. Invariant: a session is only ever used
//! for the tenant and the caller whose names are in it.

mod cache;
mod fit;
pub mod identity;
mod role;
pub mod session_name;
pub mod session_policy;
pub mod sts;
pub mod trust_policy;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::cache::{Need, SessionCache};
use self::identity::{Identity, TrustRights};
pub use self::role::{
    PolicyTerms, PolicyTooLong, Role, SessionBounds, SessionPolicies, SessionPolicy, SessionScope,
};
use crate::admit::{Admitted, expiry::BeyondSession};
use crate::authenticate::Caller;
use crate::clock::SharedClock;
use crate::names::TenantId;
use crate::sign::Credentials;
use crate::sign::command::BoundCommand;

/// A future that can be boxed in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Signing takes a moment, and clocks differ a little: what a session must outlast the URL by.
const MARGIN: Duration = Duration::from_secs(2);
/// The least that a URL without a wish of its own gets where STS cannot renew the session.
const FALLBACK: Duration = Duration::from_mins(1);

/// Where STS is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StsEndpoint {
    /// The region whose regional endpoint is called, and for which the call is signed.
    pub region: String,
    /// A store's own STS; `None`: AWS.
    pub url: Option<String>,
}

/// Where a tenant's credentials come from.
#[derive(Debug)]
pub struct TenantSession {
    tenant: TenantId,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Role(Box<Role>),
    Static(Arc<Session>),
}

/// A session of a tenant.
#[derive(Debug)]
pub struct Session {
    credentials: Credentials,
    name: Arc<str>,
    /// How long it lasts from its beginning.
    life: Duration,
}

/// What presignd asks of STS.
#[derive(Debug, Clone)]
pub struct AssumeRoleCall {
    /// Where.
    pub endpoint: StsEndpoint,
    /// The tenant's role.
    pub role_arn: String,
    /// As whom presignd comes, with the names of tenant and caller in it.
    pub identity: Identity,
    /// Tenant and caller, for AWS's own logs.
    pub session_name: String,
    /// For how long, in seconds.
    pub duration: u32,
    /// What the session is narrowed to.
    pub narrowed_to: NarrowedTo,
}

/// What a session is narrowed to.
#[derive(Debug, Clone)]
pub enum NarrowedTo {
    /// What this policy allows, which comes from grants.
    Policy(Arc<SessionPolicy>),
    /// What these managed policies allow, by their ARNs.
    Managed(Arc<[String]>),
}

/// What STS gave.
#[derive(Debug)]
pub struct Assumed {
    /// The session's credentials.
    pub credentials: Credentials,
    /// How much of the room for policies and tags is used up, in percent; stores other than AWS may not say.
    pub packed_policy_size: Option<u32>,
    /// How much of the longest session token this one uses up, in percent.
    pub session_token_utilization: Option<u32>,
}

impl NarrowedTo {
    /// Whether the session is good for one request alone, and for others that are the same.
    fn of_one_request(&self) -> bool {
        matches!(self, Self::Policy(policy) if policy.of_one_request)
    }
}

impl Assumed {
    /// How long the session still lasts.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Duration {
        let end = self.credentials.expires_at();
        end.map_or(Duration::MAX, |end| {
            end.duration_since(now).unwrap_or_default()
        })
    }
}

/// Calls AssumeRole.
pub trait AssumeRole: Send + Sync + fmt::Debug {
    /// A new session.
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Assumed, ScopeError>>;
}

/// There are no credentials to sign with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScopeError {
    /// STS cannot be reached, is overloaded or broken: later it may work.
    #[error("STS is not available: {detail}")]
    Unavailable {
        /// For the operator.
        detail: Arc<str>,
    },
    /// STS does not let presignd have the role: somebody has to mend the role or the configuration.
    #[error("the role refuses presignd: {detail}")]
    Refused {
        /// For the operator.
        detail: Arc<str>,
        /// What the call asked for besides the role: the trust policy may not allow it.
        needs: TrustRights,
    },
    /// STS takes no policy for this request.
    #[error(transparent)]
    PolicyTooLong(#[from] PolicyTooLong),
    /// No session of the tenant lasts so long.
    #[error(transparent)]
    BeyondSession(#[from] BeyondSession),
}

/// Everything that tells one AssumeRole call from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SessionKey {
    role: [u8; 32],
    caller: Box<str>,
    /// Whether the session is good for one request alone: such sessions are kept apart.
    of_one_request: bool,
}

/// Proof that credentials of the tenant are at hand.
#[derive(Debug)]
pub struct ScopedCredentials {
    session: Arc<Session>,
}

/// Hands out credentials.
#[derive(Debug)]
pub struct Scoper {
    cache: SessionCache,
    clock: SharedClock,
}

impl Scoper {
    /// Credentials from this STS.
    #[must_use]
    pub fn new(sts: Arc<dyn AssumeRole>, clock: SharedClock) -> Self {
        Self {
            cache: SessionCache::new(sts, Arc::clone(&clock)),
            clock,
        }
    }

    /// Credentials for a command that was admitted.
    ///
    /// # Errors
    /// If STS gives no session, or none that lasts long enough.
    pub async fn scope(
        &self,
        admitted: &Admitted,
        caller: &Caller,
        tenant: &TenantSession,
        command: &BoundCommand<'_>,
    ) -> Result<ScopedCredentials, ScopeError> {
        let role = match &tenant.source {
            Source::Static(session) => {
                return Ok(ScopedCredentials {
                    session: Arc::clone(session),
                });
            }
            Source::Role(role) => role,
        };
        let need = need(admitted, role.duration)?;
        let narrowed_to = role.narrowed_for(command, admitted.source_ip())?;
        let key = SessionKey {
            role: role.digest(&tenant.tenant, &narrowed_to),
            caller: caller.name().into(),
            of_one_request: narrowed_to.of_one_request(),
        };
        let call = || role.call(&tenant.tenant, caller.name(), narrowed_to);
        let session = self.cache.session(key, need, call).await?;
        Ok(ScopedCredentials { session })
    }

    /// What is left of the session that the credentials belong to. `None`: they do not end.
    #[must_use]
    pub fn left(&self, credentials: &ScopedCredentials) -> Option<Duration> {
        credentials.session.credentials.expires_at()?;
        Some(
            credentials
                .session
                .left(self.clock.now())
                .unwrap_or_default(),
        )
    }
}

/// How long the session must last. A request that does not insist takes a session with half its life, rather than have STS called
/// for every request whose expiry is near the session's own.
fn need(admitted: &Admitted, duration: u32) -> Result<Need, BeyondSession> {
    let expiry = admitted.expiry();
    if expiry.may_shorten {
        let wanted = expiry.seconds.min(duration / 2);
        let at_least = Duration::from_secs(wanted.into()) + MARGIN;
        Ok(Need {
            at_least,
            or_else: Some(FALLBACK.min(at_least)),
        })
    } else {
        let at_least = Duration::from_secs(expiry.seconds.into()) + MARGIN;
        let life = Duration::from_secs(duration.into());
        if at_least <= life {
            return Ok(Need {
                at_least,
                or_else: None,
            });
        }
        // No session of the role lasts so long: STS need not be asked.
        let remaining = life.saturating_sub(MARGIN).as_secs();
        Err(BeyondSession {
            asked: expiry.seconds,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
        })
    }
}

impl TenantSession {
    /// Credentials of a role of the tenant.
    #[must_use]
    pub fn assume_role(tenant: TenantId, role: Role) -> Self {
        Self {
            tenant,
            source: Source::Role(Box::new(role)),
        }
    }

    /// Credentials that are the tenant's own. No session policy narrows them: only presignd's decision does.
    #[must_use]
    pub fn fixed(tenant: TenantId, credentials: Credentials) -> Self {
        let session = Session {
            credentials,
            name: "".into(),
            life: Duration::MAX,
        };
        Self {
            tenant,
            source: Source::Static(Arc::new(session)),
        }
    }
}

impl Session {
    /// A session that begins now.
    fn begun(credentials: Credentials, name: &str, now: SystemTime) -> Self {
        let mut session = Self {
            credentials,
            name: name.into(),
            life: Duration::ZERO,
        };
        session.life = session.left(now).unwrap_or_default();
        session
    }

    /// Whether it lasts so long, or STS gives no longer ones: a role may allow less than is asked of it, and to ask again for each
    /// request would not help. What it is too short for is then refused, or shortened.
    fn covers(&self, need: Duration, now: SystemTime) -> bool {
        self.left(now)
            .is_some_and(|left| left >= need || (self.life < need && left >= self.life / 2))
    }

    /// What is left of it; `None` if it has ended. Credentials without an end have all the time there is.
    fn left(&self, now: SystemTime) -> Option<Duration> {
        match self.credentials.expires_at() {
            Some(end) => end.duration_since(now).ok(),
            None => Some(Duration::MAX),
        }
    }
}

impl ScopedCredentials {
    /// What to sign with.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.session.credentials
    }

    /// The role session name; `None` for static credentials.
    #[must_use]
    pub fn role_session_name(&self) -> Option<&str> {
        Some(&*self.session.name).filter(|name| !name.is_empty())
    }
}
