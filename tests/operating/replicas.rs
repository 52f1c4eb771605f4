//! Two presignd processes on one Redis: an order at one of them holds at the other, until it is ended at either.

use std::time::Duration;

use tonic::Code;

use super::Operated;
use crate::harness::process::PATIENCE;
use crate::harness::redis::Redis;
use crate::harness::refusal::Refused;

/// Waits until what a replica says of a URL for acme is this: `None`, it is issued.
async fn comes_to_say(replica: &Operated, expected: Option<(Code, &str)>) {
    let waiting = async {
        loop {
            let asked = replica.presign("acme").await;
            let refused = asked.err().map(|status| Refused::read(&status));
            let said = refused.as_ref().map(Refused::why);
            if said == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("it never says {expected:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_at_one_process_holds_at_the_other() {
    let redis = Redis::start().await;
    let sections = format!(
        "state: {{ redis: {{ servers: [\"{}\"], timeout: 2s }} }}\n",
        redis.address()
    );
    let first = Operated::start_with(&sections, "").await;
    let second = Operated::start_with(&sections, "").await;
    comes_to_say(&second, None).await;

    first.suspend("acme").await;
    let suspended = (Code::FailedPrecondition, "TENANT_SUSPENDED");
    comes_to_say(&second, Some(suspended)).await;
    second.presign("globex").await.unwrap();
    second.resume("acme").await;
    comes_to_say(&first, None).await;

    second.freeze().await;
    let frozen = (Code::Unavailable, "SERVICE_FROZEN");
    comes_to_say(&first, Some(frozen)).await;
    // Whoever starts now is told too.
    let third = Operated::start_with(&sections, "").await;
    comes_to_say(&third, Some(frozen)).await;
    first.unfreeze().await;
    comes_to_say(&second, None).await;
    comes_to_say(&third, None).await;
}
