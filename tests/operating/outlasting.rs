//! Orders outlast the process that took them, or are not taken.

use std::fs;

use presignd::proto::v1::{FreezeServiceRequest, GetStatusRequest, SuspendTenantRequest};
use tonic::Code;

use super::{BOSS, Operated};
use crate::harness::refusal::{Refused, refused};

#[tokio::test]
async fn a_process_that_is_killed_leaves_its_orders_to_the_next() {
    let over = Operated::start().await;
    over.suspend("acme").await;
    let over = over.killed_and_started().await;
    let why = over.presign("acme").await.unwrap_err();
    assert_eq!(Refused::read(&why).reason, "TENANT_SUSPENDED");
    over.presign("globex").await.unwrap();
    over.freeze().await;
    let over = over.killed_and_started().await;
    let why = over.presign("globex").await.unwrap_err();
    assert_eq!(Refused::read(&why).reason, "SERVICE_FROZEN");
    let status = over.by(BOSS, GetStatusRequest {});
    let status = over.operations().get_status(status).await.unwrap();
    let status = status.into_inner();
    assert_eq!(status.frozen.unwrap().ordered_by, "key.boss");
    assert_eq!(status.suspended[0].tenant, "acme");
    over.unfreeze().await;
    over.resume("acme").await;
    let over = over.killed_and_started().await;
    over.presign("acme").await.unwrap();
}

#[tokio::test]
async fn orders_that_cannot_be_read_keep_presignd_from_starting() {
    let over = Operated::start().await;
    over.suspend("acme").await;
    let path = over.file("state/orders.json");
    let Operated {
        folder, process, ..
    } = over;
    process.terminated().await;
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let again = Operated::serve(&folder).ended().await;
    assert_eq!(again.code, Some(1), "{again:?}");
    let said = "state/orders.json: this is no file of orders";
    assert!(again.stderr.contains(said), "{again:?}");
    assert!(again.stderr.contains("mend it, or remove it"), "{again:?}");
}

#[tokio::test]
async fn an_order_that_cannot_be_kept_does_not_count() {
    let over = Operated::start().await;
    over.suspend("acme").await;
    // As a full disk would: the new file cannot be made.
    fs::create_dir(over.file("state/.orders.json.new")).unwrap();
    let freeze = || {
        let message = FreezeServiceRequest {
            reason: "an incident".to_owned(),
        };
        over.by(BOSS, message)
    };
    let failed = refused(over.operations().freeze_service(freeze()).await);
    assert_eq!(failed.why(), (Code::Unavailable, "STATE_UNAVAILABLE"));
    assert_eq!(over.record("STATE_UNAVAILABLE").await["outcome"], "failed");
    over.presign("globex").await.unwrap();
    let why = over.presign("acme").await.unwrap_err();
    assert_eq!(Refused::read(&why).reason, "TENANT_SUSPENDED");
    fs::remove_dir(over.file("state/.orders.json.new")).unwrap();
    over.operations().freeze_service(freeze()).await.unwrap();
    over.presign("globex").await.unwrap_err();
}

#[tokio::test]
async fn without_state_nothing_is_ordered() {
    let over = Operated::start_with("", "").await;
    let message = SuspendTenantRequest {
        tenant: "acme".to_owned(),
        reason: "a leak".to_owned(),
    };
    let message = over.by(BOSS, message);
    let missing = refused(over.operations().suspend_tenant(message).await);
    assert_eq!(missing.why(), (Code::FailedPrecondition, "STATE_MISSING"));
    assert!(missing.message.contains("`state.dir`"), "{missing:?}");
    over.record(&missing.issuance_id).await;
    over.presign("acme").await.unwrap();
}
