//! Callers over gRPC: what they are told, and what is recorded.

use presignd::proto::v1::{PresignRequest, PresignResponse};
use tonic::{Code, Request, Status};

use super::api_keys::new_key;
use crate::harness::issuer::{FakeIssuer, SigningKey};
use crate::harness::presignd::{Presignd, batch, get_object, request, static_tenant};
use crate::harness::process::with_config;
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::FakeSts;
use crate::harness::tools;

const GRANTS: &str = r#"grants: [{ commands: [read], resources: ["acme-files/*"] }]"#;

fn get(tenant: &str) -> PresignRequest {
    request(tenant, get_object("acme-files", "k"))
}

async fn presign(
    presignd: &Presignd,
    tenant: &str,
    headers: &[(&'static str, String)],
) -> Result<PresignResponse, Status> {
    let mut request = Request::new(get(tenant));
    for (name, value) in headers {
        request
            .metadata_mut()
            .append(*name, value.parse().expect("ASCII"));
    }
    let answer = presignd.client.clone().presign(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn a_caller_is_held_to_their_tenants_and_named_in_records_and_sessions() {
    let signing = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let (key, hash) = new_key().await;
    let sts = FakeSts::start().await;
    let callers = format!(
        "authentication:
  jwt: {{ users: {{ issuer: \"{}\", audiences: [presignd], jwks: {{ url: \"{}\" }} }} }}
  api_keys: {{ media: [\"{hash}\"] }}
callers:
  - {{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [\"ac*\"], name: ann }}
  - {{ match: {{ api_key: media }}, tenants: [acme] }}
  - {{ match: {{ api_key: media }}, tenants: [globex], may: [explain, usage, operate] }}",
        issuer.name(),
        issuer.keys_url()
    );
    let source = "source_identity: \"{caller}\"";
    let presignd = Presignd::with_sts_tenant(&sts, "acme", source, GRANTS)
        .with_tenant("globex", &sts.tenant("globex", source, GRANTS))
        .with_callers(&callers)
        .start()
        .await;
    let ann = [(
        "authorization",
        format!(
            "Bearer {}",
            signing.token(&issuer.claims(&*presignd.clock, "ann"))
        ),
    )];
    let media = [("x-api-key", key)];
    for (shown, name) in [(&ann, "ann"), (&media, "key.media")] {
        for _ in 0..2 {
            let url = presign(&presignd, "acme", shown).await.unwrap();
            let record = presignd.records.of(&url.issuance_id);
            assert_eq!(record["caller"], name);
            assert_eq!(record["role_session_name"], format!("presignd-acme.{name}"));
        }
    }
    // A session for each caller, and one alone.
    let calls = sts.calls();
    let sources: Vec<&str> = calls
        .iter()
        .map(|call| &*call.form["SourceIdentity"])
        .collect();
    assert_eq!(sources, ["ann", "key.media"]);

    // The same for a tenant of others, one that may be used for other things, and none at all.
    for (shown, name) in [(&ann, "ann"), (&media, "key.media")] {
        let refusals = [
            presign(&presignd, "globex", shown).await,
            presign(&presignd, "no-such-tenant", shown).await,
        ];
        let [theirs, none] = refusals.map(refused);
        assert_eq!(theirs.why(), (Code::PermissionDenied, "TENANT_DENIED"));
        assert_eq!((theirs.why(), &theirs.message), (none.why(), &none.message));
        for refused in [theirs, none] {
            let record = presignd.records.of(&refused.issuance_id);
            assert_eq!(
                (record["caller"].as_str(), record["outcome"].as_str()),
                (Some(name), Some("denied"))
            );
        }
    }
    assert_eq!(sts.calls().len(), 2);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn nobody_is_told_what_would_be_accepted_and_recorded_as_unknown() {
    let (_, hash) = new_key().await;
    let callers = format!(
        "authentication: {{ api_keys: {{ media: [\"{hash}\"] }}, failures: {{ rate: 1/h, burst: 5 }} }}
callers: [{{ match: {{ api_key: media }}, tenants: [acme] }}]"
    );
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_callers(&callers)
        .start()
        .await;
    let wrong = [("x-api-key", "PLANTED0SECRET".to_owned())];
    for (shown, words) in [
        (&[][..], "holds no credential"),
        (&wrong[..], "API key is not known"),
    ] {
        let refused = refused(presign(&presignd, "acme", shown).await);
        assert_eq!(refused.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
        assert!(refused.message.contains(words), "{}", refused.message);
        assert!(
            refused.message.contains("`x-api-key` with an API key"),
            "{}",
            refused.message
        );
        let record = presignd.records.of(&refused.issuance_id);
        assert_eq!(record["caller"], "unknown");
        assert_eq!(
            (record["tenant"].as_str(), record["outcome"].as_str()),
            (Some("acme"), Some("denied"))
        );
        assert_eq!(record["detail"].as_str(), Some(&*refused.message));
    }
    // Who is not known is not told whether the request would be valid.
    let invalid = presignd.presign(PresignRequest::default()).await;
    assert_eq!(
        refused(invalid).why(),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );
    let batch = presignd
        .presign_batch(batch("acme", [get_object("acme-files", "k")]))
        .await;
    assert_eq!(
        refused(batch).why(),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );

    let mut last = Vec::new();
    for _ in 0..4 {
        last.push(refused(presign(&presignd, "acme", &wrong).await));
    }
    let recorded = presignd.records.all().len();
    assert_eq!(
        recorded, 6,
        "the burst, and the attempt that found it used up"
    );
    let Some(Refused { retry_after, .. }) = last.last() else {
        panic!("{last:?}")
    };
    assert!(
        retry_after.is_some_and(|after| after.as_secs() > 3000),
        "{last:?}"
    );
    assert_eq!(
        last[3].why(),
        (Code::ResourceExhausted, "TOO_MANY_FAILURES")
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_issuer_without_keys_is_unavailable() {
    let signing = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&signing]).await;
    issuer.vanish();
    let callers = format!(
        "authentication: {{ jwt: {{ users: {{ issuer: \"{}\", audiences: [presignd] }} }} }}
callers: [{{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [acme] }}]",
        issuer.name()
    );
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_callers(&callers)
        .start()
        .await;
    let token = signing.token(&issuer.claims(&*presignd.clock, "ann"));
    let shown = [("authorization", format!("Bearer {token}"))];
    let refused = refused(presign(&presignd, "acme", &shown).await);
    assert_eq!(refused.why(), (Code::Unavailable, "ISSUER_UNAVAILABLE"));
    assert!(refused.retry_after.is_some());
    let record = presignd.records.of(&refused.issuance_id);
    assert_eq!(
        (record["caller"].as_str(), record["outcome"].as_str()),
        (Some("unknown"), Some("failed"))
    );
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn grpcurl_shows_tokens_and_keys_as_anybody_would() {
    let signing = SigningKey::rsa("r");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let (key, hash) = new_key().await;
    let tenant = static_tenant(GRANTS).replace('\n', "\n    ");
    let config = format!(
        "server: {{ listen: 127.0.0.1:0, reflection: true }}
authentication:
  jwt: {{ users: {{ issuer: \"{}\", audiences: [presignd] }} }}
  api_keys: {{ media: [{{ env: MEDIA_HASH }}] }}
callers:
  - {{ match: {{ jwt: {{ issuer: users, subject: ann }} }}, tenants: [acme] }}
  - {{ match: {{ api_key: media }}, tenants: [acme] }}
tenants:
  acme:
    {tenant}
",
        issuer.name()
    );
    let presignd = with_config("serve", &config)
        .env("MEDIA_HASH", hash)
        .start();
    let address = presignd.address().await;
    let clock = presignd::clock::SystemClock::new();
    let token = signing.token(&issuer.claims(&clock, "ann"));
    let (bearer, api_key) = (
        format!("authorization: Bearer {token}"),
        format!("x-api-key: {key}"),
    );
    let ask = r#"{"tenant":"acme","command":{"getObject":{"bucket":"acme-files","key":"k"}}}"#;
    let method = "presignd.v1.PresignService/Presign";
    for header in [&bearer, &api_key] {
        let output = tools::grpcurl(["-H", header, "-d", ask, &address, method]).await;
        assert!(output.status.success(), "{output:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            answer["url"]
                .as_str()
                .is_some_and(|url| url.contains("X-Amz-Signature"))
        );
    }
    let output = tools::grpcurl(["-d", ask, &address, method]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    for words in [
        "Code: Unauthenticated",
        "`authorization: Bearer`",
        "`x-api-key`",
    ] {
        assert!(said.contains(words), "{said}");
    }
    // Health and reflection are open.
    for open in ["list", "grpc.health.v1.Health/Check"] {
        let output = tools::grpcurl([&*address, open]).await;
        assert!(output.status.success(), "{output:?}");
    }
    let ended = presignd.terminated().await;
    assert!(
        ended.stdout.contains(r#""caller":"jwt.users.ann""#),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains(r#""caller":"key.media""#),
        "{}",
        ended.stdout
    );
    for secret in [&key, &token] {
        assert!(!ended.stdout.contains(secret.as_str()) && !ended.stderr.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn reflection_may_be_switched_off() {
    let presignd = Presignd::with_tenant("acme", &static_tenant(GRANTS))
        .with_server("reflection: false")
        .start()
        .await;
    let output = tools::grpcurl([&*presignd.address, "list"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("does not support the reflection API"),
        "{said}"
    );
    assert!(presignd.presign(get("acme")).await.is_ok());
    presignd.shutdown().await.unwrap();
}
