//! What is in trouble now, and is told so for as long as it is: an STS that fails a tenant, a collector that takes no spans.

use std::time::{Duration, SystemTime};

use presignd::clock::Clock as _;
use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::{
    Dependency, DependencyKind, DependencyState, GetStatusRequest, GetStatusResponse,
};

use crate::harness::collector::Collector;
use crate::harness::presignd::{Presignd, get_object, request, static_tenant};
use crate::harness::process::PATIENCE;
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};

const GRANTS: &str = "grants: [{ commands: [read], resources: [\"acme-files/*\"] }]";
const CALLERS: &str = "callers: [{ match: anyone, may: [sign, operate] }]";

async fn status(presignd: &Presignd) -> GetStatusResponse {
    let address = format!("http://{}", presignd.address);
    let mut operations = OperationsServiceClient::connect(address).await.unwrap();
    let status = operations.get_status(GetStatusRequest {}).await;
    status.unwrap().into_inner()
}

/// Asks until a status is such.
async fn until(presignd: &Presignd, is: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
    let asking = async {
        loop {
            let status = status(presignd).await;
            if is(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("it comes to be so")
}

fn time(time: Option<prost_types::Timestamp>) -> SystemTime {
    time.expect("a time").try_into().expect("a time")
}

#[tokio::test]
async fn a_tenant_that_sts_fails_is_shown_until_it_is_well() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::By(|form| {
        if form["RoleArn"].ends_with("-globex") {
            Answer::Session(Duration::from_hours(1))
        } else {
            Answer::overloaded()
        }
    }));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("globex", &sts.tenant("globex", "", GRANTS))
        .with_tenant("initech", &sts.tenant("initech", "", GRANTS))
        .with_callers(CALLERS)
        .start()
        .await;
    let ask = async |tenant: &str| {
        let asked = request(tenant, get_object("acme-files", "k"));
        presignd.presign(asked).await
    };
    assert_eq!(status(&presignd).await.sts_breaker_count, 0);
    ask("globex").await.unwrap();
    let before = presignd.clock.now();
    refused(ask("initech").await);
    let between = presignd.clock.now();
    refused(ask("acme").await);
    let after = presignd.clock.now();

    let shown = status(&presignd).await;
    assert_eq!(shown.sts_breaker_count, 2);
    let tenants: Vec<_> = shown.sts_breakers.iter().map(|b| &*b.tenant).collect();
    assert_eq!(tenants, ["initech", "acme"], "who is longest without first");
    // The two clocks are read one after the other.
    let slack = Duration::from_millis(50);
    for (breaker, (from, to)) in shown
        .sts_breakers
        .iter()
        .zip([(before, between), (between, after)])
    {
        assert_eq!(breaker.sts, sts.url());
        assert_eq!(breaker.failures, 1);
        let since = time(breaker.open_since);
        assert!(from - slack <= since && since <= to + slack, "{breaker:?}");
        let open = time(breaker.open_until).duration_since(since).unwrap();
        assert!(
            open >= Duration::from_millis(450) && open <= Duration::from_millis(1050),
            "{breaker:?}"
        );
    }

    // The probe that comes then hangs: it has begun, and has no end yet.
    let since = time(shown.sts_breakers[1].open_since);
    sts.answer(Answer::Nothing);
    presignd.clock.advance(Duration::from_secs(30));
    refused(ask("acme").await);
    let shown = status(&presignd).await;
    let [initech, acme] = &shown.sts_breakers[..] else {
        panic!("{shown:?}")
    };
    assert!(initech.open_until.is_some());
    assert_eq!((acme.open_until, acme.failures), (None, 1));
    let moved = time(acme.open_since);
    assert!(moved + slack >= since && moved <= since + slack, "{acme:?}");

    // And those who are well again are not shown any more.
    sts.answer(Answer::Session(Duration::from_hours(1)));
    let well = until(&presignd, |status| status.sts_breaker_count == 1).await;
    assert_eq!(well.sts_breakers[0].tenant, "initech");
    ask("acme").await.unwrap();
    // One that waits for nobody to ask goes on to be shown, since nobody knows.
    let _ = ask("initech").await;
    until(&presignd, |status| status.sts_breakers.is_empty()).await;
    presignd.shutdown().await.unwrap();
}

fn collector(status: &GetStatusResponse) -> &Dependency {
    let mut found = status.dependencies.iter();
    let found = found.find(|dependency| dependency.kind() == DependencyKind::Otlp);
    found.expect("a collector")
}

#[tokio::test]
async fn a_collector_is_told_as_the_last_export_found_it() {
    let (taking, url) = Collector::start().await;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_callers(CALLERS)
        .with_telemetry(&format!("otlp: {{ endpoint: \"{url}\" }}"))
        .start()
        .await;
    let is = |state| move |status: &GetStatusResponse| collector(status).state() == state;
    // Every question leaves a span itself.
    until(&presignd, is(DependencyState::Working)).await;
    taking.refuse(true);
    let failing = until(&presignd, is(DependencyState::Failing)).await;
    let lost = |status: &GetStatusResponse| {
        let (_, rest) = collector(status).detail.split_once(" waiting, ").unwrap();
        let lost: u64 = rest.split(' ').next().unwrap().parse().unwrap();
        lost
    };
    assert!(lost(&failing) > 0, "{:?}", collector(&failing));
    taking.refuse(false);
    let again = until(&presignd, is(DependencyState::Working)).await;
    assert!(lost(&again) >= lost(&failing), "what is lost stays lost");
    presignd.shutdown().await.unwrap();
}
