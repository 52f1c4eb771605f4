//! What a request may say and what an answer holds: every field and every refusal of `Presign`, as a client sees them.

mod commands;
mod expiry;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use presignd::proto::s3;
use presignd::proto::v1::command::Command as Variant;
use presignd::proto::v1::{ExpiryBound, PresignRequest, PresignResponse};
use tonic::Code;

use crate::harness::presignd::{Presignd, get_object, lasting, put_object, request, static_tenant};
use crate::harness::refusal::{Refused, assert_version_7, refused};
use crate::harness::sts::FakeSts;
use crate::harness::url::Presigned;

const READ: &str = r#"grants: [{ commands: [read, write], resources: ["acme-files/*"] }]"#;

async fn acme() -> Presignd {
    Presignd::with_tenant("acme", &static_tenant(READ))
        .start()
        .await
}

fn get() -> PresignRequest {
    request("acme", get_object("acme-files", "k"))
}

/// A refusal leaves a record that says the same.
fn assert_recorded(presignd: &Presignd, refused: &Refused) {
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["outcome"], "denied", "{record:#}");
    assert_eq!(record["reason_code"], refused.reason.as_str());
    assert_eq!(record["detail"], refused.message.as_str());
    let code = match refused.code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        other => panic!("{other:?} is not a denial of these tests"),
    };
    assert_eq!(record["status"], code);
}

#[tokio::test]
async fn an_answer_says_all_that_the_client_has_to_send() {
    let presignd = acme().await;
    let command = Variant::PutObject(s3::PutObject {
        bucket: Some("acme-files".into()),
        key: Some("a b/ü.txt".into()),
        content_type: Some("text/plain".into()),
        metadata: HashMap::from([("Owner".into(), "acme".into())]),
        content_length: Some(12),
        ..s3::PutObject::default()
    });
    let before = presignd::clock::Clock::now(&*presignd.clock);
    let issued = presignd
        .presign(lasting(60, request("acme", command)))
        .await
        .unwrap();

    let url = Presigned::read(&issued.url);
    assert_eq!(
        (url.origin.as_str(), url.path.as_str()),
        ("http://s3.test:9000", "/acme-files/a%20b/%C3%BC.txt")
    );
    assert_eq!(issued.method, "PUT");

    let mut signed = url.signed_headers();
    assert!(signed.contains(&"host"), "{signed:?}");
    signed.retain(|name| *name != "host");
    let mut headers: Vec<(&str, &str)> = issued
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, signed);
    let expected = [
        ("content-length", "12"),
        ("content-type", "text/plain"),
        ("x-amz-meta-owner", "acme"),
    ];
    assert_eq!(headers, expected);

    assert_eq!(issued.expiry_bound(), ExpiryBound::Request);
    assert_eq!(url.expires_in(), 60);
    let expires_at = SystemTime::try_from(issued.expires_at.unwrap()).unwrap();
    assert_eq!(expires_at, url.expires_at());
    let counted_from = expires_at - Duration::from_mins(1);
    let after = presignd::clock::Clock::now(&*presignd.clock);
    assert!(before - Duration::from_secs(1) < counted_from && counted_from <= after);

    assert_version_7(&issued.issuance_id);
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["outcome"], "issued");
    assert_eq!(record["status"], "OK");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_command_without_headers_needs_none() {
    let presignd = acme().await;
    let issued = presignd.presign(get()).await.unwrap();
    assert_eq!((issued.method.as_str(), issued.headers.len()), ("GET", 0));
    assert_eq!(Presigned::read(&issued.url).signed_headers(), ["host"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let presignd = acme().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(presignd.presign(get()).await.unwrap().issuance_id);
    }
    let by_time = ids.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "{by_time:?}");
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_session_token_stands_in_the_url_and_is_signed_into_no_header() {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", READ)
        .start()
        .await;
    let issued = presignd.presign(get()).await.unwrap();
    let session = &sts.sessions()[0];
    let url = Presigned::read(&issued.url);
    assert_eq!(url.parameter("X-Amz-Security-Token"), session.token);
    let credential = url.parameter("X-Amz-Credential");
    assert!(
        credential.starts_with(&format!("{}/", session.access_key_id))
            && credential.ends_with("/eu-west-1/s3/aws4_request"),
        "{credential}"
    );
    assert!(issued.headers.is_empty());

    let static_keys = acme().await;
    let url = Presigned::read(&static_keys.presign(get()).await.unwrap().url);
    assert!(!url.query.contains_key("X-Amz-Security-Token"));
    static_keys.shutdown().await.unwrap();
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn fields_that_are_not_valid_are_named() {
    let with_mode = |mode| PresignRequest {
        expiry_mode: mode,
        ..get()
    };
    let of_tenant = |tenant: &str| request(tenant, get_object("acme-files", "k"));
    let without_command = |command| PresignRequest { command, ..get() };
    let expiring = |seconds, nanos| PresignRequest {
        expires_in: Some(prost_types::Duration { seconds, nanos }),
        ..get()
    };
    let long = "x".repeat(64);
    let cases: Vec<(PresignRequest, &[&str])> = vec![
        (of_tenant(""), &["tenant"]),
        (of_tenant("../b"), &["tenant"]),
        (of_tenant("*"), &["tenant"]),
        (of_tenant("Acme"), &["tenant"]),
        (of_tenant("аcme"), &["tenant"]),
        (of_tenant("acme\0"), &["tenant"]),
        (of_tenant(&long), &["tenant"]),
        (without_command(None), &["command"]),
        (without_command(Some(Box::default())), &["command"]),
        (expiring(0, 0), &["expires_in"]),
        (expiring(-1, 0), &["expires_in"]),
        (expiring(604_801, 0), &["expires_in"]),
        (expiring(900, 1), &["expires_in"]),
        (expiring(0, 999_999_999), &["expires_in"]),
        (expiring(i64::MAX, i32::MAX), &["expires_in"]),
        (with_mode(3), &["expiry_mode"]),
        (with_mode(-1), &["expiry_mode"]),
        (
            PresignRequest {
                reason: "x".repeat(257),
                ..get()
            },
            &["reason"],
        ),
        (
            // Bytes count, not characters.
            PresignRequest {
                subject: "ü".repeat(129),
                ..get()
            },
            &["subject"],
        ),
        (
            PresignRequest {
                tenant: "..".into(),
                reason: "x".repeat(257),
                ..expiring(0, 0)
            },
            &["tenant", "expires_in", "reason"],
        ),
    ];
    let presignd = acme().await;
    for (request, fields) in cases {
        let refused = refused(presignd.presign(request.clone()).await);
        let why = (Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(refused.why(), why, "{request:?}");
        assert_eq!(refused.fields, fields, "{request:?}");
        assert_eq!(refused.retry_after, None);
        assert_recorded(&presignd, &refused);
    }
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn reason_and_subject_are_recorded_up_to_their_limits() {
    let presignd = acme().await;
    let issued = presignd
        .presign(PresignRequest {
            reason: "ü".repeat(128),
            subject: "s".repeat(256),
            ..get()
        })
        .await
        .unwrap();
    let record = presignd.records.of(&issued.issuance_id);
    assert_eq!(record["reason"], "ü".repeat(128));
    assert_eq!(record["subject"], "s".repeat(256));

    let issued = presignd.presign(get()).await.unwrap();
    let record = presignd.records.of(&issued.issuance_id);
    assert!(record.get("reason").is_none() && record.get("subject").is_none());
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn tenants_that_are_not_the_callers_are_told_alike() {
    let presignd = acme().await;
    let mut seen = Vec::new();
    for tenant in ["globex", "acme2", "a"] {
        let request = request(tenant, get_object("acme-files", "k"));
        let status = presignd.presign(request).await.unwrap_err();
        let refused = Refused::read(&status);
        assert_eq!(refused.why(), (Code::PermissionDenied, "TENANT_DENIED"));
        assert_recorded(&presignd, &refused);
        assert_eq!(presignd.records.of(&refused.issuance_id)["tenant"], tenant);

        let id = refused.issuance_id.as_bytes();
        let mut details = status.details().to_vec();
        let at = details
            .windows(id.len())
            .position(|window| window == id)
            .expect("the id stands in the details");
        details.splice(at..at + id.len(), []);
        let metadata: Vec<String> = status
            .metadata()
            .keys()
            .map(|key| format!("{key:?}"))
            .filter(|key| !key.contains("date"))
            .collect();
        seen.push((status.message().to_owned(), details, metadata));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_no_grant_allows_is_denied() {
    let presignd = acme().await;
    for command in [
        get_object("globex-files", "k"),
        get_object("acme-files2", "k"),
        put_object("acme", "k"),
        Variant::DeleteObject(s3::DeleteObject {
            bucket: Some("acme-files".into()),
            key: Some("k".into()),
            ..s3::DeleteObject::default()
        }),
        Variant::ListBuckets(s3::ListBuckets::default()),
    ] {
        let refused = refused(presignd.presign(request("acme", command.clone())).await);
        let why = (Code::PermissionDenied, "COMMAND_DENIED");
        assert_eq!(refused.why(), why, "{command:?}");
        assert_eq!((refused.retry_after, refused.fields.len()), (None, 0));
        assert_recorded(&presignd, &refused);
    }
    presignd.shutdown().await.unwrap();
}

/// The request of a later version: fields that this one does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct NewerRequest {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(message, optional, tag = "2")]
    command: Option<NewerCommand>,
    #[prost(string, tag = "4000")]
    hint: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewerCommand {
    #[prost(string, tag = "50")]
    qualifier: String,
    #[prost(message, optional, tag = "5000")]
    new_operation: Option<s3::GetObject>,
    #[prost(message, optional, tag = "153")]
    get_object: Option<s3::GetObject>,
}

async fn presign_newer(
    presignd: &Presignd,
    request: NewerRequest,
) -> Result<PresignResponse, tonic::Status> {
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", presignd.address))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    grpc.unary(
        tonic::Request::new(request),
        "/presignd.v1.PresignService/Presign".parse().unwrap(),
        tonic_prost::ProstCodec::default(),
    )
    .await
    .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn fields_that_are_not_known_are_ignored() {
    let presignd = acme().await;
    let Some(Variant::GetObject(get_object)) = get().command.unwrap().command else {
        unreachable!("a GetObject")
    };
    let newer = NewerRequest {
        tenant: "acme".into(),
        command: Some(NewerCommand {
            qualifier: "q".into(),
            get_object: Some(get_object),
            ..NewerCommand::default()
        }),
        hint: "h".into(),
    };
    let issued = presign_newer(&presignd, newer.clone()).await.unwrap();
    assert_eq!(Presigned::read(&issued.url).path, "/acme-files/k");

    let unknown = NewerRequest {
        command: Some(NewerCommand {
            new_operation: Some(s3::GetObject::default()),
            ..NewerCommand::default()
        }),
        ..newer
    };
    let refused = refused(presign_newer(&presignd, unknown).await);
    assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(refused.fields, ["command"]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_the_server_lives_on() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(READ))
        .with_server("max_request_bytes: 1KiB")
        .start()
        .await;
    let large = request("acme", get_object("acme-files", &"k".repeat(1024)));
    let status = presignd.presign(large).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let fits = request("acme", get_object("acme-files", &"k".repeat(900)));
    presignd.presign(fits).await.unwrap();
    presignd.shutdown().await.unwrap();
}
