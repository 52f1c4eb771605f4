//! Presigned URLs of one tenant: what works, and every way in which they must not.

use super::*;

async fn presigned_get(
    stage: &Stage,
    credentials: &Credentials,
    bucket: &str,
    key: &str,
) -> Request<String> {
    let call = stage
        .s3(ACME, credentials)
        .get_object()
        .bucket(bucket)
        .key(key);
    request_of(&call.presigned(for_a_minute()).await.unwrap(), "")
}

async fn put(stage: &Stage, tenant: usize, credentials: &Credentials, key: &str, body: &str) {
    let bucket = &stage.tenant(tenant).bucket;
    let call = stage
        .s3(tenant, credentials)
        .put_object()
        .bucket(bucket)
        .key(key);
    let answer = send(request_of(
        &call.presigned(for_a_minute()).await.unwrap(),
        body,
    ))
    .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn urls_signed_by_the_sdk_work_in_the_tenants_own_bucket() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    put(&stage, ACME, &acme, "dir/a b+ü.txt", "hello").await;
    let answer = send(presigned_get(&stage, &acme, "acme-files", "dir/a b+ü.txt").await).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::OK, "hello")
    );

    let s3 = stage.s3(ACME, &acme);
    let call = s3.head_object().bucket("acme-files").key("dir/a b+ü.txt");
    let answer = send(request_of(
        &call.presigned(for_a_minute()).await.unwrap(),
        "",
    ))
    .await;
    assert_eq!(answer.headers["content-length"], "5");
    let call = s3.delete_object().bucket("acme-files").key("dir/a b+ü.txt");
    let answer = send(request_of(
        &call.presigned(for_a_minute()).await.unwrap(),
        "",
    ))
    .await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = send(presigned_get(&stage, &acme, "acme-files", "dir/a b+ü.txt").await).await;
    assert_eq!(answer.error(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn the_other_tenants_bucket_is_out_of_reach() {
    let stage = Stage::start().await;
    let (acme, globex) = (stage.session(ACME).await, stage.session(GLOBEX).await);
    put(&stage, GLOBEX, &globex, "secret", "of globex").await;
    let answer = send(presigned_get(&stage, &acme, "globex-files", "secret").await).await;
    assert_eq!(answer.error(), (403, "AccessDenied"), "{}", answer.body);
    let as_acme = (ACME, &acme);
    for (method, path) in [
        (Method::PUT, "/globex-files/secret"),
        (Method::DELETE, "/globex-files/secret"),
        (Method::GET, "/globex-files?list-type=2"),
        (Method::POST, "/globex-files?delete="),
        (Method::DELETE, "/globex-files"),
        (Method::PUT, "/third-bucket"),
        (Method::GET, "/"),
    ] {
        let answer = stage.ask(as_acme, method.clone(), path, &[], "").await;
        assert_eq!(answer.error(), (403, "AccessDenied"), "{method} {path}");
    }
    // globex's own region does not help acme either.
    let answer = stage
        .ask((GLOBEX, &acme), Method::GET, "/acme-files/k", &[], "")
        .await;
    assert_eq!(answer.error(), (400, "AuthorizationQueryParametersError"));
}

#[tokio::test]
async fn no_path_leads_to_the_other_tenants_files() {
    let stage = Stage::start().await;
    let (acme, globex) = (stage.session(ACME).await, stage.session(GLOBEX).await);
    put(&stage, GLOBEX, &globex, "secret", "of globex").await;
    put(&stage, ACME, &acme, "own", "of acme").await;
    for (path, expected) in [
        (
            "/acme-files/../globex-files/secret",
            (501, "NotImplemented"),
        ),
        (
            "/acme-files/../../globex/globex-files/secret",
            (501, "NotImplemented"),
        ),
        ("/acme-files//etc/passwd", (501, "NotImplemented")),
        ("/acme-files/a/../own", (501, "NotImplemented")),
        // The signature is over the path as S3 writes it, which escapes neither dots nor slashes.
        (
            "/acme-files/%2E%2E/%2E%2E/globex/globex-files/secret",
            (403, "SignatureDoesNotMatch"),
        ),
        (
            "/acme-files/..%2F..%2Fglobex%2Fglobex-files%2Fsecret",
            (403, "SignatureDoesNotMatch"),
        ),
    ] {
        let answer = stage.ask((ACME, &acme), Method::GET, path, &[], "").await;
        assert_eq!(answer.error(), expected, "{path}: {}", answer.body);
        // The same once more, signed as S3 would write it and sent escaped.
        let mut request = stage.presign(
            &stage.signer(ACME, &acme),
            Method::GET,
            "/acme-files/../own",
            &[],
        );
        *request.uri_mut() = request
            .uri()
            .to_string()
            .replacen("../own", "%2e%2E%2Fown", 1)
            .parse()
            .unwrap();
        assert_eq!(send(request).await.error(), (501, "NotImplemented"));
    }
    for source in [
        "acme-files/../../globex/globex-files/secret",
        "acme-files/%2E%2E/own",
    ] {
        let copy = [("x-amz-copy-source", source)];
        let answer = stage
            .ask((ACME, &acme), Method::PUT, "/acme-files/copy", &copy, "")
            .await;
        assert_eq!(answer.error(), (501, "NotImplemented"), "{source}");
    }
}

#[tokio::test]
async fn copies_come_from_the_tenants_own_bucket_only() {
    let stage = Stage::start().await;
    let (acme, globex) = (stage.session(ACME).await, stage.session(GLOBEX).await);
    put(&stage, GLOBEX, &globex, "secret", "of globex").await;
    put(&stage, ACME, &acme, "own", "of acme").await;
    for source in [
        "globex-files/secret",
        "/globex-files/secret",
        "globex%2Dfiles%2Fsecret",
        "globex-files%2Fsecret",
    ] {
        let copy = [("x-amz-copy-source", source)];
        let answer = stage
            .ask((ACME, &acme), Method::PUT, "/acme-files/copy", &copy, "")
            .await;
        assert_eq!(
            answer.error(),
            (403, "AccessDenied"),
            "{source}: {}",
            answer.body
        );
    }
    let copy = [("x-amz-copy-source", "acme-files/own")];
    let answer = stage
        .ask((ACME, &acme), Method::PUT, "/acme-files/copy", &copy, "")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = send(presigned_get(&stage, &acme, "acme-files", "copy").await).await;
    assert_eq!(answer.body, "of acme");
}

#[tokio::test]
async fn a_tampered_url_fails() {
    let stage = Stage::start().await;
    let (acme, other) = (stage.session(ACME).await, stage.session(ACME).await);
    put(&stage, ACME, &acme, "k", "v").await;
    put(&stage, ACME, &acme, "K", "v").await;
    let good = presigned_get(&stage, &acme, "acme-files", "k").await;
    assert_eq!(send(good.clone()).await.status, StatusCode::OK);
    let encoded =
        |token: &str| form_urlencoded::byte_serialize(token.as_bytes()).collect::<String>();
    let token = encoded(acme.session_token().unwrap());
    let foreign = encoded(other.session_token().unwrap());
    let flipped = format!(
        "{}{}",
        if token.starts_with('A') { 'B' } else { 'A' },
        &token[1..]
    );
    let token_parameter = format!("X-Amz-Security-Token={token}");
    let query = good.uri().query().unwrap().to_owned();
    let signature = query
        .split('&')
        .find(|pair| pair.starts_with("X-Amz-Signature="))
        .unwrap();
    for (from, to, expected) in [
        (
            "/acme-files/k",
            "/acme-files/K",
            (403, "SignatureDoesNotMatch"),
        ),
        (
            signature,
            &format!("X-Amz-Signature={:064x}", 1),
            (403, "SignatureDoesNotMatch"),
        ),
        (
            "X-Amz-Expires=60",
            "X-Amz-Expires=61",
            (403, "SignatureDoesNotMatch"),
        ),
        ("?", "?versionId=1&", (403, "SignatureDoesNotMatch")),
        (signature, "", (403, "AccessDenied")),
        (token.as_str(), flipped.as_str(), (400, "InvalidToken")),
        (&token, &foreign, (400, "InvalidToken")),
        (
            &token_parameter,
            "X-Amz-Security-Token=",
            (400, "InvalidToken"),
        ),
        (&token_parameter, "x=", (403, "InvalidAccessKeyId")),
        (
            acme.access_key_id(),
            other.access_key_id(),
            (400, "InvalidToken"),
        ),
    ] {
        let answer = send(tampered(&good, from, to)).await;
        assert_eq!(answer.error(), expected, "{from} -> {to}: {}", answer.body);
    }
    let put_url = request_of(
        &stage
            .s3(ACME, &acme)
            .put_object()
            .bucket("acme-files")
            .key("k")
            .presigned(for_a_minute())
            .await
            .unwrap(),
        "changed",
    );
    let mut other_method = good.clone();
    *other_method.uri_mut() = put_url.uri().clone();
    assert_eq!(
        send(other_method).await.error(),
        (403, "SignatureDoesNotMatch")
    );
}

#[tokio::test]
async fn a_url_dies_at_its_expiry() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    put(&stage, ACME, &acme, "k", "v").await;
    let past = PresigningConfig::builder()
        .start_time(now() - MINUTE)
        .expires_in(Duration::from_secs(1))
        .build()
        .unwrap();
    let call = stage
        .s3(ACME, &acme)
        .get_object()
        .bucket("acme-files")
        .key("k");
    let answer = send(request_of(&call.presigned(past).await.unwrap(), "")).await;
    assert_eq!(answer.error(), (403, "AccessDenied"));
    assert!(
        answer.body.contains("Request has expired"),
        "{}",
        answer.body
    );

    // The same by the sandbox's clock.
    let good = presigned_get(&stage, &acme, "acme-files", "k").await;
    assert_eq!(send(good.clone()).await.status, StatusCode::OK);
    stage.advance(62);
    let answer = send(good).await;
    assert_eq!(answer.error(), (403, "AccessDenied"));
    assert!(
        answer.body.contains("Request has expired"),
        "{}",
        answer.body
    );

    let signer = Signer {
        expires_in: Duration::from_secs(604_801),
        ..stage.signer(ACME, &acme)
    };
    let answer = send(stage.presign(&signer, Method::GET, "/acme-files/k", &[])).await;
    assert_eq!(answer.error(), (400, "AuthorizationQueryParametersError"));
}

#[tokio::test]
async fn a_url_dies_with_its_session() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    put(&stage, ACME, &acme, "k", "v").await;
    let hour = PresigningConfig::expires_in(Duration::from_hours(1)).unwrap();
    let call = stage
        .s3(ACME, &acme)
        .get_object()
        .bucket("acme-files")
        .key("k");
    let url = request_of(&call.presigned(hour).await.unwrap(), "");
    stage.advance(890);
    assert_eq!(send(url.clone()).await.status, StatusCode::OK);
    stage.advance(10);
    assert_eq!(send(url).await.error(), (400, "ExpiredToken"));
}

#[tokio::test]
async fn nobody_but_a_session_reaches_s3() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    put(&stage, ACME, &acme, "k", "v").await;
    let endpoint = stage.sandbox.endpoint_url();
    assert_eq!(
        get(&format!("{endpoint}/acme-files/k")).await.error(),
        (403, "AccessDenied")
    );
    assert_eq!(
        get(&format!("{endpoint}/")).await.error(),
        (403, "AccessDenied")
    );
    let presignd = stage.presignd();
    let answer = stage
        .ask((ACME, &presignd), Method::GET, "/acme-files/k", &[], "")
        .await;
    assert_eq!(answer.error(), (403, "AccessDenied"));
    let unknown = Credentials::new("ASIAUNKNOWN", "secret", Some("token".into()), None, "test");
    let answer = stage
        .ask((ACME, &unknown), Method::GET, "/acme-files/k", &[], "")
        .await;
    assert_eq!(answer.error(), (403, "InvalidAccessKeyId"));
    // The signature of version 2 is not spoken.
    let url = format!(
        "{endpoint}/acme-files/k?AWSAccessKeyId={}&Expires=99999999999&Signature=c2ln",
        acme.access_key_id()
    );
    assert_eq!(get(&url).await.status, StatusCode::FORBIDDEN);
    // A scope of another service, though its signature is right.
    let signer = Signer {
        service: "sts",
        ..stage.signer(ACME, &acme)
    };
    let answer = send(stage.presign(&signer, Method::GET, "/acme-files/k", &[])).await;
    assert_eq!(answer.error(), (400, "AuthorizationQueryParametersError"));
}

#[tokio::test]
async fn headers_must_be_signed_to_be_sent() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    let signed = [("x-amz-meta-colour", "blue")];
    let answer = stage
        .ask((ACME, &acme), Method::PUT, "/acme-files/k", &signed, "v")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let mut request = stage.presign(
        &stage.signer(ACME, &acme),
        Method::PUT,
        "/acme-files/k",
        &signed,
    );
    request
        .headers_mut()
        .insert("x-amz-meta-colour", "red".parse().unwrap());
    assert_eq!(
        send(request.clone()).await.error(),
        (403, "SignatureDoesNotMatch")
    );
    request.headers_mut().remove("x-amz-meta-colour");
    assert_eq!(send(request).await.error(), (403, "SignatureDoesNotMatch"));
    let mut request = stage.presign(
        &stage.signer(ACME, &acme),
        Method::PUT,
        "/acme-files/k",
        &signed,
    );
    request
        .headers_mut()
        .insert("x-amz-storage-class", "GLACIER".parse().unwrap());
    assert_eq!(send(request).await.error(), (403, "AccessDenied"));
    let answer = send(presigned_get(&stage, &acme, "acme-files", "k").await).await;
    assert_eq!(answer.headers["x-amz-meta-colour"], "blue");
}

#[tokio::test]
async fn requests_signed_in_headers_are_held_to_the_same_rules() {
    let stage = Stage::start().await;
    let acme = stage.session(ACME).await;
    put(&stage, ACME, &acme, "k", "v").await;
    let signer = Signer {
        location: SignatureLocation::Headers,
        ..stage.signer(ACME, &acme)
    };
    let hash = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let request = stage.presign(&signer, Method::GET, "/acme-files/k", &hash);
    assert_eq!(send(request.clone()).await.body, "v");
    let mut foreign = request;
    foreign
        .headers_mut()
        .insert("x-amz-security-token", "other".parse().unwrap());
    assert_eq!(send(foreign).await.error(), (400, "InvalidToken"));
}
