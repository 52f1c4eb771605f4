//! May this be issued, for how long, and is there room for it?
//!
//! Deciding is pure and comes in two steps, because a batch is decided command by command and charged as one:
//! [`TenantRules::authorize`] holds a command against the grants and caps, and [`TenantRules::admit`] charges the limits. Invariant:
//! only `admit` makes an [`Admitted`], and nothing is signed without one.

pub mod expiry;
pub mod grant;
pub mod limit;
pub mod policy;
pub mod resource;
pub mod upload;

use std::time::Duration;

use self::expiry::{AboveCap, Asked, BeyondSession, Bound, Expiry, TenantExpiry};
use self::grant::Grant;
use self::limit::{Limit, RateLimited};
use self::policy::Denied;
use crate::sign::command::{BoundCommand, Operation};
use crate::sign::post_policy::{LengthRange, PostForm};

/// What a tenant may do.
#[derive(Debug)]
pub struct TenantRules {
    /// What the tenant may ask for.
    pub grants: Vec<Grant>,
    /// For how long.
    pub expiry: TenantExpiry,
    /// How often.
    pub limits: Vec<Limit>,
    /// Whether a session policy bounds what is signed. It does not with static credentials.
    pub has_session_policy: bool,
}

/// A command that the grants and caps allow, not yet charged.
#[derive(Debug, Clone, Copy)]
pub struct Authorized {
    operation: &'static Operation,
    expiry: Expiry,
    content_length: Option<LengthRange>,
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
}

impl TenantRules {
    /// Holds a command against the grants and caps.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn authorize(
        &self,
        command: &BoundCommand<'_>,
        asked: Asked,
    ) -> Result<Authorized, NotAuthorized> {
        let allowed = policy::decide(&self.grants, command)?;
        if allowed.bounded_by_session_only && !self.has_session_policy {
            return Err(NotAuthorized::Unbounded {
                command: command.operation.name,
            });
        }
        let expiry = expiry::within_caps(asked, self.expiry, allowed.max_expiry)?;
        Ok(Authorized {
            operation: command.operation,
            expiry,
            content_length: None,
        })
    }

    /// Holds a form against the grants and caps.
    ///
    /// # Errors
    /// Why it is not allowed.
    pub fn authorize_form(
        &self,
        form: &PostForm<'_>,
        asked: Asked,
    ) -> Result<Authorized, NotAuthorized> {
        let (allowed, content_length) = policy::decide_form(&self.grants, form)?;
        let expiry = expiry::within_caps(asked, self.expiry, allowed.max_expiry)?;
        Ok(Authorized {
            operation: form.command.operation,
            expiry,
            content_length,
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

impl Admitted {
    /// For how long the URL may work, as far as the caps go.
    #[must_use]
    pub fn expiry(&self) -> Expiry {
        self.authorized.expiry
    }

    /// The least and the most bytes that the form may take; `None` where nothing bounds it.
    #[must_use]
    pub fn content_length(&self) -> Option<LengthRange> {
        self.authorized.content_length
    }

    /// For how long the URL will work, signed by a session with so much left. `None`: it does not end.
    ///
    /// # Errors
    /// If the session ends too early and the request does not want the expiry shortened.
    pub fn expiry_within(
        &self,
        session_left: Option<Duration>,
    ) -> Result<(u32, Bound), BeyondSession> {
        let expiry = expiry::within_session(self.authorized.expiry, session_left)?;
        Ok((expiry.seconds, expiry.bound))
    }
}
