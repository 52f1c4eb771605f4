//! Credentials of callers, looked for wherever presignd says anything.

use std::io::Write;
use std::sync::{Arc, Mutex};

use presignd::authenticate::Presented;
use tonic::Request;
use tracing_subscriber::fmt::MakeWriter;

use super::api_keys::{flipped, new_key};
use super::{authenticator, bearing};
use crate::harness::collector::{Collector, attributes};
use crate::harness::issuer::{Answer, FakeIssuer, SigningKey};
use crate::harness::presignd::{Presignd, TestClock, get_object, request, static_tenant};

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

/// What this thread logs, of presignd and of the libraries that see credentials.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "every kind of credential on one walk"
)]
async fn no_credential_leaves_in_logs_records_spans_or_statuses() {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("debug,presignd=trace")
        .with_ansi(false)
        .with_writer(logs.clone())
        .finish();
    let _capturing = tracing::subscriber::set_default(subscriber);

    let signing = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let token_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token_file, "token-for-the-issuer-marker").unwrap();
    let (key, hash) = new_key().await;
    let callers = format!(
        "authentication:
  jwt:
    users:
      issuer: \"{}\"
      audiences: [presignd]
      jwks: {{ url: \"{}\", token_file: \"{}\" }}
  api_keys: {{ media: [\"{hash}\"] }}
callers:
  - {{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [acme] }}
  - {{ match: {{ api_key: media }}, tenants: [acme] }}",
        issuer.name(),
        issuer.keys_url(),
        token_file.path().display()
    );
    let (collector, otlp) = Collector::start().await;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_callers(&callers)
        .with_telemetry(&format!("otlp: {{ endpoint: \"{otlp}\" }}"))
        .start()
        .await;
    let token = |subject: &str| signing.token(&issuer.claims(&*presignd.clock, subject));
    let mut expired = issuer.claims(&*presignd.clock, "ann");
    expired["exp"] = 1.into();
    let (good, stranger, expired) = (token("ann"), token("bob"), signing.token(&expired));
    let unknown_key =
        SigningKey::ec("marker-key-id").token(&issuer.claims(&*presignd.clock, "ann"));
    let wrong_key = flipped(&key);
    let mut said = String::new();
    for (name, value) in [
        ("authorization", format!("Bearer {good}")),
        ("authorization", format!("Bearer {stranger}")),
        ("authorization", format!("Bearer {expired}")),
        ("authorization", format!("Bearer {unknown_key}")),
        ("authorization", "Basic marker-of-basic".to_owned()),
        ("x-api-key", key.clone()),
        ("x-api-key", wrong_key.clone()),
    ] {
        let mut asked = Request::new(request("acme", get_object("acme-files", "k")));
        asked.metadata_mut().insert(name, value.parse().unwrap());
        let answered = presignd.client.clone().presign(asked).await;
        // Once there are keys, they are not found again.
        issuer.answer(Answer::Text(500, String::new()));
        match answered {
            Ok(answer) => said += &format!("{answer:?}"),
            Err(status) => {
                let details = String::from_utf8_lossy(status.details());
                said += &format!("{status:?} {status} {details}");
            }
        }
    }
    let records = presignd.records.all();
    assert_eq!(records.len(), 7);
    presignd.shutdown().await.unwrap();

    let clock = Arc::new(TestClock::default());
    let door = authenticator(&callers, &clock);
    let shown: Presented = bearing(&good);
    let spans: Vec<String> = collector
        .spans()
        .iter()
        .map(|span| format!("{:?} {span:?}", attributes(span)))
        .collect();
    assert_eq!(spans.len(), 7);
    let logs = String::from_utf8_lossy(&logs.0.lock().unwrap()).into_owned();
    for sign_of_life in ["not issued", "UNAUTHENTICATED", "keys are fresh"] {
        assert!(logs.contains(sign_of_life), "no {sign_of_life:?} in {logs}");
    }
    let places = [
        ("records", serde_json::Value::from(records).to_string()),
        ("spans", spans.join("\n")),
        ("answers", said),
        ("logs", logs),
        ("debug output", format!("{door:?} {shown:?} {shown:#?}")),
    ];
    let mut secrets = vec![
        "token-for-the-issuer-marker".to_owned(),
        "marker-of-basic".to_owned(),
        "marker-key-id".to_owned(),
        key,
        wrong_key,
    ];
    for token in [good, stranger, expired, unknown_key] {
        // The claims and the signature: the header is the same for all.
        secrets.extend(token.split('.').skip(1).map(str::to_owned));
    }
    for secret in secrets {
        for (place, text) in &places {
            let at = text.find(&secret);
            let before =
                at.map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(300)..at]));
            assert_eq!(before, None, "{secret} stands in the {place} after this");
        }
    }
}
