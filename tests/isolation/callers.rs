//! Callers of one tenant, each with keys of their own: none reaches those of another, by presignd nor by the sessions in their URLs.

use presignd::proto::v1::PresignResponse;
use presignd::proto::v1::command::Command as Variant;
use tonic::{Code, Status};

use super::{BUCKET, assert_denied};
use crate::authentication::api_keys::new_key;
use crate::harness::ceph::Ceph;
use crate::harness::commands::{delete, list};
use crate::harness::presignd::{
    Presignd, ceph_tenant, fetch, get_object, put_object, reason, request,
};
use crate::harness::session::HeldSession;

#[tokio::test]
async fn the_session_of_a_caller_stops_at_the_objects_of_those_whose_names_go_on() {
    let ceph = Ceph::shared();
    let own = "isolation/of/acme/anyone/k";
    let others = [
        "isolation/of/acme/anyoneb/k",
        "isolation/of/acme/anyon/k",
        "isolation/of/acme/Anyone/k",
        "isolation/of/acme/anyone",
        "isolation/of/acme/%61nyone/k",
        "isolation/of/acme//anyone/k",
        "isolation/of/globex/anyone/k",
        "isolation/of/acme/{caller}/k",
        "isolation/of/{tenant}/anyone/k",
    ];
    for key in others.into_iter().chain([own]) {
        ceph.put_object(BUCKET, key, "as it was").await;
    }
    let grants = r#"[{ commands: [GetObject, PutObject, list, delete], resources: ["acme-files/isolation/of/{tenant}/{caller}/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let answer = presignd.run("acme", get_object(BUCKET, own), "").await;
    assert_eq!(answer.text(), "as it was");
    let listed = list(BUCKET, "isolation/of/acme/anyone/");
    assert_eq!(presignd.run("acme", listed.clone(), "").await.status, 200);

    // The very credentials that sign such a URL, for whatever presignd would not sign.
    let yaml = ceph_tenant(ceph.tenant("acme"), grants);
    let session = HeldSession::of("acme", &yaml, &get_object(BUCKET, own)).await;
    for command in [get_object(BUCKET, own), put_object(BUCKET, own), listed] {
        let answer = session.run(&command, "as it was").await;
        assert_eq!(answer.status, 200, "{command:?}: {answer:?}");
    }
    let lists = ["isolation/of/acme/anyoneb/", "isolation/of/acme/", ""];
    let lists = lists.map(|prefix| list(BUCKET, prefix));
    let attempts = others.into_iter().flat_map(|key| {
        [
            get_object(BUCKET, key),
            put_object(BUCKET, key),
            delete(BUCKET, key),
        ]
    });
    for command in attempts.chain(lists) {
        let what = format!("{command:?}");
        let refused = presignd.presign(request("acme", command.clone())).await;
        assert_eq!(reason(&refused.expect_err(&what)), "COMMAND_DENIED");
        assert_denied(&what, &session.run(&command, "tampered").await);
    }
    for key in others {
        let kept = ceph.object(BUCKET, key).await;
        assert_eq!(kept.as_deref(), Some(&b"as it was"[..]), "{key}");
    }
}

/// Two callers, one of whose names begins with the other's, through the same sessions' cache under each scope.
#[tokio::test]
async fn each_caller_has_sessions_for_their_own_keys() {
    let ceph = Ceph::shared();
    let ((short, short_hash), (long, long_hash)) = (new_key().await, new_key().await);
    let callers = format!(
        "authentication: {{ api_keys: {{ one: [\"{short_hash}\"], two: [\"{long_hash}\"] }} }}
callers:
  - {{ match: {{ api_key: one }}, tenants: [acme], name: a }}
  - {{ match: {{ api_key: two }}, tenants: [acme], name: ab }}"
    );
    for name in ["a", "ab"] {
        let key = format!("isolation/by/{name}/k");
        ceph.put_object(BUCKET, &key, name).await;
    }
    let grants =
        r#"[{ commands: [read, list], resources: ["acme-files/isolation/by/{caller}/*"] }]"#;
    for scope in ["tenant", "bucket", "object"] {
        let yaml = ceph_tenant(ceph.tenant("acme"), grants);
        let yaml = format!("{yaml}\nsession: {{ scope: {scope} }}");
        let presignd = Presignd::with_tenant("acme", &yaml)
            .with_credentials(ceph.presignd_credentials().clone())
            .with_callers(&callers)
            .start()
            .await;
        let ask = async |key: &str, command: Variant| -> Result<PresignResponse, Status> {
            let mut asked = tonic::Request::new(request("acme", command));
            let key = key.parse().expect("ASCII");
            asked.metadata_mut().insert("x-api-key", key);
            let answer = presignd.client.clone().presign(asked).await?;
            Ok(answer.into_inner())
        };
        for (key, own, other) in [(&short, "a", "ab"), (&long, "ab", "a")] {
            let of = |name: &str| get_object(BUCKET, &format!("isolation/by/{name}/k"));
            let issued = ask(key, of(own)).await.unwrap();
            assert_eq!(fetch(&issued, "").await.text(), own, "{scope}");
            let listed = list(BUCKET, &format!("isolation/by/{own}/"));
            let issued = ask(key, listed).await.unwrap();
            assert_eq!(fetch(&issued, "").await.status, 200, "{scope}");
            for command in [of(other), list(BUCKET, &format!("isolation/by/{other}/"))] {
                let refused = ask(key, command).await.expect_err(scope);
                assert_eq!(refused.code(), Code::PermissionDenied, "{scope}");
                assert_eq!(reason(&refused), "COMMAND_DENIED", "{scope}");
            }
        }
        presignd.shutdown().await.unwrap();
    }
}
