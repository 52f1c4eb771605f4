//! What becomes of a plan that is not allowed, or that S3 does not begin: nothing is left of it but a record.

use std::time::Duration;

use presignd::audit::AuditError;
use presignd::proto::v1::SigningOptions;
use tonic::Code;

use super::*;
use crate::harness::fake_s3::{answer, error};
use crate::harness::refusal::Refused;

const ALL: &str = r#"grants: [{ commands: [CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload], resources: ["acme-files/*"] }]"#;

async fn refused(presignd: &Presignd, request: StartMultipartUploadRequest) -> Refused {
    let began = begin(presignd, request).await;
    let refused = Refused::read(&began.expect_err("it is refused"));
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(record["reason_code"], refused.reason, "{record:#}");
    assert_eq!(record["detail"], refused.message);
    refused
}

fn of_size(bytes: u64) -> StartMultipartUploadRequest {
    start("k", Extent::Size(bytes))
}

#[tokio::test]
async fn a_plan_that_is_not_allowed_never_reaches_s3() {
    let s3 = FakeS3::beginning("2~id").await;
    let bounded = ALL.replace("\"] }]", "\"], max_upload: 10MiB }]");
    let limited = format!("{ALL}\nlimits: [{{ name: few, rate: 1/h, burst: 5 }}]");
    let typed = ALL.replace("\"] }]", "\"], content_types: [image/png] }]");
    let mut builder = Presignd::with_tenant("acme", &tenant_of(&s3, ALL))
        .with_tenant("bounded", &tenant_of(&s3, &bounded))
        .with_tenant("limited", &tenant_of(&s3, &limited))
        .with_tenant("typed", &tenant_of(&s3, &typed));
    let commands = [
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    ];
    for (n, command) in commands.iter().enumerate() {
        let without = ALL.replace(command, "PutObject");
        builder = builder.with_tenant(&format!("without-{n}"), &tenant_of(&s3, &without));
    }
    let presignd = builder.start().await;
    let by = |tenant: &str, request: StartMultipartUploadRequest| StartMultipartUploadRequest {
        tenant: tenant.to_owned(),
        ..request
    };
    let sized = |part_size, bytes| StartMultipartUploadRequest {
        part_size,
        ..of_size(bytes)
    };
    let in_bucket = |bucket: &str| {
        let mut request = of_size(MIB);
        request.create.as_mut().unwrap().bucket = Some(bucket.to_owned());
        request
    };

    for (request, field) in [
        (of_size(0), "size"),
        (of_size((5 << 40) + 1), "size"),
        (sized(5 * MIB - 1, 100 * MIB), "part_size"),
        (sized((5 << 30) + 1, 100 << 30), "part_size"),
        (sized(5 * MIB, 1 << 40), "part_size"),
        (start("k", Extent::PartCount(10_001)), "part_count"),
        (start("a/../b", Extent::PartCount(1)), "create.key"),
        (start("", Extent::PartCount(1)), "create.key"),
    ] {
        let refused = refused(&presignd, request).await;
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, [field], "{refused:?}");
    }
    let denied = (Code::PermissionDenied, "COMMAND_DENIED");
    for (n, command) in commands.iter().enumerate() {
        let refused = refused(&presignd, by(&format!("without-{n}"), of_size(MIB))).await;
        assert_eq!(refused.why(), denied);
        assert!(refused.message.contains(command), "{refused:?}");
    }
    let others = refused(&presignd, in_bucket("globex-files")).await;
    assert_eq!(others.why(), denied);
    let foreign = refused(&presignd, by("globex", of_size(MIB))).await;
    assert_eq!(foreign.why(), (Code::PermissionDenied, "TENANT_DENIED"));
    for (request, words) in [
        // Each part would fit, and all together do not.
        (sized(5 * MIB, 10 * MIB + 1), "max_upload"),
        (start("k", Extent::PartCount(2)), "size"),
    ] {
        let refused = refused(&presignd, by("bounded", request)).await;
        assert_eq!(refused.why(), denied);
        assert!(refused.message.contains(words), "{refused:?}");
    }
    let untyped = refused(&presignd, by("typed", of_size(MIB))).await;
    assert_eq!(untyped.fields, ["create.content_type"], "{untyped:?}");
    let accelerated = StartMultipartUploadRequest {
        options: Some(SigningOptions {
            accelerate: Some(true),
            ..SigningOptions::default()
        }),
        ..of_size(MIB)
    };
    let accelerated = refused(&presignd, accelerated).await;
    assert_eq!(accelerated.why(), (Code::InvalidArgument, "NO_ENDPOINT"));
    assert_eq!(
        accelerated.fields,
        ["options.accelerate"],
        "{accelerated:?}"
    );
    // Three parts, and what begins and ends them.
    let three = sized(5 * MIB, 15 * MIB);
    let many = refused(&presignd, by("limited", three.clone())).await;
    assert_eq!(many.why(), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(many.retry_after, None);
    assert_eq!(s3.requests(), [""; 0]);

    let fewer = StartMultipartUploadRequest {
        max_parts: Some(2),
        ..by("limited", three)
    };
    let plan = begin(&presignd, fewer).await.unwrap();
    assert_eq!((plan.parts.len(), plan.next_part_number), (2, 3));
    assert_eq!(s3.requests().len(), 1);
}

#[tokio::test]
async fn what_s3_refuses_is_told_by_its_code() {
    let ceph = Ceph::shared();
    let grants = r#"[{ commands: [write, delete], resources: ["no-such-bucket-of-acme/*", "globex-files/*"] }]"#;
    let presignd = Presignd::with_ceph_owner("acme", grants)
        .with_ceph_tenant("globex", grants)
        .start()
        .await;
    let in_bucket = |bucket: &str| {
        let mut request = of_size(MIB);
        request.create.as_mut().unwrap().bucket = Some(bucket.to_owned());
        request
    };
    let missing = refused(&presignd, in_bucket("no-such-bucket-of-acme")).await;
    assert_eq!(missing.why(), (Code::NotFound, "S3_REFUSED"));
    assert_eq!(missing.metadata["s3_code"], "NoSuchBucket");
    assert_eq!(missing.metadata["s3_status"], "404");
    assert!(missing.message.contains("NoSuchBucket"), "{missing:?}");

    // Granted by presignd alone: the bucket is another's.
    let foreign = refused(&presignd, in_bucket("globex-files")).await;
    assert_eq!(foreign.why(), (Code::PermissionDenied, "S3_REFUSED"));
    assert_eq!(foreign.metadata["s3_code"], "AccessDenied");
    let objects = ceph.objects("globex-files", "k").await;
    assert!(objects.keys().is_empty());
}

#[tokio::test]
async fn whatever_s3_answers_ends_in_a_refusal_without_its_words() {
    let large = answer(200, &"x".repeat(100_000));
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n{large}");
    let moved = "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let (unavailable, failed) = (Code::Unavailable, Code::FailedPrecondition);
    for (answered, code, reason, s3_code) in [
        (
            error(503, "SlowDown"),
            unavailable,
            "S3_UNAVAILABLE",
            Some("SlowDown"),
        ),
        (
            error(500, "InternalError"),
            unavailable,
            "S3_UNAVAILABLE",
            Some("InternalError"),
        ),
        (
            error(400, "InvalidRequest"),
            failed,
            "S3_REFUSED",
            Some("InvalidRequest"),
        ),
        (
            error(403, "<script>"),
            Code::PermissionDenied,
            "S3_REFUSED",
            Some(""),
        ),
        (moved.to_owned(), failed, "S3_REFUSED", Some("")),
        (
            answer(200, "words-of-s3"),
            unavailable,
            "S3_UNAVAILABLE",
            None,
        ),
        (
            error(200, "InternalError"),
            unavailable,
            "S3_UNAVAILABLE",
            None,
        ),
        (large, unavailable, "S3_UNAVAILABLE", None),
        (huge, unavailable, "S3_UNAVAILABLE", None),
        (
            "words-of-s3".to_owned(),
            unavailable,
            "S3_UNAVAILABLE",
            None,
        ),
    ] {
        let s3 = FakeS3::answering(answered.clone()).await;
        let presignd = Presignd::with_tenant("acme", &tenant_of(&s3, ALL))
            .start()
            .await;
        let refused = refused(&presignd, of_size(MIB)).await;
        let shown = &answered[..answered.len().min(200)];
        assert_eq!(refused.why(), (code, reason), "{shown}");
        assert_eq!(
            refused.metadata.get("s3_code").map(String::as_str),
            s3_code,
            "{shown}"
        );
        assert_eq!(
            refused.retry_after.is_some(),
            code == unavailable,
            "{shown}"
        );
        let record = presignd.records.of(&refused.issuance_id).to_string();
        for text in [format!("{refused:?}"), record] {
            for secret in ["words-of-s3", "X-Amz-", "script", "/k?"] {
                assert!(!text.contains(secret), "{secret}: {text}");
            }
        }
        assert_eq!(s3.requests().len(), 1, "it is asked once: {shown}");
    }
}

#[tokio::test]
async fn an_s3_that_hangs_or_is_gone_is_not_waited_for() {
    let hanging = FakeS3::answering("").await;
    let gone = FakeS3::answering("").await;
    let endpoint = gone.endpoint.clone();
    drop(gone);
    let closed = tenant_of(&hanging, ALL).replace(&hanging.endpoint, &endpoint);
    let presignd = Presignd::with_tenant("acme", &tenant_of(&hanging, ALL))
        .with_tenant("gone", &closed)
        .start()
        .await;
    // Sooner than presignd's own patience with a request is over.
    let slow = refused(&presignd, of_size(MIB)).await;
    assert_eq!(slow.why(), (Code::Unavailable, "S3_UNAVAILABLE"));
    assert!(slow.retry_after.is_some());

    let mut request = of_size(MIB);
    request.tenant = "gone".to_owned();
    let gone = refused(&presignd, request).await;
    assert_eq!(gone.why(), (Code::Unavailable, "S3_UNAVAILABLE"));

    // Who waits for less is answered in time.
    let mut impatient = tonic::Request::new(of_size(MIB));
    impatient.set_timeout(Duration::from_secs(1));
    let mut client = presignd.client.clone();
    let status = client.start_multipart_upload(impatient);
    let refused = Refused::read(&status.await.unwrap_err());
    assert_eq!(refused.why(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(hanging.requests().len(), 2);
}

#[tokio::test]
async fn s3_is_asked_as_the_tenant_and_an_upload_without_a_record_is_given_up() {
    let s3 = FakeS3::beginning("an+id/of=s3").await;
    let presignd = Presignd::with_tenant("acme", &tenant_of(&s3, ALL))
        .with_failing_records(AuditError::Closed)
        .start()
        .await;
    let mut request = of_size(MIB);
    let create = request.create.as_mut().unwrap();
    create.content_type = Some("image/png".to_owned());
    let status = begin(&presignd, request.clone()).await.unwrap_err();
    let failed = Refused::read(&status);
    assert_eq!(failed.why(), (Code::Unavailable, "AUDIT_UNAVAILABLE"));
    assert!(!format!("{status:?}").contains("X-Amz-"), "{status:?}");
    let requests = s3.requests();
    let [post, delete] = requests.as_slice() else {
        panic!("{requests:#?}");
    };
    assert!(
        post.starts_with("POST /acme-files/k?X-Amz-Algorithm="),
        "{post}"
    );
    assert!(post.contains("X-Amz-Credential=AKIDSTATIC%2F"), "{post}");
    assert!(post.contains("&uploads=&X-Amz-Signature="), "{post}");
    assert!(post.contains("\r\ncontent-type: image/png\r\n"), "{post}");
    assert!(post.contains("\r\ncontent-length: 0\r\n"), "{post}");
    assert!(
        delete.starts_with("DELETE /acme-files/k?X-Amz-Algorithm="),
        "{delete}"
    );
    assert!(
        delete.contains("&uploadId=an%2Bid%2Fof%3Ds3&X-Amz-Signature="),
        "{delete}"
    );
    assert!(presignd.records.all().is_empty());

    // What begins nothing gives up nothing.
    let mut request = further("k", "an+id");
    (request.part_numbers, request.complete_and_abort) = (vec![1], true);
    let status = parts(&presignd, request).await.unwrap_err();
    assert_eq!(Refused::read(&status).reason, "AUDIT_UNAVAILABLE");
    assert_eq!(s3.requests().len(), 2);
}

#[tokio::test]
async fn parts_of_an_upload_are_refused_like_any_command() {
    let s3 = FakeS3::beginning("2~id").await;
    let grants = ALL.replace("acme-files/*", "acme-files/in/*");
    let presignd = Presignd::with_tenant("acme", &tenant_of(&s3, &grants))
        .start()
        .await;
    let numbered = |key: &str, id: &str, numbers: &[u32]| PresignPartsRequest {
        part_numbers: numbers.to_vec(),
        ..further(key, id)
    };
    for (request, reason, fields) in [
        (numbered("out/k", "2~id", &[1]), "COMMAND_DENIED", &[][..]),
        (
            numbered("in/k", "", &[1]),
            "INVALID_REQUEST",
            &["upload.upload_id"],
        ),
        (
            numbered("in/k", "2~id", &[0]),
            "INVALID_REQUEST",
            &["part_numbers[0]"],
        ),
        (
            numbered("in/k", "2~id", &[]),
            "INVALID_REQUEST",
            &["part_numbers"],
        ),
    ] {
        let status = parts(&presignd, request).await.unwrap_err();
        let refused = Refused::read(&status);
        assert_eq!(refused.reason, reason, "{status:?}");
        assert_eq!(refused.fields, fields);
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["method"], "presignd.v1.PresignService/PresignParts");
    }
    let signed = parts(&presignd, numbered("in/k", "2~id", &[7, 9])).await;
    let signed = signed.unwrap();
    let record = presignd.records.of(&signed.issuance_id);
    assert_eq!(record["parts"], "7,9");
    assert_eq!(s3.requests(), [""; 0], "nothing is asked of S3 for parts");
}
