//! The real process with secrets in every place where it takes one: neither of its pipes nor its spans ever hold one, at any level, in
//! any command.

use std::collections::BTreeMap;

use presignd::proto::v1::presign_service_client::PresignServiceClient;
use tonic::transport::Channel;

use super::GRANTS;
use crate::harness::collector::{Collector, attributes};
use crate::harness::presignd::{batch, get_object, lasting, request};
use crate::harness::process::{Start, presignd, static_tenant, with_config};
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

/// In presignd's own credentials, in a tenant's keys (see `static_tenant`), in the token file, and in what STS gives.
const PLANTED: &str = "PLANTED0";
const WEB_TOKEN: &str = "eyJQTEFOVEVE.PLANTED0WEB.dG9rZW4tbWFya2Vy";
/// Words that would forge lines and steer terminals.
const WORDS: &str = "not allowed\n{\"forged\":1}\r\nforged\u{1b}[2J\u{9b}1A\u{202e}";

/// With presignd's own credentials, and all that makes libraries talkative.
fn talkative(start: Start) -> Start {
    start
        .env("AWS_ACCESS_KEY_ID", "AKIDPRESIGND")
        .env("AWS_SECRET_ACCESS_KEY", "PLANTED0OWN0SECRET")
        .env("AWS_SESSION_TOKEN", "PLANTED0OWN0TOKEN")
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
}

/// How many tenants there are of each kind that asks STS: for each answer others, because failures are remembered.
const OF_A_KIND: usize = 6;

/// A tenant with keys, tenants with a role, and tenants with a role by a token.
fn config(sts: &FakeSts, token_file: &std::path::Path, telemetry: &str) -> String {
    let mut yaml = static_tenant("[read]", "") + telemetry;
    let by_token = format!("web_identity: {{ token_file: \"{}\",", token_file.display());
    let at = yaml.find("  acme:").expect("a tenant");
    for n in 0..OF_A_KIND {
        let (role, web) = (format!("role{n}"), format!("web{n}"));
        let of_role = sts.tenant(&role, "", GRANTS);
        let of_web = sts.tenant(&web, "", GRANTS);
        let of_web = of_web.replace("assume_role: {", &by_token);
        for (id, tenant) in [(role, of_role), (web, of_web)] {
            let lines: String = tenant.lines().map(|line| format!("    {line}\n")).collect();
            yaml.insert_str(at, &format!("  {id}:\n{lines}"));
        }
    }
    yaml
}

/// A session that is all secrets, as the answer to either action.
fn planted(form: &BTreeMap<String, String>) -> Answer {
    let (secret, token) = ("PLANTED0SESSION0SECRET", "PLANTED0/SESSION+TOKEN");
    match Answer::session("ASIAWHOLE", secret, token, "2999-01-01T00:00:00Z") {
        Answer::Text(status, xml) => {
            let named = |end: &str| format!("{end}{}R", form["Action"]);
            let xml = xml.replace("<AssumeRoleR", &named("<"));
            Answer::Text(status, xml.replace("</AssumeRoleR", &named("</")))
        }
        other => other,
    }
}

/// A refusal that repeats the token, where there is one.
fn echo(form: &BTreeMap<String, String>) -> Answer {
    let token = form.get("WebIdentityToken").map_or("", String::as_str);
    Answer::error_saying(400, "Throttling", &format!("{WORDS} {token}"))
}

/// URLs and refusals of one tenant. Gives the signatures.
async fn ask(
    client: &PresignServiceClient<Channel>,
    tenant: &str,
    told: &mut String,
) -> Vec<String> {
    let get = request(tenant, get_object("acme-files", "k"));
    let mut signatures = Vec::new();
    for request in [
        get.clone(),
        lasting(0, get.clone()),
        request(tenant, get_object("globex-files", "k")),
    ] {
        match client.clone().presign(request).await {
            Ok(issued) => {
                let url = issued.into_inner().url;
                signatures.push(
                    Presigned::read(&url)
                        .parameter("X-Amz-Signature")
                        .to_owned(),
                );
            }
            Err(status) => {
                *told += &format!("{status:?}{}", String::from_utf8_lossy(status.details()))
            }
        }
    }
    let commands = [
        get_object("acme-files", "k"),
        get_object("acme-files", ".."),
    ];
    if let Err(status) = client.clone().batch_presign(batch(tenant, commands)).await {
        *told += &format!("{status:?}");
    }
    signatures
}

#[tokio::test]
async fn neither_logs_nor_spans_nor_statuses_hold_a_secret_at_any_level() {
    for format in ["text", "json"] {
        let (collector, otlp) = Collector::start().await;
        let sts = FakeSts::start().await;
        let token = super::secrets::file(WEB_TOKEN);
        let telemetry = format!(
            "telemetry: {{ log: {{ format: {format}, level: trace }}, otlp: {{ endpoint: \"{otlp}\" }} }}\n"
        );
        let start = with_config("serve", &config(&sts, token.path(), &telemetry));
        let process = talkative(start).start();
        let client = process.client().await;

        // STS refuses, in words of every kind, answers with half a session, and then with a whole one.
        let mut told = String::new();
        let answers: [_; OF_A_KIND - 1] = [
            Answer::error_saying(403, "AccessDenied", WORDS),
            Answer::By(echo),
            Answer::Text(500, format!("<SecretAccessKey>{PLANTED}</SecretAccessKey>")),
            Answer::session("ASIA", PLANTED, PLANTED, "tomorrow"),
            Answer::session(PLANTED, PLANTED, "", "2999-01-01T00:00:00Z"),
        ];
        for (n, answer) in answers.into_iter().enumerate() {
            sts.answer(answer);
            for tenant in [format!("role{n}"), format!("web{n}")] {
                let calls = sts.calls().len();
                assert!(ask(&client, &tenant, &mut told).await.is_empty());
                assert!(sts.calls().len() > calls, "{tenant} asked");
            }
        }
        sts.answer(Answer::By(planted));
        let mut signatures = Vec::new();
        for tenant in ["acme", "role5", "web5"] {
            signatures.extend(ask(&client, tenant, &mut told).await);
        }
        assert_eq!(signatures.len(), 3);
        drop(client);
        let ended = process.terminated().await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);

        let spans = collector.spans();
        assert_eq!(spans.len(), ended.stdout.lines().count());
        let spans: String = spans
            .iter()
            .map(|span| format!("{:?}{span:?}", attributes(span)))
            .collect();
        for (place, text) in [
            ("standard output", &ended.stdout),
            ("standard error", &ended.stderr),
            ("spans", &spans),
            ("statuses", &told),
        ] {
            let secrets = signatures.iter().map(String::as_str);
            for secret in secrets.chain([PLANTED, WEB_TOKEN, "dG9rZW4tbWFya2Vy", "X-Amz-Signature"])
            {
                let at = text
                    .find(secret)
                    .map(|at| &text[at.saturating_sub(200)..at]);
                assert_eq!(at, None, "{secret} stands in {place} after this");
            }
        }
        // The words of STS are in the log, and do nothing there.
        assert!(ended.stderr.contains("not allowed"), "{}", ended.stderr);
        let forged = |line: &str| line.starts_with("{\"forged") || line.starts_with("forged");
        assert!(!ended.stderr.lines().any(forged), "{}", ended.stderr);
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ended.stderr.contains(steers), "{:?}", ended.stderr);
    }
}

#[tokio::test]
async fn no_command_prints_a_secret() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::By(planted));
    let token = super::secrets::file(WEB_TOKEN);
    let good = config(&sts, token.path(), "");
    let secret = "secret_access_key: { env: ACME_SECRET }";
    assert!(good.contains(secret));
    let mut runs = vec![
        (good.clone(), vec!["check"], 0),
        (good.clone(), vec!["check", "--live"], 0),
        (
            good.clone(),
            vec!["aws", "role-policy", "--tenant", "role0"],
            0,
        ),
        (
            good.clone(),
            vec!["aws", "trust-policy", "--tenant", "web0"],
            0,
        ),
        (
            good.clone(),
            vec!["aws", "trust-policy", "--tenant", "acme"],
            1,
        ),
    ];
    // Secrets in the wrong place, and places without a secret.
    for wrong in [
        "secret_access_key: PLANTED0",
        "secret_access_key: { env: PLANTED0 }",
        "secret_access_key: { env: \"PLANTED0 is no name\" }",
        "secret_access_key: { file: PLANTED0 }",
        "secret_access_key: { file: /PLANTED0/none }",
        "secret_access_key: { file: . }",
        "secret_access_key: { PLANTED0: x }",
        "secret_access_key: [PLANTED0]",
        "secret_access_key: !PLANTED0 x",
        "secret_access_key: &PLANTED0 x",
        "secret_access_key: *PLANTED0",
        "PLANTED0: x",
        "secret_access_key: { env: ACME_SECRET, file: PLANTED0 }",
    ] {
        for arguments in [
            vec!["check"],
            vec!["serve"],
            vec!["aws", "role-policy", "--tenant", "acme"],
        ] {
            runs.push((good.replace(secret, wrong), arguments, 1));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("presignd.yaml");
    for (yaml, arguments, code) in runs {
        std::fs::write(&file, &yaml).unwrap();
        let start = talkative(presignd(arguments.iter().copied()))
            .env("PRESIGND_CONFIG", &file)
            .env("ACME_SECRET", "PLANTED0SECRET")
            .env("ACME_TOKEN", "PLANTED0TOKEN");
        let ended = start.run().await;
        let failed = ended.code != Some(0);
        assert_eq!(failed, code != 0, "{arguments:?} {ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.is_empty());
        for secret in [PLANTED, WEB_TOKEN] {
            assert!(
                !said.contains(secret),
                "{arguments:?} with\n{yaml}\nsays\n{said}"
            );
        }
    }
}
