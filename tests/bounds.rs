//! What clients may take, and what becomes of those who take more: they are refused, and others do not notice.

use std::time::Duration;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::draining::was_not_accepted;
use crate::harness::http2::{PREFACE, beginning, body, closed, head, reset, saying};
use crate::harness::presignd::{Presignd, get_object, request, static_tenant};
use crate::harness::process::{self, Process};
use crate::harness::refusal::Refused;
use crate::harness::sts::{Answer, FakeSts};

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;
/// HTTP/2's `ENHANCE_YOUR_CALM`.
const CALM: u32 = 11;

async fn start(server: &str) -> Presignd {
    let tenant = static_tenant(GRANTS);
    let builder = Presignd::with_tenant("acme", &tenant).with_server(server);
    builder.start().await
}

async fn ask(presignd: &Presignd) -> Result<(), Status> {
    let asked = request("acme", get_object("acme-files", "k"));
    presignd.presign(asked).await.map(|_| ())
}

#[tokio::test]
async fn whoever_does_not_begin_is_not_waited_for() {
    let presignd = start("connections: { handshake_timeout: 1s }").await;
    let half = &PREFACE[..10];
    for said in [&b""[..], half, &PREFACE[..23]] {
        closed(&mut saying(&presignd.address, said).await).await;
    }
    ask(&presignd).await.unwrap();
}

#[tokio::test]
async fn other_protocols_are_hung_up_on_at_once() {
    let presignd = start("connections: { handshake_timeout: 1m }").await;
    let http = b"GET / HTTP/1.1\r\nhost: presignd\r\n\r\n";
    for said in [&http[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        closed(&mut saying(&presignd.address, said).await).await;
    }
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_in_an_orderly_way() {
    let presignd = start("connections: { idle_timeout: 1s }").await;
    let mut idle = saying(&presignd.address, PREFACE).await;
    // `NO_ERROR`: the client may come again.
    assert_eq!(closed(&mut idle).await, Some(0));
    ask(&presignd).await.unwrap();
}

#[tokio::test]
async fn whoever_is_not_there_any_more_is_noticed() {
    let keepalive = "connections: { keepalive_interval: 1s, keepalive_timeout: 1s }";
    let presignd = start(keepalive).await;
    // It acknowledges nothing.
    closed(&mut saying(&presignd.address, PREFACE).await).await;
    ask(&presignd).await.unwrap();
}

#[tokio::test]
async fn connections_end_with_age_and_no_call_that_was_accepted_notices() {
    let presignd = start("connections: { max_age: 1s }").await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        if let Err(status) = ask(&presignd).await {
            // As it closes, the client's transport holds a call back, and tonic leaves it to its caller to repeat that.
            assert!(was_not_accepted(&status), "{status:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let records = presignd.records.all();
    let peers = records
        .iter()
        .map(|record| record["peer"].as_str().unwrap().to_owned());
    let peers: std::collections::BTreeSet<String> = peers.collect();
    assert!(peers.len() > 1, "{peers:?}");
}

#[tokio::test]
async fn a_message_that_does_not_come_is_refused_and_recorded() {
    let presignd = start("request_timeout: 1s").await;
    let address = &presignd.address;
    let (mut client, connection) =
        h2::client::handshake(TcpStream::connect(address).await.unwrap())
            .await
            .unwrap();
    tokio::spawn(connection);
    let call = http::Request::post("http://presignd/presignd.v1.PresignService/Presign")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut sending) = client.send_request(call, false).unwrap();
    // A little comes, and then nothing.
    sending
        .send_data(vec![0, 0, 0, 0, 9, 1].into(), false)
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), response).await;
    let answer = answer.expect("it is not waited for").unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    let refused = Refused::read(&status);
    assert_eq!(refused.why(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "failed", "{record:#}");
    assert_eq!(record["caller"], "anyone");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_recorded() {
    let presignd = start("max_request_bytes: 1KiB").await;
    let large = request("acme", get_object("acme-files", &"k".repeat(1024)));
    let status = presignd.presign(large).await.unwrap_err();
    let refused = Refused::read(&status);
    assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(
        refused.message.contains("1024 bytes"),
        "{}",
        refused.message
    );
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "denied", "{record:#}");
    assert_eq!(record["method"], "presignd.v1.PresignService/Presign");

    let mut rubbish = PREFACE.to_vec();
    rubbish.extend([head(1), body(1, b"\xff\xff\xff")].concat());
    let _connection = saying(&presignd.address, &rubbish).await;
    let records = presignd.records.wait_for(2).await;
    assert_eq!(records[1]["reason_code"], "INVALID_REQUEST", "{records:#?}");
    assert!(
        records[1]["detail"]
            .as_str()
            .unwrap()
            .contains("no message"),
        "{records:#?}"
    );
}

/// More than a hundred megabytes, by a client that would send them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_is_refused_at_its_first_bytes() {
    let config = process::static_tenant("[GetObject]", "");
    let (presignd, client) = process::serve(&config).await;
    slowest(&client, 50).await;
    let before = presignd.resident();
    for _ in 0..3 {
        let mut huge = request("acme", get_object("acme-files", "k"));
        huge.reason = "x".repeat(100 << 20);
        let status = client.clone().presign(huge).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let grown = presignd.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more than before");
    slowest(&client, 1).await;
}

#[tokio::test]
async fn headers_above_the_limit_are_refused_and_the_connection_lives_on() {
    let presignd = start("connections: { max_header_bytes: 4KiB }").await;
    let mut large = tonic::Request::new(request("acme", get_object("acme-files", "k")));
    let value = "v".repeat(5000).parse().unwrap();
    large.metadata_mut().insert("x-large", value);
    presignd.client.clone().presign(large).await.unwrap_err();
    ask(&presignd).await.unwrap();
    let before = presignd.records.all();
    assert_eq!(before.len(), 1);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once_and_places_are_held_to_the_end() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("max_requests_in_flight: 2")
        .with_server("request_timeout: 5m")
        .start()
        .await;
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let mut client = presignd.client.clone();
            let asked = request("acme", get_object("acme-files", "k"));
            tokio::spawn(async move { client.presign(asked).await })
        })
        .collect();
    sts.called(1).await;
    // Until both have their places.
    let refused = loop {
        let refused = tokio::time::timeout(Duration::from_millis(200), ask(&presignd)).await;
        if let Ok(answer) = refused {
            break answer.unwrap_err();
        }
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(
        refused.get_details_error_info().unwrap().reason,
        "OVERLOADED"
    );
    assert!(
        refused
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .is_some()
    );

    // Who hangs up leaves his place taken.
    for asking in asking {
        asking.abort();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = ask(&presignd).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(presignd.records.all().is_empty());

    sts.answer(Answer::Session(Duration::from_hours(1)));
    presignd.records.wait_for(2).await;
    let room = async {
        while ask(&presignd).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), room)
        .await
        .expect("there is room again");
}

async fn from(ip: &str, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

async fn serves(stream: TcpStream) -> bool {
    let Ok((mut client, connection)) = h2::client::handshake(stream).await else {
        return false;
    };
    let call = http::Request::post("http://presignd/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let Ok((response, _sending)) = client.send_request(call, false) else {
        return false;
    };
    tokio::select! {
        // It answers, even if the message is still to come, or it is hung up.
        _ = connection => false,
        answer = response => answer.is_ok(),
        () = tokio::time::sleep(Duration::from_secs(1)) => true,
    }
}

#[tokio::test]
async fn connections_beyond_the_limits_are_closed_and_told_of() {
    let config = process::static_tenant("[GetObject]", "connections: { max: 3, max_per_peer: 2 }");
    let (presignd, _client) = process::serve(&config).await;
    let address = presignd.address().await;
    let second = saying(&address, PREFACE).await;
    assert!(!serves(from("127.0.0.1", &address).await).await);
    presignd
        .stderr_line("server.connections.max_per_peer")
        .await;
    let other = from("127.0.0.2", &address).await;
    assert!(!serves(from("127.0.0.3", &address).await).await);
    presignd.stderr_line("server.connections.max allows").await;
    drop((second, other));
    // There is room again, as soon as presignd has noticed.
    let room = async {
        while !serves(from("127.0.0.3", &address).await).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), room)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn requests_taken_back_at_once_end_the_connection() {
    let presignd = start("").await;
    let mut said = PREFACE.to_vec();
    for stream in (1..8000).step_by(2) {
        said.extend(head(stream));
        said.extend(reset(stream));
    }
    let mut hasty = saying(&presignd.address, &said).await;
    assert_eq!(closed(&mut hasty).await, Some(CALM));
    ask(&presignd).await.unwrap();
    assert_eq!(presignd.records.all().len(), 1, "none of them was decided");
}

/// Calls, one after the other, and how long the slowest but one in a hundred took.
async fn slowest(client: &PresignServiceClient<Channel>, calls: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..calls {
        let began = tokio::time::Instant::now();
        let asked = request("acme", get_object("acme-files", "k"));
        client
            .clone()
            .presign(asked)
            .await
            .expect("others are served");
        took.push(began.elapsed());
    }
    took.sort();
    took[calls * 99 / 100]
}

/// All at once, until it is told to stop.
async fn abuse(presignd: &Process, stop: tokio_util::sync::CancellationToken) -> usize {
    let address = presignd.address().await;
    let mut abusers = tokio::task::JoinSet::new();
    for kind in 0..4 {
        let (address, stop) = (address.clone(), stop.clone());
        abusers.spawn(async move {
            let mut attempts = 0;
            while !stop.is_cancelled() {
                attempts += 1;
                // Often, and not so often that the machine has nothing else to do.
                tokio::time::sleep(Duration::from_millis(100)).await;
                match kind {
                    // Slowly, and never to the end.
                    0 => {
                        let mut slow = saying(&address, &PREFACE[..attempts % 24]).await;
                        closed(&mut slow).await;
                    }
                    // Taken back at once.
                    1 => {
                        let mut said = PREFACE.to_vec();
                        for stream in (1..4000).step_by(2) {
                            said.extend([head(stream), reset(stream)].concat());
                        }
                        closed(&mut saying(&address, &said).await).await;
                    }
                    // Far too large.
                    2 => {
                        let mut said = PREFACE.to_vec();
                        for stream in (1..40).step_by(2) {
                            said.extend([head(stream), beginning(stream, 100 << 20)].concat());
                        }
                        let _large = saying(&address, &said).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    // Many begun, and none gone on with.
                    _ => {
                        let mut said = PREFACE.to_vec();
                        for stream in (1..400).step_by(2) {
                            said.extend(head(stream));
                        }
                        let slow = saying(&address, &said).await;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        drop(slow);
                    }
                }
            }
            attempts
        });
    }
    abusers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abuse_of_every_kind_takes_bounded_memory_and_no_time_of_others() {
    let config = process::static_tenant(
        "[GetObject]",
        "connections: { handshake_timeout: 1s }, request_timeout: 2s",
    );
    let (presignd, client) = process::serve(&config).await;
    let usual = slowest(&client, 300).await;
    let before = presignd.resident();

    let stop = tokio_util::sync::CancellationToken::new();
    let measured = async {
        let took = slowest(&client, 300).await;
        let resident = presignd.resident();
        stop.cancel();
        (took, resident)
    };
    let ((took, resident), attempts) =
        futures_util::future::join(measured, abuse(&presignd, stop.clone())).await;
    assert!(attempts >= 4, "{attempts}");
    // A window's worth for each connection, and what the allocator keeps: far from one of the messages.
    let grown = resident.saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "{before} bytes before, {resident} in the end"
    );
    // The floor is for machines on which others work too.
    let most = 2 * usual.max(Duration::from_millis(250));
    assert!(took <= most, "{took:?}, and {usual:?} before");
    let ended = presignd.terminated().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
