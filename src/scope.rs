//! Whose permissions the URL carries: a session of the tenant's own role, narrowed to its grants.
//!
//! Takes an [`Admitted`] and gives [`ScopedCredentials`]; nothing is signed without them. Invariant: a session is only ever used
//! for the tenant and the caller whose names are in it.

pub mod at_hand;
mod breaker;
pub mod breakers;
mod cache;
mod calls;
pub mod clock_skew;
mod fit;
mod flight;
pub mod identity;
pub mod preview;
mod refresh;
mod role;
pub mod session_name;
pub mod session_policy;
pub mod sts;
pub mod trust_policy;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;

use self::cache::{Need, SessionCache};
use self::calls::TenantCalls;
pub use self::calls::{CallLimit, MOST_OF_TENANT};
use self::clock_skew::{ClockSkewed, ClockSkews};
use self::identity::{Identity, TrustRights};
pub use self::role::{
    PolicyTerms, PolicyTooLong, Role, SessionBounds, SessionPolicies, SessionPolicy, SessionScope,
};
use crate::admit::Admitted;
use crate::admit::expiry::{BeyondSession, Expiry};
use crate::admit::quota::Named;
use crate::authenticate::Caller;
use crate::clock::SharedClock;
use crate::names::TenantId;
use crate::sign::Credentials;
use crate::sign::command::BoundCommand;

/// A future that can be boxed in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Signing takes a moment, and clocks differ a little: what a session must outlast the URL by.
const MARGIN: Duration = Duration::from_secs(2);
/// STS rounds a session's end, and an answer takes its time: what a new session may lack of its duration, at most, and as a part of it.
const LACKING: Duration = Duration::from_secs(5);
const LACKING_PART: u32 = 60;
/// When to try again what depends on STS, where nothing more is known.
const RETRY_LATER: Duration = Duration::from_secs(1);
/// How many STS endpoints are asked for the time at once.
const ASKED_AT_ONCE: usize = 8;
/// How often clocks are looked at without anybody calling STS.
const LOOK_AT_CLOCKS: Duration = Duration::from_secs(1);
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
    /// The calls from the first on: idle tenants have none.
    Role(Box<Role>, OnceLock<Arc<TenantCalls>>),
    Static(Arc<Session>),
}

/// A session of a tenant.
#[derive(Debug)]
pub struct Session {
    credentials: Credentials,
    name: Arc<str>,
    /// How long it lasts from its beginning.
    life: Duration,
    /// From 0 to 1: what makes it renewed at another time than others.
    jitter: f64,
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

impl fmt::Display for StsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            Some(url) => f.write_str(url),
            None => write!(f, "sts.{}", self.region),
        }
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

    /// Has an endpoint say what time it is there, if it ever does: whoever measures clocks hears of it.
    fn ask_the_time<'a>(&'a self, _endpoint: &'a StsEndpoint) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// There are no credentials to sign with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScopeError {
    /// STS cannot be reached, is overloaded or broken: later it may work.
    #[error("STS is not available: {detail}")]
    Unavailable {
        /// For the operator.
        detail: Arc<str>,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// STS does not let presignd have the role: somebody has to mend the role or the configuration.
    #[error("the role refuses presignd: {detail}")]
    Refused {
        /// For the operator.
        detail: Arc<str>,
        /// What the call asked for besides the role: the trust policy may not allow it.
        needs: TrustRights,
        /// For how long the refusal is remembered: STS is not asked again before.
        asked_again_in: Duration,
    },
    /// As many calls as the tenant may have are under way, and enough wait.
    #[error(
        "the limit {:?} has as many calls of STS under way as it allows: a session that is known goes on, and a new one has to wait",
        limit.name
    )]
    CallsFull {
        /// Which.
        limit: Named,
    },
    /// STS takes no policy for this request.
    #[error(transparent)]
    PolicyTooLong(#[from] PolicyTooLong),
    /// Nothing can be signed by this machine's clock.
    #[error(transparent)]
    ClockSkewed(#[from] ClockSkewed),
    /// No session of the tenant lasts so long.
    #[error(transparent)]
    BeyondSession(#[from] BeyondSession),
}

impl ScopeError {
    /// STS does not do its part, for this reason.
    fn unavailable(detail: impl Into<Arc<str>>) -> Self {
        Self::Unavailable {
            detail: detail.into(),
            retry_after: RETRY_LATER,
        }
    }

    /// The same, with what is known of when to try again.
    fn retried_in(self, known: Option<Duration>) -> Self {
        match (self, known) {
            (Self::Unavailable { detail, .. }, Some(retry_after)) => Self::Unavailable {
                detail,
                retry_after,
            },
            (error, _) => error,
        }
    }

    /// The same; a refusal with how long it is remembered.
    fn asked_again_in(self, left: Duration) -> Self {
        match self {
            Self::Refused { detail, needs, .. } => Self::Refused {
                detail,
                needs,
                asked_again_in: left,
            },
            error => error,
        }
    }

    /// The same, to be tried again somewhat later, by as much as `jitter` says, from 0 to 1: those who hear it together must not all come
    /// back together.
    fn spread(self, jitter: f64) -> Self {
        match self {
            Self::Unavailable {
                detail,
                retry_after,
            } => Self::Unavailable {
                detail,
                retry_after: (retry_after + RETRY_LATER / 10).mul_f64(1.0 + jitter / 2.0),
            },
            error => error,
        }
    }
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
    sts: Arc<dyn AssumeRole>,
    cache: SessionCache,
    skews: Arc<ClockSkews>,
    clock: SharedClock,
}

impl Scoper {
    /// Credentials from this STS, whose answers are measured there.
    #[must_use]
    pub fn new(sts: Arc<dyn AssumeRole>, skews: Arc<ClockSkews>, clock: SharedClock) -> Self {
        Self {
            cache: SessionCache::new(Arc::clone(&sts), Arc::clone(&clock)),
            sts,
            skews,
            clock,
        }
    }

    /// Looks at the clocks from time to time, and asks those STS endpoints for the time whose clocks are too far from this machine's, until
    /// they agree again. Never ends.
    pub async fn watch_clocks(&self) {
        loop {
            tokio::time::sleep(LOOK_AT_CLOCKS).await;
            let due = self.skews.to_ask();
            stream::iter(&due)
                .for_each_concurrent(ASKED_AT_ONCE, |endpoint| self.sts.ask_the_time(endpoint))
                .await;
        }
    }

    /// How many sessions are kept.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.cache.len()
    }

    /// How far the clock of an STS is from this machine's at the most, in milliseconds.
    #[must_use]
    pub fn furthest_clock(&self) -> u64 {
        let known = self.skews.known();
        let sizes = known.iter().map(|(_, skew)| skew.size().as_millis());
        sizes
            .max()
            .map_or(0, |most| u64::try_from(most).unwrap_or(u64::MAX))
    }

    /// Whether this machine's clock can be trusted; see [`ClockSkews::agreement`].
    #[must_use]
    pub fn clocks_agree(&self) -> watch::Receiver<bool> {
        self.skews.agreement()
    }

    /// Credentials for commands on one bucket that were admitted together; mostly for one.
    ///
    /// # Errors
    /// If STS gives no session, or none that lasts long enough.
    pub async fn scope(
        &self,
        admitted: &Admitted,
        caller: &Caller,
        tenant: &TenantSession,
        commands: &[&BoundCommand<'_>],
    ) -> Result<ScopedCredentials, ScopeError> {
        let (name, source_ip) = (caller.name(), admitted.source_ip());
        let narrowed = |role: &Role| role.narrowed_for(name, commands, source_ip);
        self.narrowed(admitted, caller, tenant, narrowed).await
    }

    /// Credentials for the same, to be used by presignd itself and for no URL that leaves it: they hold wherever it is.
    ///
    /// # Errors
    /// If STS gives no session, or none that lasts long enough.
    pub async fn scope_for_own_use(
        &self,
        admitted: &Admitted,
        caller: &Caller,
        tenant: &TenantSession,
        commands: &[&BoundCommand<'_>],
    ) -> Result<ScopedCredentials, ScopeError> {
        let (name, source_ip) = (caller.name(), admitted.source_ip());
        let narrowed = |role: &Role| role.narrowed_for_own_use(name, commands, source_ip);
        self.narrowed(admitted, caller, tenant, narrowed).await
    }

    async fn narrowed(
        &self,
        admitted: &Admitted,
        caller: &Caller,
        tenant: &TenantSession,
        narrowed: impl FnOnce(&Role) -> Result<NarrowedTo, PolicyTooLong>,
    ) -> Result<ScopedCredentials, ScopeError> {
        let (role, calls) = match &tenant.source {
            Source::Static(session) => {
                return Ok(ScopedCredentials {
                    session: Arc::clone(session),
                });
            }
            Source::Role(role, calls) => (role, calls.get_or_init(Arc::default)),
        };
        let clock = calls.clock(&self.skews, &role.sts);
        self.skews.check(clock)?;
        let narrowed_to = narrowed(role)?;
        let need = need(admitted.expiry(), role, !narrowed_to.of_one_request())?;
        let key = SessionKey {
            role: role.digest(&tenant.tenant, &narrowed_to),
            caller: caller.name().into(),
            of_one_request: narrowed_to.of_one_request(),
        };
        let call = || role.call(&tenant.tenant, caller.name(), narrowed_to);
        let session = self
            .cache
            .session(key, &tenant.tenant, need, calls, call)
            .await;
        // The call may have told, and a clock that is far off explains much that STS says.
        self.skews.check(clock)?;
        let session = session.map_err(|error| error.spread(fastrand::f64()))?;
        if need.or_else.is_none() && session.life < need.at_least {
            // A new one would be no better: what this one has left is not the point.
            return Err(beyond(admitted.expiry(), session.life).into());
        }
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
/// for every request whose expiry is near the session's own. A session that is not asked for again is not `renewed` ahead of need.
fn need(expiry: Expiry, role: &Role, renewed: bool) -> Result<Need, BeyondSession> {
    let ahead_for = renewed.then_some(role.longest_expiry);
    if expiry.may_shorten {
        let wanted = expiry.seconds.min(role.duration / 2);
        let at_least = Duration::from_secs(wanted.into()) + MARGIN;
        Ok(Need {
            at_least,
            or_else: Some(FALLBACK.min(at_least)),
            ahead_for,
        })
    } else {
        let at_least = Duration::from_secs(expiry.seconds.into()) + MARGIN;
        let sure = sure(role);
        if at_least <= sure {
            return Ok(Need {
                at_least,
                or_else: None,
                ahead_for,
            });
        }
        // No session of the role is sure to last so long: STS need not be asked.
        Err(beyond(expiry, sure))
    }
}

/// How long a new session of the role lasts at the least.
fn sure(role: &Role) -> Duration {
    let duration = Duration::from_secs(role.duration.into());
    duration.saturating_sub(LACKING.min(duration / LACKING_PART))
}

/// A session that lasts so long at the most cannot do what is asked.
fn beyond(expiry: Expiry, life: Duration) -> BeyondSession {
    let remaining = life.saturating_sub(MARGIN).as_secs();
    BeyondSession {
        asked: expiry.seconds,
        remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
    }
}

impl TenantSession {
    /// Credentials of a role of the tenant.
    #[must_use]
    pub fn assume_role(tenant: TenantId, role: Role) -> Self {
        Self {
            tenant,
            source: Source::Role(Box::new(role), OnceLock::new()),
        }
    }

    /// The same, with no more calls for the role at once than this.
    #[must_use]
    pub fn limited(mut self, limit: Option<CallLimit>) -> Self {
        if let (Source::Role(_, calls), Some(limit)) = (&mut self.source, limit) {
            *calls = Arc::new(TenantCalls::new(Some(limit))).into();
        }
        self
    }

    /// Goes on with what is known of calls for the same role from earlier settings: whether they fail, and how many are under way.
    #[must_use]
    pub fn continuing(mut self, earlier: &Self) -> Self {
        if let (Source::Role(role, calls), Source::Role(known, earlier)) =
            (&mut self.source, &earlier.source)
            && role.arn == known.arn
            && role.sts == known.sts
            && limit_of(calls) == limit_of(earlier)
        {
            // Whatever is still under way for the earlier settings calls by the same.
            *calls = Arc::clone(earlier.get_or_init(Arc::default)).into();
        }
        self
    }

    /// Credentials that are the tenant's own. No session policy narrows them: only presignd's decision does.
    #[must_use]
    pub fn fixed(tenant: TenantId, credentials: Credentials) -> Self {
        let session = Session {
            credentials,
            name: "".into(),
            life: Duration::MAX,
            jitter: 0.0,
        };
        Self {
            tenant,
            source: Source::Static(Arc::new(session)),
        }
    }
}

fn limit_of(calls: &OnceLock<Arc<TenantCalls>>) -> Option<&CallLimit> {
    calls.get().and_then(|calls| calls.limit())
}

impl Session {
    /// A session that begins now.
    fn begun(credentials: Credentials, name: &str, now: SystemTime) -> Self {
        let mut session = Self {
            credentials,
            name: name.into(),
            life: Duration::ZERO,
            jitter: fastrand::f64(),
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

    /// Whether it is to be renewed, so that it does not become too short for the longest expiry.
    fn is_due(&self, longest: Duration, now: SystemTime) -> bool {
        let left = self.left(now).unwrap_or_default();
        refresh::is_due(left, self.life, longest, self.jitter)
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
