//! Answers are honest about when a URL ends: what the URL itself says, within every cap, and never beyond the session that signs.

use std::time::{Duration, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use presignd::clock::{Clock, SystemClock};
use presignd::proto::v1::{ExpiryBound, PresignRequest, PresignResponse};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::ceph::Ceph;
use crate::harness::presignd::{
    Presignd, ceph_tenant, clamped, fetch, get_object, lasting, put_object, reason, request,
};

const BUCKET: &str = "acme-files";
/// Reads for up to the tenant's two hours, and writes for up to five minutes.
const GRANTS: &str = r#"[{ commands: [read], resources: ["acme-files/expiring/*"] },
         { commands: [write], resources: ["acme-files/expiring/*"], max_expiry: 5m }]
expiry: { default: 10m, max: 2h }"#;

fn read() -> PresignRequest {
    request("acme", get_object(BUCKET, "expiring/k"))
}

fn write() -> PresignRequest {
    request("acme", put_object(BUCKET, "expiring/k"))
}

/// For how long the URL itself says that it works. That is also what the answer says.
fn life(issued: &PresignResponse) -> i64 {
    let (_, query) = issued.url.split_once('?').expect("a query");
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no {name}")).1
    };
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", value("X-Amz-Date")).expect("a time");
    let signed_at = TimeZone::UTC.to_timestamp(signed_at).expect("in range");
    let life: i64 = value("X-Amz-Expires").parse().expect("seconds");
    let said = issued.expires_at.expect("an end");
    assert_eq!(
        (said.seconds, said.nanos),
        (signed_at.as_second() + life, 0)
    );
    life
}

fn now(clock: &dyn Clock) -> i64 {
    let since = clock.now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_secs().try_into().expect("not in this age")
}

async fn assert_lives(
    presignd: &Presignd,
    request: PresignRequest,
    seconds: std::ops::RangeInclusive<i64>,
    bound: ExpiryBound,
) -> PresignResponse {
    let asked = format!("{request:?}");
    let issued = presignd
        .presign(request)
        .await
        .unwrap_or_else(|status| panic!("{asked}: {status}"));
    assert_eq!(issued.expiry_bound(), bound, "{asked}");
    assert!(seconds.contains(&life(&issued)), "{asked}: {issued:?}");
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["expires_in"], life(&issued), "{asked}");
    issued
}

async fn assert_refused(
    presignd: &Presignd,
    request: PresignRequest,
    code: Code,
    why: &str,
) -> tonic::Status {
    let asked = format!("{request:?}");
    let refused = presignd.presign(request).await.expect_err(&asked);
    assert_eq!(refused.code(), code, "{asked}: {refused}");
    assert_eq!(reason(&refused), why, "{asked}");
    refused
}

#[tokio::test]
async fn the_smallest_of_what_is_asked_and_the_caps_is_signed_and_said() {
    let presignd = Presignd::with_ceph_owner("acme", GRANTS).start().await;
    let cases = [
        (read(), 600, ExpiryBound::Default),
        (write(), 300, ExpiryBound::GrantCap),
        (lasting(1, read()), 1, ExpiryBound::Request),
        (lasting(7200, read()), 7200, ExpiryBound::Request),
        (lasting(300, write()), 300, ExpiryBound::Request),
        (clamped(lasting(299, write())), 299, ExpiryBound::Request),
        (clamped(lasting(301, write())), 300, ExpiryBound::GrantCap),
        (
            clamped(lasting(604_800, read())),
            7200,
            ExpiryBound::TenantCap,
        ),
    ];
    for (request, seconds, bound) in cases {
        assert_lives(&presignd, request, seconds..=seconds, bound).await;
    }
    for (request, cap) in [
        (lasting(301, write()), "300"),
        (lasting(7201, read()), "7200"),
    ] {
        let refused = assert_refused(
            &presignd,
            request,
            Code::InvalidArgument,
            "EXPIRY_ABOVE_CAP",
        )
        .await;
        let info = refused.get_details_error_info().expect("why");
        assert_eq!(info.metadata["cap_seconds"], cap);
        let fields = refused.get_details_bad_request().expect("which field");
        assert_eq!(fields.field_violations[0].field, "expires_in");
    }
    for seconds in [-1, 0, 604_801] {
        let request = clamped(lasting(seconds, read()));
        assert_refused(&presignd, request, Code::InvalidArgument, "INVALID_REQUEST").await;
    }
}

#[tokio::test]
async fn no_url_is_said_to_outlive_its_session() {
    let yaml = ceph_tenant(Ceph::shared().tenant("acme"), GRANTS);
    let yaml = yaml.replace("assume_role: { ", "assume_role: { duration: 15m, ");
    // Ceph's clock stays where it is.
    let presignd = Presignd::with_tenant("acme", &yaml)
        .with_server("max_clock_skew: 15m")
        .with_credentials(Ceph::shared().presignd_credentials().clone())
        .start()
        .await;
    let system = SystemClock::new();

    assert_refused(
        &presignd,
        lasting(7200, read()),
        Code::FailedPrecondition,
        "EXPIRY_BEYOND_SESSION",
    )
    .await;
    let clamp = || clamped(lasting(7200, read()));
    let issued = assert_lives(&presignd, clamp(), 1..=900, ExpiryBound::Credentials).await;
    assert!(issued.expires_at.expect("an end").seconds <= now(&system) + 900);

    // An old session is used while it covers what is asked.
    let ahead = Duration::from_secs(700);
    presignd.clock.advance(ahead);
    let key = |issued: &PresignResponse| {
        presignd.records.of(&issued.issuance_id)["access_key_id"].clone()
    };
    let later = assert_lives(
        &presignd,
        lasting(60, read()),
        60..=60,
        ExpiryBound::Request,
    )
    .await;
    assert_eq!(key(&later), key(&issued));

    // What it does not cover is renewed; yet STS, whose clock was not moved, gives one that ends 700 s earlier than asked for.
    assert_refused(
        &presignd,
        lasting(300, read()),
        Code::FailedPrecondition,
        "EXPIRY_BEYOND_SESSION",
    )
    .await;
    let renewed = assert_lives(&presignd, clamp(), 1..=200, ExpiryBound::Credentials).await;
    assert_ne!(key(&renewed), key(&issued));
    assert!(renewed.expires_at.expect("an end").seconds <= now(&system) + 900);

    // And in the end one that is over before it begins: nothing can be signed with it.
    presignd.clock.advance(ahead);
    for request in [read(), clamp(), lasting(1, read())] {
        let refused = presignd.presign(request).await.expect_err("no session");
        let code = refused.code();
        assert!(
            matches!(code, Code::FailedPrecondition | Code::Unavailable),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_url_and_its_session_end_together_and_the_next_comes_with_a_new_one() {
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "expiring/k", "here").await;
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS)
        .with_sessions_of(Duration::from_secs(8))
        .start()
        .await;
    let issued = assert_lives(&presignd, read(), 1..=8, ExpiryBound::Credentials).await;
    assert_eq!(fetch(&issued, "").await.status, 200);

    let end = issued.expires_at.expect("an end").seconds;
    let left = u64::try_from(end + 2 - now(&*presignd.clock)).unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(left)).await;
    assert_eq!(fetch(&issued, "").await.status, 403);

    let next = assert_lives(&presignd, read(), 1..=8, ExpiryBound::Credentials).await;
    assert_eq!(fetch(&next, "").await.status, 200);
    let key = |issued: &PresignResponse| {
        presignd.records.of(&issued.issuance_id)["access_key_id"].clone()
    };
    assert_ne!(key(&next), key(&issued));
}

#[tokio::test]
async fn a_backdated_url_works_and_ends_when_the_answer_says() {
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "expiring/back", "here").await;
    let grants = GRANTS.replace("max: 2h", "max: 2h, backdate: 5m");
    let presignd = Presignd::with_ceph_tenant("acme", &grants).start().await;
    let system = SystemClock::new();
    for seconds in [300, 5] {
        let get = request("acme", get_object(BUCKET, "expiring/back"));
        let before = now(&system);
        let issued = presignd
            .presign(lasting(seconds, get))
            .await
            .expect("a URL");
        let after = now(&system);
        // The session began just now; the signature is dated before it.
        assert_eq!(life(&issued), seconds + 300);
        let ends = issued.expires_at.expect("an end").seconds;
        assert!(
            (before + seconds..=after + seconds).contains(&ends),
            "{ends}"
        );
        assert_eq!(issued.expiry_bound(), ExpiryBound::Request);
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["expires_in"], seconds);
        assert_eq!(fetch(&issued, "").await.status, 200);
        if seconds == 5 {
            let left = u64::try_from(ends + 2 - now(&system)).unwrap_or_default();
            tokio::time::sleep(Duration::from_secs(left)).await;
            assert_eq!(fetch(&issued, "").await.status, 403);
        }
    }
    // The session's end bounds it from now on, not from the date.
    let long = clamped(lasting(7200, read()));
    let issued = presignd.presign(long).await.expect("a URL");
    assert_eq!(issued.expiry_bound(), ExpiryBound::Credentials);
    assert!(issued.expires_at.expect("an end").seconds <= now(&system) + 3600);
}
