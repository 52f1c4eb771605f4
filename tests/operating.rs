//! Operations over gRPC: the real binary, steered by callers with different rights.

mod documented;
mod halting;
mod outlasting;
mod reloading;
mod replicas;
mod rights;
mod sharing;
mod showing;
mod troubles;

use std::fs;
use std::path::PathBuf;

use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::{
    FreezeServiceRequest, PresignRequest, PresignResponse, ResumeTenantRequest,
    SuspendTenantRequest, UnfreezeServiceRequest,
};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{get_object, request};
use crate::harness::process::{Process, presignd};

/// Whoever may do everything.
const BOSS: &str = "boss";
/// Who may operate tenants whose ids begin with `ac`, and nothing else.
const OPERATOR: &str = "operator";
/// Who may have URLs signed and explained for every tenant, and see how much was used, and operates none.
const CLIENT: &str = "client";

/// A tenant of static credentials, who may read its own bucket.
fn tenant(id: &str, more: &str) -> String {
    format!(
        "region: us-east-1
endpoint: {{ url: \"http://127.0.0.1:9\", path_style: true }}
credentials: {{ static: {{ access_key_id: AKIDACME, secret_access_key: {{ env: ACME_SECRET }}, session_token: {{ env: ACME_TOKEN }} }} }}
grants: [{{ commands: [read, write, delete], resources: [\"{id}-files/*\"], max_expiry: 2h }}]
{more}"
    )
}

/// A presignd of tenants `acme` and `globex`, its files, and the keys of those who ask.
struct Operated {
    folder: TempDir,
    process: Process,
    keys: Vec<(&'static str, String)>,
    operations: OperationsServiceClient<Channel>,
    client: PresignServiceClient<Channel>,
}

impl Operated {
    /// With state in a folder of its own.
    async fn start() -> Self {
        Self::start_with("state: { dir: state }\n", "").await
    }

    /// With these sections, and these settings of `acme`.
    async fn start_with(sections: &str, acme: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut keys = Vec::new();
        let mut hashes = String::new();
        for name in [BOSS, OPERATOR, CLIENT] {
            let (key, hash) = new_key().await;
            keys.push((name, key));
            hashes += &format!("    {name}: [\"{hash}\"]\n");
        }
        let text = format!(
            "server: {{ listen: 127.0.0.1:0 }}
{sections}tenants_dir: tenants
authentication:
  api_keys:
{hashes}callers:
  - {{ match: {{ api_key: {BOSS} }}, tenants: [\"*\"], may: [sign, explain, usage, operate] }}
  - {{ match: {{ api_key: {OPERATOR} }}, tenants: [\"ac*\"], may: [operate] }}
  - {{ match: {{ api_key: {CLIENT} }}, tenants: [\"*\"], may: [sign, explain, usage] }}
"
        );
        fs::create_dir(folder.path().join("tenants")).expect("the folder is writable");
        fs::write(folder.path().join("presignd.yaml"), text).expect("the folder is writable");
        let of_tenant = |id: &str, more: &str| {
            let path = folder.path().join(format!("tenants/{id}.yaml"));
            fs::write(path, tenant(id, more)).expect("the folder is writable");
        };
        of_tenant("acme", acme);
        of_tenant("globex", "");
        let process = Self::serve(&folder);
        Self::over(folder, process, keys).await
    }

    fn serve(folder: &TempDir) -> Process {
        let config = folder.path().join("presignd.yaml");
        presignd(["serve", "--config", config.to_str().expect("a path")])
            .env("ACME_SECRET", "PLANTED0SECRET")
            .env("ACME_TOKEN", "PLANTED0TOKEN")
            .start()
    }

    async fn over(folder: TempDir, process: Process, keys: Vec<(&'static str, String)>) -> Self {
        let client = process.client().await;
        let address = format!("http://{}", process.address().await);
        let operations = OperationsServiceClient::connect(address).await;
        Self {
            folder,
            process,
            keys,
            operations: operations.expect("presignd answers"),
            client,
        }
    }

    /// Another process over the same files, once this one was killed without a word.
    async fn killed_and_started(self) -> Self {
        let Self {
            folder,
            process,
            keys,
            ..
        } = self;
        process.signal("KILL");
        process.ended().await;
        let process = Self::serve(&folder);
        Self::over(folder, process, keys).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A message of this caller.
    fn by<T>(&self, caller: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let key = self.keys.iter().find(|(name, _)| *name == caller);
        let key = &key.expect("a caller").1;
        let shown = key.parse().expect("ASCII");
        request.metadata_mut().insert("x-api-key", shown);
        request
    }

    fn operations(&self) -> OperationsServiceClient<Channel> {
        self.operations.clone()
    }

    /// A URL for the client.
    async fn presign(&self, tenant: &str) -> Result<PresignResponse, Status> {
        self.ask(get(tenant)).await
    }

    async fn ask(&self, message: PresignRequest) -> Result<PresignResponse, Status> {
        let answer = self.client.clone().presign(self.by(CLIENT, message)).await;
        answer.map(Response::into_inner)
    }

    async fn suspend(&self, tenant: &str) {
        let message = SuspendTenantRequest {
            tenant: tenant.to_owned(),
            reason: "a key was leaked".to_owned(),
        };
        let message = self.by(BOSS, message);
        self.operations().suspend_tenant(message).await.unwrap();
    }

    async fn resume(&self, tenant: &str) {
        let message = ResumeTenantRequest {
            tenant: tenant.to_owned(),
            reason: "the key is gone".to_owned(),
        };
        let message = self.by(BOSS, message);
        self.operations().resume_tenant(message).await.unwrap();
    }

    async fn freeze(&self) {
        let message = FreezeServiceRequest {
            reason: "an incident".to_owned(),
        };
        let message = self.by(BOSS, message);
        self.operations().freeze_service(message).await.unwrap();
    }

    async fn unfreeze(&self) {
        let message = UnfreezeServiceRequest {
            reason: "it is over".to_owned(),
        };
        let message = self.by(BOSS, message);
        self.operations().unfreeze_service(message).await.unwrap();
    }

    /// The record with these words.
    async fn record(&self, words: &str) -> Value {
        let line = self.process.stdout_line(words).await;
        serde_json::from_str(&line).expect("a record is JSON")
    }
}

/// What a client of a tenant asks for.
fn get(tenant: &str) -> PresignRequest {
    request(tenant, get_object(&format!("{tenant}-files"), "k"))
}
