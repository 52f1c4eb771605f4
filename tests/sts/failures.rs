//! STS that refuses, is throttled, slow, silent, gone or talks rubbish: what callers are told, and who goes on.

use std::time::{Duration, SystemTime};

use presignd::proto::v1::ExpiryBound;
use tonic::Code;

use super::{GRANTS, acme, get, presign_within, token};
use crate::harness::presignd::{Presignd, clamped, get_object, lasting, request, static_tenant};
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::{Answer, FakeSts, WORDS};
use crate::harness::url::Presigned;

/// The longest that a tenant's trouble is remembered.
const REMEMBERED: Duration = Duration::from_secs(30);

const GONE: (Code, &str) = (Code::Unavailable, "STS_UNAVAILABLE");

/// The record agrees, and calls it a failure.
fn assert_recorded(presignd: &Presignd, refused: &Refused, status: &str) {
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "failed", "{record:#}");
    assert_eq!(record["status"], status);
    assert_eq!(record["reason_code"], refused.reason.as_str());
    assert_eq!(record["tenant"], "acme");
    assert!(!record.to_string().contains(WORDS), "{record:#}");
}

#[tokio::test]
async fn sessions_at_hand_go_on_signing_while_sts_is_gone() {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("globex", &sts.tenant("globex", "", GRANTS))
        .start()
        .await;
    let first = token(&presignd.presign(get()).await.unwrap());
    sts.vanish();

    // An hour is left of it.
    let issued = presignd.presign(lasting(900, get())).await.unwrap();
    assert_eq!(token(&issued), first);

    // Ten minutes are left: too few for what is asked, enough for who takes less.
    presignd.clock.advance(Duration::from_mins(50));
    let ends = sts.sessions()[0].expires_at;
    for request in [get(), clamped(lasting(3600, get()))] {
        let issued = presignd.presign(request).await.unwrap();
        assert_eq!(token(&issued), first);
        assert_eq!(issued.expiry_bound(), ExpiryBound::Credentials);
        let url = Presigned::read(&issued.url);
        assert!((500..=600).contains(&url.expires_in()), "{url:?}");
        assert!(SystemTime::try_from(issued.expires_at.unwrap()).unwrap() <= ends);
    }
    let issued = presignd.presign(lasting(300, get())).await.unwrap();
    assert_eq!(Presigned::read(&issued.url).expires_in(), 300);
    let insists = refused(presignd.presign(lasting(900, get())).await);
    assert_eq!(insists.why(), GONE);
    assert!(
        insists
            .retry_after
            .is_some_and(|after| after > Duration::ZERO)
    );
    assert_recorded(&presignd, &insists, "UNAVAILABLE");

    // Nothing is at hand for this one.
    let cold = request("globex", get_object("acme-files", "in/k"));
    let cold = refused(presignd.presign(cold).await);
    assert_eq!(cold.why(), GONE);
    assert!(cold.retry_after.is_some());

    // Half a minute is not worth having, unless it was asked for.
    presignd.clock.advance(Duration::from_secs(9 * 60 + 30));
    assert_eq!(refused(presignd.presign(get()).await).why(), GONE);
    presignd.presign(lasting(5, get())).await.unwrap();

    sts.reappear().await;
    presignd.clock.advance(REMEMBERED);
    let renewed = presignd.presign(lasting(900, get())).await.unwrap();
    assert_ne!(token(&renewed), first);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_role_that_refuses_is_for_an_operator_to_mend() {
    for answer in [Answer::denied(), Answer::denied_by_a_store()] {
        let sts = FakeSts::start().await;
        sts.answer(answer);
        let presignd = acme(&sts).await;
        let status = presignd.presign(get()).await.unwrap_err();
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
        let expected = [("ROLE".to_owned(), "tenant".to_owned())];
        assert_eq!(refused.preconditions, expected);
        assert_eq!(refused.retry_after, None);
        assert_eq!(sts.calls().len(), 1, "a refusal is not asked for again");
        assert_recorded(&presignd, &refused, "FAILED_PRECONDITION");
        assert_silent(&status);

        sts.answer(Answer::Session(Duration::from_hours(1)));
        presignd.clock.advance(REMEMBERED);
        presignd.presign(get()).await.unwrap();
        presignd.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_role_that_refuses_now_leaves_the_session_at_hand() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    sts.answer(Answer::denied());
    presignd.clock.advance(Duration::from_mins(50));
    let issued = presignd.presign(get()).await.unwrap();
    assert_eq!(issued.expiry_bound(), ExpiryBound::Credentials);
    let insists = refused(presignd.presign(lasting(900, get())).await);
    assert_eq!(insists.why(), (Code::FailedPrecondition, "ROLE_REFUSED"));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn too_many_calls_are_tried_again_a_few_times_for_all_who_wait() {
    for answer in [Answer::throttled(), Answer::overloaded()] {
        let sts = FakeSts::start().await;
        sts.answer(Answer::Nothing);
        let presignd = acme(&sts).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let mut client = presignd.client.clone();
            tasks.spawn(async move { client.presign(get()).await.unwrap_err() });
        }
        sts.called(1).await;
        sts.answer(answer);
        while let Some(status) = tasks.join_next().await {
            let status = status.unwrap();
            let refused = Refused::read(&status);
            assert_eq!(refused.why(), GONE);
            assert!(refused.retry_after.is_some());
            assert_recorded(&presignd, &refused, "UNAVAILABLE");
            assert_silent(&status);
        }
        assert_eq!(sts.calls().len(), 3);
        presignd.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn one_bad_answer_is_made_good_by_the_next() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::overloaded());
    let presignd = acme(&sts).await;
    let mut client = presignd.client.clone();
    let asking = tokio::spawn(async move { client.presign(get()).await });
    sts.called(1).await;
    sts.answer(Answer::Session(Duration::from_hours(1)));
    asking.await.unwrap().unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_silent_sts_costs_its_tenant_the_deadline_and_others_nothing() {
    let sts = FakeSts::start().await;
    let rest = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_tenant("globex", &sts.tenant("globex", "", GRANTS))
        .with_tenant("initech", &static_tenant(rest))
        .start()
        .await;
    let globex = request("globex", get_object("acme-files", "in/k"));
    presignd.presign(globex.clone()).await.unwrap();
    sts.answer(Answer::Nothing);

    let mut waiting = Box::pin(presign_within(&presignd, Duration::from_secs(2), get()));
    tokio::select! {
        biased;
        early = &mut waiting => panic!("{early:?}"),
        () = sts.called(2) => {}
    }
    // While one waits.
    presignd.presign(globex).await.unwrap();
    let initech = request("initech", get_object("acme-files", "k"));
    presignd.presign(initech).await.unwrap();

    let late = refused(waiting.await);
    assert_eq!(late.why(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_recorded(&presignd, &late, "DEADLINE_EXCEEDED");

    // What STS says in the end is there for the next request, though the first was given up.
    sts.answer(Answer::Session(Duration::from_hours(1)));
    presignd.presign(get()).await.unwrap();
    assert_eq!(sts.calls().len(), 2);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn presignd_has_a_deadline_of_its_own() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_server("request_timeout: 1s")
        .start()
        .await;
    for result in [
        presignd.presign(get()).await,
        presign_within(&presignd, Duration::from_mins(5), get()).await,
    ] {
        let late = refused(result);
        assert_eq!(late.why(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
        assert_recorded(&presignd, &late, "DEADLINE_EXCEEDED");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_silent_sts_is_no_reason_to_leave_a_session_unused() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    sts.answer(Answer::Nothing);
    presignd.clock.advance(Duration::from_mins(50));
    let issued = presign_within(&presignd, Duration::from_secs(5), get())
        .await
        .unwrap();
    assert_eq!(issued.expiry_bound(), ExpiryBound::Credentials);
    let insists = presign_within(&presignd, Duration::from_secs(1), lasting(900, get())).await;
    assert_eq!(refused(insists).code, Code::DeadlineExceeded);
    assert_eq!(sts.calls().len(), 2, "one call to renew it");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn rubbish_is_no_session() {
    let ends = "2999-01-01T00:00:00Z";
    let answers = [
        Answer::Text(200, String::new()),
        Answer::Text(200, WORDS.to_owned()),
        Answer::Text(200, format!("<html><body>{WORDS}</body></html>")),
        Answer::Text(200, "<AssumeRoleResponse><AssumeRoleResult>".to_owned()),
        Answer::Text(
            200,
            "<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>".to_owned(),
        ),
        Answer::Text(500, WORDS.to_owned()),
        Answer::Text(302, WORDS.to_owned()),
        Answer::session("", WORDS, WORDS, ends),
        Answer::session("ASIA", "", WORDS, ends),
        Answer::session("ASIA", WORDS, "", ends),
        Answer::session("ASIA", WORDS, WORDS, ""),
        Answer::session("ASIA", WORDS, WORDS, "tomorrow"),
        Answer::session("ASIA", WORDS, WORDS, "2020-01-01T00:00:00Z"),
    ];
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    for answer in answers {
        sts.answer(answer.clone());
        for request in [get(), lasting(60, get())] {
            presignd.clock.advance(REMEMBERED);
            let status = presignd.presign(request).await.unwrap_err();
            let refused = Refused::read(&status);
            assert_eq!(refused.why(), GONE, "{answer:?}");
            assert!(refused.retry_after.is_some(), "{answer:?}");
            assert_recorded(&presignd, &refused, "UNAVAILABLE");
            assert_silent(&status);
        }
    }
    sts.answer(Answer::Session(Duration::from_hours(1)));
    presignd.clock.advance(REMEMBERED);
    presignd.presign(get()).await.unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn rubbish_takes_no_sessions_place() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let first = token(&presignd.presign(get()).await.unwrap());
    presignd.clock.advance(Duration::from_mins(50));
    sts.answer(Answer::session("ASIA", "s", "t", "2020-01-01T00:00:00Z"));
    let issued = presignd.presign(get()).await.unwrap();
    assert_eq!(token(&issued), first);
    presignd.shutdown().await.unwrap();
}

/// Nothing that STS said reaches the client, in the message or in the details.
fn assert_silent(status: &tonic::Status) {
    let details = String::from_utf8_lossy(status.details()).into_owned();
    for text in [format!("{status:?}"), format!("{status}"), details] {
        assert!(!text.contains(WORDS), "{text}");
    }
}
