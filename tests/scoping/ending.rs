//! Grants that end: presignd lets no URL live past the end, and the store holds the session to it besides.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use presignd::clock::{Clock as _, SystemClock};
use presignd::proto::v1::ExpiryBound;
use tonic::Code;

use super::{BUCKET, assert_denied, overheard};
use crate::harness::ceph::Ceph;
use crate::harness::presignd::{ceph_tenant, clamped, fetch, get_object, lasting, reason, request};
use crate::harness::session::HeldSession;

fn rfc3339(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let time = jiff::Timestamp::from_second(seconds.try_into().expect("in range"));
    time.expect("in range").to_string()
}

#[tokio::test]
async fn no_url_lives_past_the_end_of_its_grant() {
    Ceph::shared()
        .put_object(BUCKET, "scoping/ending/k", "here")
        .await;
    let end = SystemClock::new().now() + Duration::from_mins(10);
    let grants = format!(
        r#"[{{ commands: [read], resources: ["acme-files/scoping/ending/*"], not_after: {} }},
            {{ commands: [read], resources: ["acme-files/scoping/ended/*"], not_after: 2026-01-01T00:00:00Z }}]"#,
        rfc3339(end)
    );
    for scope in ["tenant", "bucket", "object"] {
        let (presignd, _sts) = overheard(&grants, &format!("{{ scope: {scope} }}")).await;
        let get = || request("acme", get_object(BUCKET, "scoping/ending/k"));
        let issued = presignd.presign(clamped(lasting(3600, get()))).await;
        let issued = issued.expect("it is allowed");
        assert_eq!(issued.expiry_bound(), ExpiryBound::GrantCap);
        let said = SystemTime::try_from(issued.expires_at.expect("an end")).expect("in range");
        assert!(said <= end, "{said:?} is after {end:?}");
        assert!(
            said + Duration::from_mins(2) > end,
            "{said:?} is long before {end:?}"
        );
        let answer = fetch(&issued, "").await;
        assert_eq!(answer.status, 200, "{scope}: {answer:?}");

        let refused = presignd
            .presign(lasting(3600, get()))
            .await
            .expect_err(scope);
        assert_eq!(reason(&refused), "EXPIRY_ABOVE_CAP", "{refused}");
        assert!(
            refused.message().contains("the grant's not_after"),
            "{refused}"
        );
        let ended = request("acme", get_object(BUCKET, "scoping/ended/k"));
        let refused = presignd.presign(ended).await.expect_err(scope);
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
}

/// What no URL holds to the end of a grant, such as the keys in the body of a `DeleteObjects`, the store does.
#[tokio::test]
async fn a_session_outlives_no_grant_that_it_was_made_from() {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [read], resources: ["acme-files/scoping/ends/a/*"] },
        { commands: [read], resources: ["acme-files/scoping/ends/b/*"], not_after: 2020-01-01T00:00:00Z },
        { commands: [read], resources: ["acme-files/scoping/ends/c/*"], not_after: 2100-01-01T00:00:00Z }]"#;
    let yaml = ceph_tenant(ceph.tenant("acme"), grants);
    let get = |folder: &str| get_object(BUCKET, &format!("scoping/ends/{folder}/k"));
    for folder in ["a", "b", "c"] {
        let key = format!("scoping/ends/{folder}/k");
        ceph.put_object(BUCKET, &key, "here").await;
    }
    let session = HeldSession::of("acme", &yaml, &get("a")).await;
    for folder in ["a", "c"] {
        let answer = session.run(&get(folder), "").await;
        assert_eq!(answer.status, 200, "{folder}: {answer:?}");
    }
    assert_denied("ended", &session.run(&get("b"), "").await);
}
