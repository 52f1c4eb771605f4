//! What is suspended or frozen is refused, however it is asked for.

use presignd::proto::s3;
use presignd::proto::v1::start_multipart_upload_request::Extent;
use presignd::proto::v1::stream_presign_response::Result as ItemResult;
use presignd::proto::v1::{
    ExplainPresignRequest, FreezeServiceRequest, PresignPartsRequest, ResumeTenantRequest,
    StartMultipartUploadRequest, StreamPresignRequest, StreamPresignResponse, SuspendTenantRequest,
    UnfreezeServiceRequest,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{BOSS, CLIENT, OPERATOR, Operated, get};
use crate::harness::form::for_key;
use crate::harness::presignd::{batch, get_object, reason};
use crate::harness::refusal::Refused;

const SUSPENDED: (Code, &str) = (Code::FailedPrecondition, "TENANT_SUSPENDED");
const FROZEN: (Code, &str) = (Code::Unavailable, "SERVICE_FROZEN");

/// What comes of each unary way to have something signed for `acme`.
async fn all_ways(over: &Operated) -> Vec<(&'static str, Result<(), Status>)> {
    let mut client = over.client.clone();
    let (bucket, key) = (Some("acme-files".to_owned()), Some("k".to_owned()));
    let commands = [get_object("acme-files", "k"), get_object("acme-files", "l")];
    let start = StartMultipartUploadRequest {
        tenant: "acme".to_owned(),
        create: Some(s3::CreateMultipartUpload {
            bucket: bucket.clone(),
            key: key.clone(),
            ..s3::CreateMultipartUpload::default()
        }),
        extent: Some(Extent::Size(1)),
        ..StartMultipartUploadRequest::default()
    };
    let parts = PresignPartsRequest {
        tenant: "acme".to_owned(),
        upload: Some(s3::UploadPart {
            bucket,
            key,
            upload_id: Some("id".to_owned()),
            ..s3::UploadPart::default()
        }),
        part_numbers: vec![1],
        ..PresignPartsRequest::default()
    };
    let mut form = for_key("acme-files", "k");
    "acme".clone_into(&mut form.tenant);
    let batch = over.by(CLIENT, batch("acme", commands));
    let (form, parts, start) = (
        over.by(CLIENT, form),
        over.by(CLIENT, parts),
        over.by(CLIENT, start),
    );
    vec![
        ("Presign", over.presign("acme").await.map(drop)),
        ("BatchPresign", client.batch_presign(batch).await.map(drop)),
        ("PresignPost", client.presign_post(form).await.map(drop)),
        ("PresignParts", client.presign_parts(parts).await.map(drop)),
        (
            "StartMultipartUpload",
            client.start_multipart_upload(start).await.map(drop),
        ),
    ]
}

/// A stream of the client's.
struct Stream {
    asking: mpsc::Sender<StreamPresignRequest>,
    answers: Streaming<StreamPresignResponse>,
}

impl Stream {
    async fn open(over: &Operated) -> Self {
        let (asking, asked) = mpsc::channel(1);
        let request = over.by(CLIENT, ReceiverStream::new(asked));
        let answers = over.client.clone().stream_presign(request).await;
        Self {
            asking,
            answers: answers.expect("the stream is opened").into_inner(),
        }
    }

    async fn ask(&mut self, tenant: &str) -> Result<(), Refused> {
        let request = StreamPresignRequest {
            request_id: "r".to_owned(),
            request: Some(get(tenant)),
        };
        self.asking.send(request).await.expect("it is open");
        let answer = self.answers.message().await.expect("it is open");
        match answer.and_then(|answer| answer.result).expect("an answer") {
            ItemResult::Response(_) => Ok(()),
            ItemResult::Error(status) => Err(Refused::read_item(&status)),
        }
    }
}

/// Why nothing would be signed, as it is explained.
async fn explained(over: &Operated) -> String {
    let asked = ExplainPresignRequest {
        request: Some(get("acme")),
    };
    let asked = over.by(CLIENT, asked);
    let answer = over.client.clone().explain_presign(asked).await.unwrap();
    let status = answer.into_inner().refusal.expect("a refusal");
    // An explanation's refusal is named by the explanation's id.
    let status = Status::with_details(
        Code::from_i32(status.code),
        status.message.clone(),
        status.encode_to_vec().into(),
    );
    reason(&status)
}

fn assert_all(ways: Vec<(&'static str, Result<(), Status>)>, why: (Code, &str)) {
    for (way, answer) in ways {
        let refused = Refused::read(&answer.expect_err(way));
        assert_eq!(refused.why(), why, "{way}");
        // Why the operator did it is not the clients' business.
        assert!(!refused.message.contains("leak"), "{way}: {refused:?}");
        assert!(refused.message.contains("by its operators"), "{refused:?}");
    }
}

fn assert_none(ways: Vec<(&'static str, Result<(), Status>)>) {
    for (way, answer) in ways {
        match answer {
            // There is no S3 behind it.
            Err(status) if way == "StartMultipartUpload" => {
                assert_eq!(Refused::read(&status).reason, "S3_UNAVAILABLE");
            }
            answer => answer.unwrap_or_else(|status| panic!("{way}: {status:?}")),
        }
    }
}

#[tokio::test]
async fn a_suspended_tenant_has_nothing_signed_until_it_is_resumed() {
    let over = Operated::start().await;
    let mut stream = Stream::open(&over).await;
    assert_none(all_ways(&over).await);
    stream.ask("acme").await.unwrap();

    let suspend = |reason: &str| {
        let message = SuspendTenantRequest {
            tenant: "acme".to_owned(),
            reason: reason.to_owned(),
        };
        over.by(OPERATOR, message)
    };
    let first = over.operations().suspend_tenant(suspend("a leak")).await;
    let first = first.unwrap().into_inner();
    let order = first.order.unwrap();
    assert!(!first.stood_already);
    assert_eq!(order.reason, "a leak");
    assert_eq!(order.ordered_by, "key.operator");
    let record = over.record("SuspendTenant").await;
    assert_eq!(record["outcome"], "operated");
    assert_eq!(record["status"], "OK");
    assert_eq!(record["caller"], "key.operator");
    assert_eq!(record["tenant"], "acme");
    assert_eq!(record["reason"], "a leak");

    assert_all(all_ways(&over).await, SUSPENDED);
    let on_stream = stream.ask("acme").await.unwrap_err();
    assert_eq!(on_stream.why(), SUSPENDED);
    stream.ask("globex").await.unwrap();
    over.presign("globex").await.unwrap();
    let refused = Refused::read(&over.presign("acme").await.unwrap_err());
    let record = over.record(&refused.issuance_id).await;
    assert_eq!(record["outcome"], "denied");
    assert_eq!(record["reason_code"], "TENANT_SUSPENDED");
    assert_eq!(record["detail"], refused.message.as_str());
    assert_eq!(explained(&over).await, SUSPENDED.1);

    // The first order stands.
    let again = over.operations().suspend_tenant(suspend("another")).await;
    let again = again.unwrap().into_inner();
    assert!(again.stood_already);
    assert_eq!(again.order.as_ref(), Some(&order));
    over.record("was suspended before").await;

    let resume = || {
        let message = ResumeTenantRequest {
            tenant: "acme".to_owned(),
            reason: "all is well".to_owned(),
        };
        over.by(OPERATOR, message)
    };
    let resumed = over.operations().resume_tenant(resume()).await.unwrap();
    assert_eq!(resumed.into_inner().ended, Some(order));
    assert_none(all_ways(&over).await);
    stream.ask("acme").await.unwrap();
    let resumed = over.operations().resume_tenant(resume()).await.unwrap();
    assert_eq!(resumed.into_inner().ended, None);
    over.record("was not suspended").await;
}

#[tokio::test]
async fn a_frozen_service_has_nothing_signed_for_anybody() {
    let over = Operated::start().await;
    let mut stream = Stream::open(&over).await;
    stream.ask("globex").await.unwrap();
    over.suspend("acme").await;
    for stood in [false, true] {
        let message = FreezeServiceRequest {
            reason: "a leak".to_owned(),
        };
        let message = over.by(BOSS, message);
        let frozen = over.operations().freeze_service(message).await.unwrap();
        assert_eq!(frozen.into_inner().stood_already, stood);
    }
    assert_all(all_ways(&over).await, FROZEN);
    for tenant in ["acme", "globex"] {
        let refused = stream.ask(tenant).await.unwrap_err();
        assert_eq!(refused.why(), FROZEN, "{tenant}");
        assert!(refused.retry_after.is_some());
    }
    assert_eq!(explained(&over).await, FROZEN.1);
    // Nobody learns of it who may not even have the tenant signed for.
    let stranger = over.by(OPERATOR, get("acme"));
    let stranger = over.client.clone().presign(stranger).await.unwrap_err();
    assert_eq!(Refused::read(&stranger).reason, "TENANT_DENIED");
    let message = UnfreezeServiceRequest {
        reason: "it is over".to_owned(),
    };
    let message = over.by(BOSS, message);
    let ended = over.operations().unfreeze_service(message).await.unwrap();
    let ended = ended.into_inner().ended.unwrap();
    assert_eq!((&*ended.reason, &*ended.ordered_by), ("a leak", "key.boss"));
    stream.ask("globex").await.unwrap();
    // Of the two orders, one was ended.
    assert_all(all_ways(&over).await, SUSPENDED);
}
