//! Records: every decision leaves one, nothing leaves without one, and none of them, nor any log or status, holds a secret.

mod panics;
mod process;
mod rooms;
mod secrets;

use std::collections::BTreeSet;
use std::time::Duration;

use presignd::audit::AuditError;
use presignd::proto::v1::{ErrorReason as Reason, PresignRequest};
use tonic::Code;

use crate::harness::collector::{Collector, attributes};
use crate::harness::presignd::{
    Presignd, batch, get_object, lasting, request, static_credentials, static_tenant,
};
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::{Answer, FakeSts};

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

fn get() -> PresignRequest {
    request("acme", get_object("acme-files", "k"))
}

/// One refusal for each reason that a caller can bring about, and its tenant, bucket and key.
#[tokio::test]
async fn every_refusal_leaves_a_record_of_who_wanted_what() {
    let (refusing, silent, gone, skewed) = (
        FakeSts::start().await,
        FakeSts::start().await,
        FakeSts::start().await,
        FakeSts::start().await,
    );
    refusing.answer(Answer::denied());
    silent.answer(Answer::Nothing);
    gone.vanish();
    skewed.date_ahead(300);
    let limited = format!("{GRANTS}\nlimits: [{{ name: none, rate: 1/h, burst: 1 }}]");
    let odd = r#"grants: [{ commands: [read], resources: ["acme--x-s3/*"] }]"#;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_tenant("refusing", &refusing.tenant("refusing", "", GRANTS))
        .with_tenant("silent", &silent.tenant("silent", "", GRANTS))
        .with_tenant("gone", &gone.tenant("gone", "", GRANTS))
        .with_tenant("skewed", &skewed.tenant("skewed", "", GRANTS))
        .with_tenant("limited", &static_tenant(&limited))
        .with_tenant(
            "aws",
            &format!("region: eu-west-1\n{}", static_credentials(odd)),
        )
        .with_server("request_timeout: 2s")
        .start()
        .await;
    let of = |tenant: &str| request(tenant, get_object("acme-files", "k"));
    presignd.presign(of("limited")).await.unwrap();

    let cases = [
        (Reason::InvalidRequest, lasting(0, get())),
        (Reason::TenantDenied, of("globex")),
        (
            Reason::CommandDenied,
            request("acme", get_object("globex-files", "k")),
        ),
        (Reason::ExpiryAboveCap, lasting(604_800, get())),
        (Reason::ExpiryBeyondSession, lasting(40_000, of("refusing"))),
        (Reason::RateLimited, of("limited")),
        (Reason::StsUnavailable, of("gone")),
        (Reason::RoleRefused, of("refusing")),
        (
            Reason::NoEndpoint,
            request("aws", get_object("acme--x-s3", "k")),
        ),
        (Reason::ClockSkewed, of("skewed")),
        (Reason::DeadlineExceeded, of("silent")),
    ];
    let mut seen = BTreeSet::new();
    for (reason, mut request) in cases {
        request.reason = "because".into();
        request.subject = "user-17".into();
        let tenant = request.tenant.clone();
        let status = presignd.presign(request).await.unwrap_err();
        let refused = Refused::read(&status);
        let name = reason.as_str_name().strip_prefix("ERROR_REASON_").unwrap();
        assert_eq!(refused.reason, name);
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["reason_code"], name);
        assert_ne!(record["outcome"], "issued");
        assert_eq!(record["detail"], refused.message.as_str());
        assert_eq!(record["tenant"], tenant.as_str(), "{record:#}");
        assert_eq!(record["caller"], "anyone");
        assert_eq!(record["method"], "presignd.v1.PresignService/Presign");
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        if reason != Reason::InvalidRequest {
            assert_eq!(record["command"], "GetObject", "{record:#}");
            assert_eq!(record["key"], "k");
            assert_eq!(record["subject"], "user-17");
            assert_eq!(record["reason"], "because");
        }
        for absent in ["expires_at", "access_key_id"] {
            assert!(record.get(absent).is_none(), "{record:#}");
        }
        seen.insert(reason as i32);
    }
    // Those that no caller can bring about from here.
    for reason in [
        Reason::Unspecified,
        Reason::Unauthenticated,
        Reason::IssuerUnavailable,
        Reason::TooManyFailures,
        Reason::Internal,
        Reason::ShuttingDown,
        Reason::AuditUnavailable,
        Reason::SessionPolicyTooLong,
        // Those of days and months, and of a shared store.
        Reason::QuotaExceeded,
        Reason::CountsUnavailable,
        // Those of operators: see `operating`.
        Reason::TenantSuspended,
        Reason::ServiceFrozen,
        Reason::StateMissing,
        Reason::StateUnavailable,
        Reason::NotReloadable,
        Reason::OperationDenied,
        // Those of uploads in parts: see `multipart`.
        Reason::S3Refused,
        Reason::S3Unavailable,
        // Those of days and of counts that replicas share: see `quotas`.
        Reason::QuotaExceeded,
        Reason::CountsUnavailable,
        // And those without a record; of a stream's end, see `streaming`.
        Reason::Overloaded,
        Reason::StreamClosed,
    ] {
        seen.insert(reason as i32);
    }
    let all = (0..100).filter(|&number| Reason::try_from(number).is_ok());
    assert!(all.eq(seen), "a reason is missing here");
    assert_eq!(presignd.records.all().len(), 12, "one each");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn nothing_is_issued_or_refused_without_a_record() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_failing_records(AuditError::Closed)
        .start()
        .await;
    let denied = request("acme", get_object("globex-files", "k"));
    let invalid = lasting(0, get());
    for (error, reason) in [
        (AuditError::Closed, "AUDIT_UNAVAILABLE"),
        (AuditError::Full(1), "AUDIT_UNAVAILABLE"),
        (AuditError::Stopped, "SHUTTING_DOWN"),
    ] {
        presignd.records.fail(Some(error));
        for request in [get(), denied.clone(), invalid.clone()] {
            let status = presignd.presign(request.clone()).await.unwrap_err();
            let refused = Refused::read(&status);
            let why = (Code::Unavailable, reason);
            assert_eq!(refused.why(), why, "{request:?}");
            assert!(refused.retry_after.is_some());
            assert!(!format!("{status:?}").contains("X-Amz-"), "{status:?}");
        }
        let commands = [get_object("acme-files", "a"), get_object("acme-files", "b")];
        let of_batch = refused(presignd.presign_batch(batch("acme", commands)).await);
        assert_eq!(of_batch.why(), (Code::Unavailable, reason));
    }
    assert!(presignd.records.all().is_empty());

    presignd.records.fail(None);
    let issued = presignd.presign(get()).await.unwrap();
    presignd.records.of(&issued.issuance_id);
    assert_eq!(
        refused(presignd.presign(denied).await).reason,
        "COMMAND_DENIED"
    );
    presignd.shutdown().await.unwrap();
}

/// Whatever a client did before on its connection, presignd has seen once it answers this.
async fn seen(presignd: &Presignd) {
    let denied = request("acme", get_object("globex-files", "k"));
    refused(presignd.presign(denied).await);
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_a_record() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .start()
        .await;
    let mut client = presignd.client.clone();
    let asking = tokio::spawn(async move { client.presign(get()).await });
    sts.called(1).await;
    asking.abort();
    seen(&presignd).await;
    sts.answer(Answer::Session(Duration::from_hours(1)));
    let records = presignd.records.wait_for(2).await;
    assert_eq!(records[1]["outcome"], "issued");
    assert_eq!(records[1]["key"], "k");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_caller_who_hangs_up_on_a_batch_leaves_all_its_records() {
    let sts = FakeSts::start().await;
    sts.answer(Answer::Nothing);
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .start()
        .await;
    let mut client = presignd.client.clone();
    let commands = (0..50).map(|i| get_object("acme-files", &i.to_string()));
    let commands = batch("acme", commands);
    let asking = tokio::spawn(async move { client.batch_presign(commands).await });
    sts.called(1).await;
    asking.abort();
    seen(&presignd).await;
    sts.answer(Answer::denied());
    let records = presignd.records.wait_for(51).await;
    let of_batch = |r: &&serde_json::Value| r["reason_code"] == "ROLE_REFUSED";
    assert_eq!(records.iter().filter(of_batch).count(), 50);
    presignd.shutdown().await.unwrap();
}

/// The text of a request is data in the record, whatever it holds.
#[tokio::test]
async fn text_of_a_request_stays_within_its_field() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .start()
        .await;
    let key = "a\"\\\n{\"outcome\":\"issued\"}\u{202e}\u{7f}ü";
    let issued = presignd
        .presign(PresignRequest {
            subject: key.into(),
            ..request("acme", get_object("acme-files", key))
        })
        .await
        .unwrap();
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["key"], key);
    assert_eq!(record["subject"], key);
    assert_eq!(presignd.records.all().len(), 1);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_span_continues_the_callers_trace_even_if_that_is_not_sampled() {
    let (collector, otlp) = Collector::start().await;
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_telemetry(&format!("otlp: {{ endpoint: \"{otlp}\" }}"))
        .start()
        .await;
    let mut request = tonic::Request::new(get());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().unwrap());
    let issued = presignd.client.clone().presign(request).await.unwrap();
    let record = presignd.records.of(&issued.get_ref().issuance_id);
    assert_eq!(record["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    presignd.shutdown().await.unwrap();

    let spans = collector.spans();
    assert_eq!(spans.len(), 1);
    let bytes = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert_eq!(spans[0].trace_id, bytes);
    let bytes = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    assert_eq!(spans[0].parent_span_id, bytes);
    let attributes = attributes(&spans[0]);
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("aws.s3.bucket", "acme-files"),
        ("aws.s3.key", "k"),
        ("cloud.region", "us-east-1"),
        ("presignd.tenant", "acme"),
        ("presignd.command", "GetObject"),
        ("presignd.caller", "anyone"),
        ("presignd.expiry", "900"),
        ("presignd.outcome", "issued"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
}
