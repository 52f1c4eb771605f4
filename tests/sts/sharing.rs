//! Who shares a session, and a call for one: whoever would get the same, at the same time too, and nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{GRANTS, acme, get, token};
use crate::harness::presignd::{Presignd, batch, get_object, request};
use crate::harness::sts::{Answer, FakeSts};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_cold_requests_ask_sts_once() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = acme(&sts).await;
    let ready = Arc::new(Barrier::new(1001));
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let (mut client, ready) = (presignd.client.clone(), Arc::clone(&ready));
        tasks.spawn(async move {
            ready.wait().await;
            client
                .presign(get())
                .await
                .map(|issued| token(issued.get_ref()))
        });
    }
    ready.wait().await;
    sts.called(1).await;
    sts.answer(Answer::Session(std::time::Duration::from_hours(1)));
    let mut tokens = BTreeSet::new();
    while let Some(done) = tasks.join_next().await {
        tokens.insert(done.unwrap().unwrap());
    }
    assert_eq!((tokens.len(), sts.calls().len()), (1, 1));
    assert_eq!(presignd.records.all().len(), 1000);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_cold_batch_asks_sts_once() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let commands = (0..500).map(|i| get_object("acme-files", &format!("in/{i}")));
    let results = presignd
        .presign_batch(batch("acme", commands))
        .await
        .unwrap();
    assert_eq!((results.len(), sts.calls().len()), (500, 1));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_hang_up_for_others() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = acme(&sts).await;
    let ask = || {
        let mut client = presignd.client.clone();
        tokio::spawn(async move { client.presign(get()).await })
    };
    let first = ask();
    sts.called(1).await;
    let second = ask();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    sts.answer(Answer::Session(std::time::Duration::from_hours(1)));
    second.await.unwrap().unwrap();
    assert_eq!(sts.calls().len(), 1);
    presignd.records.wait_for(2).await;
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn tenants_of_one_role_have_sessions_of_their_own() {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("globex", &sts.tenant("acme", "", GRANTS))
        .with_tenant("initech", &sts.tenant("acme", "external_id: e1", GRANTS))
        .start()
        .await;
    let mut tokens = BTreeSet::new();
    for _ in 0..2 {
        for tenant in ["acme", "globex", "initech"] {
            let ask = request(tenant, get_object("acme-files", "in/k"));
            tokens.insert(token(&presignd.presign(ask).await.unwrap()));
        }
    }
    assert_eq!((tokens.len(), sts.calls().len()), (3, 3));
    let names: Vec<String> = sts
        .calls()
        .iter()
        .map(|call| call.form["RoleSessionName"].clone())
        .collect();
    let expected = [
        "presignd-acme.anyone",
        "presignd-globex.anyone",
        "presignd-initech.anyone",
    ];
    assert_eq!(names, expected);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_of_one_bucket_serves_no_other() {
    let sts = FakeSts::start().await;
    let rest = r#"session: { scope: bucket }
grants:
  - { commands: [read, write], resources: ["acme-a/*", "acme-b/*"] }"#;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", rest)
        .start()
        .await;
    let copy = Variant::CopyObject(s3::CopyObject {
        bucket: Some("acme-a".into()),
        key: Some("k".into()),
        copy_source: Some("acme-b/k".into()),
        ..s3::CopyObject::default()
    });
    let commands = [
        (get_object("acme-a", "k"), "acme-a", Some("acme-b")),
        (get_object("acme-b", "k"), "acme-b", Some("acme-a")),
        (copy, "acme-b", None),
    ];
    let mut tokens = BTreeSet::new();
    for (index, (command, named, not_named)) in commands.iter().enumerate() {
        for _ in 0..2 {
            let issued = presignd.presign(request("acme", command.clone())).await;
            tokens.insert(token(&issued.unwrap()));
        }
        assert_eq!(sts.calls().len(), index + 1);
        let policy = &sts.calls()[index].form["Policy"];
        assert!(policy.contains(named), "{policy}");
        assert!(
            not_named.is_none_or(|other| !policy.contains(other)),
            "{policy}"
        );
    }
    assert_eq!(tokens.len(), 3);
    presignd.shutdown().await.unwrap();
}
