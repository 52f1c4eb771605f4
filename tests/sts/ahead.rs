//! Sessions that are renewed ahead of need: while they are used, once when it is due, and without anybody waiting.

use std::time::Duration;

use super::{GRANTS, acme, get, token};
use crate::harness::presignd::{Presignd, lasting};
use crate::harness::sts::{Answer, FakeSts};

/// Until the next session is there, asking for URLs that any would sign.
async fn renewed(presignd: &Presignd, old: &str) -> String {
    let renewed = async {
        loop {
            let now = token(&presignd.presign(lasting(60, get())).await.unwrap());
            if now != old {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed)
        .await
        .expect("a new session")
}

#[tokio::test]
async fn nobody_waits_for_a_renewal() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let first = token(&presignd.presign(get()).await.unwrap());
    sts.answer(Answer::Nothing);
    // More than half of it is left, and less than that and the jitter.
    presignd.clock.advance(Duration::from_mins(28));
    for _ in 0..50 {
        let issued = presignd.presign(lasting(900, get())).await.unwrap();
        assert_eq!(token(&issued), first);
        let record = presignd.records.of(&issued.issuance_id);
        assert!(record["duration_us"].as_u64().unwrap() < 500_000);
    }
    sts.called(2).await;
    sts.answer(Answer::Session(Duration::from_hours(1)));
    renewed(&presignd, &first).await;
    assert_eq!(sts.calls().len(), 2, "one call for all of them");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_that_nobody_uses_lapses() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    presignd.presign(get()).await.unwrap();
    presignd.clock.advance(Duration::from_hours(24));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(sts.calls().len(), 1);
    presignd.presign(get()).await.unwrap();
    assert_eq!(sts.calls().len(), 2);
    presignd.shutdown().await.unwrap();
}

/// The calls that a day of steady use comes to, with an expiry that every session covers until it is renewed.
async fn calls_in_a_day(rest: &str) -> usize {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", &format!("{GRANTS}\n{rest}"))
        .start()
        .await;
    presignd.presign(get()).await.unwrap();
    for _ in 0..24 * 60 {
        presignd.clock.advance(Duration::from_mins(1));
        presignd.presign(lasting(300, get())).await.unwrap();
        // A renewal that was begun has its minute, as a rule: on a busy machine it may take two.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let calls = sts.calls().len();
    presignd.shutdown().await.unwrap();
    calls
}

#[tokio::test]
async fn a_session_is_renewed_once_when_it_is_due() {
    // After 39 to 42 minutes, and a minute or two more.
    let calls = calls_in_a_day("expiry: { max: 15m }").await;
    assert!((31..=38).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_long_expiry_makes_no_storm() {
    // Nothing covers 12 hours: after 24 to 27 minutes, and a minute or two more.
    let calls = calls_in_a_day("expiry: { max: 12h }").await;
    assert!((48..=61).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_role_that_refuses_to_renew_is_not_pestered() {
    let sts = FakeSts::start().await;
    let presignd = acme(&sts).await;
    let first = token(&presignd.presign(get()).await.unwrap());
    sts.answer(Answer::denied());
    presignd.clock.advance(Duration::from_mins(34));
    for _ in 0..120 {
        let issued = presignd.presign(lasting(300, get())).await.unwrap();
        assert_eq!(token(&issued), first);
        presignd.clock.advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Ten minutes, with a minute between two.
    let calls = sts.calls().len() - 1;
    assert!((5..=11).contains(&calls), "{calls}");
    presignd.shutdown().await.unwrap();
}
