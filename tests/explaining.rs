//! `ExplainPresign`: what Presign would do, held against what it does, and without spending anything.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use presignd::proto::v1::explained_session::Credentials;
use presignd::proto::v1::{
    BucketStyle, ExpiryBound, ExplainPresignRequest, ExplainPresignResponse, ExplainedRole,
    ExplainedWarning, PresignRequest, WarningKind,
};
use prost::Message as _;
use tonic::{Code, Status};

use crate::authentication::api_keys::new_key;
use crate::harness::presignd::{
    Presignd, clamped, get_object, lasting, put_object, request, static_tenant,
};
use crate::harness::process::{self, with_config};
use crate::harness::refusal::{Refused, refused};
use crate::harness::sts::FakeSts;
use crate::harness::tools;

const METHOD: &str = "presignd.v1.PresignService/ExplainPresign";
const GRANTS: &str = r#"grants:
  - { commands: [list], resources: ["acme-files"] }
  - { commands: [read], resources: ["acme-files/*"], max_expiry: 1h }
  - { commands: [PutObject], resources: ["acme-files/in/*"], max_upload: 1KiB }"#;
const EXPLAINERS: &str = "callers: [{ match: anyone, tenants: [\"*\"], may: [sign, explain] }]";

async fn explain(
    presignd: &Presignd,
    request: PresignRequest,
) -> Result<ExplainPresignResponse, Status> {
    let request = ExplainPresignRequest {
        request: Some(request),
    };
    let answer = presignd.client.clone().explain_presign(request).await?;
    Ok(answer.into_inner())
}

async fn start(rest: &str) -> Presignd {
    let tenant = static_tenant(&format!("{GRANTS}\n{rest}"));
    Presignd::with_tenant("acme", &tenant)
        .with_callers(EXPLAINERS)
        .start()
        .await
}

fn get(key: &str) -> PresignRequest {
    request("acme", get_object("acme-files", key))
}

/// The parameters of a query, but those that are the signature's result.
fn parameters(query: &str) -> BTreeMap<&str, &str> {
    let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
    let passing = ["X-Amz-Signature", "X-Amz-Date"];
    parameters
        .filter(|(name, _)| !passing.contains(name))
        .collect()
}

#[tokio::test]
async fn what_is_explained_is_what_presign_does() {
    let presignd = start("").await;
    let mut from = get("k");
    from.source_ip = vec!["10.0.0.1".to_owned()];
    let table = [
        get("k"),
        lasting(60, get("k")),
        lasting(3600, get("a//b")),
        lasting(3601, get("k")),
        clamped(lasting(3601, get("k"))),
        request("acme", get_object("other-files", "k")),
        request("acme", put_object("acme-files", "in/k")),
        request("acme", put_object("acme-files", "k")),
        from,
    ];
    let mut allowed = 0;
    for asked in table {
        let explained = explain(&presignd, asked.clone()).await.unwrap();
        let record = presignd.records.of(&explained.issuance_id);
        assert_eq!(record["outcome"], "explained");
        assert_eq!(record["status"], "OK");
        assert_eq!(record["method"], METHOD);
        match presignd.presign(asked.clone()).await {
            Ok(issued) => {
                allowed += 1;
                assert!(explained.allowed, "{asked:?}: {explained:?}");
                assert!(explained.refusal.is_none());
                let seconds = explained.expires_in.unwrap().seconds;
                let record = presignd.records.of(&issued.issuance_id);
                assert_eq!(record["expires_in"], seconds);
                assert_eq!(explained.expiry_bound, issued.expiry_bound);
                assert_eq!(explained.method, issued.method);
                assert_eq!(explained.headers, issued.headers);
                let endpoint = explained.endpoint.unwrap();
                assert_eq!(record["endpoint"], *endpoint.host);
                assert_eq!(endpoint.bucket_style(), BucketStyle::Path);
                let lines: Vec<&str> = explained.canonical_request.lines().collect();
                let url = issued.url.strip_prefix("http://s3.test:9000").unwrap();
                let (path, query) = url.split_once('?').unwrap();
                assert_eq!(lines[..2], [&*issued.method, path]);
                assert_eq!(parameters(lines[2]), parameters(query));
                assert_eq!(lines[3], "host:s3.test:9000");
                assert_eq!(lines.last(), Some(&"UNSIGNED-PAYLOAD"));
            }
            Err(status) => {
                assert!(!explained.allowed, "{asked:?}: {explained:?}");
                let would = explained.refusal.expect("a refusal");
                assert_eq!(would.code, status.code() as i32);
                assert_eq!(would.message, status.message());
                assert_eq!(record["reason_code"], *Refused::read(&status).reason);
            }
        }
    }
    assert_eq!(allowed, 4);
}

#[tokio::test]
async fn grants_are_told_and_what_is_in_their_way() {
    let presignd = start("").await;
    let explained = explain(&presignd, get("k")).await.unwrap();
    let first = &explained.requirements[0];
    assert!(first.met && first.command == "GetObject" && first.action.is_empty());
    assert_eq!(first.grants[0].index, 1);
    assert_eq!(
        first.grants[0].text,
        "commands: [read], resources: [acme-files/*], max_expiry: 3600s"
    );
    let refused = request("acme", put_object("acme-files", "in/k"));
    let explained = explain(&presignd, refused).await.unwrap();
    let first = &explained.requirements[0];
    let told: Vec<_> = first.grants.iter().map(|g| (g.index, &g.why_not)).collect();
    assert!(!first.met, "{first:?}");
    assert_eq!(told[0].0, 1, "{told:?}");
    assert_eq!(told[0].1[..], ["it is not of PutObject"]);
    assert_eq!(told[1].0, 2, "{told:?}");
    assert!(
        told[1].1[0].contains("its max_upload is 1024 bytes"),
        "{told:?}"
    );
}

#[tokio::test]
async fn looking_at_limits_costs_nothing_and_tells_what_is_left() {
    let limits = "limits:
  - { name: all, rate: 1/h, burst: 3 }
  - { name: writes, commands: [write], rate: 1/h, burst: 1 }";
    let presignd = start(limits).await;
    for left in [3, 2, 1, 0] {
        for _ in 0..5 {
            let explained = explain(&presignd, get("k")).await.unwrap();
            let [all] = &explained.limits[..] else {
                panic!("{:?}", explained.limits);
            };
            assert_eq!((&*all.name, all.left, all.burst), ("all", left, 3));
            assert_eq!(all.retry_after.is_some(), left == 0);
            assert_eq!(explained.allowed, left > 0);
            assert_eq!(explained.refusal.is_some(), left == 0);
        }
        assert_eq!(presignd.presign(get("k")).await.is_ok(), left > 0);
    }
    let explained = explain(&presignd, get("k")).await.unwrap();
    let refusal = format!("{:?}", explained.refusal);
    assert!(refusal.contains("has no room"), "{refusal}");
}

fn role(explained: &ExplainPresignResponse) -> ExplainedRole {
    let session = explained.session.clone().and_then(|s| s.credentials);
    match session {
        Some(Credentials::Role(role)) => role,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_session_is_told_and_sts_is_not_asked() {
    let sts = FakeSts::start().await;
    let presignd = Presignd::with_sts_tenant(&sts, "acme", "", GRANTS)
        .with_callers(EXPLAINERS)
        .start()
        .await;
    let cold = explain(&presignd, lasting(60, get("k"))).await.unwrap();
    assert!(cold.allowed, "{cold:?}");
    assert_eq!(sts.calls().len(), 0);
    assert_eq!(role(&cold).cached_until, None);
    assert!(
        cold.canonical_request
            .contains("X-Amz-Credential=REDACTED%2F")
    );

    let issued = presignd.presign(lasting(60, get("k"))).await.unwrap();
    let warm = explain(&presignd, lasting(60, get("k"))).await.unwrap();
    let [call] = &sts.calls()[..] else {
        panic!("one call");
    };
    let [session] = &sts.sessions()[..] else {
        panic!("one session");
    };
    let told = role(&warm);
    assert_eq!(
        told,
        ExplainedRole {
            cached_until: told.cached_until,
            ..role(&cold)
        }
    );
    assert_eq!(told.role_arn, call.form["RoleArn"]);
    assert_eq!(told.role_session_name, call.form["RoleSessionName"]);
    assert_eq!(told.session_policy, call.form["Policy"]);
    let until = SystemTime::try_from(told.cached_until.unwrap()).unwrap();
    assert_eq!(until, session.expires_at);
    let credential = format!("X-Amz-Credential={}%2F", session.access_key_id);
    assert!(warm.canonical_request.contains(&credential));
    assert!(issued.url.contains(&credential));

    // Nothing of it could sign, nor tells what has.
    let (_, signature) = issued.url.split_once("X-Amz-Signature=").unwrap();
    let answer = String::from_utf8_lossy(&warm.encode_to_vec()).into_owned();
    let record = presignd.records.of(&warm.issuance_id).to_string();
    for text in [answer, format!("{warm:?}"), record] {
        for secret in [&*session.secret_access_key, &*session.token, signature] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(
        warm.canonical_request
            .contains("&X-Amz-Security-Token=REDACTED&")
    );

    // A session that ends first sets the expiry, for both.
    presignd.clock.advance(Duration::from_mins(50));
    let asked = || clamped(lasting(3600, get("k")));
    let explained = explain(&presignd, asked()).await.unwrap();
    let issued = presignd.presign(asked()).await.unwrap();
    assert_eq!(explained.expiry_bound, issued.expiry_bound);
}

#[tokio::test]
async fn what_may_go_wrong_is_told() {
    let presignd = start("").await;
    let mut typed = request("acme", put_object("acme-files", "in/a+b"));
    if let Some(presignd::proto::v1::command::Command::PutObject(put)) =
        &mut typed.command.as_mut().unwrap().command
    {
        put.content_length = Some(10);
        put.content_type = Some("text/plain".to_owned());
    }
    for (asked, kinds) in [
        (get("k"), vec![]),
        (lasting(119, get("k")), vec![WarningKind::ExpiryShort]),
        (get("a//%b"), vec![WarningKind::KeyMangled; 2]),
        (
            typed,
            vec![WarningKind::KeyMangled, WarningKind::ContentTypeSigned],
        ),
        (
            request("acme", put_object("acme-files", "in/k")),
            vec![WarningKind::UploadUnbounded],
        ),
    ] {
        let explained = explain(&presignd, asked).await.unwrap();
        let told: Vec<_> = explained
            .warnings
            .iter()
            .map(ExplainedWarning::kind)
            .collect();
        assert_eq!(told, kinds, "{explained:?}");
    }
}

#[tokio::test]
async fn it_needs_a_right_of_its_own_and_invalid_requests_are_refused() {
    let (sign, sign_hash) = new_key().await;
    let (look, look_hash) = new_key().await;
    let callers = format!(
        "authentication: {{ api_keys: {{ signs: [\"{sign_hash}\"], looks: [\"{look_hash}\"] }} }}
callers:
  - {{ match: {{ api_key: signs }}, tenants: [acme] }}
  - {{ match: {{ api_key: looks }}, tenants: [acme], may: [explain] }}"
    );
    let tenant = static_tenant(GRANTS);
    let presignd = Presignd::with_tenant("acme", &tenant)
        .with_tenant("globex", &tenant)
        .with_callers(&callers)
        .start()
        .await;
    let ask = async |key: &str, request: PresignRequest| {
        let request = ExplainPresignRequest {
            request: Some(request),
        };
        let mut request = tonic::Request::new(request);
        let key = key.parse().expect("ASCII");
        request.metadata_mut().insert("x-api-key", key);
        let answer = presignd.client.clone().explain_presign(request).await;
        answer.map(tonic::Response::into_inner)
    };
    let mut told = Vec::new();
    for (key, tenant) in [
        (&sign, "acme"),
        (&sign, "globex"),
        (&look, "globex"),
        (&look, "nobody"),
    ] {
        let asked = request(tenant, get_object("acme-files", "k"));
        let refused = refused(ask(key, asked).await);
        assert_eq!(refused.why(), (Code::PermissionDenied, "TENANT_DENIED"));
        assert_eq!(
            presignd.records.of(&refused.issuance_id)["outcome"],
            "denied"
        );
        told.push(refused.message);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");

    let explained = ask(&look, get("k")).await.unwrap();
    assert!(explained.allowed);
    assert_eq!(explained.warnings[0].kind(), WarningKind::CallerMayNotSign);
    assert_eq!(explained.expiry_bound(), ExpiryBound::Default);

    for (asked, field) in [
        (get(""), "request.command.get_object.key"),
        (lasting(0, get("k")), "request.expires_in"),
    ] {
        let refused = refused(ask(&look, asked).await);
        assert_eq!(refused.why(), (Code::InvalidArgument, "INVALID_REQUEST"));
        assert_eq!(refused.fields, [field]);
        assert_eq!(
            presignd.records.of(&refused.issuance_id)["outcome"],
            "denied"
        );
    }
    let nothing = ExplainPresignRequest::default();
    let refused = refused(presignd.client.clone().explain_presign(nothing).await);
    assert_eq!(refused.why(), (Code::Unauthenticated, "UNAUTHENTICATED"));
}

#[tokio::test]
async fn grpcurl_explains() {
    let config = process::static_tenant("[GetObject]", "");
    let config = config.replace(
        "match: anyone",
        "match: anyone, tenants: [\"*\"], may: [explain]",
    );
    let presignd = with_config("serve", &config).start();
    let asked = r#"{"request":{"tenant":"acme","command":{"getObject":{"bucket":"acme-files","key":"k"}}}}"#;
    let output = tools::grpcurl(["-d", asked, &presignd.address().await, METHOD]).await;
    assert!(output.status.success(), "{output:?}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["allowed"], true, "{answer:#}");
    assert_eq!(answer["requirements"][0]["met"], true, "{answer:#}");
    let id = answer["issuanceId"].as_str().unwrap();
    let record = presignd.stdout_line(id).await;
    assert!(record.contains(r#""outcome":"explained""#), "{record}");
}
