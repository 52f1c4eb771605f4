//! A presignd in this process, on a free port, with a clock that tests set and records that they read.
//!
//! It is built from configuration text by the same code as the binary. `Presignd::with_tenant(..).start().await` is all it takes.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use presignd::app::tenants::ProcessSurroundings;
use presignd::app::{App, Surroundings, aws_from_environment};
use presignd::audit::{AuditError, Confirmation, Sink};
use presignd::clock::{Clock, SystemClock};
use presignd::config::{self, Settings};
use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::{
    BatchPresignRequest, Command, ExpiryMode, PresignPostRequest, PresignPostResponse,
    PresignRequest, PresignResponse,
};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::ceph::{Ceph, CephTenant};
use super::http::{self, Response};
use super::sts::FakeSts;
use super::tools;

/// What presignd is to be started with.
pub(crate) struct Builder {
    server: String,
    callers: String,
    telemetry: String,
    tenants: String,
    clock: Arc<TestClock>,
    credentials: Credentials,
    records: Records,
    sessions: Option<Duration>,
    secrets: Vec<tempfile::NamedTempFile>,
}

/// A presignd that answers.
pub(crate) struct Presignd {
    pub(crate) client: PresignServiceClient<Channel>,
    pub(crate) address: String,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) records: Records,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Presignd {
    /// With a tenant, whose YAML is indented by nothing: `"region: eu-west-1\ncredentials: ..."`.
    pub(crate) fn with_tenant(id: &str, yaml: &str) -> Builder {
        Builder {
            server: String::new(),
            callers: "callers: [{ match: anyone }]\n".to_owned(),
            telemetry: String::new(),
            tenants: String::new(),
            clock: Arc::new(TestClock::default()),
            credentials: Credentials::new(
                "AKIDPRESIGND",
                "presignd's own secret",
                None,
                None,
                "test",
            ),
            records: Records::default(),
            sessions: None,
            secrets: Vec::new(),
        }
        .with_tenant(id, yaml)
    }

    /// With a tenant of Ceph's, and these grants in YAML: `[{ commands: [read], resources: ["acme-files/*"] }]`.
    pub(crate) fn with_ceph_tenant(id: &str, grants: &str) -> Builder {
        let ceph = Ceph::shared();
        let mut builder = Self::with_tenant(id, &ceph_tenant(ceph.tenant(id), grants));
        builder.credentials = ceph.presignd_credentials().clone();
        builder
    }

    /// With a tenant of Ceph's that has no role, but the keys of its buckets' owner.
    pub(crate) fn with_ceph_owner(id: &str, grants: &str) -> Builder {
        let tenant = Ceph::shared().tenant(id);
        let secret = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(&secret, tenant.owner.secret_access_key()).expect("it can be written");
        let yaml = format!(
            "region: us-east-1
endpoint: {{ url: \"{}\", path_style: true }}
credentials:
  static: {{ access_key_id: {}, secret_access_key: {{ file: \"{}\" }} }}
grants: {grants}",
            Ceph::shared().endpoint(),
            tenant.owner.access_key_id(),
            secret.path().display()
        );
        let mut builder = Self::with_tenant(id, &yaml);
        builder.secrets.push(secret);
        builder
    }

    /// With a tenant whose sessions are this STS's, and which lives by its clock: see [`FakeSts::tenant`].
    pub(crate) fn with_sts_tenant(sts: &FakeSts, id: &str, role: &str, rest: &str) -> Builder {
        Self::with_tenant(id, &sts.tenant(id, role, rest)).with_clock(sts.clock())
    }

    /// Asks for a URL.
    pub(crate) async fn presign(&self, request: PresignRequest) -> Result<PresignResponse, Status> {
        self.client
            .clone()
            .presign(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// A URL for this command, for five minutes. Panics if it is refused.
    pub(crate) async fn issue(&self, tenant: &str, command: Variant) -> PresignResponse {
        let asked = format!("{command:?}");
        self.presign(lasting(300, request(tenant, command)))
            .await
            .unwrap_or_else(|status| panic!("{asked}: {status:?}"))
    }

    /// Issues a URL and uses it at once.
    pub(crate) async fn run(
        &self,
        tenant: &str,
        command: Variant,
        body: impl Into<hyper::body::Bytes>,
    ) -> Response {
        fetch(&self.issue(tenant, command).await, body).await
    }

    /// Asks for a form.
    pub(crate) async fn presign_post(
        &self,
        request: PresignPostRequest,
    ) -> Result<PresignPostResponse, Status> {
        self.client
            .clone()
            .presign_post(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Asks for many URLs.
    pub(crate) async fn presign_batch(
        &self,
        request: BatchPresignRequest,
    ) -> Result<Vec<ItemResult>, Status> {
        let answer = self.client.clone().batch_presign(request).await?;
        let results = answer.into_inner().results.into_iter();
        Ok(results
            .map(|item| item.result.expect("an item has a result"))
            .collect())
    }

    /// Stops as SIGTERM would, and waits for the end.
    pub(crate) async fn shutdown(mut self) -> anyhow::Result<()> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.running).await.expect("presignd does not panic")
    }

    /// Lets presignd go on, and stop, in the background.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A tenant with long-lived keys of a store that is never called, as configuration. `rest` is the rest of the tenant.
pub(crate) fn static_tenant(rest: &str) -> String {
    format!(
        "region: us-east-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
{}",
        static_credentials(rest)
    )
}

/// Long-lived keys, as configuration, with the rest of the tenant.
pub(crate) fn static_credentials(rest: &str) -> String {
    let secret = tools::repository().join("tests/config/good/secrets/secret.txt");
    format!(
        "credentials: {{ static: {{ access_key_id: AKIDSTATIC, secret_access_key: {{ file: \"{}\" }} }} }}
{rest}",
        secret.display()
    )
}

/// A tenant of Ceph's, as configuration.
pub(crate) fn ceph_tenant(tenant: &CephTenant, grants: &str) -> String {
    let endpoint = Ceph::shared().endpoint();
    format!(
        "region: us-east-1
endpoint: {{ url: \"{endpoint}\", path_style: true }}
credentials:
  assume_role: {{ role_arn: \"{}\", sts_endpoint: \"{endpoint}\" }}
grants: {grants}",
        tenant.role_arn
    )
}

/// The settings of a configuration without mistakes.
pub(crate) fn parse(text: &str) -> Settings {
    config::parse(text, "test.yaml", Path::new("."), &ProcessSurroundings)
        .map_err(config::ConfigError::Mistakes)
        .unwrap_or_else(|mistakes| panic!("{mistakes}\nin\n{text}"))
}

/// presignd's surroundings, where it has these credentials.
pub(crate) async fn aws_of(credentials: Credentials) -> SdkConfig {
    aws_from_environment()
        .await
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl Builder {
    /// And this tenant.
    pub(crate) fn with_tenant(mut self, id: &str, yaml: &str) -> Self {
        self.tenants += &format!("  {id}:\n");
        for line in yaml.lines() {
            self.tenants += &format!("    {line}\n");
        }
        self
    }

    /// And this tenant of Ceph's.
    pub(crate) fn with_ceph_tenant(self, id: &str, grants: &str) -> Self {
        let yaml = ceph_tenant(Ceph::shared().tenant(id), grants);
        self.with_tenant(id, &yaml)
    }

    /// And this line in the section `server`.
    pub(crate) fn with_server(mut self, line: &str) -> Self {
        self.server += &format!("  {line}\n");
        self
    }

    /// With these callers instead of anyone: the sections `callers` and `authentication`, indented by nothing.
    pub(crate) fn with_callers(mut self, yaml: &str) -> Self {
        self.callers = format!("{yaml}\n");
        self
    }

    /// And this line in the section `telemetry`.
    pub(crate) fn with_telemetry(mut self, line: &str) -> Self {
        self.telemetry += &format!("  {line}\n");
        self
    }

    /// As somebody else.
    pub(crate) fn with_credentials(self, credentials: Credentials) -> Self {
        Self {
            credentials,
            ..self
        }
    }

    /// With sessions of less than the 15 minutes that a configuration may ask for.
    pub(crate) fn with_sessions_of(self, duration: Duration) -> Self {
        Self {
            sessions: Some(duration),
            ..self
        }
    }

    /// With records that fail so.
    pub(crate) fn with_failing_records(self, error: AuditError) -> Self {
        self.records.0.lock().expect("no panic").failure = Some(error);
        self
    }

    /// Living by this clock.
    pub(crate) fn with_clock(self, clock: Arc<TestClock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Presignd {
        // Shown with a test that fails. Whichever test comes first sets it for all.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("warn,presignd=debug")
            .with_test_writer()
            .try_init();
        let Self {
            server,
            callers,
            telemetry,
            tenants,
            clock,
            credentials,
            records,
            sessions,
            secrets,
        } = self;
        let telemetry = if telemetry.is_empty() {
            String::new()
        } else {
            format!("telemetry:\n{telemetry}")
        };
        let text = format!(
            "server:\n  listen: 127.0.0.1:0\n{server}{telemetry}{callers}tenants:\n{tenants}"
        );
        let mut settings = parse(&text);
        drop(secrets);
        for tenant in settings.tenants.values_mut() {
            if let (Some(duration), config::Credentials::Role(role)) =
                (sessions, &mut tenant.value.credentials)
            {
                role.duration.value = duration;
            }
        }
        let surroundings = Surroundings {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            aws: aws_of(credentials).await,
            sink: records.clone(),
        };
        let app = App::start(&settings, surroundings)
            .await
            .expect("presignd starts");
        let address = app.address().to_string();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        let client = PresignServiceClient::connect(format!("http://{address}"))
            .await
            .expect("presignd answers")
            .max_decoding_message_size(usize::MAX);
        Presignd {
            client,
            address,
            clock,
            records,
            stop: Some(stop),
            running,
        }
    }
}

/// The system's time, moved by what a test says.
#[derive(Debug)]
pub(crate) struct TestClock {
    system: SystemClock,
    ahead: Mutex<Duration>,
    /// By how much the wall clock was set forward besides.
    set_forward: Mutex<Duration>,
    /// When it stands still but for what a test says.
    stopped_at: Option<SystemTime>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            system: SystemClock::new(),
            ahead: Mutex::default(),
            set_forward: Mutex::default(),
            stopped_at: None,
        }
    }
}

impl TestClock {
    /// A clock that stands still at this time, so that what is told of durations is the same each time.
    pub(crate) fn stopped_at(time: SystemTime) -> Self {
        Self {
            stopped_at: Some(time),
            ..Self::default()
        }
    }

    /// Sets the wall clock forward, as somebody sets a machine's clock: no time passes.
    pub(crate) fn set_forward(&self, by: Duration) {
        *self.set_forward.lock().expect("no panic") += by;
    }

    /// Moves on.
    pub(crate) fn advance(&self, by: Duration) {
        *self.ahead.lock().expect("no panic") += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        let ahead = *self.ahead.lock().expect("no panic");
        let now = self.stopped_at.unwrap_or_else(|| self.system.now());
        now + ahead + *self.set_forward.lock().expect("no panic")
    }

    fn monotonic(&self) -> Duration {
        let now = match self.stopped_at {
            // Not the beginning, which nothing that runs has ever seen.
            Some(_) => Duration::from_hours(1),
            None => self.system.monotonic(),
        };
        now + *self.ahead.lock().expect("no panic")
    }
}

/// The records so far, as JSON, and how taking them is to fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Kept>>, Arc<Notify>);

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<serde_json::Value>,
    failure: Option<AuditError>,
    panic: Option<String>,
}

impl Records {
    /// All records, in order.
    pub(crate) fn all(&self) -> Vec<serde_json::Value> {
        self.0.lock().expect("no panic").lines.clone()
    }

    /// The record of this id.
    pub(crate) fn of(&self, issuance_id: &str) -> serde_json::Value {
        let all = self.all();
        let found: Vec<_> = all
            .iter()
            .filter(|record| record["issuance_id"] == issuance_id)
            .collect();
        assert_eq!(found.len(), 1, "one record for {issuance_id} in {all:#?}");
        found[0].clone()
    }

    /// Waits for so many records, and gives all of them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<serde_json::Value> {
        let enough = async {
            loop {
                let more = self.1.notified();
                let all = self.all();
                if all.len() >= count {
                    return all;
                }
                more.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough)
            .await
            .unwrap_or_else(|_| panic!("no {count} records in {:#?}", self.all()))
    }

    /// Fails from now on, or no longer.
    pub(crate) fn fail(&self, error: Option<AuditError>) {
        self.0.lock().expect("no panic").failure = error;
    }

    /// Panics in these words when the next record comes, as a defect would.
    pub(crate) fn panic(&self, words: &str) {
        self.0.lock().expect("no panic").panic = Some(words.to_owned());
    }
}

impl Sink for Records {
    fn write(&self, lines: &[u8]) -> Confirmation {
        let mut kept = self.0.lock().expect("no panic");
        if let Some(words) = kept.panic.take() {
            drop(kept);
            panic!("{words}");
        }
        let result = if let Some(error) = &kept.failure {
            Err(error.clone())
        } else {
            for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                kept.lines
                    .push(serde_json::from_slice(line).expect("a record is JSON"));
            }
            self.1.notify_waiters();
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn close(&self, _within: Duration) -> Confirmation {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A request for a command, with nothing else set.
pub(crate) fn request(tenant: &str, command: Variant) -> PresignRequest {
    PresignRequest {
        tenant: tenant.to_owned(),
        command: Some(Box::new(Command {
            command: Some(command),
            ..Command::default()
        })),
        ..PresignRequest::default()
    }
}

/// A batch of commands, with nothing else set.
pub(crate) fn batch(
    tenant: &str,
    commands: impl IntoIterator<Item = Variant>,
) -> BatchPresignRequest {
    BatchPresignRequest {
        tenant: tenant.to_owned(),
        commands: commands
            .into_iter()
            .map(|command| Command {
                command: Some(command),
                ..Command::default()
            })
            .collect(),
        ..BatchPresignRequest::default()
    }
}

/// The request with an expiry.
pub(crate) fn lasting(seconds: i64, request: PresignRequest) -> PresignRequest {
    PresignRequest {
        expires_in: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..request
    }
}

/// The request, content with less.
pub(crate) fn clamped(request: PresignRequest) -> PresignRequest {
    PresignRequest {
        expiry_mode: ExpiryMode::Clamp.into(),
        ..request
    }
}

/// `GetObject`.
pub(crate) fn get_object(bucket: &str, key: &str) -> Variant {
    Variant::GetObject(s3::GetObject {
        bucket: Some(bucket.to_owned()),
        key: Some(key.to_owned()),
        ..s3::GetObject::default()
    })
}

/// `PutObject`.
pub(crate) fn put_object(bucket: &str, key: &str) -> Variant {
    Variant::PutObject(s3::PutObject {
        bucket: Some(bucket.to_owned()),
        key: Some(key.to_owned()),
        ..s3::PutObject::default()
    })
}

/// The published reason of a refusal, such as `COMMAND_DENIED`.
pub(crate) fn reason(refusal: &Status) -> String {
    refusal
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no google.rpc.ErrorInfo in {refusal:?}"))
        .reason
}

/// Uses a URL as it was issued: its method and headers, and this body.
pub(crate) async fn fetch(
    issued: &PresignResponse,
    body: impl Into<hyper::body::Bytes>,
) -> Response {
    let headers: Vec<(&str, &str)> = issued
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    http::send(&issued.method, &issued.url, headers, body).await
}
