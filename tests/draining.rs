//! SIGTERM: what was accepted is answered, nothing else is, and the end comes in time whatever the clients do.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::{BatchPresignRequest, BatchPresignResult, Command, batch_presign_result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::http2::{PREFACE, head, message, saying};
use crate::harness::presignd::{get_object, request};
use crate::harness::process::{self, Process, static_tenant, with_config};

/// The key of requests whose answers nobody reads.
const UNREAD: &str = "unread";

async fn presign(client: &PresignServiceClient<Channel>) -> Result<String, tonic::Status> {
    let asked = request("acme", get_object("acme-files", "k"));
    let answer = client.clone().presign(asked).await?;
    Ok(answer.into_inner().issuance_id)
}

/// A batch, large enough to be under way when the signal comes.
async fn presign_many(
    client: &PresignServiceClient<Channel>,
) -> Result<Vec<String>, tonic::Status> {
    let command = Command {
        command: Some(get_object("acme-files", "k")),
        ..Command::default()
    };
    let asked = BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands: vec![command; 200],
        ..BatchPresignRequest::default()
    };
    let answer = client.clone().batch_presign(asked).await?.into_inner();
    let id = |result: BatchPresignResult| match result.result {
        Some(batch_presign_result::Result::Response(issued)) => issued.issuance_id,
        other => panic!("{other:?}"),
    };
    Ok(answer.results.into_iter().map(id).collect())
}

/// Whether presignd never took the call: it said so itself, or nobody listens any more, or the client's transport held the
/// call back, because the connection was being closed in an orderly way. A call that was cut is none of these.
pub(crate) fn was_not_accepted(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    if cause.is_none() {
        return status.code() == Code::Unavailable;
    }
    while let Some(error) = cause {
        let held_back = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
        let going_away = error.downcast_ref().is_some_and(|error: &h2::Error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        });
        let refused = error
            .downcast_ref()
            .is_some_and(|error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused);
        if held_back || going_away || refused {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The ids of all that was decided.
fn decided(records: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(records).expect("the records are text");
    let id = |line| {
        let record: serde_json::Value = serde_json::from_str(line).expect("a record is JSON");
        record["issuance_id"].as_str().expect("an id").to_owned()
    };
    text.lines()
        .filter(|line| !line.contains(UNREAD))
        .map(id)
        .collect()
}

/// Opens connections that never get anywhere: silent, half a preface, nothing after it, a request without an end, and requests
/// whose answers are not read, nor anything else.
async fn stuck_clients(presignd: &Process) -> Vec<TcpStream> {
    let address = presignd.address().await;
    let begun = [PREFACE, &head(1)].concat();
    let mut unread = PREFACE.to_vec();
    for stream in (1..200).step_by(2) {
        let asked = request("acme", get_object("acme-files", UNREAD));
        unread.extend([head(stream), message(stream, &asked)].concat());
    }
    let mut stuck = Vec::new();
    for said in [&b""[..], &PREFACE[..10], PREFACE, &begun, &unread] {
        stuck.push(saying(&address, said).await);
    }
    stuck
}

/// Watches the health, and goes on doing so.
async fn watcher(presignd: &Process) -> tonic::Streaming<HealthCheckResponse> {
    let channel = Channel::from_shared(format!("http://{}", presignd.address().await));
    let channel = channel.unwrap().connect().await.unwrap();
    let watched = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await;
    let mut watch = watched.unwrap().into_inner();
    watch.message().await.unwrap().expect("a status");
    watch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_all_that_was_accepted_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let config = static_tenant("[GetObject]", "grace: 3s");
    let presignd = with_config("serve", &config)
        .with_stdout_to(&records)
        .start();
    let idle = presignd.client().await;
    let first = presign(&idle).await.unwrap();
    let stuck = stuck_clients(&presignd).await;
    let mut watch = watcher(&presignd).await;

    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (client, answered) = (presignd.client().await, Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut received = BTreeSet::new();
            loop {
                match presign_many(&client).await {
                    Ok(ids) => received.extend(ids),
                    Err(status) => return (received, status),
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let loaded = async {
        while answered.load(Ordering::Relaxed) < 40 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), loaded)
        .await
        .expect("URLs are issued");
    // The grace period, and time for a busy machine.
    let ended = tokio::time::timeout(Duration::from_secs(10), presignd.terminated()).await;
    let ended = ended.expect("stuck clients do not hold up the end");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("grace period is over"),
        "nobody was stuck: {}",
        ended.stderr
    );

    let mut received = BTreeSet::from([first]);
    for client in clients {
        let (ids, status) = client.await.unwrap();
        assert!(was_not_accepted(&status), "{status:?}");
        received.extend(ids);
    }
    // Nothing was decided whose answer was lost: what failed was never accepted.
    let lost: Vec<_> = decided(&records)
        .into_iter()
        .filter(|id| !received.contains(id))
        .collect();
    assert_eq!(lost, [""; 0], "of {}", received.len());
    let refused = presign(&idle).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let told = watch.message().await.unwrap().expect("a status");
    assert_eq!(told.status(), ServingStatus::NotServing);
    drop(stuck);
}

/// Those who have begun nothing, and those who are not there any more, are not waited for until the grace period is over.
#[tokio::test]
async fn without_requests_stuck_clients_do_not_hold_the_end() {
    let config = static_tenant("[GetObject]", "grace: 1h");
    let (presignd, client) = process::serve(&config).await;
    presign(&client).await.unwrap();
    let address = presignd.address().await;
    let mut stuck = Vec::new();
    for said in [&b""[..], &PREFACE[..10], PREFACE] {
        stuck.push(saying(&address, said).await);
    }
    let _watch = watcher(&presignd).await;
    presign(&client).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), presignd.terminated()).await;
    let ended = ended.expect("nobody holds it");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    drop(stuck);
}

#[tokio::test]
async fn a_request_under_way_is_answered_after_the_signal() {
    // An STS that answers when the test says so.
    let sts = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let role = format!(
        r#"assume_role: {{ role_arn: "arn:aws:iam:::role/acme", sts_endpoint: "http://{}" }}"#,
        sts.local_addr().unwrap()
    );
    let config = static_tenant("[GetObject]", "grace: 20s");
    let (start, rest) = config.split_once("static:").unwrap();
    let (_, grants) = rest.split_once("    grants:").unwrap();
    let config = format!("{start}{role}\n    grants:{grants}");
    let presignd = with_config("serve", &config)
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .start();
    let client = presignd.client().await;
    let asked = tokio::spawn(async move { presign(&client).await });
    let (mut asking, _) = sts.accept().await.unwrap();
    let mut read = vec![0; 64 << 10];
    assert!(asking.read(&mut read).await.unwrap() > 0);

    presignd.signal("TERM");
    presignd.stderr_line("stopping").await;
    let address = presignd.address().await;
    // Long enough to end in, which it must not.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished());
    let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
        <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    asking.write_all(reply.as_bytes()).await.unwrap();

    let id = asked.await.unwrap().expect("it was accepted");
    let ended = presignd.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&id), "{}", ended.stdout);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn without_clients_the_end_is_immediate() {
    for signal in ["TERM", "INT"] {
        let config = static_tenant("[GetObject]", "grace: 1h");
        let (presignd, client) = process::serve(&config).await;
        presign(&client).await.unwrap();
        // The idle client stays connected.
        presignd.signal(signal);
        let ended = presignd.ended().await;
        assert_eq!(ended.code, Some(0), "SIG{signal}: {}", ended.stderr);
        drop(client);
    }
}
