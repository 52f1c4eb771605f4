//! What a browser is told about an object: by rule, and in headers that hold.

use std::collections::HashMap;

use presignd::proto::s3;
use presignd::proto::v1::batch_presign_result::Result as ItemResult;
use presignd::proto::v1::command::Command as Variant;
use tonic::Code;

use crate::harness::ceph::Ceph;
use crate::harness::commands::{command, copy};
use crate::harness::http;
use crate::harness::presignd::{Presignd, batch, request, static_tenant};
use crate::harness::refusal::{Refused, refused};

const BUCKET: &str = "acme-files";

/// A download that is to come as this type, with this disposition.
fn download(content_type: &str, disposition: &str) -> Variant {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Variant::GetObject(s3::GetObject {
        bucket: Some(BUCKET.to_owned()),
        key: Some("content/k".to_owned()),
        response_content_type: given(content_type),
        response_content_disposition: given(disposition),
        ..s3::GetObject::default()
    })
}

fn upload(content_type: Option<&str>) -> Variant {
    Variant::PutObject(s3::PutObject {
        bucket: Some(BUCKET.to_owned()),
        key: Some("content/up".to_owned()),
        content_type: content_type.map(str::to_owned),
        ..s3::PutObject::default()
    })
}

/// One grant for each key of a rule.
async fn with_rules(rules: &str) -> Presignd {
    let grants =
        format!(r#"grants: [{{ commands: [read, write], resources: ["acme-files/*"], {rules} }}]"#);
    Presignd::with_tenant("acme", &static_tenant(&grants))
        .start()
        .await
}

/// Holds each command against the fields that it is to be refused for; none: it is issued.
async fn assert_decided(presignd: &Presignd, rows: &[(Variant, &[&str])]) {
    for (command, fields) in rows {
        let answer = presignd.presign(request("acme", command.clone())).await;
        if fields.is_empty() {
            answer.unwrap_or_else(|status| panic!("{command:?}: {status}"));
            continue;
        }
        let refused = refused(answer);
        let why = (Code::PermissionDenied, "COMMAND_DENIED");
        assert_eq!(refused.why(), why, "{command:?}");
        assert_eq!(refused.fields, *fields, "{command:?}");
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["outcome"], "denied", "{record:#}");
        assert_eq!(record["detail"], refused.message.as_str());
    }
}

#[tokio::test]
async fn a_download_is_shown_as_nothing_that_browsers_run() {
    const TYPE: &[&str] = &["command.get_object.response_content_type"];
    let presignd = with_rules("").await;
    let rows: [(Variant, &[&str]); 10] = [
        (download("", ""), &[]),
        (download("image/png", "inline"), &[]),
        (download("application/pdf", ""), &[]),
        (download("text/html", ""), TYPE),
        (download("Text/HTML ; charset=utf-8", "inline"), TYPE),
        (download("image/svg+xml", ""), TYPE),
        (download("text/plain, text/html", ""), TYPE),
        (download("what", ""), TYPE),
        (
            download("text/html", "attachment; filename=\"a.html\""),
            &[],
        ),
        (upload(Some("text/html")), &[]),
    ];
    assert_decided(&presignd, &rows).await;

    // In a batch each is named by its place.
    let both = [download("image/png", ""), download("text/html", "")];
    let mut results = presignd.presign_batch(batch("acme", both)).await.unwrap();
    let Some(ItemResult::Error(error)) = results.pop() else {
        panic!("issued");
    };
    let refused = Refused::read_item(&error);
    assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
    let field = "commands[1].get_object.response_content_type";
    assert_eq!(refused.fields, [field]);
    assert!(matches!(results.pop(), Some(ItemResult::Response(_))));
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_grant_lists_the_types_of_downloads_or_forbids_their_headers() {
    let listed = with_rules(r#"response_content_types: ["image/*", text/html]"#).await;
    let rows: [(Variant, &[&str]); 5] = [
        (download("", "inline"), &[]),
        (download("text/html", ""), &[]),
        (download("IMAGE/PNG", "inline"), &[]),
        (
            download("image/svg+xml", "attachment"),
            &["command.get_object.response_content_type"],
        ),
        (
            download("application/pdf", ""),
            &["command.get_object.response_content_type"],
        ),
    ];
    assert_decided(&listed, &rows).await;
    listed.shutdown().await.unwrap();

    let denied = with_rules("response_headers: deny").await;
    let rows: [(Variant, &[&str]); 3] = [
        (download("", ""), &[]),
        (
            download("image/png", "attachment"),
            &[
                "command.get_object.response_content_disposition",
                "command.get_object.response_content_type",
            ],
        ),
        (
            command!(HeadObject {
                bucket: BUCKET,
                key: "content/k",
                response_cache_control: "no-store",
            }),
            &["command.head_object.response_cache_control"],
        ),
    ];
    assert_decided(&denied, &rows).await;
    denied.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_grant_lists_the_types_of_uploads() {
    const TYPE: &[&str] = &["command.put_object.content_type"];
    let presignd = with_rules(r#"content_types: ["image/*", application/pdf]"#).await;
    let replacing = |content_type: &str| {
        command!(CopyObject {
            bucket: BUCKET,
            key: "content/copy",
            copy_source: "acme-files/content/k",
            metadata_directive: "REPLACE",
            content_type: content_type,
        })
    };
    let rows: [(Variant, &[&str]); 9] = [
        (upload(Some("image/png")), &[]),
        (upload(Some("Application/PDF; a=b")), &[]),
        (upload(Some("text/html")), TYPE),
        (upload(Some("image/svg+xml")), TYPE),
        (upload(None), TYPE),
        (
            command!(CreateMultipartUpload {
                bucket: BUCKET,
                key: "content/up"
            }),
            &["command.create_multipart_upload.content_type"],
        ),
        (replacing("image/png"), &[]),
        (
            replacing("text/html"),
            &["command.copy_object.content_type"],
        ),
        (
            copy("acme-files/content/k", BUCKET, "content/copy"),
            &["command.copy_object.metadata_directive"],
        ),
    ];
    assert_decided(&presignd, &rows).await;
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_upload_of_another_type_than_was_signed_is_refused_by_the_store() {
    let grants = r#"[{ commands: [PutObject], resources: ["acme-files/content/*"], content_types: ["image/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let issued = presignd.issue("acme", upload(Some("image/png"))).await;
    let send = async |content_type: Option<&str>| {
        let headers = content_type.map(|text| ("content-type", text));
        http::send(&issued.method, &issued.url, headers, "<script>").await
    };
    for other in [
        None,
        Some("text/html"),
        Some("image/svg+xml"),
        Some("image/png, text/html"),
        Some("image/png; a=b"),
    ] {
        let answer = send(other).await;
        assert_eq!(answer.status, 403, "{other:?}: {answer:?}");
    }
    let ceph = Ceph::shared();
    assert_eq!(ceph.object(BUCKET, "content/up").await, None);
    assert_eq!(send(Some("image/png")).await.status, 200);
    let head = ceph.as_owner("HEAD", BUCKET, "content/up", "", "").await;
    assert_eq!(head.header("content-type"), "image/png");
}

/// Line breaks, quotes that end too early, and what is not ASCII, in everything that becomes a header of a request or of an answer.
#[tokio::test]
async fn what_would_break_out_of_a_header_is_refused_before_it_is_signed() {
    let presignd = with_rules("").await;
    let lines = [
        "a\r\nx-amz-acl: public-read",
        "a\nb",
        "a\rb",
        "a\0b",
        "naïve",
        "\u{2028}",
    ];
    let quotes = [
        "attachment; filename=\"a\"b.html\"",
        "attachment; filename=\"a",
        "attachment; filename=\"a\"; filename=\"b\"",
        "attachment; filename=a b",
    ];
    let put = |of: fn(&mut s3::PutObject, String), text: &str| {
        let mut put = s3::PutObject {
            bucket: Some(BUCKET.to_owned()),
            key: Some("content/k".to_owned()),
            ..s3::PutObject::default()
        };
        of(&mut put, text.to_owned());
        Variant::PutObject(put)
    };
    let get = |of: fn(&mut s3::GetObject, String), text: &str| {
        let mut get = s3::GetObject {
            bucket: Some(BUCKET.to_owned()),
            key: Some("content/k".to_owned()),
            ..s3::GetObject::default()
        };
        of(&mut get, text.to_owned());
        Variant::GetObject(get)
    };
    let mut cases = Vec::new();
    for text in lines {
        cases.extend([
            (
                put(|m, text| m.content_type = Some(text), text),
                "put_object.content_type",
            ),
            (
                put(|m, text| m.cache_control = Some(text), text),
                "put_object.cache_control",
            ),
            (
                put(|m, text| m.website_redirect_location = Some(text), text),
                "put_object.website_redirect_location",
            ),
            (
                put(
                    |m, text| m.metadata = HashMap::from([("a".to_owned(), text)]),
                    text,
                ),
                "put_object.metadata[\"a\"]",
            ),
            (
                get(|m, text| m.response_content_type = Some(text), text),
                "get_object.response_content_type",
            ),
            (
                get(|m, text| m.response_cache_control = Some(text), text),
                "get_object.response_cache_control",
            ),
            (
                get(|m, text| m.response_content_encoding = Some(text), text),
                "get_object.response_content_encoding",
            ),
            (
                get(|m, text| m.response_content_language = Some(text), text),
                "get_object.response_content_language",
            ),
        ]);
    }
    for text in lines.into_iter().chain(quotes) {
        cases.extend([
            (
                put(|m, text| m.content_disposition = Some(text), text),
                "put_object.content_disposition",
            ),
            (
                get(|m, text| m.response_content_disposition = Some(text), text),
                "get_object.response_content_disposition",
            ),
        ]);
    }
    for (command, field) in cases {
        let refused = refused(presignd.presign(request("acme", command.clone())).await);
        let why = (Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(refused.why(), why, "{command:?}");
        assert_eq!(refused.fields, [format!("command.{field}")], "{command:?}");
    }
    presignd.shutdown().await.unwrap();
}

/// What is let through comes back from the store byte by byte: from the answer that it was asked for, and from the object.
#[tokio::test]
async fn headers_that_hold_quotes_and_encoded_names_come_back_as_they_were_asked_for() {
    let grants = r#"[{ commands: [read, write], resources: ["acme-files/content/*"] }]"#;
    let presignd = Presignd::with_ceph_tenant("acme", grants).start().await;
    let ceph = Ceph::shared();
    ceph.put_object(BUCKET, "content/k", "body").await;
    for (index, disposition) in [
        "inline",
        "attachment",
        "attachment; filename=\"a \\\"b\\\" \\\\ c, d; e.html\"",
        "attachment; filename=e.txt; filename*=UTF-8''%C3%A9%20%F0%9F%98%80%0D%0A.txt",
        "attachment; filename=\"%0D%0ASet-Cookie: a=b\"",
    ]
    .into_iter()
    .enumerate()
    {
        let got = presignd
            .run("acme", download("image/png; a=\"b\"", disposition), "")
            .await;
        assert_eq!(got.status, 200, "{disposition}: {got:?}");
        assert_eq!(got.header("content-disposition"), disposition);
        assert_eq!(got.header("content-type"), "image/png; a=\"b\"");
        assert!(!got.headers.contains_key("set-cookie"), "{got:?}");

        let key = format!("content/{index}");
        let put = command!(PutObject {
            bucket: BUCKET,
            key: key.as_str(),
            content_type: "image/png",
            content_disposition: disposition,
        });
        let put = presignd.run("acme", put, "body").await;
        assert_eq!(put.status, 200, "{disposition}: {put:?}");
        let head = ceph.as_owner("HEAD", BUCKET, &key, "", "").await;
        assert_eq!(head.header("content-disposition"), disposition);
    }
}
