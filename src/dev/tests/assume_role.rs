//! `AssumeRole` through aws-sdk-sts, and around it.

use super::*;

#[tokio::test]
async fn the_sdk_understands_success() {
    let stage = Stage::start().await;
    let acme = stage.tenant(ACME);
    let call = stage
        .sts(stage.presignd())
        .assume_role()
        .role_arn(&acme.role_arn)
        .external_id(&acme.external_id);
    let before = now();
    let answer = call
        .role_session_name("acme.web@x")
        .source_identity("web")
        .send()
        .await
        .unwrap();
    let user = answer.assumed_role_user().unwrap();
    assert_eq!(
        user.arn(),
        "arn:aws:sts::111122223333:assumed-role/presignd-acme/acme.web@x"
    );
    assert_eq!(answer.source_identity(), Some("web"));
    let expiration = SystemTime::try_from(*answer.credentials().unwrap().expiration()).unwrap();
    let life = expiration.duration_since(before).unwrap();
    assert!((3598..=3605).contains(&life.as_secs()), "{life:?}");
}

#[tokio::test]
async fn the_sdk_understands_each_refusal() {
    let stage = Stage::start().await;
    let (acme, globex) = (stage.tenant(ACME), stage.tenant(GLOBEX));
    let sts = stage.sts(stage.presignd());
    let call = || sts.assume_role().role_session_name("test");
    for (role, external_id, expected) in [
        (
            acme.role_arn.as_str(),
            acme.external_id.as_str(),
            "no error",
        ),
        (&acme.role_arn, &globex.external_id, "AccessDenied"),
        (&acme.role_arn, "", "AccessDenied"),
        (&globex.role_arn, &acme.external_id, "AccessDenied"),
        (
            "arn:aws:iam::111122223333:role/unknown",
            &acme.external_id,
            "AccessDenied",
        ),
    ] {
        let answer = call().role_arn(role).external_id(external_id).send().await;
        assert_eq!(code_of(answer), expected, "{role} {external_id}");
    }
    let good = || {
        call()
            .role_arn(&acme.role_arn)
            .external_id(&acme.external_id)
    };
    assert_eq!(
        code_of(good().duration_seconds(899).send().await),
        "ValidationError"
    );
    assert_eq!(
        code_of(good().role_session_name("a b").send().await),
        "ValidationError"
    );
    let malformed = good()
        .policy("{}")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(
        malformed.is_malformed_policy_document_exception(),
        "{malformed:?}"
    );
}

#[tokio::test]
async fn only_presignd_itself_assumes_roles() {
    let stage = Stage::start().await;
    let acme = stage.tenant(ACME);
    let presignd = stage.presignd();
    let session = stage.session(ACME).await;
    let id = presignd.access_key_id();
    let without_token = Credentials::new(
        session.access_key_id(),
        session.secret_access_key(),
        None,
        None,
        "test",
    );
    for (credentials, expected) in [
        (session.clone(), "AccessDenied"),
        (without_token, "InvalidClientTokenId"),
        (
            Credentials::new(id, "wrong", None, None, "test"),
            "SignatureDoesNotMatch",
        ),
        (
            Credentials::new(
                id,
                presignd.secret_access_key(),
                Some("token".into()),
                None,
                "test",
            ),
            "InvalidClientTokenId",
        ),
        (
            Credentials::new("AKIAUNKNOWN", "wrong", None, None, "test"),
            "InvalidClientTokenId",
        ),
    ] {
        let call = stage
            .sts(credentials)
            .assume_role()
            .role_arn(&acme.role_arn)
            .external_id(&acme.external_id);
        assert_eq!(
            code_of(call.role_session_name("test").send().await),
            expected
        );
    }
    stage.advance(901);
    let call = stage
        .sts(session)
        .assume_role()
        .role_arn(&acme.role_arn)
        .external_id(&acme.external_id);
    assert_eq!(
        code_of(call.role_session_name("test").send().await),
        "ExpiredToken"
    );
}

#[tokio::test]
async fn the_signature_covers_the_parameters() {
    let stage = Stage::start().await;
    let presignd = stage.presignd();
    let acme = stage.tenant(ACME);
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRole")
        .append_pair("RoleArn", &acme.role_arn)
        .append_pair("ExternalId", &acme.external_id)
        .append_pair("RoleSessionName", "test")
        .finish();
    let anonymous = Request::post(stage.sandbox.endpoint_url())
        .body(body.clone())
        .unwrap();
    assert_eq!(
        send(anonymous).await.error(),
        (403, "MissingAuthenticationToken")
    );
    let in_headers = Signer {
        service: "sts",
        location: SignatureLocation::Headers,
        ..stage.signer(ACME, &presignd)
    };
    let in_query = Signer {
        service: "sts",
        ..stage.signer(ACME, &presignd)
    };
    let for_s3 = Signer {
        location: SignatureLocation::Headers,
        ..stage.signer(ACME, &presignd)
    };
    let unsigned = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    for (signer, headers, expected) in [
        (&in_headers, &unsigned[..], (400, "IncompleteSignature")),
        (&in_query, &[], (400, "IncompleteSignature")),
        (&for_s3, &unsigned, (400, "IncompleteSignature")),
        // Signed as "unsigned", but not sent so: the server hashes the body.
        (&in_headers, &[], (403, "SignatureDoesNotMatch")),
    ] {
        let request = stage
            .presign(signer, Method::POST, "/", headers)
            .map(|_| body.clone());
        assert_eq!(send(request).await.error(), expected);
    }
}
