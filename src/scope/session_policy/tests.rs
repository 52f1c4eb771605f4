//! What policies from grants allow, as tables.

use serde_json::{Value, json};

use super::{MAX_SESSION_POLICY, SessionPolicyInput, denials, session_policy};
use crate::admit::deny::Denial;
use crate::admit::grant::{CommandSelector, Grant, Store, Terms};
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::{self, SourceIps};

fn grant(commands: &[&str], resources: &[&str]) -> Grant {
    grant_from(commands, resources, &[])
}

/// The same, from these networks only.
pub(super) fn grant_from(commands: &[&str], resources: &[&str], source_ip: &[&str]) -> Grant {
    Grant::new(
        commands
            .iter()
            .map(|c| CommandSelector::parse(c).unwrap())
            .collect(),
        resources
            .iter()
            .map(|r| ResourcePattern::parse(r).unwrap())
            .collect(),
        Terms {
            source_ip: addresses(source_ip),
            ..Terms::default()
        },
        Store::Aws,
    )
}

pub(super) fn addresses(texts: &[&str]) -> Option<SourceIps> {
    SourceIps::of(texts.iter().map(|text| source_ip::parse(text).unwrap()))
}

/// Grants on AWS, and nothing besides.
pub(super) fn input<'a>(grants: &'a [Grant], kms_keys: &'a [String]) -> SessionPolicyInput<'a> {
    SessionPolicyInput {
        grants,
        kms_keys,
        partition: "aws",
        signature_age: None,
        deny: &[],
    }
}

fn text(grants: &[Grant], buckets: Option<&[&str]>, kms_keys: &[String]) -> String {
    session_policy(&super::policy(&input(grants, kms_keys), buckets))
}

fn policy(grants: &[Grant], buckets: Option<&[&str]>, kms_keys: &[String]) -> Value {
    serde_json::from_str(&text(grants, buckets, kms_keys)).unwrap()
}

/// The actions that the policy allows on a resource, with their prefix condition.
fn allowed(policy: &Value, arn: &str) -> Vec<(String, Option<String>)> {
    let many = |value: &Value| match value {
        Value::Array(values) => values
            .iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect(),
        value => vec![value.as_str().unwrap().to_owned()],
    };
    let mut found = Vec::new();
    for statement in policy["Statement"].as_array().unwrap() {
        if statement["Effect"] == "Allow" && many(&statement["Resource"]).contains(&arn.to_owned())
        {
            let prefix = statement["Condition"]["StringLike"]["s3:prefix"]
                .as_str()
                .map(str::to_owned);
            found.extend(
                many(&statement["Action"])
                    .into_iter()
                    .map(|a| (a, prefix.clone())),
            );
        }
    }
    found.sort();
    found
}

fn names(actions: &[(String, Option<String>)]) -> Vec<&str> {
    actions.iter().map(|(action, _)| action.as_str()).collect()
}

#[test]
fn a_grant_of_one_command_allows_its_actions_alone() {
    let policy = policy(&[grant(&["PutObject"], &["b/up/*"])], None, &[]);
    assert_eq!(
        names(&allowed(&policy, "arn:aws:s3:::b/up/*")),
        ["s3:PutObject"]
    );
    assert_eq!(allowed(&policy, "arn:aws:s3:::b"), []);
}

#[test]
fn writing_does_not_allow_reading() {
    let policy = policy(&[grant(&["write"], &["b/*"])], None, &[]);
    let actions = allowed(&policy, "arn:aws:s3:::b/*");
    assert!(names(&actions).contains(&"s3:PutObject"));
    let reads: Vec<_> = actions
        .iter()
        .filter(|(a, _)| a.starts_with("s3:Get"))
        .collect();
    assert!(reads.is_empty(), "{reads:?}");
}

#[test]
fn a_class_never_brings_what_is_granted_by_name() {
    for class in ["read", "write", "list", "delete", "admin"] {
        let text = policy(&[grant(&[class], &["b/*"])], None, &[]).to_string();
        assert!(
            !text.contains("CreateSession") && !text.contains("BypassGovernance"),
            "{class}: {text}"
        );
    }
    let text = policy(&[grant(&["DeleteObject"], &["b/*"])], None, &[]).to_string();
    assert!(text.contains("s3:BypassGovernanceRetention"), "{text}");
}

#[test]
fn lists_under_a_prefix_are_bounded_by_it() {
    let policy = policy(&[grant(&["list"], &["b/a/*", "c/*"])], None, &[]);
    let under_prefix = allowed(&policy, "arn:aws:s3:::b");
    assert_eq!(
        names(&under_prefix),
        ["s3:ListBucket", "s3:ListBucketVersions"]
    );
    assert!(
        under_prefix
            .iter()
            .all(|(_, prefix)| prefix.as_deref() == Some("a/*"))
    );
    let whole = allowed(&policy, "arn:aws:s3:::c");
    assert!(names(&whole).contains(&"s3:ListBucketMultipartUploads"));
    assert!(whole.iter().all(|(_, prefix)| prefix.is_none()));
}

#[test]
fn wildcards_and_variables_in_names_are_literal() {
    let policy = policy(
        &[grant(&["GetObject"], &["b/$aws:username/a?/*"])],
        None,
        &[],
    );
    let arn = "arn:aws:s3:::b/${$}aws:username/a${?}/*";
    assert!(
        names(&allowed(&policy, arn)).contains(&"s3:GetObject"),
        "{policy}"
    );
}

#[test]
fn a_bucket_scope_leaves_the_other_buckets_out() {
    let grants = [
        grant(&["read"], &["b/*", "c/*"]),
        grant(&["write"], &["c/*"]),
    ];
    let policy = policy(&grants, Some(&["b"]), &[]).to_string();
    assert!(
        policy.contains(":::b/*") && !policy.contains(":::c"),
        "{policy}"
    );
    assert!(!policy.contains("s3:PutObject"), "{policy}");
}

#[test]
fn keys_of_the_tenant_are_allowed_and_no_others() {
    let key = "arn:aws:kms:eu-west-1:111122223333:key/1234".to_owned();
    let grants = [grant(&["GetObject"], &["b/*"])];
    let with = policy(&grants, None, std::slice::from_ref(&key));
    assert_eq!(
        names(&allowed(&with, &key)),
        ["kms:Decrypt", "kms:GenerateDataKey"]
    );
    assert!(!policy(&grants, None, &[]).to_string().contains("kms"));
}

#[test]
fn a_tenant_without_grants_gets_a_session_that_can_do_nothing() {
    let policy = policy(&[], None, &[]);
    assert_eq!(
        policy["Statement"],
        json!([{"Effect": "Deny", "Action": "*", "Resource": "*"}])
    );
}

#[test]
fn names_beyond_ascii_are_escaped() {
    let grants = [grant(&["GetObject"], &["b/ключ/😀*"])];
    let text = text(&grants, None, &[]);
    assert!(text.is_ascii(), "{text}");
    let parsed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        parsed["Statement"][0]["Resource"],
        "arn:aws:s3:::b/ключ/😀*"
    );
}

#[test]
fn common_grants_fit() {
    let grants = [grant(
        &["read", "list", "write", "delete"],
        &["acme-files/*", "acme-media/uploads/*"],
    )];
    let text = text(&grants, None, &[]);
    assert!(
        text.len() <= MAX_SESSION_POLICY,
        "{} characters: {text}",
        text.len()
    );
}

#[test]
fn addresses_bound_what_their_grant_allows_and_no_other_grants() {
    let grants = [
        grant_from(&["GetObject"], &["b/*"], &["10.0.0.0/8", "2001:db8::/32"]),
        grant_from(&["GetObject"], &["b/*"], &["192.0.2.0/24"]),
        grant(&["GetObject"], &["b/open/*"]),
    ];
    let policy = policy(
        &grants,
        None,
        &["arn:aws:kms:eu-west-1:111122223333:key/k".to_owned()],
    );
    let found = |resource: &str| -> Vec<&Value> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        let on = statements.filter(|s| s["Resource"] == resource);
        on.map(|s| &s["Condition"]).collect()
    };
    let from = |networks: Value| json!({"IpAddress": {"aws:SourceIp": networks}});
    let bounded = [
        &from(json!(["10.0.0.0/8", "2001:db8::/32"])),
        &from(json!("192.0.2.0/24")),
    ];
    assert_eq!(found("arn:aws:s3:::b/*"), bounded);
    assert_eq!(found("arn:aws:s3:::b/open/*"), [&Value::Null]);
    // S3 comes to the keys from addresses of its own.
    assert_eq!(
        found("arn:aws:kms:eu-west-1:111122223333:key/k"),
        [&Value::Null]
    );
}

#[test]
fn signatures_age_in_every_statement_about_s3() {
    let grants = [grant(&["read", "list"], &["b/a/*"])];
    let kms_keys = ["arn:aws:kms:eu-west-1:111122223333:key/k".to_owned()];
    let input = SessionPolicyInput {
        signature_age: Some(600),
        ..input(&grants, &kms_keys)
    };
    let policy = super::policy(&input, None);
    for statement in policy["Statement"].as_array().unwrap() {
        let age = &statement["Condition"]["NumericLessThanEquals"]["s3:signatureAge"];
        if statement.to_string().contains("kms:") {
            assert_eq!(*age, Value::Null);
        } else {
            assert_eq!(*age, "600000", "{statement}");
        }
    }
    assert!(policy.to_string().contains("s3:prefix"), "{policy}");
}

#[test]
fn the_operators_statements_deny_whatever_they_say() {
    let deny = [
        json!({"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::b/legal/*"}),
        json!({"Effect": "Allow", "Action": "*", "Resource": "*"}),
    ];
    let grants = [grant(&["GetObject"], &["b/*"])];
    for grants in [&grants[..], &[]] {
        let input = SessionPolicyInput {
            deny: &deny,
            ..input(grants, &[])
        };
        let policy = super::policy(&input, None);
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 3, "{policy}");
        assert_eq!(statements[1], deny[0]);
        assert_eq!(statements[2]["Effect"], "Deny");
    }
}

#[test]
fn a_denial_is_stated_on_what_it_names() {
    let denial = |commands: &[&str], resources: &[&str], store| {
        Denial::new(
            commands
                .iter()
                .map(|c| CommandSelector::parse(c).unwrap())
                .collect(),
            resources
                .iter()
                .map(|r| ResourcePattern::parse(r).unwrap())
                .collect(),
            store,
        )
    };
    let listed = denial(&["GetObject", "ListObjectsV2"], &["b/a?/*"], Store::Aws);
    assert_eq!(
        denials(&[listed], "aws"),
        [
            json!({"Effect": "Deny", "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": "arn:aws:s3:::b/a${?}/*"}),
            json!({"Effect": "Deny", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
                "Condition": {"StringLike": {"s3:prefix": "a${?}/*"}}}),
        ]
    );
    let whole = denial(
        &["ListObjectsV2"],
        &["b/*", "acme--euw1-az1--x-s3/*"],
        Store::Aws,
    );
    assert_eq!(
        denials(&[whole], "aws"),
        [json!({"Effect": "Deny", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"})]
    );
    let classes = ["read", "write", "list", "delete", "admin"];
    let told = |store| {
        let told = denials(&[denial(&classes, &["b/*", "*"], store)], "aws");
        Value::from(told).to_string()
    };
    assert!(told(Store::Aws).contains("s3:GetObjectAttributes"));
    assert!(!told(Store::Compatible).contains("s3:GetObjectAttributes"));
    assert!(!told(Store::Aws).contains("s3express:CreateSession"));
    assert!(!told(Store::Compatible).contains("s3express:"));
}
