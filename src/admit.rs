//! May this be issued, for how long, and is there room for it?
//!
//! Deciding is pure and comes in two steps, because a batch is decided command by command and charged as one:
//! [`TenantRules::authorize`] holds a command against the grants and caps, and [`TenantRules::admit`] charges the limits. Invariant:
//! only `admit` makes an [`Admitted`], and nothing is signed without one.

mod carried;
pub mod content;
pub mod deny;
pub mod expiry;
pub mod explain;
pub mod grant;
pub mod held;
pub mod limit;
pub mod media_type;
pub mod policy;
pub mod quota;
pub mod resource;
pub mod source_ip;
pub mod upload;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use self::deny::Denial;
use self::expiry::{AboveCap, Asked, Expiry, TenantExpiry};
use self::grant::{Grant, standing};
use self::held::NotHeld;
use self::limit::{Limit, RateLimited};
use self::policy::{Called, Denied};
use self::source_ip::SourceIps;
use crate::sign::command::{BoundCommand, Operation};

/// What a tenant may do.
#[derive(Debug)]
pub struct TenantRules {
    /// What the tenant may ask for.
    pub grants: Arc<Vec<Grant>>,
    /// What it may not, whatever the grants say.
    pub deny: Vec<Denial>,
    /// For how long.
    pub expiry: TenantExpiry,
    /// How often.
    pub limits: Vec<Limit>,
    /// Whether a session policy bounds what is signed. It does not with static credentials.
    pub has_session_policy: bool,
}

/// What holds of a tenant's grants at some time.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Those that have not ended.
    pub grants: Cow<'a, [Grant]>,
    now: SystemTime,
}

/// A command that the grants and caps allow, not yet charged.
#[derive(Debug, Clone)]
pub struct Authorized {
    operation: &'static Operation,
    expiry: Expiry,
    source_ip: Option<SourceIps>,
}

/// Proof that a command was allowed and charged.
#[derive(Debug)]
pub struct Admitted {
    authorized: Authorized,
}

/// The command is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthorized {
    /// By the grants.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// By a cap on the expiry.
    #[error(transparent)]
    AboveCap(#[from] AboveCap),
    /// Nothing would hold it to the grant.
    #[error(
        "{command} carries its keys in the body, where only a session policy from the grants holds them to a prefix, and this tenant \
         has none: grant it on the whole bucket, or give the tenant a role without policy_arns"
    )]
    Unbounded {
        /// The command.
        command: &'static str,
    },
    /// No session policy would hold it to the grants.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// Nothing would hold it to the addresses.
    #[error(
        "no session policy of presignd's holds the URLs of this tenant to addresses: leave source_ip out, or give the tenant a role \
         without policy_arns"
    )]
    SourceIpNotHeld,
}

impl TenantRules {
    /// The grants that hold at this time.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing<'_> {
        Standing {
            grants: standing(&self.grants, now),
            now,
        }
    }

    /// Holds a command against the grants that stand, and the caps; `source_ip` are the only addresses that it is to work from.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn authorize(
        &self,
        standing: &Standing<'_>,
        command: &BoundCommand<'_>,
        called: Called<'_>,
        asked: Asked,
        source_ip: Option<&SourceIps>,
    ) -> Result<Authorized, NotAuthorized> {
        if source_ip.is_some() && !self.has_session_policy {
            return Err(NotAuthorized::SourceIpNotHeld);
        }
        deny::check(&self.deny, command, called)?;
        let Standing { grants, now } = standing;
        let allowed = policy::decide(grants, command, called, source_ip, *now)?;
        if allowed.bounded_by_session_only && !self.has_session_policy {
            return Err(NotAuthorized::Unbounded {
                command: command.operation.name,
            });
        }
        if self.has_session_policy {
            held::check(grants, command, source_ip)?;
        }
        let expiry = expiry::within_caps(asked, self.expiry, allowed.cap, *now)?;
        Ok(Authorized {
            operation: command.operation,
            expiry,
            source_ip: source_ip.cloned(),
        })
    }

    /// Charges the limits for a command.
    ///
    /// # Errors
    /// The limit that has no room.
    pub fn admit(&self, authorized: Authorized) -> Result<Admitted, RateLimited> {
        limit::take(&self.limits, &std::iter::once(authorized.operation))?;
        Ok(Admitted { authorized })
    }

    /// Charges the limits for commands that are signed together, each so many times. They live as long as the first of them to end.
    ///
    /// # Errors
    /// The limit that has no room.
    pub fn admit_together(
        &self,
        first: (Authorized, usize),
        others: Vec<(Authorized, usize)>,
    ) -> Result<Admitted, RateLimited> {
        let all = std::iter::once(&first).chain(&others);
        let operations = all.flat_map(|(a, count)| std::iter::repeat_n(a.operation, *count));
        limit::take(&self.limits, &operations)?;
        let mut authorized = first.0;
        for (other, _) in others {
            let ends = authorized
                .expiry
                .ends
                .into_iter()
                .chain(other.expiry.ends)
                .min();
            if other.expiry.seconds < authorized.expiry.seconds {
                authorized.expiry = other.expiry;
            }
            authorized.expiry.ends = ends;
        }
        Ok(Admitted { authorized })
    }

    /// Charges the limits for all the commands of a batch, or for none.
    ///
    /// # Errors
    /// The limit that has no room.
    pub fn admit_all<E>(
        &self,
        batch: Vec<Result<Authorized, E>>,
    ) -> Result<Vec<Result<Admitted, E>>, RateLimited> {
        let operations = batch
            .iter()
            .filter_map(|item| item.as_ref().ok())
            .map(|a| a.operation);
        limit::take(&self.limits, &operations)?;
        let admit = |item: Result<Authorized, E>| item.map(|authorized| Admitted { authorized });
        Ok(batch.into_iter().map(admit).collect())
    }
}

impl Authorized {
    /// For how long the URL may work, as far as the caps go.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// The only addresses that the URL is to work from. `None`: those that the grants say.
    #[must_use]
    pub fn source_ip(&self) -> Option<&SourceIps> {
        self.source_ip.as_ref()
    }
}

impl Admitted {
    /// For how long the URL may work, as far as the caps go.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.authorized.expiry
    }

    /// The only addresses that the URL is to work from. `None`: those that the grants say.
    #[must_use]
    pub fn source_ip(&self) -> Option<&SourceIps> {
        self.authorized.source_ip.as_ref()
    }

    /// For how long the URL may work that is signed now, as far as the caps go.
    ///
    /// # Errors
    /// If its grant ends too early and the request does not want the expiry shortened.
    pub fn expiry_at(&self, now: SystemTime) -> Result<Expiry, NotAuthorized> {
        Ok(expiry::within_grant(self.authorized.expiry, now)?)
    }
}
