//! May this be issued, for how long, and is there room for it?
//!
//! Deciding is pure and comes in two steps, because a batch is decided command by command and charged as one:
//! [`TenantRules::authorize`] holds a command against the grants and caps, and [`Quotas::admit`] charges the limits. Invariant:
//! only `admit` makes an [`Admitted`], and nothing is signed without one.

pub(crate) mod alike;
pub mod by_caller;
mod carried;
pub mod content;
pub mod deny;
pub mod expiry;
pub mod explain;
pub mod grant;
pub mod header;
pub mod held;
pub mod media_type;
pub mod policy;
pub mod quota;
pub mod resource;
pub mod source_ip;
pub mod upload;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use smallvec::{SmallVec, smallvec};

use self::by_caller::{ByCaller, RulesOfCaller, name_callers};
use self::deny::Denial;
use self::expiry::{AboveCap, Asked, Expiry, TenantExpiry};
use self::grant::{Grant, standing};
use self::held::NotHeld;
use self::policy::{Called, Denied};
use self::quota::limit::Cost;
use self::quota::{NoRoom, Payer, Quotas, Receipt, TenantLimits, Told};
use self::source_ip::SourceIps;
use self::upload::Upload;
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
    pub limits: TenantLimits,
    /// Whether a session policy bounds what is signed. It does not with static credentials.
    pub has_session_policy: bool,
    /// What grants and denials come to for each caller, where they name their callers.
    pub callers: RulesByCaller,
}

/// What rules come to for each caller. `None`: the same for all.
#[derive(Debug, Default)]
pub struct RulesByCaller(Option<Box<ByCaller<RulesOfCaller>>>);

impl RulesByCaller {
    /// For rules of these grants and denials.
    #[must_use]
    pub fn new(grants: &[Grant], deny: &[Denial]) -> Self {
        Self(name_callers(grants, deny).then(Box::default))
    }
}

/// A tenant's grants and denials, as they are for one caller.
#[derive(Debug)]
pub enum RulesFor<'a> {
    /// As for all.
    Everybody(&'a [Grant], &'a [Denial]),
    /// With the caller's name in them.
    Caller(Arc<RulesOfCaller>),
}

impl RulesFor<'_> {
    /// What the caller may ask for.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        match self {
            Self::Everybody(grants, _) => grants,
            Self::Caller(rules) => &rules.grants,
        }
    }

    /// And what not, whatever the grants say.
    #[must_use]
    pub fn deny(&self) -> &[Denial] {
        match self {
            Self::Everybody(_, deny) => deny,
            Self::Caller(rules) => &rules.deny,
        }
    }
}

/// What holds of a tenant's rules for one caller at some time.
#[derive(Debug)]
pub struct Standing<'a> {
    rules: RulesFor<'a>,
    /// The grants that have not ended, where some have.
    left: Option<Vec<Grant>>,
    now: SystemTime,
}

impl Standing<'_> {
    /// The grants that have not ended.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        let left = self.left.as_deref();
        left.unwrap_or_else(|| self.rules.grants())
    }
}

/// A command that the grants and caps allow, not yet charged.
#[derive(Debug, Clone)]
pub struct Authorized {
    operation: &'static Operation,
    upload: Upload,
    expiry: Expiry,
    source_ip: Option<SourceIps>,
}

/// Proof that a command was allowed and charged.
#[derive(Debug)]
pub struct Admitted {
    authorized: Authorized,
    bill: Bill,
}

/// What was charged for something, to be given back if it comes to nothing.
#[derive(Debug, Clone)]
pub struct Bill {
    /// Which limits were charged.
    pub receipt: Receipt,
    /// For what.
    pub costs: SmallVec<[Cost; 1]>,
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
    /// The grants and denials for a caller of this name.
    #[must_use]
    pub fn of(&self, caller: &str) -> RulesFor<'_> {
        match &self.callers.0 {
            None => RulesFor::Everybody(&self.grants, &self.deny),
            Some(callers) => RulesFor::Caller(callers.of(caller, || {
                RulesOfCaller::of(&self.grants, &self.deny, caller)
            })),
        }
    }

    /// The rules that hold at this time for a caller of this name.
    #[must_use]
    pub fn standing(&self, now: SystemTime, caller: &str) -> Standing<'_> {
        let rules = self.of(caller);
        let left = match standing(rules.grants(), now) {
            Cow::Borrowed(_) => None,
            Cow::Owned(left) => Some(left),
        };
        Standing { rules, left, now }
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
        deny::check(standing.rules.deny(), command, called)?;
        let (grants, now) = (standing.grants(), &standing.now);
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
            upload: Upload::of(command),
            expiry,
            source_ip: source_ip.cloned(),
        })
    }
}

impl Quotas {
    /// Charges the limits for a command.
    ///
    /// # Errors
    /// The limit that has no room.
    pub async fn admit(
        &self,
        payer: Payer<'_>,
        told: &Told,
        authorized: Authorized,
    ) -> Result<Admitted, NoRoom> {
        let cost = authorized.cost();
        let receipt = self.charge(payer, told, &std::iter::once(cost)).await?;
        Ok(authorized.admitted(receipt))
    }

    /// Charges the limits for commands that are signed together, each so many times. They live as long as the first of them to end.
    ///
    /// # Errors
    /// The limit that has no room.
    pub async fn admit_together(
        &self,
        payer: Payer<'_>,
        told: &Told,
        first: (Authorized, Cost),
        others: Vec<Authorized>,
    ) -> Result<Admitted, NoRoom> {
        let (mut authorized, first) = first;
        let mut costs: SmallVec<[Cost; 1]> = smallvec![first];
        costs.extend(others.iter().map(Authorized::cost));
        let receipt = self.charge(payer, told, &costs.iter().copied()).await?;
        for other in others {
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
        Ok(Admitted {
            authorized,
            bill: Bill { receipt, costs },
        })
    }

    /// Charges the limits for all the commands of a batch, or for none.
    ///
    /// # Errors
    /// The limit that has no room.
    pub async fn admit_all<E>(
        &self,
        payer: Payer<'_>,
        told: &Told,
        batch: Vec<Result<Authorized, E>>,
    ) -> Result<Vec<Result<Admitted, E>>, NoRoom> {
        let authorized = batch.iter().filter_map(|item| item.as_ref().ok());
        let costs = authorized.map(Authorized::cost);
        let receipt = self.charge(payer, told, &costs).await?;
        let admit = |item: Result<Authorized, E>| {
            item.map(|authorized| authorized.admitted(receipt.clone()))
        };
        Ok(batch.into_iter().map(admit).collect())
    }
}

impl Authorized {
    /// What it costs to sign it once.
    fn cost(&self) -> Cost {
        self.costs(1, self.upload)
    }

    /// What it costs to sign it so often, all of which may upload so much.
    #[must_use]
    pub fn costs(&self, urls: u64, upload: Upload) -> Cost {
        Cost {
            operation: self.operation,
            urls,
            upload,
        }
    }

    fn admitted(self, receipt: Receipt) -> Admitted {
        let costs = smallvec![self.cost()];
        Admitted {
            authorized: self,
            bill: Bill { receipt, costs },
        }
    }

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
    /// What was charged for it.
    #[must_use]
    pub fn bill(&self) -> Bill {
        self.bill.clone()
    }

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
