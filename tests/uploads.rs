//! Uploads in parts as one plan: begun by presignd, and every step of them by a URL of the plan.

mod large;
mod refusing;
mod tools;

use presignd::proto::s3;
use presignd::proto::v1::presign_service_client::PresignServiceClient;
use presignd::proto::v1::start_multipart_upload_request::Extent;
use presignd::proto::v1::{
    ExpiryBound, ExpiryMode, HeaderPlacement, PresignPartsRequest, PresignedPart, PresignedStep,
    SigningOptions, StartMultipartUploadRequest, StartMultipartUploadResponse,
};
use prost::Message as _;
use tonic::Status;

use crate::harness::ceph::Ceph;
use crate::harness::commands::command;
use crate::harness::fake_s3::FakeS3;
use crate::harness::http::{self, Response};
use crate::harness::presignd::{Presignd, reason, static_credentials};
use crate::harness::url::Presigned;

const BUCKET: &str = "acme-files";
const GRANTS: &str = r#"[{ commands: [write, delete, ListParts, ListMultipartUploads], resources: ["acme-files/*"] }]"#;
const MIB: u64 = 1 << 20;

/// A request of acme's to begin an upload of this key, for five minutes.
fn start(key: &str, extent: Extent) -> StartMultipartUploadRequest {
    StartMultipartUploadRequest {
        tenant: "acme".to_owned(),
        create: Some(s3::CreateMultipartUpload {
            bucket: Some(BUCKET.to_owned()),
            key: Some(key.to_owned()),
            ..Default::default()
        }),
        extent: Some(extent),
        expires_in: Some(seconds(300)),
        ..Default::default()
    }
}

/// A request of acme's for further URLs of an upload, for five minutes, with no part named.
fn further(key: &str, upload_id: &str) -> PresignPartsRequest {
    PresignPartsRequest {
        tenant: "acme".to_owned(),
        upload: Some(s3::UploadPart {
            bucket: Some(BUCKET.to_owned()),
            key: Some(key.to_owned()),
            upload_id: Some(upload_id.to_owned()),
            ..Default::default()
        }),
        expires_in: Some(seconds(300)),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

async fn begin(
    presignd: &Presignd,
    request: StartMultipartUploadRequest,
) -> Result<StartMultipartUploadResponse, Status> {
    let mut client = presignd.client.clone();
    let answer = client.start_multipart_upload(request).await;
    answer.map(tonic::Response::into_inner)
}

async fn parts(
    presignd: &Presignd,
    request: PresignPartsRequest,
) -> Result<presignd::proto::v1::PresignPartsResponse, Status> {
    let answer = presignd.client.clone().presign_parts(request).await;
    answer.map(tonic::Response::into_inner)
}

/// Uploads a part.
async fn put(part: &PresignedPart, body: impl Into<hyper::body::Bytes>) -> Response {
    http::send(&part.method, &part.url, &part.headers, body).await
}

/// Completes or aborts an upload.
async fn finish(step: Option<&PresignedStep>, body: impl Into<hyper::body::Bytes>) -> Response {
    let step = step.expect("a step");
    http::send(&step.method, &step.url, &step.headers, body).await
}

/// S3's document that makes an object of parts: their numbers, and the entity tags that S3 gave.
fn document(parts: impl IntoIterator<Item = (u32, String)>) -> String {
    let part = |(number, etag)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts: Vec<String> = parts.into_iter().map(part).collect();
    format!(
        "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
        parts.concat()
    )
}

/// What lists the parts of an upload: 404 once it has ended.
async fn listed(presignd: &Presignd, key: &str, upload_id: &str) -> Response {
    let list = command!(ListParts {
        bucket: BUCKET,
        key: key,
        upload_id: upload_id,
    });
    presignd.run("acme", list, "").await
}

/// A tenant with long-lived keys of this store.
fn tenant_of(s3: &FakeS3, rest: &str) -> String {
    format!(
        "region: us-east-1\nendpoint: {{ url: \"{}\", path_style: true }}\n{}",
        s3.endpoint,
        static_credentials(rest)
    )
}

#[tokio::test]
async fn options_are_for_every_step_of_a_plan() {
    const PAYER: &str = "x-amz-request-payer";
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    for placement in [HeaderPlacement::Headers, HeaderPlacement::Query] {
        let options = Some(SigningOptions {
            header_placement: placement.into(),
            requester_pays: Some(true),
            ..SigningOptions::default()
        });
        let request = StartMultipartUploadRequest {
            options,
            ..start("k", Extent::Size(MIB))
        };
        let plan = begin(&presignd, request).await.unwrap();
        let request = PresignPartsRequest {
            options,
            part_numbers: vec![1],
            ..further("k", &plan.upload_id)
        };
        let again = parts(&presignd, request).await.unwrap();
        let ends = [plan.complete.as_ref(), plan.abort.as_ref()];
        let ends = ends.map(|step| step.expect("a step"));
        let ends = ends.map(|step| (&step.url, &step.headers));
        let urls = plan.parts.iter().chain(&again.parts);
        let urls = urls.map(|part| (&part.url, &part.headers));
        for (url, headers) in urls.chain(ends) {
            let moved = placement == HeaderPlacement::Query;
            assert_eq!(url.contains("x-amz-request-payer=requester"), moved);
            let sent = headers.get(PAYER).map(String::as_str);
            assert_eq!(sent, (!moved).then_some("requester"));
        }
        let part = plan.parts.first().expect("a part");
        assert_eq!(put(part, vec![0; 1 << 20]).await.status, 200);
        assert_eq!(finish(plan.abort.as_ref(), "").await.status, 204);
    }
}

#[tokio::test]
async fn a_plan_uploads_an_object_with_what_it_is_to_have() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let key = "uploads/a plan+é?&partNumber=9";
    let mut request = start(key, Extent::Size(12 * MIB));
    request.part_size = 5 * MIB;
    request.reason = "because".to_owned();
    request.subject = "user-17".to_owned();
    let create = request.create.as_mut().unwrap();
    create.content_type = Some("application/x-plan".to_owned());
    create.metadata.insert("color".to_owned(), "red".to_owned());
    let plan = begin(&presignd, request).await.unwrap();

    assert_eq!((plan.part_size, plan.part_count), (5 * MIB, 3));
    assert_eq!(plan.next_part_number, 0);
    assert_eq!(plan.expiry_bound(), ExpiryBound::Request);
    let mut etags = Vec::new();
    for (part, body) in plan.parts.iter().zip([b'a', b'b', b'c']) {
        assert!(part.headers.is_empty(), "{part:?}");
        let bytes = usize::try_from(part.length()).unwrap();
        let uploaded = put(part, vec![body; bytes]).await;
        assert_eq!(uploaded.status, 200, "{uploaded:?}");
        etags.push((part.part_number, uploaded.header("etag").to_owned()));
    }
    let ranges = plan.parts.iter().map(|p| (p.offset(), p.length()));
    let tiled = [(0, 5 * MIB), (5 * MIB, 5 * MIB), (10 * MIB, 2 * MIB)];
    assert!(ranges.eq(tiled));
    let completed = finish(plan.complete.as_ref(), document(etags)).await;
    assert_eq!(completed.status, 200, "{completed:?}");

    let object = Ceph::shared().object(BUCKET, key).await.expect("an object");
    assert_eq!(object.len() as u64, 12 * MIB);
    for (at, byte) in [(0, b'a'), (5 * MIB, b'b'), (12 * MIB - 1, b'c')] {
        assert_eq!(object[usize::try_from(at).unwrap()], byte);
    }
    let head = Ceph::shared().as_owner("HEAD", BUCKET, key, "", "").await;
    assert_eq!(head.header("content-type"), "application/x-plan");
    assert_eq!(head.header("x-amz-meta-color"), "red");

    // Every URL leads to its record.
    let (complete, abort) = (plan.complete.unwrap(), plan.abort.unwrap());
    let steps = [
        ("CreateMultipartUpload", &plan.issuance_id),
        ("UploadPart", &plan.parts_issuance_id),
        ("CompleteMultipartUpload", &complete.issuance_id),
        ("AbortMultipartUpload", &abort.issuance_id),
    ];
    for (command, id) in steps {
        let record = presignd.records.of(id);
        let method = "presignd.v1.PresignService/StartMultipartUpload";
        for (field, value) in [
            ("command", command),
            ("outcome", "issued"),
            ("method", method),
            ("bucket", BUCKET),
            ("key", key),
            ("upload_id", &plan.upload_id),
            ("reason", "because"),
            ("subject", "user-17"),
        ] {
            assert_eq!(record[field], value, "{record:#}");
        }
        assert_eq!(record["object_size"], 12 * MIB);
        assert_eq!(record["expires_in"], 300);
        let parts = (command == "UploadPart").then_some("1-3");
        assert_eq!(record.get("parts").and_then(|p| p.as_str()), parts);
    }
    let planned = presignd.records.all();
    let planned = planned
        .iter()
        .filter(|r| r["key"] == key && r["outcome"] == "issued");
    assert_eq!(planned.count(), 4);
}

#[tokio::test]
async fn an_upload_is_given_up_by_its_url() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    let key = "uploads/given up";
    let plan = begin(&presignd, start(key, Extent::PartCount(2))).await;
    let plan = plan.unwrap();
    let ranges = plan.parts.iter().map(|part| (part.offset, part.length));
    assert!(ranges.eq([(None, None); 2]));
    assert_eq!(put(&plan.parts[0], "some").await.status, 200);
    assert_eq!(listed(&presignd, key, &plan.upload_id).await.status, 200);
    assert_eq!(finish(plan.abort.as_ref(), "").await.status, 204);
    assert_eq!(listed(&presignd, key, &plan.upload_id).await.status, 404);
    assert_eq!(Ceph::shared().object(BUCKET, key).await, None);
    // So would whoever comes to resume it.
    let mut request = further(key, &plan.upload_id);
    request.complete_and_abort = true;
    let ends = parts(&presignd, request).await.unwrap();
    assert!(ends.parts.is_empty() && ends.issuance_id.is_empty());
    let gone = finish(ends.abort.as_ref(), "").await;
    assert_eq!(gone.s3_code(), "NoSuchUpload", "{gone:?}");
    let complete = ends.complete.unwrap();
    let record = presignd.records.of(&complete.issuance_id);
    assert_eq!(record["upload_id"], plan.upload_id.as_str());
}

#[tokio::test]
async fn a_plan_of_ten_thousand_parts_comes_in_pages() {
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS).start().await;
    // One that takes 4 MiB, as clients do.
    let mut client = PresignServiceClient::connect(format!("http://{}", presignd.address))
        .await
        .unwrap();
    let key = "uploads/paged";
    let size = 80_000 * MIB;
    let plan = client
        .start_multipart_upload(start(key, Extent::Size(size)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((plan.part_count, plan.part_size), (10_000, 8 * MIB));
    assert!(plan.encoded_len() < 2 << 20, "{}", plan.encoded_len());
    let mut seen: Vec<(u32, u64)> = Vec::new();
    let of = |part: &PresignedPart| (part.part_number, part.offset());
    seen.extend(plan.parts.iter().map(of));
    let mut next = plan.next_part_number;
    let mut last = plan.parts.last().cloned().unwrap();
    while next != 0 {
        let mut request = further(key, &plan.upload_id);
        (request.first_part, request.size) = (next, size);
        let page = client.presign_parts(request).await.unwrap().into_inner();
        assert_eq!(page.parts.len(), 1000);
        assert!(page.encoded_len() < 2 << 20, "{}", page.encoded_len());
        assert!(page.complete.is_none() && page.abort.is_none());
        let record = presignd.records.of(&page.issuance_id);
        assert_eq!(record["parts"], format!("{next}-{}", next + 999));
        seen.extend(page.parts.iter().map(of));
        last = page.parts.last().cloned().unwrap();
        next = page.next_part_number;
    }
    let all = (1..=10_000).map(|number| (number, u64::from(number - 1) * 8 * MIB));
    assert!(seen.into_iter().eq(all));
    assert_eq!(presignd.records.all().len(), 4 + 9);
    let uploaded = put(&last, "the last").await;
    assert_eq!(uploaded.status, 200, "{uploaded:?}");
    let url = Presigned::read(&last.url);
    assert_eq!(url.parameter("partNumber"), "10000");
    assert_eq!(url.parameter("uploadId"), plan.upload_id);
    assert_eq!(finish(plan.abort.as_ref(), "").await.status, 204);
}

#[tokio::test]
async fn where_a_grant_bounds_uploads_s3_holds_the_client_to_the_plan() {
    let grants =
        r#"[{ commands: [write, delete], resources: ["acme-files/*"], max_upload: 12MiB }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let key = "uploads/bounded";
    let mut request = start(key, Extent::Size(12 * MIB));
    request.part_size = 8 * MIB;
    let plan = begin(&presignd, request).await.unwrap();
    for part in &plan.parts {
        let length = part.length().to_string();
        assert_eq!(part.headers["content-length"], length);
        let url = Presigned::read(&part.url);
        assert_eq!(url.signed_headers(), ["content-length", "host"]);
    }
    let complete = plan.complete.as_ref().unwrap();
    let size = (12 * MIB).to_string();
    assert_eq!(complete.headers["x-amz-mp-object-size"], size);
    let [first, second] = plan.parts.as_slice() else {
        panic!("{:?}", plan.parts);
    };
    // Another length is another request than the one that was signed.
    let larger = PresignedPart {
        headers: [("content-length".to_owned(), "5".to_owned())].into(),
        ..second.clone()
    };
    let refused = put(&larger, "bytes").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let mut etags = Vec::new();
    for (part, length) in [(first, 8 * MIB), (second, 4 * MIB)] {
        let uploaded = put(part, vec![b'x'; usize::try_from(length).unwrap()]).await;
        assert_eq!(uploaded.status, 200, "{uploaded:?}");
        etags.push((part.part_number, uploaded.header("etag").to_owned()));
    }
    let completed = finish(Some(complete), document(etags)).await;
    assert_eq!(completed.status, 200, "{completed:?}");

    // Without the size there is no bound to sign.
    let mut blind = further(key, &plan.upload_id);
    blind.part_numbers = vec![1];
    let refused = parts(&presignd, blind.clone()).await.unwrap_err();
    assert!(refused.message().contains("size"), "{refused:?}");
    blind.size = 12 * MIB;
    blind.part_size = 8 * MIB;
    let signed = parts(&presignd, blind).await.unwrap();
    assert_eq!(signed.parts[0].headers["content-length"], "8388608");
}

#[tokio::test]
async fn an_upload_is_begun_for_addresses_that_presignd_does_not_have() {
    let there = r#"[{ commands: [write, delete], resources: ["acme-files/*"], source_ip: [203.0.113.0/24, 127.0.0.0/8] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", GRANTS)
        .with_ceph_tenant("globex", &there.replace("acme", "globex"))
        .start()
        .await;
    for (tenant, bucket) in [("acme", BUCKET), ("globex", "globex-files")] {
        for (from, status) in [("203.0.113.7", 403), ("127.0.0.1", 200)] {
            let mut request = start("uploads/from afar", Extent::Size(4));
            request.tenant = tenant.to_owned();
            request.source_ip = vec![from.to_owned()];
            request.create.as_mut().unwrap().bucket = Some(bucket.to_owned());
            let plan = begin(&presignd, request).await.unwrap();
            let uploaded = put(&plan.parts[0], "part").await;
            assert_eq!(uploaded.status, status, "{from}: {uploaded:?}");
            let aborted = finish(plan.abort.as_ref(), "").await;
            assert_eq!(aborted.status == 204, status == 200, "{from}: {aborted:?}");
        }
    }
    let elsewhere = there.replace("127.0.0.0/8", "198.51.100.0/24");
    let presignd = Presignd::with_ceph_tenant("acme", &elsewhere).start().await;
    let key = "uploads/from elsewhere";
    let plan = begin(&presignd, start(key, Extent::Size(4))).await;
    let plan = plan.unwrap();
    assert_eq!(put(&plan.parts[0], "part").await.status, 403);

    // And is given up from there, too.
    presignd
        .records
        .fail(Some(presignd::audit::AuditError::Closed));
    let given_up = "uploads/given up from elsewhere";
    let failed = begin(&presignd, start(given_up, Extent::Size(4))).await;
    assert_eq!(failed.unwrap_err().code(), tonic::Code::Unavailable);
    let ceph = Ceph::shared();
    let under_way = ceph.as_owner("GET", BUCKET, "", "uploads=", "").await;
    assert!(under_way.text().contains(key), "{}", under_way.text());
    assert!(!under_way.text().contains(given_up), "{}", under_way.text());
}

#[tokio::test]
async fn a_plan_lives_as_long_as_the_first_of_its_urls() {
    let s3 = FakeS3::beginning("2~id").await;
    let grants = r#"grants:
  - { commands: [write], resources: ["acme-files/*"], max_expiry: 1h }
  - { commands: [AbortMultipartUpload], resources: ["acme-files/*"], max_expiry: 2m }"#;
    let presignd = Presignd::with_tenant("acme", &tenant_of(&s3, grants))
        .start()
        .await;
    let mut request = start("k", Extent::PartCount(2));
    let refused = begin(&presignd, request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "EXPIRY_ABOVE_CAP");
    assert_eq!(s3.requests(), [""; 0]);
    request.set_expiry_mode(ExpiryMode::Clamp);
    let plan = begin(&presignd, request).await.unwrap();
    assert_eq!(plan.expiry_bound(), ExpiryBound::GrantCap);
    let ends = [plan.complete, plan.abort].map(|step| step.unwrap().url);
    let urls = plan.parts.into_iter().map(|part| part.url).chain(ends);
    for url in urls {
        assert_eq!(Presigned::read(&url).expires_in(), 120);
    }
}

#[tokio::test]
async fn a_customers_key_goes_to_s3_and_to_the_client_and_nowhere_else() {
    const KEY: &str = "cGxhbnRlZC1jdXN0b21lci1rZXktbWFya2VyLTMyYiE=";
    let s3 = FakeS3::beginning("2~id").await;
    let grants = format!("grants: {GRANTS}");
    let presignd = Presignd::with_tenant("acme", &tenant_of(&s3, &grants))
        .start()
        .await;
    let mut request = start("k", Extent::Size(9 * MIB));
    request.complete = Some(s3::CompleteMultipartUpload {
        if_none_match: Some("*".to_owned()),
        ..Default::default()
    });
    let create = request.create.as_mut().unwrap();
    create.sse_customer_algorithm = Some("AES256".to_owned());
    create.sse_customer_key = Some(KEY.to_owned());
    create.sse_customer_key_md5 = Some("c29tZXRoaW5nLWVsc2U=".to_owned());
    let plan = begin(&presignd, request).await.unwrap();
    let header = "x-amz-server-side-encryption-customer-key";
    assert!(s3.requests()[0].contains(&format!("{header}: {KEY}\r\n")));
    let complete = plan.complete.unwrap();
    assert_eq!(complete.headers["if-none-match"], "*");
    for headers in [
        &plan.parts[0].headers,
        &plan.parts[1].headers,
        &complete.headers,
    ] {
        assert_eq!(headers[header], KEY);
    }
    assert!(!plan.abort.unwrap().headers.contains_key(header));
    let records = format!("{:?}", presignd.records.all());
    assert!(!records.contains(KEY), "{records}");
}

#[tokio::test]
async fn one_session_that_is_no_wider_than_the_plan_signs_all_of_it() {
    let ceph = Ceph::shared();
    let tenant = crate::harness::presignd::ceph_tenant(ceph.tenant("acme"), GRANTS);
    let yaml = format!("{tenant}\nsession: {{ scope: object }}");
    let presignd = Presignd::with_tenant("acme", &yaml)
        .with_credentials(ceph.presignd_credentials().clone())
        .start()
        .await;
    let key = "uploads/of an object";
    let plan = begin(&presignd, start(key, Extent::Size(9 * MIB))).await;
    let plan = plan.unwrap();
    let (complete, abort) = (plan.complete.as_ref(), plan.abort.as_ref());
    let urls = plan.parts.iter().map(|part| &part.url);
    let ends = [complete, abort].map(|step| &step.unwrap().url);
    let tokens = urls.chain(ends).map(|url| {
        Presigned::read(url)
            .parameter("X-Amz-Security-Token")
            .to_owned()
    });
    let tokens: std::collections::BTreeSet<String> = tokens.collect();
    assert_eq!(tokens.len(), 1);

    let mut again = further(key, &plan.upload_id);
    again.part_numbers = vec![2];
    again.complete_and_abort = true;
    let again = parts(&presignd, again).await.unwrap();
    let token = Presigned::read(&again.parts[0].url);
    assert!(tokens.contains(token.parameter("X-Amz-Security-Token")));

    let mut etags = Vec::new();
    for (part, length) in [(&plan.parts[0], 8 * MIB), (&again.parts[0], MIB)] {
        let uploaded = put(part, vec![b'x'; usize::try_from(length).unwrap()]).await;
        assert_eq!(uploaded.status, 200, "{uploaded:?}");
        etags.push((part.part_number, uploaded.header("etag").to_owned()));
    }
    let completed = finish(again.complete.as_ref(), document(etags)).await;
    assert_eq!(completed.status, 200, "{completed:?}");

    let plan = begin(&presignd, start(key, Extent::Size(9 * MIB))).await;
    let aborted = finish(plan.unwrap().abort.as_ref(), "").await;
    assert_eq!(aborted.status, 204, "{aborted:?}");
}
