//! For how long a URL works: what is asked, the caps, and the session, in every combination.

use std::time::{Duration, SystemTime};

use presignd::proto::v1::{ExpiryBound, ExpiryMode, PresignRequest, PresignResponse};
use tonic::Code;

use super::assert_recorded;
use crate::harness::presignd::{Presignd, clamped, get_object, lasting, request, static_tenant};
use crate::harness::refusal::refused;
use crate::harness::sts::{Answer, FakeSts};
use crate::harness::url::Presigned;

/// 10 minutes by default, 20 at most; 5 at most under `capped/`, and nominally a day under `wide/`.
const CAPS: &str = r#"expiry: { default: 10m, max: 20m }
grants:
  - { commands: [read], resources: ["acme-files/free/*"] }
  - { commands: [read], resources: ["acme-files/capped/*"], max_expiry: 5m }
  - { commands: [read], resources: ["acme-files/wide/*"], max_expiry: 1d }"#;

fn get(prefix: &str) -> PresignRequest {
    request("acme", get_object("acme-files", &format!("{prefix}/k")))
}

/// The seconds and what set them, after holding the URL and the record against the answer.
fn expiry(presignd: &Presignd, issued: &PresignResponse) -> (u64, ExpiryBound) {
    let url = Presigned::read(&issued.url);
    let expires_at = SystemTime::try_from(issued.expires_at.unwrap()).unwrap();
    assert_eq!(url.expires_at(), expires_at);
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["expires_in"], url.expires_in());
    let bound = issued.expiry_bound();
    let name = bound.as_str_name().strip_prefix("EXPIRY_BOUND_");
    assert_eq!(record["expiry_bound"].as_str(), name);
    (url.expires_in(), bound)
}

fn rejecting(request: PresignRequest) -> PresignRequest {
    PresignRequest {
        expiry_mode: ExpiryMode::Reject.into(),
        ..request
    }
}

#[tokio::test]
async fn the_smallest_of_the_wish_and_the_caps_counts_and_is_named() {
    use ExpiryBound::{Default, GrantCap, Request, TenantCap};
    let presignd = Presignd::with_tenant("acme", &static_tenant(CAPS))
        .start()
        .await;
    let cases = vec![
        (get("free"), (600, Default)),
        (rejecting(get("free")), (600, Default)),
        (clamped(get("free")), (600, Default)),
        (get("capped"), (300, GrantCap)),
        (rejecting(get("capped")), (300, GrantCap)),
        (get("wide"), (600, Default)),
        (lasting(1, get("free")), (1, Request)),
        (lasting(601, get("free")), (601, Request)),
        (lasting(1200, get("free")), (1200, Request)),
        (lasting(300, get("capped")), (300, Request)),
        (clamped(lasting(300, get("capped"))), (300, Request)),
        (clamped(lasting(301, get("capped"))), (300, GrantCap)),
        (clamped(lasting(604_800, get("capped"))), (300, GrantCap)),
        (clamped(lasting(1201, get("free"))), (1200, TenantCap)),
        (clamped(lasting(604_800, get("wide"))), (1200, TenantCap)),
    ];
    for (request, expected) in cases {
        let issued = presignd.presign(request.clone()).await.unwrap();
        assert_eq!(expiry(&presignd, &issued), expected, "{request:?}");
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn above_a_cap_is_refused_by_the_name_of_the_cap() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(CAPS))
        .start()
        .await;
    let cases = [
        (lasting(301, get("capped")), "the grant's max_expiry", "300"),
        (
            rejecting(lasting(604_800, get("capped"))),
            "the grant's max_expiry",
            "300",
        ),
        (
            lasting(1201, get("free")),
            "the tenant's expiry.max",
            "1200",
        ),
        (
            lasting(1201, get("wide")),
            "the tenant's expiry.max",
            "1200",
        ),
    ];
    for (request, cap, seconds) in cases {
        let refused = refused(presignd.presign(request.clone()).await);
        let why = (Code::InvalidArgument, "EXPIRY_ABOVE_CAP");
        assert_eq!(refused.why(), why, "{request:?}");
        assert_eq!(refused.fields, ["expires_in"]);
        assert_eq!(refused.metadata["cap"], cap);
        assert_eq!(refused.metadata["cap_seconds"], seconds);
        assert!(refused.message.contains(cap), "{}", refused.message);
        assert_recorded(&presignd, &refused);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn clamping_saves_no_expiry_that_s3_does_not_take() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(CAPS))
        .start()
        .await;
    for seconds in [0, -1, 604_801] {
        let refused = refused(
            presignd
                .presign(clamped(lasting(seconds, get("free"))))
                .await,
        );
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, ["expires_in"]);
    }
    presignd.shutdown().await.unwrap();
}

/// Sessions of 15 minutes under a default of 30.
async fn short_sessions() -> (FakeSts, Presignd) {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Session(Duration::from_mins(15)));
    let rest = r#"expiry: { default: 30m, max: 12h }
grants:
  - { commands: [read], resources: ["acme-files/free/*"] }
  - { commands: [read], resources: ["acme-files/capped/*"], max_expiry: 5m }"#;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "duration: 15m", rest)
        .start()
        .await;
    (sts, presignd)
}

#[tokio::test]
async fn no_url_outlives_its_session() {
    let (sts, presignd) = short_sessions().await;
    for request in [
        get("free"),
        rejecting(get("free")),
        clamped(get("free")),
        clamped(lasting(901, get("free"))),
        clamped(lasting(604_800, get("free"))),
    ] {
        let issued = presignd.presign(request.clone()).await.unwrap();
        let (seconds, bound) = expiry(&presignd, &issued);
        assert_eq!(bound, ExpiryBound::Credentials, "{request:?}");
        assert!((800..900).contains(&seconds), "{seconds} s for {request:?}");
        let session = &sts.sessions()[0];
        assert!(Presigned::read(&issued.url).expires_at() <= session.expires_at);
    }
    for (request, expected) in [
        (lasting(300, get("free")), (300, ExpiryBound::Request)),
        (get("capped"), (300, ExpiryBound::GrantCap)),
    ] {
        let issued = presignd.presign(request).await.unwrap();
        assert_eq!(expiry(&presignd, &issued), expected);
    }
    assert_eq!(sts.calls().len(), 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_no_session_lasts_for_is_refused_without_asking_sts() {
    let (sts, presignd) = short_sessions().await;
    // A session of 900 s is younger by the time that it signs.
    for seconds in [900, 901, 43_200] {
        let refused = refused(presignd.presign(lasting(seconds, get("free"))).await);
        let why = (Code::FailedPrecondition, "EXPIRY_BEYOND_SESSION");
        assert_eq!(refused.why(), why, "{seconds}");
        assert_eq!(
            refused.preconditions,
            [("SESSION".to_owned(), "expires_in".to_owned())]
        );
        let longest: u32 = refused.metadata["session_seconds"].parse().unwrap();
        assert!((890..900).contains(&longest), "{longest}");
        assert_eq!(refused.retry_after, None);
        assert_recorded(&presignd, &refused);
        assert_eq!(sts.calls().len(), 0, "{seconds}");
    }
    let issued = presignd.presign(lasting(890, get("free"))).await.unwrap();
    let expected = (890, ExpiryBound::Request);
    assert_eq!(expiry(&presignd, &issued), expected);
    presignd.shutdown().await.unwrap();
}

/// Stores may give shorter sessions than they are asked for.
#[tokio::test]
async fn a_session_that_is_shorter_than_configured_counts_as_it_is() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Session(Duration::from_mins(5)));
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "duration: 1h", CAPS)
        .start()
        .await;
    let refused = refused(presignd.presign(lasting(400, get("free"))).await);
    let why = (Code::FailedPrecondition, "EXPIRY_BEYOND_SESSION");
    assert_eq!(refused.why(), why);
    let longest: u32 = refused.metadata["session_seconds"].parse().unwrap();
    assert!((200..=300).contains(&longest), "{longest}");
    assert_recorded(&presignd, &refused);
    for request in [get("free"), clamped(lasting(400, get("free")))] {
        let issued = presignd.presign(request).await.unwrap();
        let (seconds, bound) = expiry(&presignd, &issued);
        assert_eq!(bound, ExpiryBound::Credentials);
        assert!((200..=300).contains(&seconds), "{seconds}");
        let ends = sts.sessions().last().unwrap().expires_at;
        assert!(Presigned::read(&issued.url).expires_at() <= ends);
    }
    presignd.shutdown().await.unwrap();
}
