//! Counts outlive the process, however it ends, and changes of the configuration.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use presignd::clock::{Clock as _, SystemClock};
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

use super::{get, told};
use crate::harness::presignd::request;
use crate::harness::process::{PATIENCE, Process, presignd};

/// A time zone in which it is about noon, so that no day ends while a test runs.
pub(super) fn noon() -> String {
    let now: SystemTime = SystemClock::new().now();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    match (seconds / 3600 % 24).cast_signed() - 12 {
        0 => "UTC".to_owned(),
        // Their signs are the other way round.
        ahead @ 1.. => format!("Etc/GMT+{ahead}"),
        behind => format!("Etc/GMT{behind}"),
    }
}

/// A configuration whose counts are kept beside it.
fn configure(folder: &Path, limits: &str) {
    let text = format!(
        "server: {{ listen: 127.0.0.1:0 }}
state: {{ dir: {0}/state }}
callers: [{{ match: anyone }}]
tenants:
  acme:
    region: us-east-1
    endpoint: {{ url: \"http://127.0.0.1:9\", path_style: true }}
    credentials: {{ static: {{ access_key_id: AKID, secret_access_key: {{ env: ACME_SECRET }} }} }}
    grants: [{{ commands: [read], resources: [\"acme-files/*\"] }}]
    limits: [{limits}]
",
        folder.display()
    );
    // Whole, as editors and deployments do.
    fs::write(folder.join(".new"), text).expect("the folder is writable");
    fs::rename(folder.join(".new"), folder.join("presignd.yaml")).expect("the folder is writable");
}

async fn start(folder: &TempDir) -> (Process, PresignServiceClient<Channel>) {
    let path = folder.path().join("presignd.yaml");
    let process = presignd(["serve", "--config", path.to_str().expect("a path")])
        .env("ACME_SECRET", "PLANTED0SECRET")
        .start();
    let client = process.client().await;
    (process, client)
}

/// Takes one, and gives what is left of the only limit.
async fn take(client: &PresignServiceClient<Channel>) -> u64 {
    let answer = client
        .clone()
        .presign(request("acme", get()))
        .await
        .unwrap();
    let left = told(answer.metadata(), "ratelimit").unwrap();
    let (_, left) = left.split_once(";r=").unwrap();
    left.split(';').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_orderly_end_keeps_the_count_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let zone = noon();
    configure(
        folder.path(),
        &format!("{{ name: daily, urls: 2560, per: day, time_zone: {zone} }}"),
    );
    let mut left = 2560;
    for _ in 0..3 {
        let (process, client) = start(&folder).await;
        for _ in 0..7 {
            left -= 1;
            assert_eq!(take(&client).await, left);
        }
        let ended = process.terminated().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[tokio::test]
async fn a_killed_process_has_counted_no_less_than_it_issued() {
    let folder = tempfile::tempdir().unwrap();
    let zone = noon();
    configure(
        folder.path(),
        &format!("{{ name: daily, urls: 2560, per: day, time_zone: {zone} }}"),
    );
    let mut issued = 0;
    for round in 1..=3 {
        let (process, client) = start(&folder).await;
        for _ in 0..50 {
            issued += 1;
            let left = take(&client).await;
            assert!(left <= 2560 - issued, "{left} after {issued}");
            // Each end that was not orderly costs a block or two, and not more.
            assert!(
                left >= 2560 - issued - (round - 1) * 60,
                "{left} after {issued}"
            );
        }
        process.signal("KILL");
        process.ended().await;
    }
}

#[tokio::test]
async fn a_day_goes_on_where_it_was_when_its_limit_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let zone = noon();
    let daily = |urls: u32| format!("{{ name: daily, urls: {urls}, per: day, time_zone: {zone} }}");
    configure(folder.path(), &daily(3));
    let (process, client) = start(&folder).await;
    for left in [2, 1, 0] {
        assert_eq!(take(&client).await, left);
    }
    let ask = || async { client.clone().presign(request("acme", get())).await };
    assert_eq!(ask().await.unwrap_err().code(), Code::ResourceExhausted);
    configure(folder.path(), &daily(5));
    let raised = async {
        while ask().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let raised = tokio::time::timeout(PATIENCE, raised).await;
    raised.unwrap_or_else(|_| panic!("not so far: {}", process.stderr()));
    assert_eq!(take(&client).await, 0);
    assert_eq!(ask().await.unwrap_err().code(), Code::ResourceExhausted);
}
