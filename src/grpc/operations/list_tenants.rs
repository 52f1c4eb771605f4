//! `ListTenants`: the tenants that the caller may operate.

use std::collections::BinaryHeap;

use uuid::Uuid;

use super::{count, shown};
use crate::authenticate::{Caller, Right};
use crate::grpc::{Inner, Unary};
use crate::names::TenantId;
use crate::operate::Orders;
use crate::presign::Arrival;
use crate::proto::v1::{ListTenantsRequest, ListTenantsResponse, TenantSummary};
use crate::refusal::{NotOperator, Refusal};

/// How many tenants are on a page that does not say.
const PAGE: usize = 100;
/// And at the most.
const LARGEST_PAGE: usize = 1000;

/// The RPC.
pub(in crate::grpc) struct ListTenants;

/// A page.
pub(in crate::grpc) struct Page {
    size: usize,
    /// The last tenant of the page before.
    after: Option<TenantId>,
}

impl Unary for ListTenants {
    const METHOD: &'static str = "presignd.v1.OperationsService/ListTenants";
    type Message = ListTenantsRequest;
    type Asked = Page;
    type Reply = ListTenantsResponse;

    fn tenant(_message: &Self::Message) -> &'static str {
        ""
    }

    fn read(message: ListTenantsRequest) -> Result<Page, Refusal> {
        let size = match usize::try_from(message.page_size) {
            Ok(0) => PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
            Err(_) => {
                return Err(Refusal::field(
                    "page_size",
                    "is less than 0: give 1 to 1000",
                ));
            }
        };
        let token = Some(&*message.page_token).filter(|token| !token.is_empty());
        let after = token.map(|token| {
            let unknown = "is none of a page before: give next_page_token as it was answered";
            TenantId::parse(token).map_err(|_| Refusal::field("page_token", unknown))
        });
        Ok(Page {
            size,
            after: after.transpose()?,
        })
    }

    async fn work(
        inner: &Inner,
        arrival: &Arrival,
        issuance_id: Uuid,
        page: Page,
    ) -> Result<ListTenantsResponse, Refusal> {
        let caller = &arrival.caller;
        let listed = if caller.may_for_any(Right::Operate) {
            let (tenants, orders) = (
                inner.presigner.tenants.all(),
                inner.presigner.orders.standing(),
            );
            Ok(list(tenants.keys(), caller, &page, &orders).into())
        } else {
            Err(NotOperator::OfAny.into())
        };
        inner.noted(arrival, issuance_id, None, "", listed).await
    }
}

fn list<'a>(
    tenants: impl Iterator<Item = &'a TenantId>,
    caller: &Caller,
    page: &Page,
    orders: &Orders,
) -> ListTenantsResponse {
    let mut total = 0;
    let mut following = 0;
    // The first of those that follow, of which the last is at hand to go.
    let mut first: BinaryHeap<&TenantId> = BinaryHeap::with_capacity(page.size + 1);
    for tenant in tenants.filter(|tenant| caller.may(Right::Operate, tenant)) {
        total += 1;
        if page.after.as_ref().is_some_and(|after| tenant <= after) {
            continue;
        }
        following += 1;
        first.push(tenant);
        if first.len() > page.size {
            first.pop();
        }
    }
    let first = first.into_sorted_vec();
    let next = first.last().filter(|_| following > first.len());
    ListTenantsResponse {
        next_page_token: next.map_or_else(String::new, ToString::to_string),
        tenants: first.iter().map(|tenant| summary(tenant, orders)).collect(),
        total_size: count(total),
    }
}

fn summary(tenant: &TenantId, orders: &Orders) -> TenantSummary {
    TenantSummary {
        tenant: tenant.to_string(),
        suspended: orders.about(Some(tenant)).map(shown),
    }
}
