//! The corridor that every request walks, once and in one direction:
//!
//! authenticate → admit → scope → endpoint → sign → record → reply
//!
//! Invariant: a URL leaves [`Presigner`] only after its record was confirmed, and a refusal leaves a record too.

pub mod explain;
mod form;
pub mod operation;
mod placed;
mod record;
mod upload;
mod usage;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use self::form::PlacedForm;
pub use self::form::{FormItem, SignedForm};
use self::placed::Placed;
pub use self::upload::{SentHeaders, SignedPart, SignedUpload, Upload, UploadIds};
use crate::admit::expiry::{self, Asked, Bound, Dating};
use crate::admit::quota::{Payer, Quotas, Told};
use crate::admit::source_ip::SourceIps;
use crate::admit::{Admitted, Authorized, Bill, Standing};
use crate::audit::{AuditError, Recorder, TraceContext};
use crate::authenticate::{Caller, Right};
use crate::clock::SharedClock;
use crate::endpoint::{self, Endpoints, NoEndpoint};
use crate::names::TenantId;
use crate::operate::StandingOrders;
use crate::proto::v1::Command;
use crate::refusal::Refusal;
use crate::scope::{ScopedCredentials, Scoper};
use crate::sign::command::BoundCommand;
use crate::sign::payload::BodyToSend;
use crate::sign::{self, Credentials, PresignedUrl, SigningEndpoint};
use crate::tenant::{Tenant, TenantDenied, Tenants};
use crate::upload::Uploads;

/// Issues URLs.
#[derive(Debug)]
pub struct Presigner {
    /// The tenants.
    pub tenants: Tenants,
    /// What operators have stopped.
    pub orders: StandingOrders,
    /// Hands out credentials.
    pub scoper: Scoper,
    /// Finds endpoints.
    pub endpoints: Endpoints,
    /// Begins uploads in parts.
    pub uploads: Box<dyn Uploads>,
    /// Charges limits.
    pub quotas: Quotas,
    /// Keeps records.
    pub recorder: Recorder,
    /// The time.
    pub clock: SharedClock,
}

/// What is known of a request before anything is decided.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The full name of the RPC's method.
    pub method: &'static str,
    /// When the request arrived.
    pub started: SystemTime,
    /// How long the caller waits for signing.
    pub patience: Duration,
    /// The caller's trace.
    pub trace: TraceContext,
    /// Where the request came from.
    pub peer: Option<std::net::SocketAddr>,
    /// Who asks.
    pub caller: Caller,
    /// What limits told about it.
    pub told: Told,
}

/// What is asked for, apart from the commands.
#[derive(Debug)]
pub struct Request {
    /// Whose permissions.
    pub tenant: TenantId,
    /// For how long.
    pub asked: Asked,
    /// Why.
    pub reason: String,
    /// For whom.
    pub subject: String,
    /// The only addresses from which the URLs are to work; `None`: from wherever the grants say.
    pub source_ip: Option<SourceIps>,
}

/// A command, and the id of whatever becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// Names the answer, the record and the span.
    pub issuance_id: uuid::Uuid,
    /// What to sign.
    pub command: &'a Command,
}

/// What was signed and recorded.
#[derive(Debug)]
pub struct Issued<S = SignedUrl> {
    /// The URL, or the form.
    pub signed: S,
    /// When it ends.
    pub expires_at: SystemTime,
    /// What set that.
    pub bound: Bound,
    expires_in: u32,
    endpoint: Arc<SigningEndpoint>,
    credentials: ScopedCredentials,
}

/// A URL, and how to use it.
#[derive(Debug)]
pub struct SignedUrl {
    /// The URL.
    pub url: PresignedUrl,
    /// The HTTP method.
    pub method: &'static str,
    /// What the client must send.
    pub headers: Vec<(String, String)>,
    /// And as the body.
    pub body: BodyToSend,
}

/// Everything is decided and at hand: what is left is to sign.
struct Ready {
    endpoint: Arc<SigningEndpoint>,
    credentials: ScopedCredentials,
    expires_in: u32,
    bound: Bound,
    dating: Dating,
    now: SystemTime,
}

/// What a signature depends on, beside what is signed.
struct Signing<'a> {
    endpoint: &'a SigningEndpoint,
    credentials: &'a Credentials,
    signed_at: SystemTime,
    /// In seconds from then.
    life: u32,
    expires_at: SystemTime,
}

impl Presigner {
    /// Presigns one command.
    ///
    /// # Errors
    /// Why there is no URL.
    pub async fn presign(
        &self,
        arrival: &Arrival,
        request: &Request,
        item: &Item<'_>,
    ) -> Result<Issued, Refusal> {
        let tenant = self
            .tenants
            .of(&arrival.caller, Right::Sign, &request.tenant);
        let mut placed = Placed::bind(item.command, "command");
        if let Ok(tenant) = &tenant {
            placed.name_buckets(&tenant.buckets);
        }
        let bill = OnceLock::new();
        let decide = async {
            placed.command()?;
            let tenant = tenant.as_ref().map_err(|denied| *denied)?;
            self.orders.allow(&tenant.id)?;
            let authorized = placed.authorize(tenant, &self.standing(arrival, tenant), request)?;
            let admitted = self.admit(arrival, tenant, authorized, &bill).await?;
            self.issue_placed(arrival, tenant, &placed, Ok(admitted))
                .await
        };
        let decision = within(arrival.patience, pin!(decide)).await;
        let now = self.clock.now();
        let recorded = {
            let record = record::of_command(now, arrival, request, item, &placed, &decision);
            self.recorder.record(&record, &arrival.trace).await
        };
        self.settled(arrival, &tenant, bill.get(), recorded, decision)
            .await
    }

    /// Signs one form.
    ///
    /// # Errors
    /// Why there is no form.
    pub async fn presign_post(
        &self,
        arrival: &Arrival,
        request: &Request,
        item: &FormItem,
    ) -> Result<Issued<SignedForm>, Refusal> {
        let tenant = self
            .tenants
            .of(&arrival.caller, Right::Sign, &request.tenant);
        let mut placed = PlacedForm::bind(item);
        if let Ok(tenant) = &tenant {
            placed.name_buckets(&tenant.buckets);
            placed.bound_upload(&self.standing(arrival, tenant), request.source_ip.as_ref());
        }
        let bill = OnceLock::new();
        let decide = async {
            let form = placed.form()?;
            let tenant = tenant.as_ref().map_err(|denied| *denied)?;
            self.orders.allow(&tenant.id)?;
            let authorized = placed.authorize(tenant, &self.standing(arrival, tenant), request)?;
            let admitted = self.admit(arrival, tenant, authorized, &bill).await?;
            let (command, sign) = (&form.command, placed.sign(form));
            let endpoint = self.endpoint(tenant, command, placed.endpoint()).await?;
            self.issue(arrival, tenant, command, endpoint, admitted, sign)
                .await
        };
        let decision = within(arrival.patience, pin!(decide)).await;
        let now = self.clock.now();
        let recorded = {
            let record = record::of_form(now, arrival, request, item, &placed, &decision);
            self.recorder.record(&record, &arrival.trace).await
        };
        self.settled(arrival, &tenant, bill.get(), recorded, decision)
            .await
    }

    /// Presigns many commands of one tenant, charged as one.
    ///
    /// # Errors
    /// Why there is no answer at all: the tenant, a limit, or the records. What concerns one command is in its own result.
    pub async fn presign_batch(
        &self,
        arrival: &Arrival,
        request: &Request,
        issuance_id: uuid::Uuid,
        items: &[Item<'_>],
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        let tenant = self
            .tenants
            .of(&arrival.caller, Right::Sign, &request.tenant);
        let numbered = items.iter().enumerate();
        let mut placed: Vec<_> = numbered
            .map(|(index, item)| Placed::bind(item.command, format!("commands[{index}]")))
            .collect();
        if let Ok(tenant) = &tenant {
            for item in &mut placed {
                item.name_buckets(&tenant.buckets);
            }
        }
        let charged = OnceLock::new();
        let decide = async {
            let tenant = tenant.as_ref().map_err(|denied| *denied)?;
            self.orders.allow(&tenant.id)?;
            let authorized: Vec<_> = {
                let standing = self.standing(arrival, tenant);
                let items = placed.iter();
                let authorized = items.map(|item| item.authorize(tenant, &standing, request));
                authorized.collect()
            };
            let admitted = {
                let payer = payer(arrival, tenant);
                let admitting = self.quotas.admit_all(payer, &arrival.told, authorized);
                let admitting = async { Ok(admitting.await?) };
                within(arrival.patience, pin!(admitting)).await?
            };
            let bills = admitted
                .iter()
                .map(|item| item.as_ref().ok().map(Admitted::bill));
            // Nobody else sets it.
            let _ = charged.set(bills.collect::<Vec<_>>());
            let each = placed.iter().zip(admitted);
            let issuing =
                each.map(|(item, admitted)| self.issue_placed(arrival, tenant, item, admitted));
            Ok(all_within(arrival.patience, issuing).await)
        };
        let decisions = decide.await;
        let now = self.clock.now();
        let recorded = match &decisions {
            Ok(decisions) => {
                let records = record::of_batch(now, arrival, request, items, &placed, decisions);
                self.recorder.record_all(records, &arrival.trace).await
            }
            Err(refusal) => {
                let size = items.len();
                let record =
                    record::of_refused_batch(now, arrival, request, issuance_id, size, refusal);
                self.recorder.record(&record, &arrival.trace).await
            }
        };
        if let (Ok(tenant), Some(bills), Ok(decisions)) = (&tenant, charged.get(), &decisions) {
            let came = decisions
                .iter()
                .map(|item| item.is_ok() && recorded.is_ok());
            let failed = bills.iter().zip(came).filter(|(_, came)| !came);
            for bill in failed.filter_map(|(bill, _)| bill.as_ref()) {
                self.refund(arrival, tenant, bill).await;
            }
        }
        recorded?;
        decisions
    }

    /// Records a request that could not be read, with the tenant as far as it could, and gives back the refusal: or another, if
    /// the record could not be written.
    pub async fn refuse(
        &self,
        arrival: &Arrival,
        issuance_id: uuid::Uuid,
        tenant: Option<&TenantId>,
        refusal: Refusal,
    ) -> Refusal {
        let now = self.clock.now();
        let record = record::of_unreadable(now, arrival, issuance_id, tenant, &refusal);
        match self.recorder.record(&record, &arrival.trace).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }

    /// Charges what is allowed, and notes the bill.
    async fn admit(
        &self,
        arrival: &Arrival,
        tenant: &Tenant,
        authorized: Authorized,
        bill: &OnceLock<Bill>,
    ) -> Result<Admitted, Refusal> {
        let payer = payer(arrival, tenant);
        let admitted = self.quotas.admit(payer, &arrival.told, authorized).await?;
        // Nobody else sets it.
        let _ = bill.set(admitted.bill());
        Ok(admitted)
    }

    /// The end of a decision that was recorded, or was not: what was charged and came to nothing is given back.
    async fn settled<T>(
        &self,
        arrival: &Arrival,
        tenant: &Result<Arc<Tenant>, TenantDenied>,
        bill: Option<&Bill>,
        recorded: Result<(), AuditError>,
        decision: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let result = match recorded {
            Ok(()) => decision,
            Err(error) => Err(error.into()),
        };
        if let (Err(_), Some(bill), Ok(tenant)) = (&result, bill, tenant) {
            // Apart from the room of those that come to something, of which nearly all are.
            Box::pin(self.refund(arrival, tenant, bill)).await;
        }
        result
    }

    async fn refund(&self, arrival: &Arrival, tenant: &Tenant, bill: &Bill) {
        let costs = bill.costs.iter().copied();
        let payer = payer(arrival, tenant);
        self.quotas.refund(payer, &bill.receipt, &costs).await;
    }

    /// The rules of the tenant that hold now for whoever asks.
    fn standing<'t>(&self, arrival: &Arrival, tenant: &'t Tenant) -> Standing<'t> {
        let (now, caller) = (self.clock.now(), arrival.caller.name());
        tenant.rules.standing(now, caller)
    }

    /// Where the command goes.
    async fn endpoint(
        &self,
        tenant: &Tenant,
        command: &BoundCommand<'_>,
        asked: endpoint::options::Options,
    ) -> Result<Arc<SigningEndpoint>, NoEndpoint> {
        let place = tenant.buckets.place(command.bucket);
        let (operation, bucket) = (command.operation, command.bucket);
        self.endpoints
            .resolve(place, operation, bucket, asked)
            .await
    }

    /// Issues one command of a batch.
    async fn issue_placed(
        &self,
        arrival: &Arrival,
        tenant: &Tenant,
        item: &Placed<'_>,
        admitted: Result<Admitted, Refusal>,
    ) -> Result<Issued, Refusal> {
        let command = item.command()?;
        let admitted = admitted?;
        let endpoint = self.endpoint(tenant, command, item.endpoint()).await;
        let endpoint = endpoint.map_err(|refused| item.no_endpoint(refused))?;
        let sign = sign_url(command);
        self.issue(arrival, tenant, command, endpoint, admitted, sign)
            .await
    }

    /// Everything after the decision: the steps that need time, and the signature.
    async fn issue<S>(
        &self,
        arrival: &Arrival,
        tenant: &Tenant,
        command: &BoundCommand<'_>,
        endpoint: Arc<SigningEndpoint>,
        admitted: Admitted,
        sign: impl FnOnce(&Signing<'_>) -> Result<S, Refusal>,
    ) -> Result<Issued<S>, Refusal> {
        let commands = [command];
        let ready = self.ready(arrival, tenant, &commands, endpoint, admitted);
        let ready = ready.await?;
        let signed = sign(&ready.signing())?;
        Ok(ready.issued(signed))
    }

    /// What commands on one bucket are signed with, all together.
    async fn ready(
        &self,
        arrival: &Arrival,
        tenant: &Tenant,
        commands: &[&BoundCommand<'_>],
        endpoint: Arc<SigningEndpoint>,
        admitted: Admitted,
    ) -> Result<Ready, Refusal> {
        let credentials = self
            .scoper
            .scope(&admitted, &arrival.caller, &tenant.session, commands)
            .await?;
        // STS may have been waited for, and nothing is signed after an order was kept.
        self.orders.allow(&tenant.id)?;
        let now = self.clock.now();
        let left = self.scoper.left(&credentials);
        let expiry = expiry::within_session(admitted.expiry_at(now)?, left)?;
        let (expires_in, bound) = (expiry.seconds, expiry.bound);
        Ok(Ready {
            endpoint,
            credentials,
            expires_in,
            bound,
            dating: tenant.rules.expiry.dating(expires_in),
            now,
        })
    }
}

impl Ready {
    fn signing(&self) -> Signing<'_> {
        self.signing_with(&self.credentials)
    }

    fn signing_with<'a>(&'a self, credentials: &'a ScopedCredentials) -> Signing<'a> {
        Signing {
            endpoint: &self.endpoint,
            credentials: credentials.credentials(),
            signed_at: self.now - Duration::from_secs(self.dating.earlier.into()),
            life: self.dating.life,
            expires_at: self.expires_at(),
        }
    }

    fn expires_at(&self) -> SystemTime {
        whole_seconds(self.now) + Duration::from_secs(self.expires_in.into())
    }

    fn issued<S>(self, signed: S) -> Issued<S> {
        Issued {
            signed,
            expires_at: self.expires_at(),
            bound: self.bound,
            expires_in: self.expires_in,
            endpoint: self.endpoint,
            credentials: self.credentials,
        }
    }
}

/// Whom the limits charge.
fn payer<'a>(arrival: &'a Arrival, tenant: &'a Tenant) -> Payer<'a> {
    Payer {
        tenant: &tenant.id,
        limits: &tenant.rules.limits,
        caller: arrival.caller.name(),
    }
}

fn sign_url(command: &BoundCommand<'_>) -> impl FnOnce(&Signing<'_>) -> Result<SignedUrl, Refusal> {
    move |signing| {
        let (endpoint, credentials) = (signing.endpoint, signing.credentials);
        let (signed_at, life) = (signing.signed_at, signing.life);
        Ok(SignedUrl {
            url: sign::presign(command, endpoint, credentials, signed_at, life),
            method: command.operation.method,
            headers: command.headers_to_send(),
            body: BodyToSend::of(command),
        })
    }
}

/// The work's result, if it need not wait for anything.
pub(crate) async fn at_once<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        })
    })
    .await
}

/// The work's result, unless that takes too long. Work that is pinned already need not be moved, which takes room for it twice.
async fn within<T>(
    patience: Duration,
    mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
) -> Result<T, Refusal> {
    // With a session at hand all of it is done at once, and needs no timer.
    if let Some(result) = at_once(work.as_mut()).await {
        return result;
    }
    // A timer is wide, and apart from the room of the many that need none.
    match Box::pin(tokio::time::timeout(patience, work)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::DeadlineExceeded),
    }
}

/// What comes of all the work, in its order. What needs not wait is done one after the other, in the same room; only what does wait is
/// kept, and waits together.
async fn all_within<T>(
    patience: Duration,
    all: impl ExactSizeIterator<Item = impl Future<Output = Result<T, Refusal>>>,
) -> Vec<Result<T, Refusal>> {
    let mut results = Vec::with_capacity(all.len());
    let mut waiting = Vec::new();
    for (index, work) in all.enumerate() {
        let mut work = Box::pin(work);
        let result = at_once(work.as_mut()).await;
        results.push(result.unwrap_or_else(|| {
            waiting.push(async move {
                let result = tokio::time::timeout(patience, work).await;
                (index, result.unwrap_or(Err(Refusal::DeadlineExceeded)))
            });
            // Until then.
            Err(Refusal::DeadlineExceeded)
        }));
    }
    for (index, result) in join_all(waiting).await {
        results[index] = result;
    }
    results
}

/// A signature's time has whole seconds, and the URL's life counts from there.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
