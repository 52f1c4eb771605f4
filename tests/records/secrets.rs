//! Secrets that are planted where presignd has them, and looked for wherever it says anything.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::form_condition::Rule;
use presignd::proto::v1::{FormCondition, PresignPostRequest, PresignRequest};
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::collector::{Collector, attributes};
use crate::harness::form::for_key;
use crate::harness::presignd::{Presignd, batch, get_object, lasting, request};
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

const GRANTS: &str =
    r#"grants: [{ commands: [read, write], resources: ["acme-files/*"], max_expiry: 1h }]"#;
/// A customer's key for SSE-C and the digest of one, in two guises.
const CUSTOMER_KEY: &str = "Y3VzdG9tZXIta2V5LW9mLTMyLWJ5dGVzLW1hcmtlciE=";
const SOURCE_KEY: &str = "c291cmNlLWtleS1vZi0zMi1ieXRlcy1hcy1tYXJrZXI=";

/// What this thread logs: libraries at the level debug, presignd at its lowest.
#[derive(Clone, Default)]
pub(super) struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Captures until the guard is dropped. A test's runtime, with the server and all clients, runs on one thread.
    pub(super) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("debug,presignd=trace")
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file whose only line is the secret.
pub(super) fn file(secret: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{secret}").unwrap();
    file
}

fn upload(tenant: &str) -> PresignRequest {
    request(
        tenant,
        Variant::PutObject(s3::PutObject {
            bucket: Some("acme-files".into()),
            key: Some("k".into()),
            sse_customer_algorithm: Some("AES256".into()),
            sse_customer_key: Some(CUSTOMER_KEY.into()),
            sse_customer_key_md5: Some("bWQ1LW1hcmtlci1vZi1rZXk=".into()),
            ..s3::PutObject::default()
        }),
    )
}

/// With one member that is refused, beside the secret ones.
fn broken_upload(tenant: &str) -> PresignRequest {
    request(
        tenant,
        Variant::UploadPartCopy(s3::UploadPartCopy {
            bucket: Some("acme-files".into()),
            key: Some("..".into()),
            upload_id: Some("u".into()),
            part_number: Some(1),
            copy_source: Some("acme-files/k".into()),
            sse_customer_key: Some(format!("{CUSTOMER_KEY}\n")),
            copy_source_sse_customer_key: Some(format!("{SOURCE_KEY}ü")),
            ..s3::UploadPartCopy::default()
        }),
    )
}

/// The same by a form.
fn upload_form(tenant: &str) -> PresignPostRequest {
    let fields = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", CUSTOMER_KEY),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    PresignPostRequest {
        tenant: tenant.to_owned(),
        fields: fields.map(owned).into(),
        html_form: true,
        ..for_key("acme-files", "k")
    }
}

/// With a value that is refused, and a condition that contradicts another.
fn broken_form(tenant: &str) -> PresignPostRequest {
    let mut form = upload_form(tenant);
    form.metadata.insert("a".into(), format!("{SOURCE_KEY}\n"));
    form.conditions.push(FormCondition {
        field: "x-amz-server-side-encryption-customer-key".into(),
        rule: Some(Rule::Equals(SOURCE_KEY.into())),
    });
    form
}

/// What clients were told.
#[derive(Default)]
struct Told {
    /// Statuses, in every form that a client may print.
    statuses: Vec<String>,
    /// The signatures of the URLs.
    signatures: Vec<String>,
}

impl Told {
    async fn refusal(&mut self, presignd: &Presignd, request: PresignRequest) {
        let status = presignd.presign(request).await.unwrap_err();
        let details = String::from_utf8_lossy(status.details());
        self.statuses.push(format!("{status:?} {status} {details}"));
    }

    /// Two URLs, a form and its refusal, a batch of one URL and one refusal, and four refusals.
    async fn everything(&mut self, presignd: &Presignd, tenant: &str) {
        let get = request(tenant, get_object("acme-files", "k"));
        for request in [get, upload(tenant)] {
            let issued = presignd.presign(request).await.unwrap();
            let url = Presigned::read(&issued.url);
            let signature = url.parameter("X-Amz-Signature");
            self.signatures.push(signature.to_owned());
        }
        let form = presignd.presign_post(upload_form(tenant)).await.unwrap();
        let secret = |name: &str| matches!(name, "policy" | "x-amz-signature");
        let secrets = form.fields.into_iter().filter(|field| secret(&field.name));
        self.signatures.extend(secrets.map(|field| field.value));
        let refused = presignd.presign_post(broken_form(tenant)).await;
        self.statuses.push(format!("{:?}", refused.unwrap_err()));
        let commands = [upload(tenant), broken_upload(tenant)];
        let commands = commands.into_iter().filter_map(|r| r.command?.command);
        let results = presignd
            .presign_batch(batch(tenant, commands))
            .await
            .unwrap();
        assert!(matches!(&results[1], ItemResult::Error(_)));
        self.statuses.push(format!("{:?}", results[1]));
        for request in [
            broken_upload(tenant),
            lasting(3601, upload(tenant)),
            lasting(0, upload(tenant)),
            request(tenant, get_object("globex-files", "k")),
        ] {
            self.refusal(presignd, request).await;
        }
    }
}

/// A tenant whose long-lived keys are markers, and the files that hold them.
fn tenant_with_keys() -> (String, [tempfile::NamedTempFile; 2]) {
    let files = [
        file("static-secret-key-marker"),
        file("static/session+token=marker"),
    ];
    let yaml = format!(
        "region: us-east-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
credentials:
  static: {{ access_key_id: AKIDSTATIC, secret_access_key: {{ file: \"{}\" }}, session_token: {{ file: \"{}\" }} }}
{GRANTS}",
        files[0].path().display(),
        files[1].path().display(),
    );
    (yaml, files)
}

/// Everything that must not be found.
fn secrets(told: &Told, sts: &FakeSts) -> Vec<String> {
    let mut secrets: Vec<String> = [
        "static-secret-key-marker",
        "static/session+token=marker",
        "static%2Fsession%2Btoken%3Dmarker",
        "unread-secret-key-marker",
        "unread-session-token-marker",
        CUSTOMER_KEY,
        SOURCE_KEY,
        "presignd's own secret",
        "X-Amz-Signature",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(told.signatures.len(), 8);
    secrets.extend(told.signatures.iter().cloned());
    let session = &sts.sessions()[0];
    secrets.push(session.token.replace('/', "%2F"));
    secrets.extend([session.secret_access_key.clone(), session.token.clone()]);
    secrets
}

#[tokio::test]
async fn no_secret_leaves_but_in_the_answer() {
    let (logs, _capturing) = Logs::capture();
    tracing::debug!("the capture works");
    let (collector, otlp) = Collector::start().await;
    let sts = FakeSts::start().await;
    let (keys, _files) = tenant_with_keys();
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("keys", &keys)
        .with_telemetry(&format!("otlp: {{ endpoint: \"{otlp}\" }}"))
        .start()
        .await;
    let mut told = Told::default();
    for tenant in ["acme", "keys"] {
        Box::pin(told.everything(&presignd, tenant)).await;
    }
    // STS that answers with credentials and something else wrong.
    presignd.clock.advance(Duration::from_hours(2));
    let session = |ends| {
        let (secret, token) = ("unread-secret-key-marker", "unread-session-token-marker");
        Answer::session("ASIAMARKER", secret, token, ends)
    };
    for answer in [
        session("tomorrow"),
        session("2020-01-01T00:00:00Z"),
        Answer::denied(),
    ] {
        sts.answer(answer);
        // What failed a moment ago is not tried again.
        presignd.clock.advance(Duration::from_mins(1));
        let get = request("acme", get_object("acme-files", "k"));
        told.refusal(&presignd, get).await;
    }

    let records = presignd.records.all();
    presignd.shutdown().await.unwrap();
    let spans: Vec<String> = collector
        .spans()
        .iter()
        .map(|span| format!("{:?} {span:?}", attributes(span)))
        .collect();
    assert_eq!((records.len(), spans.len()), (23, 23));
    let logs = logs.text();
    for sign_of_life in ["the capture works", "not issued", "ROLE_REFUSED"] {
        assert!(logs.contains(sign_of_life), "no {sign_of_life:?} in {logs}");
    }
    let places = [
        ("records", serde_json::Value::from(records).to_string()),
        ("spans", spans.join("\n")),
        ("statuses", told.statuses.join("\n")),
        ("logs", logs),
    ];
    for secret in secrets(&told, &sts) {
        for (place, text) in &places {
            let at = text.find(&secret);
            let before = at.map(|at| &text.as_bytes()[at.saturating_sub(300)..at]);
            let before = before.map(String::from_utf8_lossy);
            assert_eq!(before, None, "{secret} stands in the {place} after this");
        }
    }
}
