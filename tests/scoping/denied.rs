//! What `deny` takes away: presignd refuses it, and so does the store, whoever holds the session.

use super::{BUCKET, assert_denied};
use crate::harness::ceph::Ceph;
use crate::harness::commands::{command, copy, delete, head, list};
use crate::harness::presignd::{Presignd, ceph_tenant, get_object, put_object, reason, request};
use crate::harness::session::HeldSession;

const RULES: &str = r#"[{ commands: [read, write, list, delete], resources: ["acme-files/*"] }]
deny:
  - { commands: [delete], resources: ["acme-files/scoping/denied/kept/*"] }
  - { commands: [read, write, list], resources: ["acme-files/scoping/denied/secret/*"] }"#;

const SECRET: &str = "scoping/denied/secret/k";
const KEPT: &str = "scoping/denied/kept/k";
const OPEN: &str = "scoping/denied/open/k";

#[tokio::test]
async fn what_is_denied_is_refused_by_presignd_and_by_the_store() {
    let ceph = Ceph::shared();
    for key in [SECRET, KEPT, OPEN] {
        ceph.put_object(BUCKET, key, "here").await;
    }
    let denied = [
        get_object(BUCKET, SECRET),
        head(BUCKET, SECRET),
        put_object(BUCKET, SECRET),
        copy(
            &format!("{BUCKET}/{SECRET}"),
            BUCKET,
            "scoping/denied/open/stolen",
        ),
        command!(GetObjectTagging {
            bucket: BUCKET,
            key: SECRET
        }),
        command!(CreateMultipartUpload {
            bucket: BUCKET,
            key: SECRET
        }),
        list(BUCKET, "scoping/denied/secret/"),
        list(BUCKET, "scoping/denied/secret/deeper"),
        delete(BUCKET, KEPT),
    ];
    // The store does not know better: of lists that begin above what is denied, and of where a copy goes, which RGW asks no session about.
    let by_presignd_alone = [
        copy(&format!("{BUCKET}/{OPEN}"), BUCKET, SECRET),
        list(BUCKET, ""),
        list(BUCKET, "scoping/denied/s"),
        command!(ListObjectsV2 { bucket: BUCKET }),
        command!(DeleteObjects { bucket: BUCKET }),
    ];
    for scope in ["tenant", "bucket", "object"] {
        let yaml = ceph_tenant(ceph.tenant("acme"), RULES);
        let yaml = format!("{yaml}\nsession: {{ scope: {scope} }}");
        let presignd = Presignd::with_tenant("acme", &yaml)
            .with_credentials(ceph.presignd_credentials().clone())
            .start()
            .await;
        for command in denied.iter().chain(&by_presignd_alone) {
            let refused = presignd.presign(request("acme", command.clone())).await;
            let refused = refused.expect_err(&format!("{command:?}"));
            assert_eq!(reason(&refused), "COMMAND_DENIED", "{refused}");
            assert!(refused.message().contains("deny["), "{refused}");
        }
        for command in [
            get_object(BUCKET, OPEN),
            get_object(BUCKET, KEPT),
            list(BUCKET, "scoping/denied/open/"),
            put_object(BUCKET, "scoping/denied/secrets"),
        ] {
            let answer = presignd.run("acme", command.clone(), "here").await;
            assert_eq!(answer.status, 200, "{command:?}: {answer:?}");
        }
        let session = HeldSession::of("acme", &yaml, &get_object(BUCKET, OPEN)).await;
        for command in &denied {
            let answer = session.run(command, "").await;
            assert_denied(&format!("{command:?} under {scope}"), &answer);
        }
    }
    for key in [SECRET, KEPT] {
        let object = ceph.object(BUCKET, key).await;
        assert_eq!(object.as_deref(), Some(&b"here"[..]), "{key}");
    }
}
