//! An STS in trouble for a while: who goes on, who is told to come back and when, how little it is called, and that all is well after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use presignd::proto::v1::PresignResponse;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{GRANTS, acme, get, token};
use crate::harness::presignd::{Presignd, clamped, get_object, lasting, request};
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::{Answer, Call, FakeSts};

const GONE: (Code, &str) = (Code::Unavailable, "STS_UNAVAILABLE");
/// The longest that a breaker stays open.
const OPEN: Duration = Duration::from_secs(30);
/// Within so much a request is told that there is no session, in microseconds.
const AT_ONCE: u64 = 500_000;

/// How long presignd took for it, by its own record.
fn took(presignd: &Presignd, issuance_id: &str) -> u64 {
    let record = presignd.records.of(issuance_id);
    record["duration_us"].as_u64().expect("a duration")
}

fn assert_told_at_once(presignd: &Presignd, result: Result<PresignResponse, Status>) {
    let refused = refused(result);
    assert_eq!(refused.why(), GONE);
    let after = refused.retry_after.expect("when to come back");
    assert!(
        Duration::from_millis(50) < after && after <= OPEN.mul_f64(1.6),
        "{after:?}"
    );
    let took = took(presignd, &refused.issuance_id);
    assert!(took <= AT_ONCE, "{took} us");
}

/// Ten minutes of trouble: `down` brings it, `up` ends it. `warm_up` is how long the first to come may wait.
async fn ten_minutes(
    down: impl AsyncFnOnce(&FakeSts),
    up: impl AsyncFnOnce(&FakeSts),
    hangs: bool,
) {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("globex", &sts.tenant("globex", "", GRANTS))
        .start()
        .await;
    let cold = || request("globex", get_object("acme-files", "in/k"));
    let first = token(&presignd.presign(get()).await.unwrap());
    // On the way it gets old enough to be renewed.
    presignd.clock.advance(Duration::from_mins(20));
    down(&sts).await;

    if hangs {
        // Who comes first waits as long as an STS that works may take.
        assert_eq!(refused(presignd.presign(cold()).await).why(), GONE);
    }
    let step = Duration::from_secs(10);
    for _ in 0..60 {
        let issued = presignd.presign(lasting(900, get())).await.unwrap();
        assert_eq!(token(&issued), first);
        assert!(took(&presignd, &issued.issuance_id) <= AT_ONCE);
        assert_told_at_once(&presignd, presignd.presign(cold()).await);
        presignd.clock.advance(step);
    }
    // Three attempts make a call, and the calls get rare.
    let attempts = sts.calls().len();
    assert!(attempts <= 1 + 2 * 3 * 30, "{attempts}");

    up(&sts).await;
    presignd.clock.advance(OPEN);
    if hangs {
        // What hung may still be under way, and is answered now.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    presignd.presign(cold()).await.unwrap();
    presignd.presign(lasting(3000, get())).await.unwrap();
    presignd.shutdown().await.unwrap();
}

async fn well(sts: &FakeSts) {
    sts.answer(Answer::Session(Duration::from_hours(1)));
}

#[tokio::test]
async fn scenario_1_sts_refuses_connections_for_ten_minutes() {
    let down = async |sts: &FakeSts| sts.vanish();
    let up = async |sts: &FakeSts| sts.reappear().await;
    ten_minutes(down, up, false).await;
}

#[tokio::test]
async fn scenario_1_sts_fails_for_ten_minutes() {
    let down = async |sts: &FakeSts| sts.answer(Answer::overloaded());
    ten_minutes(down, well, false).await;
}

#[tokio::test]
async fn scenario_1_sts_is_throttled_for_ten_minutes() {
    let down = async |sts: &FakeSts| sts.answer(Answer::throttled());
    ten_minutes(down, well, false).await;
}

#[tokio::test]
async fn scenario_1_sts_hangs_for_ten_minutes() {
    let down = async |sts: &FakeSts| sts.answer(Answer::Nothing);
    ten_minutes(down, well, true).await;
}

/// A thousand requests of one cold tenant at once.
async fn a_thousand(presignd: &Presignd) -> Vec<Result<PresignResponse, Status>> {
    let ready = Arc::new(Barrier::new(1000));
    let mut tasks = JoinSet::new();
    for _ in 0..1000 {
        let (mut client, ready) = (presignd.client.clone(), Arc::clone(&ready));
        tasks.spawn(async move {
            ready.wait().await;
            client.presign(get()).await.map(tonic::Response::into_inner)
        });
    }
    tasks.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scenario_2_a_thousand_cold_requests_meet_a_throttled_sts() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::throttled());
    let presignd = acme(&sts).await;
    let mut attempts = 0;
    for wave in 0..3 {
        let mut pauses = BTreeSet::new();
        for result in a_thousand(&presignd).await {
            let refused = refused(result);
            assert_eq!(refused.why(), GONE);
            pauses.insert(refused.retry_after.expect("when to come back"));
        }
        assert!(
            pauses.len() > 100,
            "a crowd that is told {} moments comes back as a crowd",
            pauses.len()
        );
        // Three attempts, and the rest of a wave finds the breaker open; those who are slow to come may find it half open.
        let now = sts.calls().len();
        assert!((3..=12).contains(&(now - attempts)), "{wave}: {now}");
        attempts = now;
        presignd.clock.advance(OPEN);
    }
    well(&sts).await;
    let results = a_thousand(&presignd).await;
    let issued = results.into_iter().flatten().count();
    // One probes, and whoever came while it was under way waited for it.
    assert_eq!((issued, sts.calls().len()), (1000, attempts + 1));
    assert_eq!(sts.most_under_way(), 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn scenario_3_a_minute_is_left_and_a_quarter_of_an_hour_asked() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let first = token(&presignd.presign(get()).await.unwrap());
    // And the seconds that tests take.
    presignd.clock.advance(Duration::from_secs(59 * 60 - 10));
    let ends = |n: usize| sts.sessions()[n].expires_at;
    let end = |issued: &PresignResponse| SystemTime::try_from(issued.expires_at.unwrap()).unwrap();

    sts.answer(Answer::overloaded());
    let insists = refused(presignd.presign(lasting(900, get())).await);
    assert_eq!(insists.why(), GONE);
    let content = presignd.presign(clamped(lasting(900, get()))).await;
    let content = content.unwrap();
    assert_eq!(token(&content), first);
    assert!(end(&content) <= ends(0), "{content:?}");

    well(&sts).await;
    presignd.clock.advance(Duration::from_secs(2));
    let refreshed = presignd.presign(lasting(900, get())).await.unwrap();
    assert_ne!(token(&refreshed), first);
    assert!(end(&refreshed) <= ends(1));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_probe_finds_out_that_sts_is_back() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::overloaded());
    let presignd = acme(&sts).await;
    refused(presignd.presign(get()).await);
    assert_eq!(sts.calls().len(), 3);
    for _ in 0..20 {
        assert_told_at_once(&presignd, presignd.presign(get()).await);
    }
    assert_eq!(sts.calls().len(), 3, "the breaker is open");

    // The probe is not answered: nobody waits for it, and there is no other.
    sts.answer(Answer::Nothing);
    presignd.clock.advance(OPEN);
    for _ in 0..20 {
        assert_told_at_once(&presignd, presignd.presign(get()).await);
    }
    assert_eq!(sts.calls().len(), 4);
    // Until it is.
    well(&sts).await;
    let back = async {
        while presignd.presign(get()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let back = tokio::time::timeout(Duration::from_secs(20), back).await;
    back.expect("the probe brought a session");
    assert_eq!(sts.calls().len(), 4);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_remembered_for_seconds_only() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::denied());
    let presignd = acme(&sts).await;
    for _ in 0..20 {
        let refused = refused(presignd.presign(get()).await);
        assert_eq!(refused.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
        let seconds: u64 = refused.metadata["asked_again_after_seconds"]
            .parse()
            .unwrap();
        assert!((1..=3).contains(&seconds), "{seconds}");
    }
    assert_eq!(sts.calls().len(), 1);
    // It is no sign that STS is in trouble.
    well(&sts).await;
    presignd.clock.advance(Duration::from_secs(3));
    presignd.presign(get()).await.unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_slow_sts_is_waited_for() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Slowly(Duration::from_secs(1)));
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    assert_eq!(sts.calls().len(), 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_tenants_failures_leave_the_others_their_retries() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let sts = FakeSts::start().await;
    sts.answer(Answer::By(|form| match &*form["RoleArn"] {
        arn if arn.ends_with("/presignd-fails") => Answer::overloaded(),
        _ if ASKED.fetch_add(1, Ordering::Relaxed) == 0 => Answer::overloaded(),
        _ => Answer::Session(Duration::from_hours(1)),
    }));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("fails", &sts.tenant("fails", "", GRANTS))
        .start()
        .await;
    // The SDK's own quota is 500, of which these retries would cost 20 a call.
    for _ in 0..30 {
        let fails = request("fails", get_object("acme-files", "in/k"));
        refused(presignd.presign(fails).await);
        presignd.clock.advance(OPEN);
    }
    presignd.presign(get()).await.unwrap();
    assert_eq!(ASKED.load(Ordering::Relaxed), 2);
    presignd.shutdown().await.unwrap();
}

/// Nothing for the role that hangs, refusals for the one that refuses, sessions for all others.
fn by_role() -> Answer {
    Answer::By(|form| match &*form["RoleArn"] {
        arn if arn.ends_with("/presignd-hangs") => Answer::Nothing,
        arn if arn.ends_with("/presignd-refuses") => Answer::denied(),
        arn if arn.ends_with("/presignd-fails") => Answer::overloaded(),
        _ => Answer::Session(Duration::from_hours(1)),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_tenants_trouble_is_not_the_others() {
    let sts = FakeSts::start().await;
    sts.answer(by_role());
    // Each bucket has a session of its own, so these have many calls to make.
    let buckets: Vec<String> = (0..40).map(|n| format!("\"bucket-{n}/*\"")).collect();
    let many = format!(
        "session: {{ scope: bucket }}\ngrants: [{{ commands: [GetObject], resources: [{}] }}]",
        buckets.join(", ")
    );
    let mut builder = Presignd::with_sts_tenant(&sts, "hangs", "", &many)
        .with_tenant("refuses", &sts.tenant("refuses", "", &many))
        .with_tenant("fails", &sts.tenant("fails", "", &many));
    for n in 0..100 {
        let id = format!("t{n}");
        builder = builder.with_tenant(&id, &sts.tenant(&id, "", GRANTS));
    }
    let presignd = builder.start().await;

    let ask = |tenant: &str, bucket: &str| {
        let mut client = presignd.client.clone();
        let request = request(tenant, get_object(bucket, "in/k"));
        async move {
            client
                .presign(request)
                .await
                .map(tonic::Response::into_inner)
        }
    };
    let mut troubled = JoinSet::new();
    for n in 0..40 {
        for tenant in ["hangs", "refuses", "fails"] {
            troubled.spawn(ask(tenant, &format!("bucket-{n}")));
        }
    }
    sts.called(20).await;
    let mut others = JoinSet::new();
    for n in 0..100 {
        others.spawn(ask(&format!("t{n}"), "acme-files"));
    }
    // Whoever hangs is never answered, and most of its calls still wait for a turn.
    for issued in others.join_all().await {
        issued.expect("a URL");
    }
    for result in troubled.join_all().await {
        let status = result.expect_err("no URL");
        let refused = Refused::read(&status);
        assert!(
            [GONE, (Code::FailedPrecondition, "ROLE_REFUSED")].contains(&refused.why()),
            "{status:?}"
        );
    }
    // Eight calls at once, of which some try again. Those that waited for their turn made none.
    let hung = |call: &Call| call.form["RoleArn"].ends_with("/presignd-hangs");
    let hung = sts.calls().iter().filter(|call| hung(call)).count();
    assert!((8..=16).contains(&hung), "{hung}");
    presignd.shutdown().await.unwrap();
}
