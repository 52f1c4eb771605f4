//! Role chaining: where presignd's own credentials are the session of a role, STS gives an hour whatever is asked.
//!
//! Ceph knows no such limit, and AWS's words for it are what presignd acts on.

use std::time::Duration;

use presignd::proto::v1::ExpiryBound;
use tonic::Code;

use super::{GRANTS, get, token};
use crate::harness::presignd::{Presignd, clamped, get_object, lasting, request};
use crate::harness::process::with_config;
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

/// An hour and no more.
fn an_hour() -> Answer {
    Answer::By(|form| match form["DurationSeconds"].parse() {
        Ok(0..=3600) => Answer::Session(Duration::from_hours(1)),
        _ => Answer::chained(),
    })
}

fn durations(sts: &FakeSts) -> Vec<String> {
    let calls = sts.calls().into_iter();
    calls
        .map(|call| call.form["DurationSeconds"].clone())
        .collect()
}

#[tokio::test]
async fn what_a_chained_role_does_not_give_is_asked_for_once() {
    let sts = FakeSts::start().await;
    sts.answer(an_hour());
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "duration: 12h", GRANTS)
        .with_tenant("globex", &sts.tenant("globex", "duration: 2h", GRANTS))
        .start()
        .await;
    let first = presignd.presign(get()).await.unwrap();
    assert_eq!(durations(&sts), ["43200", "3600"]);

    // The next session of the role: known by now.
    presignd.clock.advance(Duration::from_mins(61));
    let second = presignd.presign(get()).await.unwrap();
    assert_ne!(token(&first), token(&second));
    assert_eq!(durations(&sts), ["43200", "3600", "3600"]);

    // Another role may be another matter.
    let globex = request("globex", get_object("acme-files", "in/k"));
    presignd.presign(globex).await.unwrap();
    assert_eq!(durations(&sts)[3..], ["7200", "3600"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_hour_is_what_the_answers_own_up_to() {
    let sts = FakeSts::start().await;
    sts.answer(an_hour());
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "duration: 12h", GRANTS)
        .start()
        .await;
    let long = lasting(7200, get());
    let issued = presignd.presign(clamped(long.clone())).await.unwrap();
    assert_eq!(issued.expiry_bound(), ExpiryBound::Credentials);
    let life = Presigned::read(&issued.url).expires_in();
    assert!((3590..=3600).contains(&life), "{life}");
    let ends = sts.sessions()[0].expires_at;
    assert!(std::time::SystemTime::try_from(issued.expires_at.unwrap()).unwrap() <= ends);

    let insists = refused(presignd.presign(long).await);
    assert_eq!(
        insists.why(),
        (Code::FailedPrecondition, "EXPIRY_BEYOND_SESSION")
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_operator_is_told_once() {
    let sts = FakeSts::start().await;
    sts.answer(an_hour());
    let rest = r#"session: { scope: bucket }
grants: [{ commands: [GetObject], resources: ["one/*", "two/*", "three/*"] }]"#;
    let mut yaml =
        "server: { listen: 127.0.0.1:0 }\ncallers: [{ match: anyone }]\ntenants:\n  acme:\n"
            .to_owned();
    for line in sts.tenant("acme", "duration: 12h", rest).lines() {
        yaml += &format!("    {line}\n");
    }
    let process = with_config("serve", &yaml)
        .env("AWS_ACCESS_KEY_ID", "AKIDPRESIGND")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .start();
    let mut client = process.client().await;
    for bucket in ["one", "two", "three"] {
        let get = request("acme", get_object(bucket, "k"));
        client.presign(get).await.unwrap();
    }
    assert_eq!(durations(&sts), ["43200", "3600", "3600", "3600"]);
    let ended = process.terminated().await;
    let told = |line: &&str| line.contains("sessions of 3600 s at most");
    let told: Vec<&str> = ended.stderr.lines().filter(told).collect();
    assert_eq!(told.len(), 1, "{}", ended.stderr);
    for words in ["WARN", "role/presignd-acme", "web_identity"] {
        assert!(told[0].contains(words), "{words}: {told:?}");
    }
}

#[tokio::test]
async fn a_role_with_a_shorter_maximum_is_for_an_operator_to_mend() {
    let sts = FakeSts::start().await;
    let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    sts.answer(Answer::error_saying(400, "ValidationError", message));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "duration: 2h", GRANTS)
        .start()
        .await;
    let refused = refused(presignd.presign(get()).await);
    assert_eq!(refused.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
    assert_eq!(durations(&sts), ["7200"]);
    presignd.shutdown().await.unwrap();
}
