//! Uploads in parts, every step of them by a URL.

use presignd::proto::v1::command::Command as Variant;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::presignd::Presignd;

const BUCKET: &str = "acme-files";
const GRANTS: &str =
    r#"[{ commands: [read, write, list, delete], resources: ["acme-files/multipart/*"] }]"#;
/// The smallest part that S3 takes, but for the last.
const PART: usize = 5 << 20;

/// An upload under way.
struct Upload<'a> {
    presignd: &'a Presignd,
    key: &'static str,
    id: String,
}

impl<'a> Upload<'a> {
    async fn start(presignd: &'a Presignd, key: &'static str) -> Self {
        let command = command!(CreateMultipartUpload {
            bucket: BUCKET,
            key: key,
            content_type: "application/x-parts",
        });
        let created = presignd.run("acme", command, "").await;
        assert_eq!(created.status, 200, "{created:?}");
        let id = created.xml("UploadId").expect("an upload id");
        Self { presignd, key, id }
    }

    /// Uploads a part, and returns its entity tag.
    async fn part(&self, number: i32, body: Vec<u8>) -> String {
        let command = command!(UploadPart {
            bucket: BUCKET,
            key: self.key,
            upload_id: self.id.as_str(),
            part_number: number,
        });
        let part = self.presignd.run("acme", command, body).await;
        assert_eq!(part.status, 200, "{part:?}");
        part.header("etag").to_owned()
    }

    /// Copies a part out of an object, and returns its entity tag.
    async fn copied_part(&self, number: i32, source: &str, range: &str) -> String {
        let command = command!(UploadPartCopy {
            bucket: BUCKET,
            key: self.key,
            upload_id: self.id.as_str(),
            part_number: number,
            copy_source: source,
            copy_source_range: range,
        });
        let part = self.presignd.run("acme", command, "").await;
        assert_eq!(part.status, 200, "{part:?}");
        part.xml("ETag")
            .expect("an entity tag")
            .replace("&quot;", "\"")
    }

    async fn complete(&self, parts: &[(i32, String)]) {
        let command = command!(CompleteMultipartUpload {
            bucket: BUCKET,
            key: self.key,
            upload_id: self.id.as_str(),
        });
        let parts: Vec<String> = parts
            .iter()
            .map(|(number, etag)| {
                format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
            })
            .collect();
        let parts = parts.concat();
        let parts = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let completed = self.presignd.run("acme", command, parts).await;
        assert_eq!(completed.status, 200, "{completed:?}");
    }

    fn list(&self) -> Variant {
        command!(ListParts {
            bucket: BUCKET,
            key: self.key,
            upload_id: self.id.as_str(),
        })
    }
}

#[tokio::test]
async fn an_object_comes_to_be_of_parts_and_of_a_part_of_another() {
    // Ceph 16 refuses UploadPartCopy to every session of a role.
    let presignd = Presignd::with_ceph_owner("acme", GRANTS).start().await;
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "multipart/source", "0123456789")
        .await;
    let upload = Upload::start(&presignd, "multipart/of parts+é").await;
    let first = upload.part(1, vec![b'a'; PART]).await;
    let second = upload
        .copied_part(2, "acme-files/multipart/source", "bytes=3-6")
        .await;

    let listed = presignd.run("acme", upload.list(), "").await;
    assert_eq!(listed.text().matches("<Part>").count(), 2, "{listed:?}");

    upload.complete(&[(1, first), (2, second)]).await;

    let object = ceph.object(BUCKET, upload.key).await.expect("the object");
    assert_eq!(object.len(), PART + 4);
    assert!(object[..PART].iter().all(|byte| *byte == b'a'));
    assert_eq!(object[PART..], b"3456"[..]);
    let head = ceph.as_owner("HEAD", BUCKET, upload.key, "", "").await;
    assert_eq!(head.header("content-type"), "application/x-parts");
}

#[tokio::test]
async fn a_session_uploads_in_parts() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let upload = Upload::start(&presignd, "multipart/by a session").await;
    let parts = [
        (1, upload.part(1, vec![b'a'; PART]).await),
        (2, upload.part(2, b"end".to_vec()).await),
    ];
    let listed = presignd.run("acme", upload.list(), "").await;
    assert_eq!(listed.text().matches("<Part>").count(), 2, "{listed:?}");
    upload.complete(&parts).await;

    let object = Ceph::shared().object(BUCKET, upload.key).await;
    let object = object.expect("the object");
    assert_eq!(object.len(), PART + 3);
    assert_eq!(object[PART..], b"end"[..]);
}

#[tokio::test]
async fn an_upload_that_is_aborted_leaves_nothing() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let upload = Upload::start(&presignd, "multipart/aborted").await;
    upload.part(1, b"some".to_vec()).await;
    let abort = command!(AbortMultipartUpload {
        bucket: BUCKET,
        key: upload.key,
        upload_id: upload.id.as_str(),
    });
    assert_eq!(presignd.run("acme", abort, "").await.status, 204);
    let listed = presignd.run("acme", upload.list(), "").await;
    assert_eq!(listed.status, 404, "{listed:?}");
    assert_eq!(Ceph::shared().object(BUCKET, upload.key).await, None);
}
