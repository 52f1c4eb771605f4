//! What would become of a request, and why: the same rooms, asked without spending anything.
//!
//! Invariant: nothing is charged, nobody outside is asked, and nothing leaves from which a signature could be made. What is explained is
//! what [`Presigner::presign`] does, in its order; it leaves a record too.

mod warnings;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::warnings::{Warning, WarningKind};
use super::{Arrival, Item, Presigner, Request, payer, placed::Placed, record, within};
use crate::admit::expiry::{self, Bound, Expiry};
use crate::admit::explain::{Requirement, explain};
use crate::admit::quota::limit::Cost;
use crate::admit::quota::{Left, NoRoom};
use crate::admit::upload::Upload;
use crate::authenticate::{Caller, Right};
use crate::proto::v1::Command;
use crate::refusal::Refusal;
use crate::scope::preview::Preview;
use crate::sign::command::BoundCommand;
use crate::sign::{self, SigningEndpoint};
use crate::tenant::Tenant;

/// What would become of a request.
#[derive(Debug)]
pub struct Explained {
    /// What would refuse it first.
    pub refusal: Option<Refusal>,
    /// What the grants have to allow, and which do.
    pub requirements: Vec<Requirement>,
    /// What would be charged.
    pub limits: Vec<Left>,
    /// Where the URL would lead.
    pub endpoint: Option<Arc<SigningEndpoint>>,
    /// Whether the bucket would stand in the path; `None`: there is none.
    pub path_style: Option<bool>,
    /// For how long the URL would work, in seconds, and what sets that.
    pub expiry: Option<(u32, Bound)>,
    /// What would sign.
    pub session: Option<Preview>,
    /// The HTTP method.
    pub method: &'static str,
    /// What the client would have to send.
    pub headers: Vec<(String, String)>,
    /// What the signature would vouch for.
    pub canonical_request: Option<String>,
    /// What may still go wrong.
    pub warnings: Vec<Warning>,
}

/// What the rules of a tenant make of a command, whatever limits, sessions and endpoints do.
#[derive(Debug)]
pub struct Judged {
    /// For how long it may be signed, or what refuses it.
    pub decision: Result<Expiry, Refusal>,
    /// What the grants have to allow, and which do.
    pub requirements: Vec<Requirement>,
}

/// Holds a command against the rules of a tenant, as for a request of this caller's at this time. Whether the caller may ask for the tenant
/// at all is another question.
///
/// # Errors
/// If the command is not valid.
pub fn judge(
    tenant: &Tenant,
    caller: &Caller,
    request: &Request,
    command: &Command,
    now: SystemTime,
) -> Result<Judged, Refusal> {
    let mut placed = Placed::bind(command, "command");
    placed.name_buckets(&tenant.buckets);
    let bound = placed.command()?;
    let standing = tenant.rules.standing(now, caller.name());
    let decision = match placed.authorize(tenant, &standing, request) {
        Err(invalid @ Refusal::Invalid(_)) => return Err(invalid),
        authorized => authorized.map(|authorized| authorized.expiry()),
    };
    Ok(Judged {
        decision,
        requirements: requirements(tenant, caller, request, &placed, bound, now),
    })
}

/// What the grants have to allow for the command of this caller's, and which do.
fn requirements(
    tenant: &Tenant,
    caller: &Caller,
    request: &Request,
    placed: &Placed<'_>,
    command: &BoundCommand<'_>,
    now: SystemTime,
) -> Vec<Requirement> {
    let rules = tenant.rules.of(caller.name());
    let (grants, deny) = (rules.grants(), rules.deny());
    let source_ip = request.source_ip.as_ref();
    explain(grants, deny, command, placed.called(), source_ip, now)
}

impl Presigner {
    /// Explains what would become of a command.
    ///
    /// # Errors
    /// If the request is not valid, if the caller may not have this explained for the tenant, or without a record.
    pub async fn explain(
        &self,
        arrival: &Arrival,
        request: &Request,
        item: &Item<'_>,
    ) -> Result<Explained, Refusal> {
        let caller = &arrival.caller;
        let tenant = self.tenants.of(caller, Right::Explain, &request.tenant);
        let mut placed = Placed::bind(item.command, "request.command");
        if let Ok(tenant) = &tenant {
            placed.name_buckets(&tenant.buckets);
        }
        let look = async {
            let command = placed.command()?;
            let tenant = tenant.as_ref().map_err(|denied| *denied)?;
            self.look(arrival, request, tenant, &placed, command).await
        };
        let explained = within(arrival.patience, pin!(look)).await;
        let now = self.clock.now();
        {
            let record = record::of_explained(now, arrival, request, item, &placed, &explained);
            self.recorder.record(&record, &arrival.trace).await?;
        }
        explained
    }

    async fn look(
        &self,
        arrival: &Arrival,
        request: &Request,
        tenant: &Tenant,
        placed: &Placed<'_>,
        command: &BoundCommand<'_>,
    ) -> Result<Explained, Refusal> {
        let (operation, rules) = (command.operation, &tenant.rules);
        let halted = self.orders.allow(&tenant.id).err();
        let (authorized, refusal) =
            match placed.authorize(tenant, &self.standing(arrival, tenant), request) {
                Ok(authorized) => (Some(authorized), None),
                Err(invalid @ Refusal::Invalid(_)) => return Err(invalid),
                Err(refusal) => (None, Some(refusal)),
            };
        let mut refusal = halted.map(Refusal::from).or(refusal);
        let cost = Cost {
            operation,
            urls: 1,
            upload: Upload::of(command),
        };
        let limits = self.quotas.left(payer(arrival, tenant), cost).await;
        refusal = refusal.or_else(|| limits.iter().find_map(full).map(Refusal::from));
        let endpoint = self.endpoint(tenant, command, placed.endpoint()).await;
        let endpoint = endpoint.map_err(|refused| placed.no_endpoint(refused));
        let endpoint = noted(endpoint, &mut refusal);
        let mut session = None;
        let mut expiry = None;
        if let Some(authorized) = &authorized {
            let caller = &arrival.caller;
            let preview = self
                .scoper
                .preview(authorized, caller, &tenant.session, command);
            session = noted(preview, &mut refusal);
            let left = session.as_ref().and_then(|session| session.left);
            let within = expiry::within_session(authorized.expiry(), left);
            let within = noted(within, &mut refusal);
            expiry = within.map(|expiry| (expiry.seconds, expiry.bound));
        }
        let canonical_request = match (&endpoint, &session, expiry) {
            (Some(endpoint), Some(session), Some((seconds, _))) => {
                let dating = rules.expiry.dating(seconds);
                let at = self.clock.now() - Duration::from_secs(dating.earlier.into());
                let (credentials, life) = (&session.credentials, dating.life);
                let text = sign::canonical_request(command, endpoint, credentials, at, life);
                Some(text)
            }
            _ => None,
        };
        let may_sign = arrival.caller.may(Right::Sign, &tenant.id);
        Ok(Explained {
            refusal,
            requirements: {
                let now = self.clock.now();
                requirements(tenant, &arrival.caller, request, placed, command, now)
            },
            limits,
            path_style: path_style(endpoint.as_deref(), command.bucket),
            endpoint,
            warnings: warnings::of(command, expiry, may_sign),
            expiry,
            session,
            method: operation.method,
            headers: command.headers_to_send(),
            canonical_request,
        })
    }
}

/// What came of a step; its refusal, if nothing refuses before.
fn noted<T, E: Into<Refusal>>(result: Result<T, E>, refusal: &mut Option<Refusal>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            refusal.get_or_insert_with(|| error.into());
            None
        }
    }
}

/// What a limit without room would say.
fn full(left: &Left) -> Option<NoRoom> {
    if left.shadow {
        return None;
    }
    let limit = left.limit.clone();
    if left.undeclared {
        return Some(NoRoom::Undeclared { limit });
    }
    let (asked, window) = (left.charged, left.window);
    let most = left.most;
    if asked > most {
        return Some(NoRoom::Never {
            limit,
            asked,
            most,
            window,
        });
    }
    Some(NoRoom::Later {
        limit,
        asked,
        retry_after: left.retry_after?,
        window,
    })
}

fn path_style(endpoint: Option<&SigningEndpoint>, bucket: Option<&str>) -> Option<bool> {
    let last = endpoint?.base_path.rsplit('/').next();
    Some(last == Some(bucket?))
}
