//! The sessions that presignd gets from STS: what it asks for, how long it keeps them, and what it does where STS does not play along.

mod ahead;
mod chaining;
mod clock_skew;
mod crowd;
mod failures;
mod limits;
mod parameters;
mod sharing;
mod trouble;
mod web_identity;

use std::time::Duration;

use presignd::proto::v1::{PresignRequest, PresignResponse};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::harness::presignd::{Presignd, get_object, lasting, request};
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

const GRANTS: &str = r#"grants: [{ commands: [GetObject], resources: ["acme-files/in/*"] }]"#;

fn get() -> PresignRequest {
    request("acme", get_object("acme-files", "in/k"))
}

async fn acme(sts: &FakeSts) -> Presignd {
    Presignd::with_sts_tenant(sts, "acme", "", GRANTS)
        .start()
        .await
}

/// The session that signed.
fn token(issued: &PresignResponse) -> String {
    let url = Presigned::read(&issued.url);
    url.parameter("X-Amz-Security-Token").to_owned()
}

/// Asks, and waits no longer than `deadline` for the answer.
async fn presign_within(
    presignd: &Presignd,
    deadline: Duration,
    request: PresignRequest,
) -> Result<PresignResponse, Status> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(deadline);
    presignd
        .client
        .clone()
        .presign(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn the_role_is_assumed_as_configured() {
    let sts = FakeSts::start().await;
    let role = "external_id: acme-7f3a, duration: 30m";
    let presignd = Presignd::with_sts_tenant(&sts, "acme", role, GRANTS)
        .start()
        .await;
    let issued = presignd.presign(get()).await.unwrap();
    let calls = sts.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    let mut form = call.form.clone();
    let policy: Value = serde_json::from_str(&form.remove("Policy").unwrap()).unwrap();
    let expected = [
        ("Action", "AssumeRole"),
        ("DurationSeconds", "1800"),
        ("ExternalId", "acme-7f3a"),
        ("RoleArn", "arn:aws:iam::111122223333:role/presignd-acme"),
        ("RoleSessionName", "presignd-acme.anyone"),
        ("Version", "2011-06-15"),
    ];
    let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(form, expected);

    let statements = policy["Statement"].as_array().unwrap();
    let on_objects: Vec<&Value> = statements
        .iter()
        .filter(|statement| {
            statement["Resource"] == json!(["arn:aws:s3:::acme-files/in/*"])
                || statement["Resource"] == "arn:aws:s3:::acme-files/in/*"
        })
        .collect();
    assert_eq!(on_objects.len(), 1, "{policy:#}");
    assert!(
        on_objects[0]["Action"]
            .to_string()
            .contains("\"s3:GetObject\"")
    );
    assert!(
        statements
            .iter()
            .all(|statement| statement["Effect"] == "Allow"
                && statement.get("NotAction").is_none()
                && statement.get("NotResource").is_none()),
        "{policy:#}"
    );
    assert!(!policy.to_string().contains("s3:Put"), "{policy:#}");

    let authorization = &call.authorization;
    assert!(
        authorization.contains("Credential=AKIDPRESIGND/")
            && authorization.contains("/eu-west-1/sts/aws4_request"),
        "{authorization}"
    );
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["role_session_name"], "presignd-acme.anyone");
    let session = &sts.sessions()[0];
    assert_eq!(record["access_key_id"], session.access_key_id.as_str());
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_not_configured_is_not_sent() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    let form = &sts.calls()[0].form;
    assert_eq!(form["DurationSeconds"], "3600");
    assert!(!form.contains_key("ExternalId"), "{form:?}");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_signs_until_it_is_too_short_for_what_is_asked() {
    let sts = FakeSts::start().await;
    // Sessions of this tenant are renewed when less than about 20 minutes are left.
    let rest = format!("{GRANTS}\nexpiry: {{ default: 10m, max: 15m }}");
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", &rest)
        .start()
        .await;
    let first = token(&presignd.presign(get()).await.unwrap());
    for _ in 0..10 {
        assert_eq!(token(&presignd.presign(get()).await.unwrap()), first);
    }
    let quarter = lasting(900, get());
    presignd.clock.advance(Duration::from_mins(38));
    let still = presignd.presign(quarter.clone()).await.unwrap();
    assert_eq!((token(&still), sts.calls().len()), (first.clone(), 1));

    presignd.clock.advance(Duration::from_mins(8));
    // 14 minutes are left: enough for 10, not for 15. Nobody has used it meanwhile.
    let renewed = presignd.presign(quarter).await.unwrap();
    assert_ne!(token(&renewed), first);
    assert_eq!(sts.calls().len(), 2);
    assert_eq!(Presigned::read(&renewed.url).expires_in(), 900);

    // The new session serves all from now on.
    let after = presignd.presign(lasting(60, get())).await.unwrap();
    assert_eq!(token(&after), token(&renewed));
    assert_eq!(sts.calls().len(), 2);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_expiry_that_nobody_asked_for_renews_a_session_that_would_shorten_it() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    presignd.clock.advance(Duration::from_mins(50));
    let issued = presignd.presign(get()).await.unwrap();
    assert_eq!(sts.calls().len(), 2);
    assert_eq!(Presigned::read(&issued.url).expires_in(), 900);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_ended_session_signs_nothing() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    presignd.clock.advance(Duration::from_hours(2));
    let issued = presignd.presign(lasting(1, get())).await.unwrap();
    assert_eq!(token(&issued), sts.sessions()[1].token);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_expiry_near_the_sessions_duration_is_refused_always_or_never() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let most = 3600 - 5 - 2;
    for _ in 0..4 {
        for asked in [most + 1, 3597, 3600] {
            let refused = refused(presignd.presign(lasting(asked, get())).await);
            let why = (Code::FailedPrecondition, "EXPIRY_BEYOND_SESSION");
            assert_eq!(refused.why(), why, "{asked}");
            assert_eq!(refused.metadata["session_seconds"], most.to_string());
        }
        let issued = presignd.presign(lasting(most, get())).await.unwrap();
        let life = Presigned::read(&issued.url).expires_in();
        assert_eq!(life.cast_signed(), most);
        presignd.clock.advance(Duration::from_mins(10));
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_role_whose_sessions_are_shorter_says_how_long_they_are() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Session(Duration::from_mins(30)));
    let presignd = acme(&sts).await;
    for _ in 0..2 {
        let refused = refused(presignd.presign(lasting(3000, get())).await);
        let why = (Code::FailedPrecondition, "EXPIRY_BEYOND_SESSION");
        assert_eq!(refused.why(), why);
        // What a session lasts, and not what is left of this one.
        let seconds: u32 = refused.metadata["session_seconds"].parse().unwrap();
        assert!((1700..1800).contains(&seconds), "{seconds}");
        presignd.clock.advance(Duration::from_mins(10));
    }
    let issued = presignd.presign(lasting(1700, get())).await.unwrap();
    assert_eq!(Presigned::read(&issued.url).expires_in(), 1700);
    presignd.shutdown().await.unwrap();
}
