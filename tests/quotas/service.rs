//! Limits of the whole service in a configuration that changes while presignd serves.

use std::fs;
use std::time::Duration;

use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::{GetUsageRequest, ReloadConfigurationRequest};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Request, Response};

use super::get;
use super::restarting::noon;
use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{get_object, request};
use crate::harness::process::{Process, presignd};
use crate::harness::refusal::Refused;

/// presignd with two tenants that have no limits of their own, and whoever may do everything.
struct Serving {
    folder: TempDir,
    _process: Process,
    key: (String, String),
    client: PresignServiceClient<Channel>,
    operations: OperationsServiceClient<Channel>,
}

impl Serving {
    async fn under(limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = new_key().await;
        configure(&folder, &key.1, limits);
        let path = folder.path().join("presignd.yaml");
        let process = presignd(["serve", "--config", path.to_str().expect("a path")])
            .env("ACME_SECRET", "PLANTED0SECRET")
            .start();
        let client = process.client().await;
        let address = format!("http://{}", process.address().await);
        let operations = OperationsServiceClient::connect(address).await.unwrap();
        Self {
            folder,
            _process: process,
            key,
            client,
            operations,
        }
    }

    fn with_key<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let key = self.key.0.parse().expect("ASCII");
        request.metadata_mut().insert("x-api-key", key);
        request
    }

    /// From the end of this on, these limits hold.
    async fn change(&self, limits: &str) {
        configure(&self.folder, &self.key.1, limits);
        let asked = self.with_key(ReloadConfigurationRequest::default());
        let answer = self.operations.clone().reload_configuration(asked).await;
        let answer = answer.unwrap().into_inner();
        assert!(answer.good, "{answer:?}");
    }

    async fn ask(&self, tenant: &str) -> Result<(), Refused> {
        let asked = request(tenant, get_object("acme-files", "k"));
        let answer = self.client.clone().presign(self.with_key(asked)).await;
        match answer {
            Ok(_) => Ok(()),
            Err(status) => Err(Refused::read(&status)),
        }
    }

    /// What is used of each, and how much there may be.
    async fn usage(&self) -> Vec<(String, u64, u64)> {
        let asked = self.with_key(GetUsageRequest {
            tenant: "acme".to_owned(),
        });
        let answer = self.operations.clone().get_usage(asked).await;
        let limits = answer.map(Response::into_inner).unwrap().limits;
        let each = limits.into_iter().map(|limit| {
            assert_eq!(limit.scope, "service");
            (limit.limit, limit.used, limit.most)
        });
        each.collect()
    }

    async fn assert_used_up(&self, limit: &str) {
        for tenant in ["acme", "globex"] {
            let refused = self.ask(tenant).await.unwrap_err();
            assert_eq!(refused.code, Code::ResourceExhausted);
            assert_eq!(refused.quotas, [format!("service/limit:{limit}")]);
        }
    }
}

/// With limits of the whole service.
fn configure(folder: &TempDir, hash: &str, limits: &str) {
    let folder = folder.path();
    let tenant = "
    region: us-east-1
    endpoint: { url: \"http://127.0.0.1:9\", path_style: true }
    credentials: { static: { access_key_id: AKID, secret_access_key: { env: ACME_SECRET } } }
    grants: [{ commands: [read], resources: [\"acme-files/*\"] }]";
    let text = format!(
        "server: {{ listen: 127.0.0.1:0 }}
state: {{ dir: {}/state }}
authentication: {{ api_keys: {{ boss: [\"{hash}\"] }} }}
callers: [{{ match: {{ api_key: boss }}, tenants: [\"*\"], may: [sign, usage, operate] }}]
limits: [{limits}]
tenants:
  acme: {tenant}
  globex: {tenant}
",
        folder.display()
    );
    // Whole, as editors and deployments do.
    fs::write(folder.join(".new"), text).expect("the folder is writable");
    fs::rename(folder.join(".new"), folder.join("presignd.yaml")).expect("the folder is writable");
}

fn used(limit: &str, used: u64, most: u64) -> (String, u64, u64) {
    (limit.to_owned(), used, most)
}

#[tokio::test]
async fn what_was_used_stays_used_and_another_amount_holds_at_once() {
    let zone = noon();
    let daily = |urls: u32| format!("{{ name: daily, urls: {urls}, per: day, time_zone: {zone} }}");
    let hourly = "{ name: hourly, rate: 1/h, burst: 50 }";
    let serving = Serving::under(&format!("{}, {hourly}", daily(4))).await;
    for tenant in ["acme", "globex", "acme"] {
        serving.ask(tenant).await.unwrap();
    }
    assert_eq!(
        serving.usage().await,
        [used("daily", 3, 4), used("hourly", 3, 50)]
    );

    // Less than was used already.
    serving.change(&format!("{}, {hourly}", daily(2))).await;
    serving.assert_used_up("daily").await;
    let now = [used("daily", 2, 2), used("hourly", 3, 50)];
    assert_eq!(
        serving.usage().await,
        now,
        "no more is used than there may be"
    );

    // The other one said the same all along, and goes on; also in another place.
    serving.change(&format!("{hourly}, {}", daily(5))).await;
    assert_eq!(
        serving.usage().await,
        [used("hourly", 3, 50), used("daily", 3, 5)]
    );
    serving.ask("acme").await.unwrap();
    serving.ask("globex").await.unwrap();
    serving.assert_used_up("daily").await;
    assert_eq!(
        serving.usage().await,
        [used("hourly", 5, 50), used("daily", 5, 5)]
    );
}

#[tokio::test]
async fn a_rate_that_is_another_begins_anew() {
    let serving = Serving::under("{ name: all, rate: 1/h, burst: 2 }").await;
    for tenant in ["acme", "globex"] {
        serving.ask(tenant).await.unwrap();
    }
    serving.assert_used_up("all").await;
    serving.change("{ name: all, rate: 1/h, burst: 3 }").await;
    for used in 0..3 {
        assert_eq!(serving.usage().await, [("all".to_owned(), used, 3)]);
        serving.ask("acme").await.unwrap();
    }
    serving.assert_used_up("all").await;
}

#[tokio::test]
async fn one_that_is_gone_refuses_nobody_and_one_that_comes_counts() {
    let first = "{ name: first, rate: 1/h, burst: 1 }";
    let serving = Serving::under(first).await;
    serving.ask("acme").await.unwrap();
    serving.assert_used_up("first").await;
    serving.change("").await;
    assert_eq!(serving.usage().await, []);
    for tenant in ["acme", "globex", "acme"] {
        serving.ask(tenant).await.unwrap();
    }
    let second = "{ name: second, rate: 1/h, burst: 2 }";
    serving.change(second).await;
    assert_eq!(serving.usage().await, [used("second", 0, 2)]);
    serving.ask("acme").await.unwrap();
    serving.ask("globex").await.unwrap();
    serving.assert_used_up("second").await;
    // One for deletions alone counts nothing of this.
    serving
        .change("{ name: deletes, rate: 1/h, burst: 1, commands: [delete] }")
        .await;
    serving.ask("acme").await.unwrap();
    serving.ask("acme").await.unwrap();
    assert_eq!(serving.usage().await, [used("deletes", 0, 1)]);
}

#[tokio::test]
async fn those_under_way_on_a_stream_are_held_to_what_holds_by_then() {
    let serving = Serving::under("").await;
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let asked = serving.with_key(asked);
    let mut answers = serving.client.clone().stream_presign(asked).await;
    let answers = answers.as_mut().unwrap().get_mut();
    let mut ask = async || {
        let item = presignd::proto::v1::StreamPresignRequest {
            request_id: "1".to_owned(),
            request: Some(request("acme", get())),
        };
        asking.send(item).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), answers.message()).await;
        answer.unwrap().unwrap().unwrap().result.unwrap()
    };
    use presignd::proto::v1::stream_presign_response::Result as ItemResult;
    assert!(matches!(ask().await, ItemResult::Response(_)));
    serving.change("{ name: all, rate: 1/h, burst: 1 }").await;
    assert!(matches!(ask().await, ItemResult::Response(_)));
    assert!(matches!(ask().await, ItemResult::Error(_)));
    serving.change("").await;
    assert!(matches!(ask().await, ItemResult::Response(_)));
}
