//! Starting and stopping.

use super::*;
use crate::dev::SandboxError;

fn clock() -> SandboxClock {
    Arc::new(now)
}

#[tokio::test]
async fn atemporary_folder_goes_with_the_sandbox() {
    let sandbox = Sandbox::start(loopback(), clock()).await.unwrap();
    let folder = sandbox.temporary.as_ref().unwrap().path().to_owned();
    let endpoint = sandbox.endpoint_url().to_owned();
    assert!(folder.join("acme/acme-files").is_dir());
    assert_eq!(get(&endpoint).await.status, StatusCode::FORBIDDEN);
    sandbox.shutdown().await;
    assert!(!folder.exists());
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    assert!(client.get(endpoint.parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn a_given_folder_is_made_and_kept() {
    let parent = tempfile::tempdir().unwrap();
    let options = SandboxOptions {
        data: Some(parent.path().join("made/for/it")),
        ..loopback()
    };
    for round in ["first", "second"] {
        let sandbox = Sandbox::start(options.clone(), clock()).await.unwrap();
        let stage = Stage {
            sandbox,
            ahead: Arc::default(),
        };
        let acme = stage.session(ACME).await;
        if round == "first" {
            stage
                .ask((ACME, &acme), Method::PUT, "/acme-files/k", &[], "kept")
                .await;
        }
        let answer = stage
            .ask((ACME, &acme), Method::GET, "/acme-files/k", &[], "")
            .await;
        assert_eq!(answer.body, "kept", "{round}");
        stage.sandbox.shutdown().await;
    }
    assert!(
        parent
            .path()
            .join("made/for/it/acme/acme-files/k")
            .is_file()
    );
}

#[tokio::test]
async fn what_prevents_a_start_is_named_with_its_remedy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = SandboxOptions {
        data: Some(file.path().to_owned()),
        ..loopback()
    };
    let error = Sandbox::start(options, clock()).await.unwrap_err();
    assert!(matches!(error, SandboxError::Data { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&*file.path().to_string_lossy()) && text.contains("--data"),
        "{text}"
    );

    let first = Sandbox::start(loopback(), clock()).await.unwrap();
    let address = first.endpoint_url().strip_prefix("http://").unwrap();
    let options = SandboxOptions {
        s3_listen: address.parse().unwrap(),
        data: None,
    };
    let text = Sandbox::start(options, clock())
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains(address) && text.contains("--s3"), "{text}");
}

#[tokio::test]
async fn every_start_has_an_identity_of_its_own() {
    let (a, b) = (Stage::start().await, Stage::start().await);
    assert_ne!(a.sandbox.access_key_id(), b.sandbox.access_key_id());
    assert_ne!(
        a.presignd().secret_access_key(),
        b.presignd().secret_access_key()
    );
    let session = a.session(ACME).await;
    let answer = b
        .ask((ACME, &session), Method::GET, "/acme-files/k", &[], "")
        .await;
    assert_eq!(answer.error(), (403, "InvalidAccessKeyId"));
}
