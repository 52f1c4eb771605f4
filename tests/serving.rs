//! The server around the service: health, reflection, and how it goes away.

mod reflection;

use std::time::Duration;

use presignd::grpc::SERVICE;
use presignd::proto::v1::PresignRequest;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::presignd::{Presignd, get_object, request, static_tenant};
use crate::harness::process;
use crate::harness::sts::{Answer, FakeSts};

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

fn get() -> PresignRequest {
    request("acme", get_object("acme-files", "k"))
}

async fn connect(presignd: &Presignd) -> Channel {
    Channel::from_shared(format!("http://{}", presignd.address))
        .expect("a URL")
        .connect()
        .await
        .expect("presignd answers")
}

/// For what must come, and may take its time on a busy machine.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("no {what}"))
}

/// Until nobody listens any more.
async fn closed(address: &str) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("end of the listening", refused).await;
}

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn health_is_told_of_the_server_and_of_the_service() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let mut health = HealthClient::new(connect(&presignd).await);
    for service in ["", SERVICE] {
        let answer = health.check(check(service)).await.unwrap();
        let status = answer.into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(check("presignd.v1.Other")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn whoever_watches_is_told_when_it_stops() {
    let mut presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_server("grace: 1h")
        .start()
        .await;
    let mut watches = Vec::new();
    for service in ["", SERVICE] {
        let mut health = HealthClient::new(connect(&presignd).await);
        let mut watch = health.watch(check(service)).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().expect("a status");
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
        watches.push(watch);
    }
    presignd.stop();
    for watch in &mut watches {
        let next = soon("news of the stop", watch.message()).await;
        let next = next.unwrap().expect("a status");
        assert_eq!(next.status(), ServingStatus::NotServing);
    }
    // And does not hold it.
    soon("end", presignd.shutdown()).await.unwrap();
    for watch in &mut watches {
        assert_eq!(watch.message().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_though_presignd_stops() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let mut presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("grace: 1h")
        .start()
        .await;
    let mut client = presignd.client.clone();
    let asking = tokio::spawn(async move { client.presign(get()).await });
    sts.called(1).await;

    presignd.stop();
    closed(&presignd.address).await;
    sts.answer(Answer::Session(Duration::from_hours(1)));
    let issued = asking.await.unwrap().unwrap().into_inner();
    presignd.records.of(&issued.issuance_id);
    soon("end", presignd.shutdown()).await.unwrap();
}

/// The record of a request whose caller is gone counts as work under way.
#[tokio::test]
async fn a_request_whose_caller_hung_up_is_recorded_before_the_end() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let mut presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("grace: 1h")
        .start()
        .await;
    let mut client = presignd.client.clone();
    let asking = tokio::spawn(async move { client.presign(get()).await });
    sts.called(1).await;
    asking.abort();
    presignd.stop();
    closed(&presignd.address).await;

    let records = presignd.records.clone();
    let mut end = tokio::spawn(presignd.shutdown());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut end).await;
    assert!(early.is_err(), "it did not wait for the record");
    sts.answer(Answer::Session(Duration::from_hours(1)));
    soon("end", end).await.unwrap().unwrap();
    assert_eq!(records.all().len(), 1);
}

#[tokio::test]
async fn idle_clients_do_not_hold_the_server() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_server("grace: 1h")
        .start()
        .await;
    let _idle = connect(&presignd).await;
    presignd.presign(get()).await.unwrap();
    soon("end", presignd.shutdown()).await.unwrap();
}

#[tokio::test]
async fn clients_that_never_say_a_word_do_not_hold_the_server_beyond_its_grace() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_server("grace: 1s")
        .start()
        .await;
    let _silent = TcpStream::connect(&presignd.address).await.unwrap();
    presignd.presign(get()).await.unwrap();
    soon("end", presignd.shutdown()).await.unwrap();
}

/// STS is silent for longer than the grace period: what is stuck there is neither waited for nor recorded.
#[tokio::test]
async fn a_request_that_is_stuck_does_not_hold_the_server_beyond_its_grace() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("grace: 1s")
        .with_server("request_timeout: 5m")
        .start()
        .await;
    let mut client = presignd.client.clone();
    let asking = tokio::spawn(async move { client.presign(get()).await });
    sts.called(1).await;
    let records = presignd.records.clone();
    soon("end", presignd.shutdown()).await.unwrap();
    assert!(records.all().is_empty());
    // Its connection is gone, and says so.
    let cut = soon("end of the call", asking).await.unwrap();
    cut.expect_err("it was stuck");
}

/// A health service stands in for presignd, which says so of itself only when nobody new can ask any more.
#[tokio::test]
async fn health_fails_where_the_answer_is_that_nobody_serves() {
    let (reporter, service) = tonic_health::server::health_reporter();
    let status = tonic_health::ServingStatus::NotServing;
    reporter.set_service_status("", status).await;
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap());
    let incoming = incoming.unwrap();
    let address = incoming.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(incoming));
    let asked = process::presignd(["health", "--address", &address, "--timeout", "30"]);
    let asked = asked.run().await;
    assert_eq!((asked.code, &*asked.stdout), (Some(1), "NOT_SERVING\n"));
    serving.abort();
}
