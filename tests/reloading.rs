//! A configuration that changes while presignd serves: the real binary, over files that are written, linked, broken and removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::event::AccessKind;
use notify::{EventKind, Watcher as _};
use presignd::grpc::server::{CONFIGURATION, LIVENESS};
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{get_object, request};
use crate::harness::process::{PATIENCE, Process, presignd};

const CALLERS: &str = "[{ match: anyone }]";

/// presignd over a folder of tenants.
struct Over {
    folder: TempDir,
    process: Process,
    client: PresignServiceClient<Channel>,
}

/// A tenant who may read its own bucket, with more settings.
fn tenant(id: &str, more: &str) -> String {
    format!(
        "region: us-east-1
endpoint: {{ url: \"http://127.0.0.1:9\", path_style: true }}
credentials: {{ static: {{ access_key_id: AKID, secret_access_key: {{ env: ACME_SECRET }} }} }}
grants: [{{ commands: [read], resources: [\"{id}-files/*\"] }}]
{more}"
    )
}

/// Puts a file there whole, as editors and deployments do.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    let hidden = beside.with_file_name(".new");
    fs::write(&hidden, text).expect("the folder is writable");
    fs::rename(hidden, path).expect("the folder is writable");
}

fn configuration(callers: &str) -> String {
    format!("server: {{ listen: 127.0.0.1:0 }}\ncallers: {callers}\ntenants_dir: tenants\n")
}

impl Over {
    /// With these files of tenants, which `fill` puts there.
    async fn start(fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let tenants = folder.path().join("tenants");
        fs::create_dir(&tenants).expect("the folder is writable");
        fill(&tenants);
        let path = folder.path().join("presignd.yaml");
        if !path.exists() {
            put(&path, &configuration(CALLERS));
        }
        let process = presignd(["serve", "--config", path.to_str().expect("a path")])
            .env("ACME_SECRET", "PLANTED0SECRET")
            .start();
        let client = process.client().await;
        Self {
            folder,
            process,
            client,
        }
    }

    async fn of_acme(more: &str) -> Self {
        Self::start(|tenants| put(&tenants.join("acme.yaml"), &tenant("acme", more))).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("tenants").join(name)
    }

    async fn presign(&self, id: &str) -> Result<String, Status> {
        let asked = request(id, get_object(&format!("{id}-files"), "k"));
        let answer = self.client.clone().presign(asked).await?;
        Ok(answer.into_inner().issuance_id)
    }

    /// Asks until the answer is such.
    async fn until(&self, id: &str, is: impl Fn(&Result<String, Status>) -> bool) {
        let asking = async {
            while !is(&self.presign(id).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("not so far: {}", self.process.stderr()));
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let channel = Channel::from_shared(format!("http://{}", self.process.address().await));
        let channel = channel.unwrap().connect().await.unwrap();
        let asked = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(asked).await.unwrap();
        answer.into_inner().status()
    }

    /// Waits until the health of the configuration is such, and that of presignd as it always is.
    async fn until_configuration_is(&self, status: ServingStatus) {
        let asking = async {
            while self.health(CONFIGURATION).await != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("not so far: {}", self.process.stderr()));
        for service in ["", LIVENESS] {
            assert_eq!(self.health(service).await, ServingStatus::Serving);
        }
    }
}

fn code(answer: &Result<String, Status>) -> Code {
    answer.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

#[tokio::test]
async fn tenants_come_and_go_with_their_files() {
    let over = Over::of_acme("").await;
    over.presign("acme").await.unwrap();
    let unknown = over.presign("globex").await.unwrap_err();
    put(&over.file("globex.yaml"), &tenant("globex", ""));
    over.until("globex", Result::is_ok).await;
    over.presign("acme").await.unwrap();
    fs::remove_file(over.file("acme.yaml")).unwrap();
    over.until("acme", Result::is_err).await;
    let removed = over.presign("acme").await.unwrap_err();
    assert_eq!(
        (removed.code(), removed.message()),
        (unknown.code(), unknown.message()),
        "one that is gone is told like one that never was"
    );
    over.presign("globex").await.unwrap();
    over.process.stderr_line("added=1").await;
    over.process.stderr_line("removed=1").await;
}

#[tokio::test]
async fn a_volume_of_kubernetes_is_swapped_as_a_whole() {
    let over = Over::start(|tenants| {
        let first = tenants.join("..1");
        fs::create_dir(&first).unwrap();
        put(&first.join("acme.yaml"), &tenant("acme", ""));
        symlink("..1", tenants.join("..data")).unwrap();
        symlink("..data/acme.yaml", tenants.join("acme.yaml")).unwrap();
    })
    .await;
    over.presign("acme").await.unwrap();
    let second = over.file("..2");
    fs::create_dir(&second).unwrap();
    let nothing = tenant("acme", "").replace("[read]", "[list]");
    put(&second.join("acme.yaml"), &nothing);
    symlink("..2", over.file("..data_tmp")).unwrap();
    fs::rename(over.file("..data_tmp"), over.file("..data")).unwrap();
    over.until("acme", |answer| code(answer) == Code::PermissionDenied)
        .await;
    over.process.stderr_line("changed=1").await;
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_told_of() {
    let over = Over::of_acme("").await;
    let healthy = ServingStatus::Serving;
    over.until_configuration_is(healthy).await;
    let main = over.folder.path().join("presignd.yaml");
    let globex = tenant("globex", "");
    let half = &globex[..globex.len() / 2];
    let tenants = over.file("globex.yaml");
    let wrong = [
        (&tenants, half, "globex.yaml:"),
        (&tenants, "", "globex.yaml:1:1: the file holds no settings"),
        (&main, "", "presignd.yaml:1:1: the file holds no settings"),
        (&main, "callers: [", "this is not valid YAML"),
    ];
    for (path, text, told) in wrong {
        put(path, text);
        over.until_configuration_is(ServingStatus::NotServing).await;
        let line = over.process.stdout_line(told).await;
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["method"], "presignd/Reload", "{line}");
        assert_eq!(record["outcome"], "failed", "{line}");
        assert_eq!(record["reason_code"], "INVALID_CONFIGURATION", "{line}");
        over.process.stderr_line(told).await;
        over.presign("acme").await.unwrap();
        assert_eq!(code(&over.presign("globex").await), Code::PermissionDenied);
        // As it should be, again.
        put(&main, &configuration(CALLERS));
        let _ = fs::remove_file(&tenants);
        over.until_configuration_is(healthy).await;
    }
    fs::remove_file(over.file("acme.yaml")).unwrap();
    over.process.stdout_line("holds no file of a tenant").await;
    over.presign("acme").await.unwrap();
    assert!(!over.process.stderr().contains("PLANTED"));
}

#[tokio::test]
async fn a_limit_that_is_as_it_was_goes_on() {
    let limits = |burst: u32| format!("limits: [{{ name: all, rate: 1/h, burst: {burst} }}]\n");
    let over = Over::of_acme(&limits(2)).await;
    for _ in 0..2 {
        over.presign("acme").await.unwrap();
    }
    let exhausted = |answer: &Result<String, Status>| code(answer) == Code::ResourceExhausted;
    assert!(exhausted(&over.presign("acme").await));
    // Another setting of the tenant, and another tenant.
    put(
        &over.file("acme.yaml"),
        &tenant("acme", &(limits(2) + "expiry: { max: 1h }\n")),
    );
    put(&over.file("globex.yaml"), &tenant("globex", ""));
    over.until("globex", Result::is_ok).await;
    over.process.stderr_line("changed=1").await;
    assert!(exhausted(&over.presign("acme").await));
    put(&over.file("acme.yaml"), &tenant("acme", &limits(3)));
    over.until("acme", Result::is_ok).await;
}

#[tokio::test]
async fn what_has_not_changed_is_read_once_at_the_start() {
    let (events, heard) = std::sync::mpsc::channel();
    let mut watcher = notify::recommended_watcher(events).expect("files can be watched");
    let over = Over::start(|tenants| {
        put(&tenants.join("acme.yaml"), &tenant("acme", ""));
        let folder = tenants.parent().expect("it is in a folder");
        put(&folder.join("presignd.yaml"), &configuration(CALLERS));
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_mins(1);
        for file in [tenants.join("acme.yaml"), folder.join("presignd.yaml")] {
            let file = fs::File::options().append(true).open(file);
            let file = file.expect("it was put there");
            file.set_modified(long_ago).expect("it is ours");
        }
        let mode = notify::RecursiveMode::NonRecursive;
        watcher.watch(tenants, mode).expect("it is there");
    })
    .await;
    // What comes with this is read once more.
    put(&over.file("globex.yaml"), &tenant("globex", ""));
    over.until("globex", Result::is_ok).await;
    fs::write(over.file(".last"), "").expect("the folder is writable");
    let opened = heard
        .iter()
        .map(|event| event.expect("they are heard"))
        .take_while(|event| !event.paths.contains(&over.file(".last")))
        .filter(|event| event.paths.contains(&over.file("acme.yaml")))
        .filter(|event| matches!(event.kind, EventKind::Access(AccessKind::Open(_))));
    assert_eq!(opened.count(), 2);
}

#[tokio::test]
async fn a_hangup_reads_it_anew_and_says_what_needs_a_restart() {
    let over = Over::of_acme("").await;
    over.presign("acme").await.unwrap();
    over.process.signal("HUP");
    over.process.stderr_line("a new configuration serves").await;
    let main = over.folder.path().join("presignd.yaml");
    let other = configuration(CALLERS).replace("listen: 127", "grace: 1s, listen: 127");
    put(&main, &other);
    put(&over.file("globex.yaml"), &tenant("globex", ""));
    over.process
        .stderr_line("`server` has changed, and is read when presignd starts")
        .await;
    over.until("globex", Result::is_ok).await;
    over.presign("acme").await.unwrap();
    assert!(!over.process.stderr().contains("`callers` has changed"));
}

#[tokio::test]
async fn callers_come_and_go_and_what_is_taken_over_is_recorded() {
    let over = Over::of_acme("").await;
    over.presign("acme").await.unwrap();
    put(&over.file("globex.yaml"), &tenant("globex", ""));
    over.until("globex", Result::is_ok).await;
    let main = over.folder.path().join("presignd.yaml");
    put(
        &main,
        &configuration("[{ match: anyone, tenants: [globex] }]"),
    );
    let denied = |answer: &Result<String, Status>| code(answer) == Code::PermissionDenied;
    over.until("acme", denied).await;
    over.presign("globex").await.unwrap();
    let line = over.process.stdout_line("other callers").await;
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["method"], "presignd/Reload", "{line}");
    assert_eq!(record["outcome"], "operated", "{line}");
    assert_eq!(record["caller"], "presignd", "{line}");
    let detail = "2 tenants serve: 0 added, 0 changed, 0 removed, other callers";
    assert_eq!(record["detail"], detail, "{line}");

    // A mistake in the list changes nothing of it, nor of the tenants.
    put(
        &main,
        &configuration("[{ match: anyone, tenants: [initech] }]"),
    );
    fs::remove_file(over.file("globex.yaml")).unwrap();
    over.process
        .stdout_line("there is no tenant `initech`")
        .await;
    assert!(denied(&over.presign("acme").await));
    over.presign("globex").await.unwrap();

    // A key of its own, from the next request on.
    let (key, hash) = new_key().await;
    let with_key = format!(
        "[{{ match: {{ api_key: media }}, tenants: [acme] }}]\nauthentication: {{ api_keys: {{ media: [\"{hash}\"] }} }}"
    );
    put(&main, &configuration(&with_key));
    over.until("acme", |answer| code(answer) == Code::Unauthenticated)
        .await;
    let ask = async || {
        let mut asked = tonic::Request::new(request("acme", get_object("acme-files", "k")));
        let key = key.parse().expect("ASCII");
        asked.metadata_mut().insert("x-api-key", key);
        let answer = over.client.clone().presign(asked).await;
        answer.map(|answer| answer.into_inner().issuance_id)
    };
    ask().await.unwrap();
    put(
        &main,
        &configuration(&with_key.replace(&hash, &new_key().await.1)),
    );
    let gone = async {
        while code(&ask().await) != Code::Unauthenticated {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("an end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_asks_meanwhile_notices() {
    let over = Over::of_acme("").await;
    let asking = async {
        let mut answered = 0;
        loop {
            over.presign("acme").await.expect("a URL");
            answered += 1;
            if answered > 20 && over.process.stderr().contains("added=1") {
                return answered;
            }
        }
    };
    let changing = async {
        for number in 0..20 {
            let more = format!("expiry: {{ max: {}m }}\n", number + 20);
            put(&over.file("acme.yaml"), &tenant("acme", &more));
            over.process.signal("HUP");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        put(&over.file("globex.yaml"), &tenant("globex", ""));
    };
    let both = async { tokio::join!(asking, changing) };
    let (answered, ()) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    assert!(answered > 20);
}
