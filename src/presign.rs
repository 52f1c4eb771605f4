//! The corridor that every request walks, once and in one direction:
//!
//! authenticate → admit → scope → endpoint → sign → record → reply
//!
//! Invariant: a URL leaves [`Presigner`] only after its record was confirmed, and a refusal leaves a record too.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use crate::admit::expiry::{Asked, Bound};
use crate::admit::{Admitted, Authorized};
use crate::audit::{Batch, Record, Recorder, TraceContext};
use crate::authenticate::Caller;
use crate::clock::SharedClock;
use crate::endpoint::Endpoints;
use crate::names::TenantId;
use crate::proto::v1::{Command, ExpiryBound};
use crate::refusal::{Refusal, reason_name};
use crate::scope::{ScopedCredentials, Scoper};
use crate::sign::bind::{Violation, Violations};
use crate::sign::command::{BoundCommand, Operation};
use crate::sign::{self, PresignedUrl, SigningEndpoint, operations};
use crate::tenant::{Tenant, Tenants};

/// Issues URLs.
#[derive(Debug)]
pub struct Presigner {
    /// The tenants.
    pub tenants: Tenants,
    /// Hands out credentials.
    pub scoper: Scoper,
    /// Finds endpoints.
    pub endpoints: Endpoints,
    /// Keeps records.
    pub recorder: Recorder,
    /// The time.
    pub clock: SharedClock,
}

/// What is known of a request before anything is decided.
#[derive(Debug)]
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
}

/// A command, and the id of whatever becomes of it.
#[derive(Debug)]
pub struct Item {
    /// Names the answer, the record and the span.
    pub issuance_id: uuid::Uuid,
    /// What to sign.
    pub command: Command,
}

/// A URL that was recorded.
#[derive(Debug)]
pub struct Issued {
    /// The URL.
    pub url: PresignedUrl,
    /// The HTTP method.
    pub method: &'static str,
    /// What the client must send.
    pub headers: Vec<(String, String)>,
    /// When the URL ends.
    pub expires_at: SystemTime,
    /// What set that.
    pub bound: ExpiryBound,
    expires_in: u32,
    endpoint: Arc<SigningEndpoint>,
    credentials: ScopedCredentials,
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
        item: &Item,
    ) -> Result<Issued, Refusal> {
        let bound = bind(&item.command, "command");
        let decide = async {
            let command = bound.as_ref().map_err(Clone::clone)?;
            let tenant = self.tenants.of(&arrival.caller, &request.tenant)?;
            let admitted =
                tenant
                    .rules
                    .admit(authorize(&tenant, command, request.asked, "command")?)?;
            self.issue(arrival, &tenant, command, admitted).await
        };
        let decision = within(arrival.patience, decide).await;
        {
            let record = self.record(arrival, request, item, &bound, &decision);
            self.recorder.record(&record, &arrival.trace).await?;
        }
        decision
    }

    /// Presigns many commands of one tenant, charged as one.
    ///
    /// # Errors
    /// Why there is no answer at all: the tenant, a limit, or the records. What concerns one command is in its own result.
    pub async fn presign_batch(
        &self,
        arrival: &Arrival,
        request: &Request,
        items: &[Item],
    ) -> Result<Vec<Result<Issued, Refusal>>, Refusal> {
        let place = |index| format!("commands[{index}]");
        let bound: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| bind(&item.command, &place(index)))
            .collect();
        let decide = async {
            let tenant = self.tenants.of(&arrival.caller, &request.tenant)?;
            let authorize = |(index, command): (usize, &Result<BoundCommand<'_>, Refusal>)| {
                authorize(
                    &tenant,
                    command.as_ref().map_err(Clone::clone)?,
                    request.asked,
                    &place(index),
                )
            };
            let admitted = tenant
                .rules
                .admit_all(bound.iter().enumerate().map(authorize).collect())?;
            let mut issuing = Vec::with_capacity(items.len());
            for (command, admitted) in bound.iter().zip(admitted) {
                let tenant = &tenant;
                issuing.push(within(arrival.patience, async move {
                    let command = command.as_ref().map_err(Clone::clone)?;
                    self.issue(arrival, tenant, command, admitted?).await
                }));
            }
            Ok(join_all(issuing).await)
        };
        let decisions = decide.await;
        {
            let records = self.batch_records(arrival, request, items, &bound, &decisions);
            self.recorder.record_all(&records, &arrival.trace).await?;
        }
        decisions
    }

    /// Records a request that could not even be read, under its tenant if at least that could. Gives the refusal, or that of the
    /// record.
    pub async fn refuse(
        &self,
        arrival: &Arrival,
        issuance_id: uuid::Uuid,
        tenant: Option<&TenantId>,
        refusal: Refusal,
    ) -> Refusal {
        let mut record = Record::new(
            issuance_id,
            arrival.started,
            arrival.method,
            arrival.caller.name(),
        );
        record.peer = arrival.peer;
        record.tenant = tenant.map(|tenant| tenant.as_str().into());
        self.note_refusal(&mut record, &refusal);
        match self.recorder.record(&record, &arrival.trace).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }

    /// Everything after the decision: the steps that need time.
    async fn issue(
        &self,
        arrival: &Arrival,
        tenant: &Tenant,
        command: &BoundCommand<'_>,
        admitted: Admitted,
    ) -> Result<Issued, Refusal> {
        let endpoint = self
            .endpoints
            .resolve(&tenant.endpoint, command.operation, command.bucket)
            .await?;
        let credentials = self
            .scoper
            .scope(&admitted, &arrival.caller, &tenant.session, command)
            .await?;
        let signed_at = self.clock.now();
        let (expires_in, bound) = admitted.expiry_within(self.scoper.left(&credentials))?;
        let url = sign::presign(
            command,
            &endpoint,
            credentials.credentials(),
            signed_at,
            expires_in,
        );
        Ok(Issued {
            url,
            method: command.operation.method,
            headers: headers(command),
            expires_at: whole_seconds(signed_at) + Duration::from_secs(expires_in.into()),
            bound: published(bound),
            expires_in,
            endpoint,
            credentials,
        })
    }

    fn record<'a>(
        &self,
        arrival: &'a Arrival,
        request: &'a Request,
        item: &'a Item,
        bound: &'a Result<BoundCommand<'_>, Refusal>,
        decision: &'a Result<Issued, Refusal>,
    ) -> Record<'a> {
        let mut record = Record::new(
            item.issuance_id,
            arrival.started,
            arrival.method,
            arrival.caller.name(),
        );
        record.peer = arrival.peer;
        describe(&mut record, request);
        record.command = operation(&item.command).map(|operation| operation.name);
        if let Ok(command) = bound {
            let version = command
                .query
                .iter()
                .find(|parameter| parameter.name == "versionId");
            let source = command.reference.as_ref();
            record.bucket = command.bucket.map(Into::into);
            record.key = command.key.map(Into::into);
            record.version_id = version.map(|parameter| parameter.value.as_str().into());
            record.copy_source =
                source.map(|source| format!("{}/{}", source.bucket, source.key).into());
        }
        match decision {
            Ok(issued) => {
                record.issued(self.clock.now());
                record.region = Some(issued.endpoint.region.as_str().into());
                record.endpoint = Some(issued.endpoint.host.as_str().into());
                record.expires_in = Some(issued.expires_in);
                record.expires_at = Some(issued.expires_at);
                record.expiry_bound = Some(bound_name(issued.bound));
                record.role_session_name = issued.credentials.role_session_name().map(Into::into);
                record.access_key_id =
                    Some(issued.credentials.credentials().access_key_id().into());
            }
            Err(refusal) => self.note_refusal(&mut record, refusal),
        }
        record
    }

    /// One record for each command; or a single one, if the batch was refused as one.
    fn batch_records<'a>(
        &self,
        arrival: &'a Arrival,
        request: &'a Request,
        items: &'a [Item],
        bound: &'a [Result<BoundCommand<'_>, Refusal>],
        decisions: &'a Result<Vec<Result<Issued, Refusal>>, Refusal>,
    ) -> Vec<Record<'a>> {
        let decisions = match decisions {
            Ok(decisions) => decisions,
            Err(refusal) => return vec![self.refused_batch(arrival, request, items, refusal)],
        };
        let parts = items.iter().zip(bound).zip(decisions).enumerate();
        let record = |(index, ((item, bound), decision))| {
            let mut record = self.record(arrival, request, item, bound, decision);
            record.batch = Some(batch(index, items.len()));
            record
        };
        parts.map(record).collect()
    }

    fn refused_batch<'a>(
        &self,
        arrival: &'a Arrival,
        request: &'a Request,
        items: &'a [Item],
        refusal: &Refusal,
    ) -> Record<'a> {
        let issuance_id = items
            .first()
            .map(|item| item.issuance_id)
            .unwrap_or_default();
        let mut record = Record::new(
            issuance_id,
            arrival.started,
            arrival.method,
            arrival.caller.name(),
        );
        record.peer = arrival.peer;
        describe(&mut record, request);
        record.batch = Some(batch(0, items.len()));
        self.note_refusal(&mut record, refusal);
        record
    }

    fn note_refusal(&self, record: &mut Record<'_>, refusal: &Refusal) {
        let verdict = refusal.verdict();
        let reason = reason_name(verdict.reason);
        record.refused(
            self.clock.now(),
            verdict.outcome,
            verdict.code.name(),
            reason,
            refusal.sentence(),
        );
    }
}

fn describe<'a>(record: &mut Record<'a>, request: &'a Request) {
    let given = |text: &'a str| (!text.is_empty()).then(|| text.into());
    record.tenant = Some(request.tenant.as_str().into());
    record.reason = given(&request.reason);
    record.subject = given(&request.subject);
}

fn batch(index: usize, size: usize) -> Batch {
    let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
    Batch {
        index: number(index),
        size: number(size),
    }
}

/// The command in the places where it travels. `place` is the field of the request that holds it.
fn bind<'a>(command: &'a Command, place: &str) -> Result<BoundCommand<'a>, Refusal> {
    let Some(variant) = &command.command else {
        return Err(Refusal::field(
            place,
            "names no command: set one of its fields, such as get_object",
        ));
    };
    let message = operations::message(variant);
    let placed = |violations| {
        Refusal::Invalid(inside(
            violations,
            &format!("{place}.{}.", message.operation().field),
        ))
    };
    message.to_bound().map_err(placed)
}

fn operation(command: &Command) -> Option<&'static Operation> {
    command
        .command
        .as_ref()
        .map(|variant| operations::message(variant).operation())
}

/// Violations with the paths of the whole request.
fn inside(violations: Violations, place: &str) -> Violations {
    let placed = |violation: Violation| Violation {
        field: format!("{place}{}", violation.field).into(),
        ..violation
    };
    Violations(violations.0.into_iter().map(placed).collect())
}

fn authorize(
    tenant: &Tenant,
    command: &BoundCommand<'_>,
    asked: Asked,
    place: &str,
) -> Result<Authorized, Refusal> {
    if tenant.endpoint.url.is_none() {
        let placed = |violations| {
            Refusal::Invalid(inside(
                violations,
                &format!("{place}.{}.", command.operation.field),
            ))
        };
        command.known_to_aws().map_err(placed)?;
    }
    Ok(tenant.rules.authorize(command, asked)?)
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::DeadlineExceeded),
    }
}

/// Every header that is signed, but host.
fn headers(command: &BoundCommand<'_>) -> Vec<(String, String)> {
    let owned = |header: &crate::sign::command::Header<'_>| {
        (
            format!("{}{}", header.name, header.suffix),
            header.value.as_str().to_owned(),
        )
    };
    command.headers.iter().map(owned).collect()
}

/// A signature's time has whole seconds, and the URL's life counts from there.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn published(bound: Bound) -> ExpiryBound {
    match bound {
        Bound::Request => ExpiryBound::Request,
        Bound::Default => ExpiryBound::Default,
        Bound::GrantCap => ExpiryBound::GrantCap,
        Bound::TenantCap => ExpiryBound::TenantCap,
        Bound::Credentials => ExpiryBound::Credentials,
    }
}

fn bound_name(bound: ExpiryBound) -> &'static str {
    let name = bound.as_str_name();
    name.strip_prefix("EXPIRY_BOUND_").unwrap_or(name)
}
