//! Whose permissions the URL carries: a session of the tenant's own role, narrowed to its grants.
//!
//! Takes an [`Admitted`] and gives [`ScopedCredentials`]; nothing is signed without them. Invariant: a session is only ever used
//! for the tenant and the caller whose names are in it.

mod cache;
pub mod session_name;
pub mod session_policy;
pub mod sts;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use self::cache::{Need, SessionCache};
use self::session_name::role_session_name;
use self::session_policy::{MAX_SESSION_POLICY, SessionPolicyInput, session_policy};
use crate::admit::grant::Grant;
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
const FALLBACK: Duration = Duration::from_secs(60);

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

/// A tenant's role, and what its sessions are narrowed to.
#[derive(Debug)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The secret handshake between the role and presignd, if it asks for one.
    pub external_id: Option<String>,
    /// How long a session lasts, in seconds.
    pub duration: u32,
    /// Where the session comes from.
    pub sts: StsEndpoint,
    /// What a session is good for.
    pub policies: SessionPolicies,
}

/// How much of a tenant's grants one session holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionScope {
    /// All of them.
    Tenant,
    /// Those on the buckets of the request.
    Bucket,
}

/// The session policies of a tenant.
#[derive(Debug)]
pub struct SessionPolicies {
    grants: Arc<Vec<Grant>>,
    kms_keys: Vec<String>,
    partition: String,
    scope: SessionScope,
    /// The policy for each set of buckets that one request can name alone; made once.
    known: HashMap<Option<String>, Arc<SessionPolicy>>,
}

/// A session policy, and a digest that stands for it.
#[derive(Debug)]
pub struct SessionPolicy {
    /// The policy's JSON.
    pub text: String,
    digest: [u8; 32],
}

/// A session of a tenant.
#[derive(Debug)]
pub struct Session {
    credentials: Credentials,
    name: Arc<str>,
}

/// What presignd asks of STS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRoleCall {
    /// Where.
    pub endpoint: StsEndpoint,
    /// The tenant's role.
    pub role_arn: String,
    /// The role's external id.
    pub external_id: Option<String>,
    /// Tenant and caller, for AWS's own logs.
    pub session_name: String,
    /// For how long, in seconds.
    pub duration: u32,
    /// What the session is narrowed to.
    pub policy: String,
}

/// Calls AssumeRole.
pub trait AssumeRole: Send + Sync + fmt::Debug {
    /// Credentials of a new session.
    fn assume_role<'a>(
        &'a self,
        call: &'a AssumeRoleCall,
    ) -> BoxFuture<'a, Result<Credentials, ScopeError>>;
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
    },
    /// No session of the tenant lasts so long.
    #[error(transparent)]
    BeyondSession(#[from] BeyondSession),
}

/// Everything that tells one AssumeRole call from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SessionKey {
    role: [u8; 32],
    caller: Box<str>,
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
        let policy = role.policies.policy_for(command);
        let key = SessionKey {
            role: role.digest(&tenant.tenant, &policy),
            caller: caller.name().into(),
        };
        let call = || AssumeRoleCall {
            endpoint: role.sts.clone(),
            role_arn: role.arn.clone(),
            external_id: role.external_id.clone(),
            session_name: role_session_name(&tenant.tenant, caller.name()),
            duration: role.duration,
            policy: policy.text.clone(),
        };
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
        // Even a new session is a moment old when it signs. To ask STS for one that cannot be enough would only cost a call
        // for every such request.
        let longest = Duration::from_secs(duration.into()).saturating_sub(MARGIN);
        let asked = Duration::from_secs(expiry.seconds.into());
        if asked > longest {
            return Err(BeyondSession {
                asked: expiry.seconds,
                remaining: u32::try_from(longest.as_secs()).unwrap_or(u32::MAX),
            });
        }
        Ok(Need {
            at_least: asked + MARGIN,
            or_else: None,
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
        };
        Self {
            tenant,
            source: Source::Static(Arc::new(session)),
        }
    }
}

impl Role {
    /// A digest of every parameter of the call but the caller's name.
    fn digest(&self, tenant: &TenantId, policy: &SessionPolicy) -> [u8; 32] {
        let mut digest = Sha256::new();
        let parts = [
            tenant.as_str(),
            &self.arn,
            self.external_id.as_deref().unwrap_or_default(),
            &self.sts.region,
            self.sts.url.as_deref().unwrap_or_default(),
        ];
        for part in parts {
            digest.update(part.len().to_le_bytes());
            digest.update(part.as_bytes());
        }
        digest.update(self.duration.to_le_bytes());
        digest.update(policy.digest);
        digest.finalize().into()
    }
}

impl SessionPolicies {
    /// The session policies for these grants.
    #[must_use]
    pub fn new(
        grants: Arc<Vec<Grant>>,
        kms_keys: Vec<String>,
        partition: String,
        scope: SessionScope,
    ) -> Self {
        let mut policies = Self {
            grants,
            kms_keys,
            partition,
            scope,
            known: HashMap::new(),
        };
        policies.known = match scope {
            SessionScope::Tenant => HashMap::from([(None, policies.make(None))]),
            SessionScope::Bucket => {
                let resources = policies.grants.iter().flat_map(Grant::resources);
                let buckets = resources.map(|r| r.bucket().map(str::to_owned));
                buckets
                    .map(|bucket| {
                        let policy = policies.make(Some(bucket.as_deref().as_slice()));
                        (bucket, policy)
                    })
                    .collect()
            }
        };
        policies
    }

    /// The lengths of the policies in characters, by the bucket that they are for.
    pub fn lengths(&self) -> BTreeMap<Option<&str>, usize> {
        self.known
            .iter()
            .map(|(bucket, policy)| (bucket.as_deref(), policy.text.len()))
            .collect()
    }

    /// Those that are too long for STS.
    pub fn too_long(&self) -> impl Iterator<Item = (Option<&str>, usize)> {
        self.lengths()
            .into_iter()
            .filter(|(_, length)| *length > MAX_SESSION_POLICY)
    }

    fn policy_for(&self, command: &BoundCommand<'_>) -> Arc<SessionPolicy> {
        let bucket = command.bucket;
        let source = command.reference.as_ref().map(|reference| reference.bucket);
        let key = match self.scope {
            SessionScope::Tenant => None,
            SessionScope::Bucket => bucket.map(str::to_owned),
        };
        match (self.known.get(&key), bucket, source, self.scope) {
            // A copy between buckets needs both in one session.
            (_, Some(bucket), Some(source), SessionScope::Bucket) if source != bucket => {
                self.make(Some(&[bucket, source]))
            }
            (Some(policy), ..) => Arc::clone(policy),
            (None, bucket, ..) => self.make(Some(bucket.as_slice())),
        }
    }

    fn make(&self, buckets: Option<&[&str]>) -> Arc<SessionPolicy> {
        let text = session_policy(&SessionPolicyInput {
            grants: &self.grants,
            buckets,
            kms_keys: &self.kms_keys,
            partition: &self.partition,
        });
        let digest = Sha256::digest(text.as_bytes()).into();
        Arc::new(SessionPolicy { text, digest })
    }
}

impl Session {
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
