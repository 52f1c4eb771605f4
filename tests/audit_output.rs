//! Standard output as the record of every decision: whole lines, written before the reply, and no URL without them.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::{BatchPresignRequest, Command, PresignRequest, batch_presign_result};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::presignd::{get_object, put_object, request};
use crate::harness::process::{Start, static_tenant, with_config};

/// The decisions are made without anybody's help.
fn serve() -> Start {
    with_config("serve", &static_tenant("[GetObject]", ""))
}

fn allowed() -> PresignRequest {
    request("acme", get_object("acme-files", "k"))
}

/// As many commands as a batch takes, with text: some 300 KB of records, where a pipe holds 64 KiB.
fn large_batch() -> BatchPresignRequest {
    let command = Command {
        command: Some(get_object("acme-files", "k")),
        ..Command::default()
    };
    BatchPresignRequest {
        tenant: "acme".to_owned(),
        commands: vec![command; 500],
        reason: "r".repeat(256),
        ..BatchPresignRequest::default()
    }
}

async fn presign(
    client: &PresignServiceClient<Channel>,
    request: PresignRequest,
) -> Result<String, Status> {
    let answer = client.clone().presign(request).await?.into_inner();
    assert!(answer.url.contains("X-Amz-Signature="), "{answer:?}");
    Ok(answer.issuance_id)
}

/// The id that a refusal carries.
fn id_of(status: &Status) -> String {
    let info = status.get_details_request_info();
    info.expect("a refusal has an id").request_id
}

fn assert_audit_unavailable(status: &Status) {
    let reason = status.get_details_error_info().map(|info| info.reason);
    assert_eq!(
        (status.code(), reason.as_deref()),
        (Code::Unavailable, Some("AUDIT_UNAVAILABLE")),
        "{status:?}"
    );
}

/// The records in text of whole lines.
fn records(text: &str) -> Vec<Value> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "a cut line: {text}"
    );
    let record = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(record).collect()
}

fn ids(records: &[Value]) -> Vec<&str> {
    let ids = records.iter().map(|record| record["issuance_id"].as_str());
    ids.map(|id| id.expect("a record has an id")).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the records are text")
}

#[tokio::test]
async fn each_decision_has_its_line_before_its_reply() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records");
    let presignd = serve().with_stdout_to(&file).start();
    let client = presignd.client().await;
    let empty = PresignRequest {
        tenant: "acme".to_owned(),
        ..PresignRequest::default()
    };
    let cases = [
        (allowed(), "issued", "OK"),
        (
            request("acme", put_object("acme-files", "k")),
            "denied",
            "PERMISSION_DENIED",
        ),
        (
            request("nobody", get_object("acme-files", "k")),
            "denied",
            "PERMISSION_DENIED",
        ),
        (
            request("../b", get_object("acme-files", "k")),
            "denied",
            "INVALID_ARGUMENT",
        ),
        (empty, "denied", "INVALID_ARGUMENT"),
    ];
    let mut replies = Vec::new();
    for (request, outcome, status) in cases.iter().cycle().take(50) {
        let id = match presign(&client, request.clone()).await {
            Ok(id) => id,
            Err(status) => id_of(&status),
        };
        // Without waiting: the line is there, or it was late.
        let records = records(&read(&file));
        let record = records.last().expect("a record");
        assert_eq!(record["issuance_id"], id.as_str());
        assert_eq!(
            (&record["outcome"], &record["status"]),
            (&Value::from(*outcome), &Value::from(*status))
        );
        replies.push(id);
        assert_eq!(ids(&records), replies, "one line for each decision");
    }

    let batch = client.clone().batch_presign(large_batch()).await.unwrap();
    let records = records(&read(&file));
    for (index, result) in batch.into_inner().results.into_iter().enumerate() {
        let Some(batch_presign_result::Result::Response(issued)) = result.result else {
            panic!("{result:?}")
        };
        let record = &records[replies.len() + index];
        assert_eq!(record["issuance_id"], issued.issuance_id.as_str());
        assert_eq!(record["batch"]["index"], index);
        assert_eq!(record["batch"]["size"], 500);
    }
    assert_eq!(records.len(), replies.len() + 500);
}

#[tokio::test]
async fn nothing_is_issued_once_the_reader_has_gone() {
    let mut presignd = serve().with_unread_stdout().start();
    let client = presignd.client().await;
    presign(&client, allowed())
        .await
        .expect("the pipe has room");
    drop(presignd.unread_stdout());
    let denied = request("acme", put_object("acme-files", "k"));
    for request in [allowed(), denied, allowed()] {
        let refused = presign(&client, request).await.unwrap_err();
        assert_audit_unavailable(&refused);
        assert!(!refused.message().contains("X-Amz"), "{refused:?}");
    }
    let refused = client.clone().batch_presign(large_batch()).await;
    assert_audit_unavailable(&refused.expect_err("no URL of a batch either"));

    let ended = presignd.terminated().await;
    assert!(ended.code.is_some(), "not ended by SIGPIPE: {ended:?}");
    assert!(
        ended.stderr.contains("records are not written"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn nothing_is_issued_while_nobody_reads_and_all_is_well_once_somebody_does() {
    let mut presignd = serve().with_unread_stdout().start();
    let client = presignd.client().await;
    // More than the second that a record may wait, less than a request may take.
    let soon = Duration::from_secs(8);
    let stuck = tokio::time::timeout(soon, client.clone().batch_presign(large_batch())).await;
    assert_audit_unavailable(
        &stuck
            .expect("an answer in time")
            .expect_err("no room in the pipe"),
    );
    for _ in 0..3 {
        let stuck = tokio::time::timeout(soon, presign(&client, allowed())).await;
        assert_audit_unavailable(&stuck.expect("an answer in time").unwrap_err());
    }

    let mut pipe = presignd.unread_stdout();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let recovered = async {
        loop {
            match presign(&client, allowed()).await {
                Ok(id) => return id,
                Err(status) => assert_audit_unavailable(&status),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let recovered = tokio::time::timeout(soon, recovered).await;
    let recovered = recovered.expect("records are taken again");
    assert_eq!(presignd.terminated().await.code, Some(0));

    let records = records(&reader.join().unwrap().expect("the records are text"));
    let ids = ids(&records);
    assert_eq!(ids.last(), Some(&&*recovered));
    let distinct: HashSet<&str> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), ids.len(), "no line is written twice");
    let batch = records
        .iter()
        .take_while(|record| record["batch"]["size"] == 500);
    let indices: Vec<_> = batch
        .map(|record| record["batch"]["index"].as_u64())
        .collect();
    assert_eq!(
        indices,
        (0..500).map(Some).collect::<Vec<_>>(),
        "none is lost"
    );
}

#[tokio::test]
async fn logs_keep_to_standard_error_and_secrets_to_themselves() {
    for format in ["text", "json"] {
        let log = format!("telemetry: {{ log: {{ format: {format}, level: trace }} }}\n");
        let config = log + &static_tenant("[GetObject]", "");
        let presignd = with_config("serve", &config).start();
        let mut client = presignd.client().await;
        let issued = client.presign(allowed()).await.unwrap().into_inner();
        let denied = request("acme", put_object("acme-files", "k"));
        let denied = client.presign(denied).await.unwrap_err();
        client.batch_presign(large_batch()).await.unwrap();
        drop(client);

        let ended = presignd.terminated().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(records(&ended.stdout).len(), 2 + 500);
        for words in ["serving", "stopping", "stopped", &id_of(&denied)] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
        assert!(!ended.stdout.contains("stopping"), "{}", ended.stdout);
        let (_, signature) = issued.url.split_once("X-Amz-Signature=").expect("signed");
        assert!(issued.url.contains("PLANTED0TOKEN"), "{}", issued.url);
        for secret in [signature, "PLANTED", "X-Amz-"] {
            assert!(!ended.stderr.contains(secret), "{secret}: {}", ended.stderr);
            assert!(!ended.stdout.contains(secret), "{secret}: {}", ended.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_url_that_anyone_got_has_its_line_even_after_a_kill() {
    let mut presignd = serve().with_unread_stdout().start();
    // Slower than URLs could be signed: whoever did not wait for the records would be far ahead of them.
    let mut pipe = presignd.unread_stdout();
    let reader = std::thread::spawn(move || {
        let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
        while let Ok(read @ 1..) = pipe.read(&mut chunk) {
            text.extend_from_slice(&chunk[..read]);
            std::thread::sleep(Duration::from_millis(5));
        }
        text
    });
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let (client, received) = (presignd.client().await, Arc::clone(&received));
        clients.push(tokio::spawn(async move {
            while let Ok(id) = presign(&client, allowed()).await {
                received.lock().unwrap().push(id);
            }
        }));
    }
    let enough = async {
        while received.lock().unwrap().len() < 400 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), enough)
        .await
        .expect("URLs are issued");
    presignd.signal("KILL");
    assert_eq!(presignd.ended().await.code, None);
    for client in clients {
        client.await.unwrap();
    }

    // The kill may have cut the last line: nobody got its URL.
    let text = String::from_utf8_lossy(&reader.join().unwrap()).into_owned();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let records = records(whole);
    let recorded: HashSet<&str> = ids(&records).into_iter().collect();
    let received = received.lock().unwrap();
    let lost: Vec<_> = received
        .iter()
        .filter(|id| !recorded.contains(&***id))
        .collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", received.len());
}
