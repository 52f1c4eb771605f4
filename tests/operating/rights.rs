//! Who may operate what: others learn nothing, and leave a record.

use presignd::proto::v1::{
    FreezeServiceRequest, GetStatusRequest, GetTenantRequest, GetUsageRequest, ListTenantsRequest,
    ReloadConfigurationRequest, ResumeTenantRequest, SuspendTenantRequest, UnfreezeServiceRequest,
};
use tonic::{Code, Request, Status};

use super::{BOSS, CLIENT, OPERATOR, Operated};
use crate::harness::refusal::{Refused, refused};

const OPERATION: (Code, &str) = (Code::PermissionDenied, "OPERATION_DENIED");
const TENANT: (Code, &str) = (Code::PermissionDenied, "TENANT_DENIED");

/// What comes of every RPC about a tenant.
async fn about(
    over: &Operated,
    caller: &str,
    tenant: &str,
) -> Vec<(&'static str, Result<(), Status>)> {
    let mut operations = over.operations();
    let (id, reason) = (tenant.to_owned(), "because".to_owned());
    let get = over.by(caller, GetTenantRequest { tenant: id.clone() });
    let usage = over.by(caller, GetUsageRequest { tenant: id.clone() });
    let suspend = SuspendTenantRequest {
        tenant: id.clone(),
        reason: reason.clone(),
    };
    let resume = ResumeTenantRequest { tenant: id, reason };
    let (suspend, resume) = (over.by(caller, suspend), over.by(caller, resume));
    vec![
        ("GetTenant", operations.get_tenant(get).await.map(drop)),
        ("GetUsage", operations.get_usage(usage).await.map(drop)),
        (
            "Suspend",
            operations.suspend_tenant(suspend).await.map(drop),
        ),
        ("Resume", operations.resume_tenant(resume).await.map(drop)),
    ]
}

/// What comes of every RPC about the service.
async fn about_all(over: &Operated, caller: &str) -> Vec<(&'static str, Result<(), Status>)> {
    let mut operations = over.operations();
    let reason = || "because".to_owned();
    let freeze = over.by(caller, FreezeServiceRequest { reason: reason() });
    let unfreeze = over.by(caller, UnfreezeServiceRequest { reason: reason() });
    let reload = over.by(caller, ReloadConfigurationRequest { reason: reason() });
    let status = over.by(caller, GetStatusRequest {});
    vec![
        ("Freeze", operations.freeze_service(freeze).await.map(drop)),
        (
            "Unfreeze",
            operations.unfreeze_service(unfreeze).await.map(drop),
        ),
        (
            "Reload",
            operations.reload_configuration(reload).await.map(drop),
        ),
        ("Status", operations.get_status(status).await.map(drop)),
    ]
}

#[tokio::test]
async fn each_operates_what_they_may_and_all_that_is_refused_is_told_alike() {
    let over = Operated::start().await;
    for (method, answer) in about(&over, OPERATOR, "acme").await {
        // To operate a tenant is not to see what it uses.
        assert_eq!(
            answer.is_err(),
            method == "GetUsage",
            "{method}: {answer:?}"
        );
    }
    let mut told = None;
    for (caller, tenant) in [(OPERATOR, "globex"), (OPERATOR, "acorn"), (BOSS, "nobody")] {
        for (method, answer) in about(&over, caller, tenant).await {
            let refused = Refused::read(&answer.expect_err(method));
            assert_eq!(refused.why(), TENANT, "{method} {caller} {tenant}");
            let told = told.get_or_insert_with(|| refused.message.clone());
            assert_eq!(*told, refused.message, "{method} {caller} {tenant}");
            let record = over.record(&refused.issuance_id).await;
            assert_eq!(record["outcome"], "denied");
            assert_eq!(record["tenant"], tenant);
            assert_eq!(record["caller"], format!("key.{caller}"));
        }
    }
    for (method, answer) in about(&over, CLIENT, "acme").await {
        assert_eq!(answer.is_ok(), method == "GetUsage", "{method}: {answer:?}");
    }
    for caller in [OPERATOR, CLIENT] {
        for (method, answer) in about_all(&over, caller).await {
            let refused = Refused::read(&answer.expect_err(method));
            assert_eq!(refused.why(), OPERATION, "{method} {caller}");
            over.record(&refused.issuance_id).await;
        }
    }
    for (method, answer) in about_all(&over, BOSS).await {
        answer.unwrap_or_else(|status| panic!("{method}: {status:?}"));
    }
    over.presign("acme").await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_say_who_they_are_is_asked_for_it() {
    let over = Operated::start().await;
    let status = over.operations().get_status(GetStatusRequest {}).await;
    let why = refused(status);
    assert_eq!(why.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
    let record = over.record(&why.issuance_id).await;
    assert_eq!(record["method"], "presignd.v1.OperationsService/GetStatus");
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_operate_page_by_page() {
    let over = Operated::start().await;
    over.suspend("globex").await;
    let page = async |caller, size, token: &str| {
        let asked = ListTenantsRequest {
            page_size: size,
            page_token: token.to_owned(),
        };
        let asked: Request<_> = over.by(caller, asked);
        let answer = over.operations().list_tenants(asked).await?.into_inner();
        let tenants = answer.tenants.into_iter();
        let tenants: Vec<_> = tenants
            .map(|tenant| (tenant.tenant, tenant.suspended.is_some()))
            .collect();
        Ok::<_, Status>((tenants, answer.next_page_token, answer.total_size))
    };
    let (acme, globex) = (("acme".to_owned(), false), ("globex".to_owned(), true));
    let none = String::new;
    let all = (vec![acme.clone(), globex.clone()], none(), 2);
    assert_eq!(page(BOSS, 0, "").await.unwrap(), all);
    assert_eq!(page(BOSS, i32::MAX, "").await.unwrap(), all);
    let first = page(BOSS, 1, "").await.unwrap();
    assert_eq!(first, (vec![acme.clone()], "acme".to_owned(), 2));
    let second = page(BOSS, 1, &first.1).await.unwrap();
    assert_eq!(second, (vec![globex], none(), 2));
    assert_eq!(page(BOSS, 1, "zzz").await.unwrap(), (vec![], none(), 2));
    let own = page(OPERATOR, 0, "").await.unwrap();
    assert_eq!(own, (vec![acme], none(), 1));
    let denied = Refused::read(&page(CLIENT, 0, "").await.unwrap_err());
    assert_eq!(denied.why(), OPERATION);
    for (size, token, field) in [(-1, "", "page_size"), (1, "../x", "page_token")] {
        let invalid = Refused::read(&page(BOSS, size, token).await.unwrap_err());
        assert_eq!(invalid.fields, [field]);
    }
}

#[tokio::test]
async fn an_order_says_why() {
    let over = Operated::start().await;
    for reason in [String::new(), " \n".to_owned(), "x".repeat(257)] {
        let message = SuspendTenantRequest {
            tenant: "No Tenant".to_owned(),
            reason: reason.clone(),
        };
        let message = over.by(BOSS, message);
        let invalid = refused(over.operations().suspend_tenant(message).await);
        assert_eq!(invalid.fields, ["tenant", "reason"]);
        let message = over.by(BOSS, FreezeServiceRequest { reason });
        let invalid = refused(over.operations().freeze_service(message).await);
        assert_eq!(invalid.fields, ["reason"]);
        let record = over.record(&invalid.issuance_id).await;
        assert_eq!(record["reason_code"], "INVALID_REQUEST");
    }
    over.presign("acme").await.unwrap();
}
