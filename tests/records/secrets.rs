//! Secrets that are planted where presignd has them, and looked for wherever it says anything.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use presignd::proto::s3;
use presignd::proto::v1::PresignRequest;
use presignd::proto::v1::command::Command as Variant;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::collector::{Collector, attributes};
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
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Captures until the guard is dropped. A test's runtime, with the server and all clients, runs on one thread.
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("debug,presignd=trace")
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
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
fn file(secret: &str) -> tempfile::NamedTempFile {
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

#[tokio::test]
async fn no_secret_leaves_but_in_the_answer() {
    let (logs, _capturing) = Logs::capture();
    tracing::debug!("the capture works");
    let (collector, otlp) = Collector::start().await;
    let sts = FakeSts::start().await;
    let keys = file("static-secret-key-marker");
    let token = file("static/session+token=marker");
    let static_tenant = format!(
        "region: us-east-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
credentials:
  static: {{ access_key_id: AKIDSTATIC, secret_access_key: {{ file: {:?} }}, session_token: {{ file: {:?} }} }}
{GRANTS}",
        keys.path(),
        token.path(),
    );
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("keys", &static_tenant)
        .with_telemetry(&format!("otlp: {{ endpoint: \"{otlp}\" }}"))
        .start()
        .await;

    let mut statuses = Vec::new();
    let mut signatures = Vec::new();
    for tenant in ["acme", "keys"] {
        let get = request(tenant, get_object("acme-files", "k"));
        for request in [get.clone(), upload(tenant)] {
            let issued = presignd.presign(request).await.unwrap();
            let url = Presigned::read(&issued.url);
            signatures.push(url.parameter("X-Amz-Signature").to_owned());
        }
        let commands = batch(
            tenant,
            [upload(tenant), broken_upload(tenant)]
                .into_iter()
                .filter_map(|request| request.command?.command),
        );
        let results = presignd.presign_batch(commands).await.unwrap();
        assert_eq!(results.len(), 2);
        statuses.push(format!("{:?}", results[1]));
        for request in [
            broken_upload(tenant),
            lasting(3601, upload(tenant)),
            lasting(0, upload(tenant)),
            request(tenant, get_object("globex-files", "k")),
        ] {
            let status = presignd.presign(request).await.unwrap_err();
            statuses.push(format!("{status:?}"));
            statuses.push(status.to_string());
            statuses.push(String::from_utf8_lossy(status.details()).into_owned());
        }
    }
    // STS that answers with credentials and something else wrong.
    presignd.clock.advance(Duration::from_hours(2));
    let session = |ends| {
        Answer::session(
            "ASIAMARKER",
            "unread-secret-key-marker",
            "unread-session-token-marker",
            ends,
        )
    };
    for answer in [
        session("tomorrow"),
        session("2020-01-01T00:00:00Z"),
        Answer::denied(),
    ] {
        sts.answer(answer);
        let get = request("acme", get_object("acme-files", "k"));
        let status = presignd.presign(get).await.unwrap_err();
        statuses.push(format!("{status:?} {status}"));
    }

    let records = presignd.records.all();
    assert_eq!(records.len(), 19);
    let records = serde_json::Value::from(records).to_string();
    presignd.shutdown().await.unwrap();
    let spans: Vec<String> = collector
        .spans()
        .iter()
        .map(|span| format!("{:?} {:?}", attributes(span), span))
        .collect();
    assert_eq!(spans.len(), 19);
    let logs = logs.text();
    for sign_of_life in ["the capture works", "not issued", "ROLE_REFUSED"] {
        assert!(logs.contains(sign_of_life), "no {sign_of_life:?} in {logs}");
    }

    let mut secrets = vec![
        "static-secret-key-marker".to_owned(),
        "static/session+token=marker".to_owned(),
        "static%2Fsession%2Btoken%3Dmarker".to_owned(),
        "unread-secret-key-marker".to_owned(),
        "unread-session-token-marker".to_owned(),
        CUSTOMER_KEY.to_owned(),
        SOURCE_KEY.to_owned(),
        "presignd's own secret".to_owned(),
        "X-Amz-Signature".to_owned(),
    ];
    secrets.extend(signatures);
    for session in sts.sessions() {
        secrets.push(session.session_token.replace('/', "%2F"));
        secrets.extend([session.secret_access_key, session.session_token]);
    }
    assert_eq!(secrets.len(), 9 + 4 + 3);
    let places = [
        ("records", records),
        ("spans", spans.join("\n")),
        ("statuses", statuses.join("\n")),
        ("logs", logs),
    ];
    for (place, text) in &places {
        for secret in &secrets {
            let at = text.find(secret.as_str());
            let shown = at.map(|at| &text[at.saturating_sub(300)..at]);
            assert_eq!(shown, None, "{secret} stands in the {place} after this");
        }
    }
}
