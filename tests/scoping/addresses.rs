//! URLs that work from some addresses only: the store refuses them from everywhere else.

use presignd::proto::v1::PresignRequest;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use tonic::Code;

use super::{BUCKET, OTHER_BUCKET, WIDE, assert_denied, overheard};
use crate::harness::ceph::Ceph;
use crate::harness::commands::copy;
use crate::harness::presignd::{
    Presignd, batch, clamped, fetch, get_object, lasting, put_object, reason, request,
};
use crate::harness::refusal::Refused;
use crate::harness::session::HeldSession;
use crate::harness::url::Presigned;

const KEY: &str = "scoping/from/k";

fn from(source_ip: &[&str], request: PresignRequest) -> PresignRequest {
    PresignRequest {
        source_ip: source_ip.iter().map(ToString::to_string).collect(),
        ..request
    }
}

fn get() -> PresignRequest {
    request("acme", get_object(BUCKET, KEY))
}

/// The status that the store answers with here, which is 127.0.0.1.
async fn status(presignd: &Presignd, request: PresignRequest) -> u16 {
    let issued = presignd.presign(request).await.expect("it is allowed");
    fetch(&issued, "").await.status
}

#[tokio::test]
async fn a_grants_addresses_are_held_by_the_store() {
    Ceph::shared().put_object(BUCKET, KEY, "here").await;
    for scope in ["tenant", "bucket", "object"] {
        for (source_ip, expected) in [
            ("[127.0.0.1]", 200),
            ("[127.0.0.0/8, 10.0.0.0/8]", 200),
            (r#"["2001:db8::/32", 127.0.0.1/32]"#, 200),
            ("[10.0.0.0/8]", 403),
            (r#"["2001:db8::1"]"#, 403),
        ] {
            let grants = format!(
                r#"[{{ commands: [read], resources: ["acme-files/*"], source_ip: {source_ip} }}]"#
            );
            let (presignd, _sts) = overheard(&grants, &format!("{{ scope: {scope} }}")).await;
            let answered = status(&presignd, get()).await;
            assert_eq!(answered, expected, "{source_ip} in the scope of {scope}");
        }
    }
}

#[tokio::test]
async fn grants_that_allow_the_same_add_up_each_with_its_addresses() {
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, KEY, "here").await;
    let far = r#"{ commands: [read], resources: ["acme-files/*"], source_ip: [10.0.0.0/8] }"#;
    let here =
        r#"{ commands: [read], resources: ["acme-files/scoping/from/*"], source_ip: [127.0.0.1] }"#;
    for scope in ["tenant", "object"] {
        let (presignd, _sts) = overheard(
            &format!("[{far}, {here}]"),
            &format!("{{ scope: {scope} }}"),
        )
        .await;
        assert_eq!(status(&presignd, get()).await, 200);
        // Only the far grant is of this one.
        ceph.put_object(BUCKET, "scoping/far", "here").await;
        let elsewhere = request("acme", get_object(BUCKET, "scoping/far"));
        assert_eq!(status(&presignd, elsewhere).await, 403);
        // What a request names is all that its URL has.
        assert_eq!(status(&presignd, from(&["10.1.0.0/16"], get())).await, 403);
        assert_eq!(status(&presignd, from(&["127.0.0.1"], get())).await, 200);
    }
}

#[tokio::test]
async fn a_request_narrows_its_url_to_addresses_and_to_itself() {
    let ceph = Ceph::shared();
    for (bucket, key) in [
        (BUCKET, KEY),
        (BUCKET, "scoping/from/k2"),
        (OTHER_BUCKET, KEY),
    ] {
        ceph.put_object(bucket, key, "here").await;
    }
    for scope in ["tenant", "bucket", "object"] {
        let (presignd, sts) = overheard(WIDE, &format!("{{ scope: {scope} }}")).await;
        assert_eq!(status(&presignd, get()).await, 200);
        assert_eq!(status(&presignd, from(&["10.0.0.0/8"], get())).await, 403);
        assert_eq!(
            status(&presignd, from(&["10.0.0.0/8", "127.0.0.1"], get())).await,
            200
        );
        let copied = copy(
            &format!("{OTHER_BUCKET}/{KEY}"),
            BUCKET,
            "scoping/from/copied",
        );
        let copied = request("acme", copied);
        assert_eq!(
            status(&presignd, from(&["10.0.0.0/8"], copied.clone())).await,
            403
        );
        assert_eq!(status(&presignd, from(&["127.0.0.1"], copied)).await, 200);

        let issued = presignd.presign(from(&["127.0.0.1"], get())).await.unwrap();
        let session = HeldSession::behind(&issued.url, &sts);
        assert_eq!(session.run(&get_object(BUCKET, KEY), "").await.status, 200);
        for command in [
            get_object(BUCKET, "scoping/from/k2"),
            put_object(BUCKET, KEY),
        ] {
            assert_denied(scope, &session.run(&command, "tampered").await);
        }
        let record = presignd.records.of(&issued.issuance_id);
        assert_eq!(record["source_ip"], serde_json::json!(["127.0.0.1/32"]));
    }
}

#[tokio::test]
async fn a_request_only_narrows() {
    let grants = r#"[
  { commands: [read], resources: ["acme-files/*"], source_ip: [10.0.0.0/8, 192.0.2.0/25, 192.0.2.128/25] },
  { commands: [GetObject], resources: ["acme-files/*"], source_ip: ["2001:db8::/32"] }]"#;
    let (presignd, sts) = overheard(grants, "{ scope: tenant }").await;
    for within in [
        &["10.1.2.3"][..],
        &["10.0.0.0/8", "192.0.2.0/24"],
        &["2001:db8:1::/48"],
    ] {
        let issued = presignd.presign(from(within, get())).await;
        assert!(issued.is_ok(), "{within:?}: {issued:?}");
    }
    let calls = sts.connections();
    for beyond in [
        &["11.0.0.1"][..],
        &["10.0.0.0/7"],
        &["0.0.0.0/0"],
        &["10.0.0.1", "11.0.0.1"],
        // Each within a grant, and both within none.
        &["10.0.0.1", "2001:db8::1"],
    ] {
        let status = presignd.presign(from(beyond, get())).await.unwrap_err();
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
        assert!(
            status.message().contains("source_ip"),
            "{beyond:?}: {status}"
        );
    }
    // Without a grant of the command, its addresses are not what is wrong.
    let put = request("acme", put_object(BUCKET, KEY));
    let status = presignd
        .presign(from(&["11.0.0.1"], put))
        .await
        .unwrap_err();
    assert!(!status.message().contains("source_ip"), "{status}");
    for odd in ["", "10.0.0.1/8", "localhost", "::ffff:10.0.0.1"] {
        let status = presignd
            .presign(from(&["10.0.0.1", odd], get()))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_REQUEST")
        );
        assert!(
            status.message().contains("source_ip[1]"),
            "{odd:?}: {status}"
        );
    }
    assert_eq!(sts.connections(), calls, "nobody was asked in vain");
}

#[tokio::test]
async fn a_batch_has_its_addresses_for_every_command() {
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, KEY, "here").await;
    let (presignd, _sts) = overheard(WIDE, "{ scope: tenant }").await;
    for (source_ip, expected) in [("127.0.0.0/8", 200), ("10.0.0.0/8", 403)] {
        let mut asked = batch("acme", [get_object(BUCKET, KEY), get_object(BUCKET, KEY)]);
        asked.source_ip = vec![source_ip.to_owned()];
        for result in presignd.presign_batch(asked).await.unwrap() {
            let ItemResult::Response(issued) = result else {
                panic!("{result:?}")
            };
            assert_eq!(fetch(&issued, "").await.status, expected, "{source_ip}");
        }
    }
}

#[tokio::test]
async fn where_no_session_policy_holds_addresses_they_are_refused() {
    let grants = r#"[{ commands: [read], resources: ["acme-files/*"] }]"#;
    let fixed = Presignd::with_ceph_owner("acme", grants).start().await;
    let status = fixed
        .presign(from(&["127.0.0.1"], get()))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_REQUEST")
    );
    assert!(status.message().contains("source_ip"), "{status}");
    assert!(fixed.presign(get()).await.is_ok());
}

#[tokio::test]
async fn what_one_grant_allows_from_its_addresses_does_not_outlive_anothers() {
    // From anywhere for five minutes, from the office for an hour.
    let grants = r#"[
  { commands: [read], resources: ["acme-files/*"], max_expiry: 5m },
  { commands: [read], resources: ["acme-files/*"], max_expiry: 30m, source_ip: [10.0.0.0/8] }]"#;
    let (presignd, _sts) = overheard(grants, "{ scope: tenant }").await;
    for (request, seconds) in [
        (get(), 300),
        (from(&["10.1.1.1"], get()), 1800),
        (from(&["192.0.2.1"], get()), 300),
    ] {
        let issued = presignd
            .presign(clamped(lasting(3000, request)))
            .await
            .unwrap();
        let url = Presigned::read(&issued.url);
        assert_eq!(url.expires_in(), seconds);
    }
}
