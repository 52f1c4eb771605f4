//! How often: bursts, rates, classes, and callers at the same time.

use std::time::Duration;

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use tonic::Code;

use crate::harness::presignd::{Presignd, get_object, put_object, request, static_tenant};
use crate::harness::refusal::{Refused, refused};

const GRANTS: &str =
    r#"grants: [{ commands: [read, write, delete, list], resources: ["acme-files/*"] }]"#;

async fn limited(limits: &str) -> Presignd {
    let tenant = static_tenant(&format!("{GRANTS}\nlimits:\n{limits}"));
    Presignd::with_tenant("acme", &tenant)
        .with_tenant("globex", &tenant)
        .start()
        .await
}

fn get() -> Variant {
    get_object("acme-files", "k")
}

fn put() -> Variant {
    put_object("acme-files", "k")
}

async fn ask(presignd: &Presignd, command: Variant) -> Result<(), Refused> {
    match presignd.presign(request("acme", command)).await {
        Ok(_) => Ok(()),
        Err(status) => Err(Refused::read(&status)),
    }
}

/// How many of `attempts` are issued.
async fn issued(presignd: &Presignd, command: &Variant, attempts: usize) -> usize {
    let mut issued = 0;
    for _ in 0..attempts {
        issued += usize::from(ask(presignd, command.clone()).await.is_ok());
    }
    issued
}

#[tokio::test]
async fn a_burst_is_followed_by_a_refusal_that_says_when_to_come_back() {
    let presignd = limited("  - { name: all, rate: 6/h, burst: 3 }").await;
    assert_eq!(issued(&presignd, &get(), 3).await, 3);
    let refused = ask(&presignd, get()).await.unwrap_err();
    assert_eq!(refused.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(refused.quotas, ["tenant:acme/limit:all"]);
    assert_eq!(refused.metadata["limit"], "all");
    let wait = refused.retry_after.unwrap();
    assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(750));
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "denied");
    assert_eq!(record["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(record["key"], "k");

    // Another tenant's limit of the same name is another limit.
    let globex = request("globex", get());
    presignd.presign(globex).await.unwrap();

    // Coming back when told to is soon enough, for one.
    presignd.clock.advance(wait);
    assert_eq!(issued(&presignd, &get(), 2).await, 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_comes_back_is_the_rate_and_never_more_than_the_burst() {
    let presignd = limited("  - { name: all, rate: 6/h, burst: 3 }").await;
    assert_eq!(issued(&presignd, &get(), 5).await, 3);
    presignd.clock.advance(Duration::from_mins(21));
    assert_eq!(issued(&presignd, &get(), 5).await, 2);
    presignd.clock.advance(Duration::from_hours(24));
    assert_eq!(issued(&presignd, &get(), 5).await, 3);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_limit_counts_its_commands_only() {
    let presignd = limited(
        "  - { name: reads, commands: [read], rate: 1/h, burst: 2 }
  - { name: heads, commands: [HeadObject], rate: 1/h, burst: 1 }",
    )
    .await;
    assert_eq!(issued(&presignd, &put(), 5).await, 5);
    let head = Variant::HeadObject(s3::HeadObject {
        bucket: Some("acme-files".into()),
        key: Some("k".into()),
        ..s3::HeadObject::default()
    });
    ask(&presignd, head.clone()).await.unwrap();
    let refused = ask(&presignd, head).await.unwrap_err();
    assert_eq!(refused.quotas, ["tenant:acme/limit:heads"]);
    // That refusal gave back what it had taken from the reads.
    ask(&presignd, get()).await.unwrap();
    let refused = ask(&presignd, get()).await.unwrap_err();
    assert_eq!(refused.quotas, ["tenant:acme/limit:reads"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn requests_that_are_refused_take_nothing() {
    let presignd = limited("  - { name: all, rate: 1/h, burst: 1 }").await;
    for command in [
        get_object("globex-files", "k"),
        get_object("acme-files", ".."),
    ] {
        ask(&presignd, command).await.unwrap_err();
    }
    ask(&presignd, get()).await.unwrap();
    let refused = refused(presignd.presign(request("acme", get())).await);
    assert_eq!(refused.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    presignd.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_at_the_same_time_get_the_burst_and_not_one_more() {
    let presignd = limited(
        "  - { name: all, rate: 1/h, burst: 40 }
  - { name: writes, commands: [write], rate: 1/h, burst: 10 }",
    )
    .await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..200 {
        let mut client = presignd.client.clone();
        let command = if index % 2 == 0 { get() } else { put() };
        let is_read = index % 2 == 0;
        tasks.spawn(async move {
            let issued = client.presign(request("acme", command)).await.is_ok();
            (is_read, issued)
        });
    }
    let (mut reads, mut writes) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (true, true) => reads += 1,
            (false, true) => writes += 1,
            _ => {}
        }
    }
    assert!(writes <= 10, "{writes}");
    assert!(reads + writes <= 40, "{reads} and {writes}");
    // What refused writes gave back is there for whoever comes later.
    let later = issued(&presignd, &get(), 60).await;
    assert_eq!(reads + writes + later, 40);
    assert_eq!(presignd.records.all().len(), 260);
    presignd.shutdown().await.unwrap();
}
