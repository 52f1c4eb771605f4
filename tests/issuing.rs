//! One URL from the request to the store: what presignd issues works there, and only there.

use crate::harness::ceph::Ceph;
use crate::harness::presignd::{Presignd, fetch, get_object, lasting, put_object, request};

const GRANTS: &str =
    r#"[{ commands: [read, write, list, delete], resources: ["acme-files/issuing/*"] }]"#;

#[tokio::test]
async fn an_upload_and_a_download_work_with_a_plain_client() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let upload = presignd
        .presign(lasting(
            300,
            request("acme", put_object("acme-files", "issuing/a")),
        ))
        .await
        .unwrap();
    assert_eq!(upload.method, "PUT");
    assert_eq!(fetch(&upload, "bytes of acme").await.status, 200);

    let download = presignd
        .presign(request("acme", get_object("acme-files", "issuing/a")))
        .await
        .unwrap();
    let got = fetch(&download, "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "bytes of acme"));
    assert_eq!(
        Ceph::shared()
            .object("acme-files", "issuing/a")
            .await
            .as_deref(),
        Some(&b"bytes of acme"[..])
    );

    let record = presignd.records.of(&download.issuance_id);
    assert_eq!(record["outcome"], "issued");
    assert_eq!(record["key"], "issuing/a");
    presignd.shutdown().await.unwrap();
}
