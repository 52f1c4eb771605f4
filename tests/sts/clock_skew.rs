//! A clock that is wrong: noticed by the `Date` of what STS answers, told, and nothing is signed by it until it is right again.

use std::time::Duration;

use presignd::grpc::SERVICE;
use presignd::grpc::server::LIVENESS;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{GRANTS, acme, get};
use crate::harness::presignd::{Presignd, get_object, request};
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};

const SKEWED: (Code, &str) = (Code::Unavailable, "CLOCK_SKEWED");
const FIVE_MINUTES: i64 = 300;

/// Of the server and of the service. It is alive in any case.
async fn health(presignd: &Presignd) -> [ServingStatus; 2] {
    let url = format!("http://{}", presignd.address);
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let mut statuses = [ServingStatus::Unknown; 3];
    for (status, service) in statuses.iter_mut().zip(["", SERVICE, LIVENESS]) {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        *status = answer.into_inner().status();
    }
    let [server, service, alive] = statuses;
    assert_eq!(alive, ServingStatus::Serving);
    [server, service]
}

/// Waits until the health is this.
async fn becomes(presignd: &Presignd, status: ServingStatus) {
    let becomes = async {
        while health(presignd).await != [status; 2] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let became = tokio::time::timeout(Duration::from_secs(20), becomes).await;
    became.unwrap_or_else(|_| panic!("not {status:?}"));
}

#[tokio::test]
async fn scenario_4_the_clock_is_five_minutes_off() {
    for ahead in [FIVE_MINUTES, -FIVE_MINUTES] {
        let sts = FakeSts::start().await;
        sts.date_ahead(ahead);
        let presignd = acme(&sts).await;
        assert_eq!(health(&presignd).await, [ServingStatus::Serving; 2]);

        // The first answer of STS tells, and from then on nobody is called for nothing.
        for _ in 0..5 {
            let refused = refused(presignd.presign(get()).await);
            assert_eq!(refused.why(), SKEWED);
            assert!(refused.retry_after.is_some());
            let record = presignd.records.of(&refused.issuance_id);
            assert_eq!(record["outcome"], "failed");
            assert_eq!(record["reason_code"], "CLOCK_SKEWED");
        }
        assert_eq!(sts.calls().len(), 1);
        becomes(&presignd, ServingStatus::NotServing).await;

        // It asks for the time until it is right, and not more often than every ten seconds.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(sts.asked_the_time(), 1);
        sts.date_ahead(0);
        presignd.clock.advance(Duration::from_secs(10));
        becomes(&presignd, ServingStatus::Serving).await;
        presignd.presign(get()).await.unwrap();
        assert_eq!((sts.asked_the_time(), sts.calls().len()), (2, 1));
        presignd.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_wrong_signs_nothing_from_that_moment() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();

    presignd
        .clock
        .set_forward(Duration::from_secs(FIVE_MINUTES.unsigned_abs()));
    sts.date_ahead(-FIVE_MINUTES);
    assert_eq!(refused(presignd.presign(get()).await).why(), SKEWED);
    becomes(&presignd, ServingStatus::NotServing).await;

    // If the clock was wrong before and is right now, the next answer says so.
    sts.date_ahead(0);
    presignd.clock.advance(Duration::from_secs(10));
    becomes(&presignd, ServingStatus::Serving).await;
    presignd.presign(get()).await.unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_error_of_sts_tells_the_time_too() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::denied());
    sts.date_ahead(FIVE_MINUTES);
    let presignd = acme(&sts).await;
    assert_eq!(refused(presignd.presign(get()).await).why(), SKEWED);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_within_the_bound_is_signed() {
    let sts = FakeSts::start().await;
    sts.date_ahead(40);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("max_clock_skew: 1m")
        .start()
        .await;
    presignd.presign(get()).await.unwrap();
    assert_eq!(health(&presignd).await, [ServingStatus::Serving; 2]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_wrong_clock_among_several_is_not_this_machines() {
    let (wrong, right, also) = (
        FakeSts::start().await,
        FakeSts::start().await,
        FakeSts::start().await,
    );
    wrong.date_ahead(FIVE_MINUTES);
    let presignd = Presignd::with_tenant("right", &right.tenant("right", "", GRANTS))
        .with_tenant("also", &also.tenant("also", "", GRANTS))
        .with_tenant("wrong", &wrong.tenant("wrong", "", GRANTS))
        .start()
        .await;
    let ask = |tenant: &str| presignd.presign(request(tenant, get_object("acme-files", "in/k")));
    ask("right").await.unwrap();
    ask("also").await.unwrap();
    assert_eq!(refused(ask("wrong").await).why(), SKEWED);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(health(&presignd).await, [ServingStatus::Serving; 2]);
    ask("right").await.unwrap();
    presignd.shutdown().await.unwrap();
}
