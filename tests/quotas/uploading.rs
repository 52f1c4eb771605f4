//! Bytes, however they are asked for: what a form may take, what the parts of an upload come to, and each item of a batch and of a stream.

use presignd::proto::v1::batch_presign_result::Result as BatchResult;
use presignd::proto::v1::operations_service_client::OperationsServiceClient;
use presignd::proto::v1::start_multipart_upload_request::Extent;
use presignd::proto::v1::stream_presign_response::Result as StreamResult;
use presignd::proto::v1::{
    GetUsageRequest, LimitUsage, PresignPartsRequest, StartMultipartUploadRequest,
    StreamPresignRequest,
};
use tempfile::TempDir;
use tonic::Code;

use super::{get, put_of};
use crate::harness::fake_s3::FakeS3;
use crate::harness::form::{for_key, for_keys, of_bytes};
use crate::harness::presignd::{
    Presignd, batch, get_object, put_object, request, static_credentials,
};
use crate::harness::refusal::{Refused, refused};

const MIB: u64 = 1 << 20;
const GRANTS: &str =
    r#"grants: [{ commands: [read, write, delete, list], resources: ["acme-files/*"] }]"#;

/// presignd over a store that begins every upload, where a month holds so many bytes: one ends less often than a day while a test runs.
struct Bytes {
    presignd: Presignd,
    store: FakeS3,
    _folder: TempDir,
}

impl Bytes {
    async fn a_month(most: &str) -> Self {
        let store = FakeS3::beginning("2~id").await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let tenant = format!(
            "region: us-east-1\nendpoint: {{ url: \"{}\", path_style: true }}\n{}",
            store.endpoint,
            static_credentials(&format!(
                "{GRANTS}\nlimits: [{{ name: bytes, upload_bytes: {most}, per: month }}]"
            ))
        );
        let top = format!(
            "callers: [{{ match: anyone, may: [sign, usage] }}]\nstate: {{ dir: \"{}\" }}",
            folder.path().display()
        );
        let presignd = Presignd::with_tenant("acme", &tenant).with_callers(&top);
        Self {
            presignd: presignd.start().await,
            store,
            _folder: folder,
        }
    }

    /// How many are used.
    async fn used(&self) -> u64 {
        let address = format!("http://{}", self.presignd.address);
        let mut operations = OperationsServiceClient::connect(address).await.unwrap();
        let asked = GetUsageRequest {
            tenant: "acme".to_owned(),
        };
        let answer = operations.get_usage(asked).await.unwrap().into_inner();
        let [LimitUsage { used, unit, .. }] = &answer.limits[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(unit, "upload_bytes");
        *used
    }

    /// Begins an upload of an object, with at most so many parts in the answer.
    async fn begin(&self, extent: Extent, max_parts: Option<u32>) -> Result<(), Refused> {
        let asked = StartMultipartUploadRequest {
            tenant: "acme".to_owned(),
            create: Some(presignd::proto::s3::CreateMultipartUpload {
                bucket: Some("acme-files".to_owned()),
                key: Some("k".to_owned()),
                ..Default::default()
            }),
            extent: Some(extent),
            part_size: if matches!(extent, Extent::Size(_)) {
                5 * MIB
            } else {
                0
            },
            max_parts,
            ..Default::default()
        };
        let mut client = self.presignd.client.clone();
        match client.start_multipart_upload(asked).await {
            Ok(_) => Ok(()),
            Err(status) => Err(Refused::read(&status)),
        }
    }
}

fn assert_undeclared(refused: &Refused, field: &str) {
    assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(refused.message.contains(field), "{}", refused.message);
}

fn assert_used_up(refused: &Refused) {
    assert_eq!(refused.why(), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    assert_eq!(refused.quotas, ["tenant:acme/limit:bytes"]);
}

#[tokio::test]
async fn a_form_is_charged_the_most_that_it_takes() {
    let bytes = Bytes::a_month("10B").await;
    let ask = async |form| bytes.presignd.presign_post(form).await;
    let undeclared = refused(ask(for_key("acme-files", "k")).await);
    assert_undeclared(&undeclared, "content_length_range");
    assert_eq!(bytes.used().await, 0);
    ask(of_bytes(1, 6, for_key("acme-files", "k")))
        .await
        .unwrap();
    assert_eq!(bytes.used().await, 6);
    let over = refused(ask(of_bytes(0, 5, for_key("acme-files", "k"))).await);
    assert_used_up(&over);
    assert_eq!(bytes.used().await, 6);
    ask(of_bytes(0, 4, for_keys("acme-files", "in/")))
        .await
        .unwrap();
    assert_eq!(bytes.used().await, 10);
    let never = refused(ask(of_bytes(0, 11, for_key("acme-files", "k"))).await);
    assert_used_up(&never);
    assert_eq!(never.retry_after, None, "a month never holds so much");
    bytes.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_plan_is_charged_what_its_parts_come_to() {
    let bytes = Bytes::a_month("30MiB").await;
    let undeclared = bytes.begin(Extent::PartCount(2), None).await.unwrap_err();
    assert_undeclared(&undeclared, "size");
    // Three parts, the last of them smaller.
    bytes.begin(Extent::Size(12 * MIB), None).await.unwrap();
    assert_eq!(bytes.used().await, 12 * MIB);
    let over = bytes.begin(Extent::Size(19 * MIB), None).await.unwrap_err();
    assert_used_up(&over);
    assert_eq!(bytes.used().await, 12 * MIB);
    assert_eq!(
        bytes.store.requests().len(),
        1,
        "what is refused is not begun"
    );
    // Of one that goes on later, what is signed by now.
    bytes.begin(Extent::Size(12 * MIB), Some(2)).await.unwrap();
    assert_eq!(bytes.used().await, 22 * MIB);

    // And the rest when it is signed.
    let rest = |part_numbers, size| PresignPartsRequest {
        tenant: "acme".to_owned(),
        upload: Some(presignd::proto::s3::UploadPart {
            bucket: Some("acme-files".to_owned()),
            key: Some("k".to_owned()),
            upload_id: Some("2~id".to_owned()),
            ..Default::default()
        }),
        part_numbers,
        size,
        part_size: if size == 0 { 0 } else { 5 * MIB },
        complete_and_abort: true,
        ..Default::default()
    };
    let ask = async |asked| bytes.presignd.client.clone().presign_parts(asked).await;
    assert_undeclared(&refused(ask(rest(vec![3], 0)).await), "size");
    ask(rest(vec![3], 12 * MIB)).await.unwrap();
    assert_eq!(bytes.used().await, 24 * MIB);
    assert_used_up(&refused(ask(rest(vec![1, 3], 12 * MIB)).await));
    assert_eq!(bytes.used().await, 24 * MIB);
    bytes.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_upload_that_s3_does_not_begin_is_given_back() {
    let mut bytes = Bytes::a_month("30MiB").await;
    let endpoint = bytes.store.endpoint.clone();
    bytes.store = FakeS3::beginning("2~other").await;
    // Nobody listens any more where the tenant's store was.
    assert_ne!(endpoint, bytes.store.endpoint);
    bytes.begin(Extent::Size(12 * MIB), None).await.unwrap_err();
    assert_eq!(bytes.used().await, 0);
    bytes.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_is_charged_all_bytes_that_are_allowed_of_it_or_none() {
    let bytes = Bytes::a_month("10B").await;
    let ask = async |commands: Vec<_>| {
        let answer = bytes.presignd.presign_batch(batch("acme", commands)).await;
        answer.map(|results| {
            let issued = |result: &BatchResult| matches!(result, BatchResult::Response(_));
            results.iter().map(issued).collect::<Vec<_>>()
        })
    };
    // Reading uploads nothing, and what is denied is not charged.
    let denied = put_object("globex-files", "k");
    let results = ask(vec![put_of(3), denied, get(), put_of(4)]).await;
    assert_eq!(results.unwrap(), [true, false, true, true]);
    assert_eq!(bytes.used().await, 7);
    // Each would fit, and together they do not.
    assert_used_up(&refused(ask(vec![put_of(2), put_of(2)]).await));
    assert_eq!(bytes.used().await, 7);
    let undeclared = refused(ask(vec![put_of(1), put_object("acme-files", "k")]).await);
    assert_undeclared(&undeclared, "content_length");
    assert_eq!(bytes.used().await, 7);
    assert_eq!(ask(vec![put_of(1), put_of(2)]).await.unwrap(), [true, true]);
    assert_eq!(bytes.used().await, 10);
    bytes.presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_item_of_a_stream_is_charged_its_own_bytes() {
    let bytes = Bytes::a_month("10B").await;
    let (asking, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut client = bytes.presignd.client.clone();
    let mut answers = client.stream_presign(asked).await.unwrap().into_inner();
    let mut ask = async |command| {
        let item = StreamPresignRequest {
            request_id: "1".to_owned(),
            request: Some(request("acme", command)),
        };
        asking.send(item).await.unwrap();
        match answers.message().await.unwrap().unwrap().result.unwrap() {
            StreamResult::Response(_) => Ok(()),
            StreamResult::Error(status) => {
                let status = prost::Message::encode_to_vec(&status);
                let status = prost::Message::decode(&*status).expect("google.rpc.Status");
                Err(Refused::read_item(&status))
            }
        }
    };
    ask(put_of(6)).await.unwrap();
    assert_used_up(&ask(put_of(5)).await.unwrap_err());
    let undeclared = ask(put_object("acme-files", "k")).await.unwrap_err();
    assert_undeclared(&undeclared, "content_length");
    ask(get_object("acme-files", "k")).await.unwrap();
    assert_eq!(bytes.used().await, 6);
    ask(put_of(4)).await.unwrap();
    assert_eq!(bytes.used().await, 10);
    bytes.presignd.shutdown().await.unwrap();
}
