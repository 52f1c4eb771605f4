//! Uploads in parts.

use super::*;

fn text<'a>(body: &'a str, name: &str) -> &'a str {
    let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn an_upload_outlives_the_session_that_began_it_and_stays_with_its_tenant() {
    let stage = Stage::start().await;
    let (first, second) = (stage.session(ACME).await, stage.session(ACME).await);
    let globex = stage.session(GLOBEX).await;
    let started = stage
        .ask(
            (ACME, &first),
            Method::POST,
            "/acme-files/big?uploads=",
            &[],
            "",
        )
        .await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.body);
    let upload = text(&started.body, "UploadId");
    let part = format!("/acme-files/big?partNumber=1&uploadId={upload}");
    let done = format!("/acme-files/big?uploadId={upload}");

    let answer = stage
        .ask((ACME, &second), Method::PUT, &part, &[], "in parts")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let etag = answer.headers["etag"].to_str().unwrap();

    // The other tenant cannot use the upload id, neither here nor in its own bucket.
    for bucket in ["acme-files", "globex-files"] {
        let path = format!("/{bucket}/big?partNumber=2&uploadId={upload}");
        let answer = stage
            .ask((GLOBEX, &globex), Method::PUT, &path, &[], "intruder")
            .await;
        assert_eq!(answer.error(), (403, "AccessDenied"), "{bucket}");
    }
    let path = format!("/globex-files/big?uploadId={upload}");
    let answer = stage
        .ask((GLOBEX, &globex), Method::GET, &path, &[], "")
        .await;
    assert!(!answer.body.contains("<PartNumber>"), "{}", answer.body);

    let answer = stage
        .ask((ACME, &second), Method::GET, &done, &[], "")
        .await;
    assert_eq!(text(&answer.body, "PartNumber"), "1");
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let answer = stage
        .ask((ACME, &second), Method::POST, &done, &[], &complete)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = stage
        .ask((ACME, &first), Method::GET, "/acme-files/big", &[], "")
        .await;
    assert_eq!(answer.body, "in parts");
}

#[tokio::test]
async fn a_part_is_copied_from_the_tenants_own_bucket_only() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    let as_acme = (ACME, &acme);
    let answer = stage
        .ask(as_acme, Method::PUT, "/acme-files/own", &[], "of acme")
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let started = stage
        .ask(as_acme, Method::POST, "/acme-files/big?uploads=", &[], "")
        .await;
    let part = format!(
        "/acme-files/big?partNumber=1&uploadId={}",
        text(&started.body, "UploadId")
    );
    for (source, expected) in [("globex-files/secret", 403), ("acme-files/own", 200)] {
        let answer = stage
            .ask(
                as_acme,
                Method::PUT,
                &part,
                &[("x-amz-copy-source", source)],
                "",
            )
            .await;
        assert_eq!(
            answer.status.as_u16(),
            expected,
            "{source}: {}",
            answer.body
        );
    }
}
