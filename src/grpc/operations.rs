//! OperationsService: one file for each RPC, and what they have in common.
//!
//! Invariant: a tenant that the caller may not operate is told like one that there is not, and what concerns all tenants takes the right
//! for all of them.

mod freeze_service;
mod get_status;
mod get_tenant;
mod get_usage;
mod list_tenants;
mod reload_configuration;
mod resume_tenant;
mod suspend_tenant;
mod unfreeze_service;

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};
use uuid::Uuid;

pub(super) use self::freeze_service::FreezeService;
pub(super) use self::get_status::GetStatus;
pub(super) use self::get_tenant::GetTenant;
pub(super) use self::get_usage::GetUsage;
pub(super) use self::list_tenants::ListTenants;
pub(super) use self::reload_configuration::ReloadConfiguration;
pub(super) use self::resume_tenant::ResumeTenant;
pub(super) use self::suspend_tenant::SuspendTenant;
pub(super) use self::unfreeze_service::UnfreezeService;
use super::request::MAX_FREE_TEXT;
use super::{Inner, PresignApi};
use crate::authenticate::{Caller, Right};
use crate::names::TenantId;
use crate::operate::{Change, Order, Ordered};
use crate::presign::Arrival;
use crate::presign::operation::{About, Done};
use crate::proto::v1::operations_service_server::OperationsService;
use crate::proto::v1::{
    FreezeServiceRequest, FreezeServiceResponse, GetStatusRequest, GetStatusResponse,
    GetTenantRequest, GetTenantResponse, GetUsageRequest, GetUsageResponse, ListTenantsRequest,
    ListTenantsResponse, ReloadConfigurationRequest, ReloadConfigurationResponse,
    ResumeTenantRequest, ResumeTenantResponse, StandingOrder, SuspendTenantRequest,
    SuspendTenantResponse, UnfreezeServiceRequest, UnfreezeServiceResponse,
};
use crate::refusal::{NotOperator, Refusal};
use crate::sign::bind::{Violation, Violations};
use crate::tenant::Tenant;

/// How much of what may be long an answer holds.
const SHOWN: usize = 100;

/// A tenant, and why something is wanted of it.
pub(in crate::grpc) struct AboutTenant {
    tenant: TenantId,
    reason: String,
}

/// Reads a tenant's id.
fn read_tenant(tenant: &str) -> Result<TenantId, Refusal> {
    TenantId::parse(tenant).map_err(|error| Refusal::field("tenant", error.to_string()))
}

/// Reads an order about a tenant.
fn read_about_tenant(tenant: &str, reason: String) -> Result<AboutTenant, Refusal> {
    let mut violations = Vec::new();
    let parsed = TenantId::parse(tenant);
    if let Err(error) = &parsed {
        violations.push(violation("tenant", error.to_string()));
    }
    violations.extend(unfit_reason(&reason));
    match parsed {
        Ok(tenant) if violations.is_empty() => Ok(AboutTenant { tenant, reason }),
        _ => Err(Refusal::Invalid(Violations(violations))),
    }
}

/// Reads why the service is to be stopped, or to go on.
fn read_reason(reason: String) -> Result<String, Refusal> {
    match unfit_reason(&reason) {
        None => Ok(reason),
        Some(violation) => Err(Refusal::Invalid(Violations(vec![violation]))),
    }
}

fn unfit_reason(reason: &str) -> Option<Violation> {
    if reason.trim().is_empty() {
        let why = "is required: say why, for the record and for whoever looks next";
        return Some(violation("reason", why.to_owned()));
    }
    let too_long = reason.len() > MAX_FREE_TEXT;
    too_long.then(|| violation("reason", "is longer than 256 bytes".to_owned()))
}

fn violation(field: &'static str, description: String) -> Violation {
    Violation {
        field: field.into(),
        description: description.into(),
    }
}

/// Refuses whoever may not do this to all tenants.
fn for_all(caller: &Caller) -> Result<(), Refusal> {
    if caller.may_for_all(Right::Operate) {
        Ok(())
    } else {
        Err(NotOperator::OfService.into())
    }
}

impl Inner {
    /// The tenant, if the caller may operate it.
    fn operated(&self, caller: &Caller, tenant: &TenantId) -> Result<Arc<Tenant>, Refusal> {
        let tenants = &self.presigner.tenants;
        Ok(tenants.of(caller, Right::Operate, tenant)?)
    }

    /// Has a change kept, and logs who wanted it.
    async fn order(
        &self,
        caller: &Caller,
        reason: &str,
        change: Change,
    ) -> Result<Ordered, Refusal> {
        let ordered = self.presigner.orders.order(change.clone()).await?;
        let what = match &change {
            Change::Freeze(_) => "the service is frozen",
            Change::Unfreeze => "the service is not frozen",
            Change::Suspend(..) => "the tenant is suspended",
            Change::Resume(_) => "the tenant is not suspended",
        };
        let tenant = change.tenant().map(TenantId::as_str);
        let (caller, news) = (caller.name(), ordered.is_news());
        tracing::warn!(
            tenant,
            caller,
            reason,
            news,
            "{what}, by an operator's order"
        );
        Ok(ordered)
    }

    /// An order of this caller, now.
    fn order_of(&self, caller: &Caller, reason: &str) -> Order {
        Order::new(reason, caller.name(), self.presigner.clock.now())
    }

    /// Records what came of an operation about a tenant or the service, and gives it back.
    async fn noted<T>(
        &self,
        arrival: &Arrival,
        issuance_id: Uuid,
        tenant: Option<&TenantId>,
        reason: &str,
        result: Result<Done<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let about = About { tenant, reason };
        let noted = self
            .presigner
            .note_operation(arrival, issuance_id, about, result);
        noted.await
    }
}

/// An order as it is shown.
fn shown(order: &Order) -> StandingOrder {
    StandingOrder {
        reason: order.reason.clone(),
        ordered_by: order.ordered_by.clone(),
        ordered_at: Some(order.ordered_at.into()),
    }
}

/// What the record says where nothing has changed.
fn no_news(ordered: &Ordered, otherwise: &'static str) -> Option<std::borrow::Cow<'static, str>> {
    (!ordered.is_news()).then(|| otherwise.into())
}

/// A duration as it travels. One too long for that is as long as it gets.
fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: 315_576_000_000,
        nanos: 0,
    })
}

/// In whole milliseconds, for people.
fn rounded(time: Duration) -> prost_types::Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    duration(Duration::from_millis(millis))
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[tonic::async_trait]
impl OperationsService for PresignApi {
    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        self.answer::<ListTenants>(request).await
    }

    async fn get_tenant(
        &self,
        request: Request<GetTenantRequest>,
    ) -> Result<Response<GetTenantResponse>, Status> {
        self.answer::<GetTenant>(request).await
    }

    async fn get_usage(
        &self,
        request: Request<GetUsageRequest>,
    ) -> Result<Response<GetUsageResponse>, Status> {
        self.answer::<GetUsage>(request).await
    }

    async fn suspend_tenant(
        &self,
        request: Request<SuspendTenantRequest>,
    ) -> Result<Response<SuspendTenantResponse>, Status> {
        self.answer::<SuspendTenant>(request).await
    }

    async fn resume_tenant(
        &self,
        request: Request<ResumeTenantRequest>,
    ) -> Result<Response<ResumeTenantResponse>, Status> {
        self.answer::<ResumeTenant>(request).await
    }

    async fn freeze_service(
        &self,
        request: Request<FreezeServiceRequest>,
    ) -> Result<Response<FreezeServiceResponse>, Status> {
        self.answer::<FreezeService>(request).await
    }

    async fn unfreeze_service(
        &self,
        request: Request<UnfreezeServiceRequest>,
    ) -> Result<Response<UnfreezeServiceResponse>, Status> {
        self.answer::<UnfreezeService>(request).await
    }

    async fn reload_configuration(
        &self,
        request: Request<ReloadConfigurationRequest>,
    ) -> Result<Response<ReloadConfigurationResponse>, Status> {
        self.answer::<ReloadConfiguration>(request).await
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.answer::<GetStatus>(request).await
    }
}
