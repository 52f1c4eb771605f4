//! How many calls of STS a limit lets a tenant have under way: the others of it are told so, and other tenants do not notice.

use std::time::Duration;

use tokio::task::JoinSet;
use tonic::Code;

use super::GRANTS;
use crate::harness::presignd::{Presignd, get_object, request};
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};

/// Two calls at once, and eight that wait for each of them.
const LIMIT: &str = "session: { scope: object }\nlimits: [{ name: sessions, sts_calls: 2 }]";
const AT_ONCE: usize = 2;
const WAIT: usize = 16;
const ASKED: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_floods_sts_is_held_to_its_limit_and_others_are_served() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::By(|form| {
        if form["RoleArn"].ends_with("-noisy") {
            Answer::Nothing
        } else {
            Answer::Session(Duration::from_hours(1))
        }
    }));
    let noisy = sts.tenant("noisy", "", &format!("{GRANTS}\n{LIMIT}"));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("noisy", &noisy)
        .start()
        .await;
    let mut tasks = JoinSet::new();
    for n in 0..ASKED {
        let mut client = presignd.client.clone();
        let ask = request("noisy", get_object("acme-files", &format!("in/{n}")));
        tasks.spawn(async move { client.presign(ask).await.map(tonic::Response::into_inner) });
    }
    let mut told = 0;
    while told < ASKED - AT_ONCE - WAIT {
        let refused = refused(tasks.join_next().await.unwrap().unwrap());
        assert_eq!(refused.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
        assert_eq!(refused.metadata["limit"], "sessions");
        assert_eq!(refused.quotas, ["tenant:noisy/limit:sessions"]);
        assert!(refused.retry_after.is_some());
        told += 1;
    }
    let other = request("acme", get_object("acme-files", "in/k"));
    presignd.presign(other).await.unwrap();
    assert_eq!(sts.calls().len(), AT_ONCE + 1);

    sts.answer(Answer::Session(Duration::from_hours(1)));
    let rest = tasks.join_all().await;
    let served = rest.iter().filter(|answer| answer.is_ok()).count();
    assert!(served >= AT_ONCE, "{rest:?}");
    assert_eq!(sts.calls().len(), served + 1);
    assert!(sts.most_under_way() <= AT_ONCE + 1);
    presignd.shutdown().await.unwrap();
}
