//! What sessions hold of access points and directory buckets, and what is refused because nothing would hold it.

use serde_json::{Value, json};
use tonic::Code;

use super::{DIRECTORY, GLOBAL, LAMBDA, OUTPOST, POINT};
use crate::harness::commands::list;
use crate::harness::presignd::{Presignd, get_object, put_object, request};
use crate::harness::process::with_config;
use crate::harness::refusal::refused;
use crate::harness::sts::FakeSts;

/// A tenant of AWS whose sessions come from the fake.
fn tenant(sts: &FakeSts, rest: &str) -> String {
    format!(
        "region: eu-west-1
credentials:
  assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-acme\", sts_endpoint: \"{}\" }}
{rest}",
        sts.url()
    )
}

async fn start(sts: &FakeSts, rest: &str) -> Presignd {
    Presignd::with_tenant("acme", &tenant(sts, rest))
        .with_clock(sts.clock())
        .start()
        .await
}

/// The statements of the policy of the latest session.
fn statements(sts: &FakeSts) -> Vec<Value> {
    let calls = sts.calls();
    let policy = &calls.last().expect("a call").form["Policy"];
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    policy["Statement"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_session_holds_the_access_point_and_not_the_bucket_behind_it() {
    let sts = FakeSts::start().await;
    let grants = format!(
        r#"grants: [{{ commands: [GetObject, ListObjectsV2], resources: ["{POINT}/pub/*", "{GLOBAL}/*"] }}]"#
    );
    let presignd = start(&sts, &grants).await;
    presignd.issue("acme", get_object(POINT, "pub/k")).await;
    let held = statements(&sts);
    let read = json!(["s3:GetObject", "s3:GetObjectVersion"]);
    let expected = [
        json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": GLOBAL}),
        json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": POINT,
            "Condition": {"StringLike": {"s3:prefix": "pub/*"}}}),
        json!({"Effect": "Allow", "Action": read,
            "Resource": [format!("{GLOBAL}/object/*"), format!("{POINT}/object/pub/*")]}),
    ];
    assert_eq!(held.len(), expected.len(), "{held:#?}");
    for statement in expected {
        assert!(held.contains(&statement), "{statement:#} in {held:#?}");
    }
    presignd.shutdown().await.unwrap();

    // And a session of one request the one object.
    let presignd = start(&sts, &format!("session: {{ scope: object }}\n{grants}")).await;
    presignd.issue("acme", get_object(POINT, "pub/a*b")).await;
    let expected = json!({"Effect": "Allow", "Action": "s3:GetObject",
        "Resource": format!("{POINT}/object/pub/a${{*}}b")});
    assert_eq!(statements(&sts), [expected]);
    presignd.issue("acme", list(GLOBAL, "a/")).await;
    let expected = json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": GLOBAL,
        "Condition": {"StringEquals": {"s3:prefix": "a/"}}});
    assert_eq!(statements(&sts), [expected]);
    presignd.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_session_in_a_directory_bucket_is_as_wide_as_a_grant_of_all_of_it() {
    let resource = format!("arn:aws:s3express:*:*:bucket/{DIRECTORY}");
    let allowed =
        json!({"Effect": "Allow", "Action": "s3express:CreateSession", "Resource": resource});
    let mut reading = allowed.clone();
    reading["Condition"] = json!({"StringEquals": {"s3express:SessionMode": "ReadOnly"}});
    let sts = FakeSts::start().await;
    for scope in ["tenant", "bucket", "object"] {
        let session = format!("session: {{ scope: {scope} }}");
        let grants =
            format!(r#"grants: [{{ commands: [read, list], resources: ["{DIRECTORY}/*"] }}]"#);
        let presignd = start(&sts, &format!("{session}\n{grants}")).await;
        presignd.issue("acme", get_object(DIRECTORY, "k")).await;
        assert_eq!(statements(&sts), [reading.clone()], "{scope}");
        let refused = refused(
            presignd
                .presign(request("acme", put_object(DIRECTORY, "k")))
                .await,
        );
        assert_eq!(refused.why(), (Code::PermissionDenied, "COMMAND_DENIED"));
        presignd.shutdown().await.unwrap();

        let grants = format!(
            r#"grants: [{{ commands: [read, list, write, delete], resources: ["{DIRECTORY}/*"] }}]"#
        );
        let presignd = start(&sts, &format!("{session}\n{grants}")).await;
        presignd.issue("acme", put_object(DIRECTORY, "k")).await;
        assert_eq!(
            &statements(&sts)[..],
            std::slice::from_ref(&allowed),
            "{scope}"
        );
        presignd.issue("acme", get_object(DIRECTORY, "k")).await;
        let expected = if scope == "object" {
            &reading
        } else {
            &allowed
        };
        assert_eq!(
            &statements(&sts)[..],
            std::slice::from_ref(expected),
            "{scope}"
        );
        presignd.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_no_session_policy_would_hold_is_a_mistake_of_the_configuration() {
    let config = |resources: &str| {
        format!(
            r#"
tenants:
  acme:
    region: eu-west-1
    credentials: {{ assume_role: {{ role_arn: "arn:aws:iam::111122223333:role/presignd-acme" }} }}
    endpoint: {{ dual_stack: true, requester_pays: true }}
    buckets: {{ media: {{ bucket: "{POINT}", endpoint: {{ fips: true, use_arn_region: true }} }} }}
    grants: [{{ commands: [read], resources: [{resources}] }}]
callers: [{{ match: anyone }}]
"#
        )
    };
    let bad =
        format!(r#""{LAMBDA}/*", "{OUTPOST}/*", "{DIRECTORY}/*", "{DIRECTORY}/a/*", "media/*""#);
    let ended = with_config("check", &config(&bad)).run().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for said in [
        "resources[0]: no session policy can be written for an Object Lambda access point",
        "resources[1]: no session policy can be written for an access point on an Outpost",
        "resources[2]: sessions hold a directory bucket as a whole",
        "resources[3]: sessions hold a directory bucket as a whole",
    ] {
        assert!(ended.stderr.contains(said), "{said} in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("resources[4]"), "{}", ended.stderr);

    let ended = with_config("check", &config("\"media/*\"")).run().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for line in [
        "acme: AWS (dual-stack, requester pays), region eu-west-1\n".to_owned(),
        format!("  bucket media is {POINT}, at AWS (FIPS, regions of ARNs)\n"),
    ] {
        assert!(ended.stdout.contains(&line), "{line} in {}", ended.stdout);
    }
}
