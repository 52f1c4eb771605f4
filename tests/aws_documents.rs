//! `presignd aws`: IAM documents from the configuration, which make a role that presignd can sign as.

use serde_json::{Value, json};

use crate::harness::ceph::Ceph;
use crate::harness::commands::{delete, list};
use crate::harness::presignd::{Presignd, get_object, put_object};
use crate::harness::process::{Ended, presignd};

const BUCKET: &str = "acme-files";

/// `presignd aws ARGUMENTS --config FILE --tenant acme`, where this is the tenant's YAML.
async fn aws(tenant: &str, arguments: &[&str]) -> Ended {
    let mut yaml = "callers: [{ match: anyone }]\ntenants:\n  acme:\n".to_owned();
    for line in tenant.lines() {
        yaml += &format!("    {line}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("presignd.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut all = vec!["aws"];
    all.extend(arguments);
    all.extend(["--config", file.to_str().unwrap()]);
    if !arguments.contains(&"--tenant") {
        all.extend(["--tenant", "acme"]);
    }
    presignd(all)
        .env("ACME_SECRET", "PLANTED0SECRET")
        .run()
        .await
}

/// The document that is printed.
async fn document(tenant: &str, arguments: &[&str]) -> (Value, Ended) {
    let ended = aws(tenant, arguments).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document = serde_json::from_str(&ended.stdout).expect("JSON, and nothing else");
    (document, ended)
}

fn role(more: &str) -> String {
    format!(
        "region: eu-west-1
credentials: {{ assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-acme\"{more} }} }}
grants: [{{ commands: [GetObject], resources: [\"acme-files/in/*\"] }}]"
    )
}

const WEB: &str = "region: eu-west-1
credentials: { web_identity: { role_arn: \"arn:aws:iam::111122223333:role/presignd-acme\", token_file: t } }
grants: [{ commands: [GetObject], resources: [\"acme-files/in/*\"] }]";

fn tenant_of(endpoint: &str, role_arn: &str, grants: &str) -> String {
    format!(
        "region: us-east-1
endpoint: {{ url: \"{endpoint}\", path_style: true }}
credentials:
  assume_role: {{ role_arn: \"{role_arn}\", sts_endpoint: \"{endpoint}\" }}
grants: {grants}"
    )
}

#[tokio::test]
async fn a_role_of_the_printed_documents_signs_what_the_grants_allow_and_no_more() {
    let ceph = Ceph::shared();
    let role_arn = "arn:aws:iam:::role/presignd-printed";
    let grants =
        r#"[{ commands: [GetObject, PutObject, list], resources: ["acme-files/printed/*"] }]"#;
    let tenant = tenant_of(ceph.endpoint(), role_arn, grants);
    let principal = Ceph::presignd_arn();
    let trust = aws(&tenant, &["trust-policy", "--principal", &principal]).await;
    let permissions = aws(&tenant, &["role-policy"]).await;
    for ended in [&trust, &permissions] {
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
    let made = ceph
        .make_role_of("presignd-printed", &trust.stdout, &permissions.stdout)
        .await;
    assert_eq!(made, role_arn);

    let key = "printed/k";
    let presignd = Presignd::with_tenant("acme", &tenant)
        .with_credentials(ceph.presignd_credentials().clone())
        .start()
        .await;
    let put = presignd.run("acme", put_object(BUCKET, key), "hello").await;
    assert_eq!(put.status, 200, "{put:?}");
    let got = presignd.run("acme", get_object(BUCKET, key), "").await;
    assert_eq!((got.status, got.text().as_str()), (200, "hello"));
    let listed = presignd.run("acme", list(BUCKET, "printed/"), "").await;
    assert_eq!(listed.status, 200, "{listed:?}");

    // With grants that are wider than those that the role was made for, the role is what stops it.
    ceph.put_object(BUCKET, "elsewhere/k", "x").await;
    let wide = r#"[{ commands: [read, write, delete, list], resources: ["acme-files/*"] }]"#;
    let wide = Presignd::with_tenant("acme", &tenant_of(ceph.endpoint(), role_arn, wide))
        .with_credentials(ceph.presignd_credentials().clone())
        .start()
        .await;
    for command in [
        get_object(BUCKET, "elsewhere/k"),
        put_object(BUCKET, "elsewhere/new"),
        delete(BUCKET, key),
        list(BUCKET, ""),
    ] {
        let what = format!("{command:?}");
        let response = wide.run("acme", command, "").await;
        assert_eq!(response.status, 403, "{what}: {response:?}");
    }
    // And it is no obstacle to what it was made for.
    let got = wide.run("acme", get_object(BUCKET, key), "").await;
    assert_eq!(got.status, 200, "{got:?}");
}

#[tokio::test]
async fn a_trust_policy_names_what_is_configured() {
    let more = r#", external_id: acme-7f3a, session_tags: { tenant: "{tenant}" }, source_identity: "{caller}""#;
    let principal = "arn:aws:iam::444455556666:role/presignd";
    let (trust, ended) = document(&role(more), &["trust-policy", "--principal", principal]).await;
    assert_eq!(ended.stderr, "");
    let actions: Vec<&Value> = trust["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| {
            assert_eq!(statement["Principal"]["AWS"], principal);
            &statement["Action"]
        })
        .collect();
    assert_eq!(
        actions,
        ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
    );
    assert_eq!(
        trust["Statement"][0]["Condition"],
        json!({"StringEquals": {"sts:ExternalId": "acme-7f3a"}})
    );

    let (trust, ended) = document(&role(""), &["trust-policy"]).await;
    assert_eq!(trust["Statement"].as_array().unwrap().len(), 1);
    let placeholder = "arn:aws:iam::ACCOUNT:role/PRESIGND";
    assert_eq!(trust["Statement"][0]["Principal"]["AWS"], placeholder);
    for words in [placeholder, "--principal"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_trust_policy_for_tokens_names_their_provider() {
    let provider = ["--oidc-provider", "https://oidc.example/id/X"];
    let subject = ["--subject", "system:serviceaccount:presignd:presignd"];
    let arguments = [&["trust-policy"][..], &provider, &subject].concat();
    let (trust, ended) = document(WEB, &arguments).await;
    assert_eq!(ended.stderr, "");
    assert_eq!(
        trust["Statement"][0]["Principal"]["Federated"],
        "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/X"
    );
    assert_eq!(
        trust["Statement"][0]["Condition"]["StringEquals"],
        json!({"oidc.example/id/X:aud": "sts.amazonaws.com", "oidc.example/id/X:sub": "system:serviceaccount:presignd:presignd"})
    );
    let (_, ended) = document(WEB, &["trust-policy"]).await;
    for words in ["--oidc-provider", "--subject"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_role_policy_is_all_that_the_grants_carry_and_the_keys() {
    let tenant = r#"region: eu-west-1
credentials: { assume_role: { role_arn: "arn:aws-cn:iam::111122223333:role/presignd-acme" } }
session: { scope: bucket }
grants:
  - { commands: [GetObject], resources: ["acme-files/ключ*"] }
  - { commands: [DeleteObject], resources: ["acme-media/*"] }
kms_keys: ["arn:aws-cn:kms:cn-north-1:111122223333:key/1234"]"#;
    let (policy, ended) = document(tenant, &["role-policy"]).await;
    assert!(ended.stdout.is_ascii(), "{}", ended.stdout);
    let text = policy.to_string();
    for words in [
        "arn:aws-cn:s3:::acme-files/ключ*",
        "arn:aws-cn:s3:::acme-media/*",
        "s3:GetObject",
        "s3:DeleteObject",
        "kms:Decrypt",
        "key/1234",
    ] {
        assert!(text.contains(words), "{words}: {policy:#}");
    }
    assert!(!text.contains("s3:Put"), "{policy:#}");
}

#[tokio::test]
async fn what_takes_more_than_a_policy_may_hold_is_printed_with_a_note() {
    let resources: Vec<String> = (0..150)
        .map(|n| format!("acme-files/a-prefix-of-some-length-{n}/*"))
        .collect();
    let tenant = role("").replace(r#"["acme-files/in/*"]"#, &format!("{resources:?}"));
    // The session policy would be too long as well, so that it takes managed ones.
    let managed = r#"role/presignd-acme", policy_arns: ["arn:aws:iam::aws:policy/a"]"#;
    let tenant = tenant.replace("role/presignd-acme\"", managed);
    let (_, ended) = document(&tenant, &["role-policy"]).await;
    assert!(ended.stderr.contains("6144"), "{}", ended.stderr);
}

#[tokio::test]
async fn there_is_nothing_to_print_for_others() {
    let fixed = "region: us-east-1
endpoint: { url: \"http://127.0.0.1:9\" }
credentials: { static: { access_key_id: AKID, secret_access_key: { env: ACME_SECRET } } }";
    let own = ["trust-policy", "--oidc-provider", "oidc.example"];
    let web = [
        "trust-policy",
        "--principal",
        "arn:aws:iam::444455556666:role/p",
    ];
    for (tenant, arguments, words) in [
        (fixed.to_owned(), &["role-policy"][..], "static credentials"),
        (fixed.to_owned(), &["trust-policy"], "static credentials"),
        (
            role(""),
            &["role-policy", "--tenant", "acmee"],
            "did you mean \"acme\"?",
        ),
        (role(""), &own, "give --principal"),
        (WEB.to_owned(), &web, "give --oidc-provider"),
    ] {
        let ended = aws(&tenant, arguments).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let everybody = aws(&role(""), &["trust-policy", "--principal", "*"]).await;
    assert_eq!((everybody.code, everybody.stdout.as_str()), (Some(2), ""));
}
