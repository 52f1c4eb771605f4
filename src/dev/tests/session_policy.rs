//! A session goes no further than its session policy.

use super::*;

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::acme-files/team/*"]},
    {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-files","Condition":{"StringLike":{"s3:prefix":"team/*"}}}]}"#;

#[tokio::test]
async fn objects_outside_the_grant_are_out_of_reach() {
    let stage = Stage::start().await;
    let (narrow, whole) = (
        stage.session_with(ACME, Some(POLICY)).await,
        stage.session(ACME).await,
    );
    for key in ["team/a", "teams/b"] {
        let answer = stage
            .ask(
                (ACME, &whole),
                Method::PUT,
                &format!("/acme-files/{key}"),
                &[],
                "v",
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let tagging = [("x-amz-tagging", "a=b")];
    let own = [("x-amz-copy-source", "acme-files/team/a")];
    let outside = [("x-amz-copy-source", "acme-files/teams/b")];
    let delete = |key: &str| format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
    let (inside, both) = (
        delete("team/gone"),
        delete("team/gone</Key></Object><Object><Key>teams/b"),
    );
    for (method, path, headers, body, expected) in [
        (Method::GET, "/acme-files/team/a", &[][..], "", 200),
        (Method::GET, "/acme-files/teams/b", &[], "", 403),
        (Method::PUT, "/acme-files/team/c", &[], "v", 200),
        (Method::PUT, "/acme-files/team/c", &tagging, "v", 403),
        (Method::PUT, "/acme-files/c", &[], "v", 403),
        (Method::PUT, "/acme-files/team/d", &own, "", 200),
        (Method::PUT, "/acme-files/team/d", &outside, "", 403),
        (
            Method::GET,
            "/acme-files?list-type=2&prefix=team/",
            &[],
            "",
            200,
        ),
        (
            Method::GET,
            "/acme-files?list-type=2&prefix=team",
            &[],
            "",
            403,
        ),
        (Method::GET, "/acme-files?list-type=2", &[], "", 403),
        (
            Method::GET,
            "/acme-files?list-type=2&prefix=&prefix=team/",
            &[],
            "",
            400,
        ),
        (Method::POST, "/acme-files?delete=", &[], &inside, 200),
        (Method::POST, "/acme-files?delete=", &[], &both, 403),
        (Method::GET, "/acme-files?policy=", &[], "", 403),
    ] {
        let answer = stage
            .ask((ACME, &narrow), method.clone(), path, headers, body)
            .await;
        let code = if expected == 403 {
            "AccessDenied"
        } else {
            answer.error().1
        };
        assert_eq!(
            answer.error(),
            (expected, code),
            "{method} {path} {headers:?} {body}: {}",
            answer.body
        );
    }
    let answer = stage
        .ask((ACME, &whole), Method::GET, "/acme-files/teams/b", &[], "")
        .await;
    assert_eq!(answer.body, "v");
    let answer = stage
        .ask(
            (ACME, &narrow),
            Method::GET,
            "/acme-files?list-type=2&prefix=team/&delimiter=/",
            &[],
            "",
        )
        .await;
    assert!(
        answer.body.contains("<Key>team/a</Key>") && !answer.body.contains("teams"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_policy_never_widens_the_role() {
    let stage = Stage::start().await;
    let wide = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let session = stage.session_with(ACME, Some(wide)).await;
    for (method, path) in [
        (Method::GET, "/globex-files/k"),
        (Method::GET, "/"),
        (Method::DELETE, "/acme-files"),
        (Method::PUT, "/another-bucket"),
    ] {
        let answer = stage.ask((ACME, &session), method, path, &[], "").await;
        assert_eq!(answer.error(), (403, "AccessDenied"), "{path}");
    }
}
