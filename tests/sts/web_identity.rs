//! Roles that are assumed with a token from a file: read anew for each call, sent unsigned, and never repeated.

use std::path::Path;
use std::time::Duration;

use presignd::proto::v1::ExpiryBound;
use serde_json::Value;
use tonic::Code;

use super::{GRANTS, get, token};
use crate::harness::presignd::{Presignd, lasting};
use crate::harness::process::with_config;
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEMFRPS0VOIn0.UExBTlRFRDBTSUdOQVRVUkU";

fn tenant(sts: &FakeSts, token_file: &Path, more: &str) -> String {
    format!(
        "region: eu-west-1
endpoint: {{ url: \"http://s3.test:9000\", path_style: true }}
credentials:
  web_identity: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-acme\", sts_endpoint: \"{}\", token_file: \"{}\"{more} }}
{GRANTS}",
        sts.url(),
        token_file.display()
    )
}

async fn start(sts: &FakeSts, token_file: &Path, more: &str) -> Presignd {
    Presignd::with_tenant("acme", &tenant(sts, token_file, more))
        .with_clock(sts.clock())
        .start()
        .await
}

fn file_with(token: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, token).unwrap();
    file
}

#[tokio::test]
async fn the_role_is_assumed_with_the_token_and_nobody_signs() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Session(Duration::from_hours(12)));
    let file = file_with(&format!("{TOKEN}\n"));
    let presignd = start(&sts, file.path(), ", duration: 12h").await;
    let issued = presignd.presign(lasting(36_000, get())).await.unwrap();
    assert_eq!(Presigned::read(&issued.url).expires_in(), 36_000);
    assert_eq!(issued.expiry_bound(), ExpiryBound::Request);
    assert_eq!(token(&issued), sts.sessions()[0].token);

    let calls = sts.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].authorization, "");
    let mut form = calls[0].form.clone();
    let policy: Value = serde_json::from_str(&form.remove("Policy").unwrap()).unwrap();
    assert!(
        policy.to_string().contains("arn:aws:s3:::acme-files/in/*"),
        "{policy:#}"
    );
    let expected = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("DurationSeconds", "43200"),
        ("RoleArn", "arn:aws:iam::111122223333:role/presignd-acme"),
        ("RoleSessionName", "presignd-acme.anyone"),
        ("Version", "2011-06-15"),
        ("WebIdentityToken", TOKEN),
    ];
    let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(form, expected);
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["role_session_name"], "presignd-acme.anyone");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn managed_policies_go_with_a_token_too() {
    let sts = FakeSts::start().await;
    let file = file_with(TOKEN);
    let managed = ", policy_arns: [\"arn:aws:iam::111122223333:policy/acme\"]";
    let presignd = start(&sts, file.path(), managed).await;
    presignd.presign(get()).await.unwrap();
    let form = &sts.calls()[0].form;
    assert_eq!(
        form["PolicyArns.member.1.arn"],
        "arn:aws:iam::111122223333:policy/acme"
    );
    assert!(!form.contains_key("Policy"), "{form:?}");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_that_was_renewed_is_the_one_that_is_sent() {
    let sts = FakeSts::start().await;
    let file = file_with("first.token.a");
    let presignd = start(&sts, file.path(), "").await;
    presignd.presign(get()).await.unwrap();
    std::fs::write(&file, "second.token.b").unwrap();
    presignd.presign(get()).await.unwrap();
    assert_eq!(
        sts.calls().len(),
        1,
        "the session is good without the token"
    );

    presignd.clock.advance(Duration::from_mins(61));
    presignd.presign(get()).await.unwrap();
    let sent: Vec<String> = sts
        .calls()
        .into_iter()
        .map(|call| call.form["WebIdentityToken"].clone())
        .collect();
    assert_eq!(sent, ["first.token.a", "second.token.b"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_file_without_a_token_is_told_and_what_it_holds_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("PLANTED-missing");
    let too_long = "x".repeat(20_001);
    let files = [
        file_with(""),
        file_with(" \n"),
        file_with("PLANTED TOKEN of two words"),
        file_with("PLANTED\u{e9}"),
        file_with(&too_long),
    ];
    let mut paths: Vec<&Path> = files.iter().map(tempfile::NamedTempFile::path).collect();
    paths.extend([missing.as_path(), folder.path()]);
    for path in paths {
        let sts = FakeSts::start().await;
        let presignd = start(&sts, path, "").await;
        let status = presignd.presign(get()).await.unwrap_err();
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::Unavailable, "STS_UNAVAILABLE"));
        assert!(refused.retry_after.is_some());
        assert!(!format!("{status:?}").contains("PLANTED"), "{status:?}");
        assert_eq!(sts.calls().len(), 0);

        // Once there is one, all is well.
        if path == missing {
            std::fs::write(path, TOKEN).unwrap();
            eventually_issued(&presignd).await;
        }
        presignd.shutdown().await.unwrap();
    }
}

/// A failure may be remembered for a moment.
async fn eventually_issued(presignd: &Presignd) {
    let issued = async {
        while presignd.presign(get()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            presignd.clock.advance(Duration::from_secs(10));
        }
    };
    let issued = tokio::time::timeout(Duration::from_secs(20), issued).await;
    issued.expect("the token is there now");
}

#[tokio::test]
async fn a_token_that_sts_refuses_is_for_an_operator_to_mend() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::error_saying(
        400,
        "InvalidIdentityToken",
        "no such provider",
    ));
    let file = file_with(TOKEN);
    let presignd = start(&sts, file.path(), "").await;
    let refusal = refused(presignd.presign(get()).await);
    assert_eq!(refusal.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_log_says_what_is_wrong_and_never_the_token() {
    let sts = FakeSts::start().await;
    let message = format!("Value {TOKEN} at webIdentityToken failed to satisfy constraint");
    sts.answer(Answer::error_saying(400, "ValidationError", &message));
    let file = file_with(TOKEN);
    let mut yaml = "server: { listen: 127.0.0.1:0 }
telemetry: { log: { level: trace } }
callers: [{ match: anyone }]
tenants:
  acme:
"
    .to_owned();
    for line in tenant(&sts, file.path(), "").lines() {
        yaml += &format!("    {line}\n");
    }
    let process = with_config("serve", &yaml).start();
    let mut client = process.client().await;
    client.presign(get()).await.unwrap_err();
    process.stderr_line("words that hold a secret").await;

    std::fs::remove_file(&file).unwrap();
    let told = async {
        while !process.stderr().contains("No such file") {
            client.presign(get()).await.unwrap_err();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await;
    told.expect("the log names the missing file");
    let ended = process.terminated().await;
    for piece in TOKEN.split('.') {
        assert!(!ended.stderr.contains(piece), "{}", ended.stderr);
        assert!(!ended.stdout.contains(piece), "{}", ended.stdout);
    }
}
