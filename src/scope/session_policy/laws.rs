//! Policies of single requests: as a table of what each says, and as laws over whatever is asked.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{addresses, grant_from, input};
use super::{SessionPolicyInput, literal, own_policy, policy, request_policy, session_policy};
use crate::admit::by_caller::RulesOfCaller;
use crate::admit::deny::Denial;
use crate::admit::grant::{CommandSelector, Grant, Store, Terms};
use crate::admit::policy::{Allowed, Called, Denied};
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip::SourceIps;
use crate::proto::s3;
use crate::proto::v1::PresignPostRequest;
use crate::proto::v1::presign_post_request::KeyRule;
use crate::sign::bind::BindAny;
use crate::sign::command::BoundCommand;
use crate::sign::post_policy::bind::bind;

fn decide(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
) -> Result<Allowed, Denied> {
    let now = std::time::SystemTime::UNIX_EPOCH;
    crate::admit::policy::decide(grants, command, called, source_ip, now)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn get(key: &str) -> s3::GetObject {
    s3::GetObject {
        bucket: some("b"),
        key: some(key),
        ..Default::default()
    }
}

fn list(prefix: Option<&str>) -> s3::ListObjectsV2 {
    s3::ListObjectsV2 {
        bucket: some("b"),
        prefix: prefix.map(str::to_owned),
        ..Default::default()
    }
}

fn copy(source: &str, key: &str) -> s3::CopyObject {
    s3::CopyObject {
        bucket: some("b"),
        key: some(key),
        copy_source: some(source),
        ..Default::default()
    }
}

/// The statements of the request's policy, where the grants allow it.
fn statements(grants: &[Grant], message: &dyn BindAny, source_ip: &[&str]) -> Vec<Value> {
    let source_ip = addresses(source_ip);
    let command = message.to_bound().unwrap();
    decide(grants, &command, Called::default(), source_ip.as_ref()).unwrap();
    let policy = request_policy(&input(grants, &[]), &[&command], source_ip.as_ref());
    policy["Statement"].as_array().unwrap().clone()
}

fn everything() -> [Grant; 1] {
    let commands = [
        "read",
        "write",
        "list",
        "delete",
        "admin",
        "DeleteObject",
        "RenameObject",
    ];
    [grant_from(&commands, &["b/*", "c/*", "*"], &[])]
}

fn allow(actions: &Value, path: &str) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": format!("arn:aws:s3:::{path}")})
}

fn only(mut statement: Value, condition: Value) -> Value {
    statement["Condition"] = condition;
    statement
}

#[test]
fn a_request_gets_its_own_actions_on_its_own_object() {
    let grants = everything();
    let version = s3::GetObject {
        version_id: some("v"),
        ..get("k")
    };
    let tagged = s3::PutObject {
        bucket: some("b"),
        key: some("k"),
        tagging: some("a=b"),
        acl: some("private"),
        ..Default::default()
    };
    let delete = s3::DeleteObject {
        bucket: some("b"),
        key: some("k"),
        ..Default::default()
    };
    let bypassing = s3::DeleteObject {
        bypass_governance_retention: Some(true),
        ..delete.clone()
    };
    let rename = s3::RenameObject {
        bucket: some("b"),
        key: some("k"),
        rename_source: some("/b/old"),
        ..Default::default()
    };
    let cases: [(&dyn BindAny, Vec<Value>); 9] = [
        (&get("k"), vec![allow(&json!("s3:GetObject"), "b/k")]),
        (&version, vec![allow(&json!("s3:GetObjectVersion"), "b/k")]),
        (
            &tagged,
            vec![allow(
                &json!(["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"]),
                "b/k",
            )],
        ),
        (&delete, vec![allow(&json!("s3:DeleteObject"), "b/k")]),
        (
            &bypassing,
            vec![allow(
                &json!(["s3:BypassGovernanceRetention", "s3:DeleteObject"]),
                "b/k",
            )],
        ),
        (
            &copy("c/a*?", "k"),
            vec![
                allow(&json!("s3:GetObject"), "c/a${*}${?}"),
                allow(&json!("s3:PutObject"), "b/k"),
            ],
        ),
        (
            &rename,
            vec![
                allow(&json!(["s3:DeleteObject", "s3:GetObject"]), "b/old"),
                allow(&json!("s3express:CreateSession"), "b"),
            ],
        ),
        (
            &s3::ListBuckets::default(),
            vec![json!({"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})],
        ),
        (
            &s3::GetBucketPolicy {
                bucket: some("b"),
                ..Default::default()
            },
            vec![allow(&json!("s3:GetBucketPolicy"), "b")],
        ),
    ];
    for (message, expected) in cases {
        let name = message.operation().name;
        assert_eq!(statements(&grants, message, &[]), expected, "{name}");
    }
}

#[test]
fn a_form_gets_its_own_actions_on_the_keys_that_it_lets_through() {
    let form = |key_rule| PresignPostRequest {
        bucket: "b".to_owned(),
        key_rule: Some(key_rule),
        ..PresignPostRequest::default()
    };
    let exact = |key: &str| form(KeyRule::Key(key.to_owned()));
    let beginning = |prefix: &str| form(KeyRule::KeyStartsWith(prefix.to_owned()));
    let tagged = PresignPostRequest {
        acl: some("private"),
        tagging: [("a".to_owned(), "b".to_owned())].into(),
        ..beginning("in/")
    };
    let upload = json!("s3:PutObject");
    let all = json!(["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"]);
    let grants = everything();
    for (request, expected) in [
        (exact("k"), allow(&upload, "b/k")),
        (exact("a*?"), allow(&upload, "b/a${*}${?}")),
        (exact("in/${filename}.txt"), allow(&upload, "b/in/*")),
        (beginning("in/"), allow(&upload, "b/in/*")),
        (beginning("in/*$x"), allow(&upload, "b/in/${*}${$}x*")),
        (beginning(""), allow(&upload, "b/*")),
        (tagged, allow(&all, "b/in/*")),
    ] {
        let form = bind(&request).unwrap();
        decide(&grants, &form.command, Called::default(), None).unwrap();
        let policy = request_policy(&input(&grants, &[]), &[&form.command], None);
        assert_eq!(policy["Statement"], json!([expected]), "{request:?}");
    }
    let source_ip = addresses(&["10.0.0.0/8"]);
    let (request, condition) = (
        beginning("in/"),
        json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
    );
    let form = bind(&request).unwrap();
    let policy = request_policy(&input(&grants, &[]), &[&form.command], source_ip.as_ref());
    let expected = only(allow(&upload, "b/in/*"), condition);
    assert_eq!(policy["Statement"], json!([expected]));
}

#[test]
fn the_steps_of_an_upload_are_allowed_together_and_what_presignd_sends_from_anywhere() {
    let create = s3::CreateMultipartUpload {
        bucket: some("b"),
        key: some("k"),
        tagging: some("a=b"),
        ..Default::default()
    };
    let abort = s3::AbortMultipartUpload {
        bucket: some("b"),
        key: some("k"),
        upload_id: some("u"),
        ..Default::default()
    };
    let (create, abort) = (create.to_bound().unwrap(), abort.to_bound().unwrap());
    let steps = [&create, &abort];
    let all = json!([
        "s3:AbortMultipartUpload",
        "s3:PutObject",
        "s3:PutObjectTagging"
    ]);
    let from = |network: &str| json!({"IpAddress": {"aws:SourceIp": network}});
    let narrowed = addresses(&["10.0.0.1"]);
    let bound = [grant_from(&["write", "delete"], &["b/*"], &["10.0.0.0/8"])];
    for (grants, source_ip, expected) in [
        (&everything()[..], None, allow(&all, "b/k")),
        (&bound, None, only(allow(&all, "b/k"), from("10.0.0.0/8"))),
        (
            &bound,
            narrowed.as_ref(),
            only(allow(&all, "b/k"), from("10.0.0.1/32")),
        ),
    ] {
        let policy = request_policy(&input(grants, &[]), &steps, source_ip);
        assert_eq!(policy["Statement"], json!([expected]));
        let own = own_policy(&input(grants, &[]), &steps, source_ip);
        assert_eq!(own["Statement"], json!([allow(&all, "b/k")]));
    }
    // Nor is there anything from addresses that no grant takes.
    let elsewhere = addresses(&["192.0.2.1"]);
    let own = own_policy(&input(&bound, &[]), &steps, elsewhere.as_ref());
    assert_eq!(own["Statement"][0]["Effect"], "Deny");
}

#[test]
fn a_grant_that_takes_less_does_not_lend_its_addresses() {
    let bounded = |most, source_ip: &str| {
        let terms = Terms {
            max_upload: Some(most),
            source_ip: addresses(&[source_ip]),
            ..Default::default()
        };
        let commands = vec![CommandSelector::parse("PutObject").unwrap()];
        let resources = vec![ResourcePattern::parse("b/*").unwrap()];
        Grant::new(commands, resources, terms, Store::Aws)
    };
    let grants = [bounded(100, "10.0.0.0/8"), bounded(9, "192.0.2.0/24")];
    let put = |content_length| s3::PutObject {
        bucket: some("b"),
        key: some("k"),
        content_length: Some(content_length),
        ..Default::default()
    };
    assert_eq!(statements(&grants, &put(9), &[]).len(), 2);
    let large = statements(&grants, &put(10), &[]);
    let from = json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}});
    assert_eq!(large, [only(allow(&json!("s3:PutObject"), "b/k"), from)]);
}

#[test]
fn a_list_is_of_its_own_prefix() {
    let grants = everything();
    for (prefix, condition) in [
        (Some("a/"), json!({"StringEquals": {"s3:prefix": "a/"}})),
        (Some("*?"), json!({"StringEquals": {"s3:prefix": "*?"}})),
        (
            Some("${aws:username}"),
            json!({"StringEquals": {"s3:prefix": "${$}{aws:username}"}}),
        ),
        // A request without a prefix has no such key.
        (Some(""), json!({"StringEqualsIfExists": {"s3:prefix": ""}})),
        (None, json!({"StringEqualsIfExists": {"s3:prefix": ""}})),
    ] {
        let expected = only(allow(&json!("s3:ListBucket"), "b"), condition);
        assert_eq!(
            statements(&grants, &list(prefix), &[]),
            [expected],
            "{prefix:?}"
        );
    }
}

#[test]
fn keys_in_the_body_are_bounded_by_the_grants_of_the_bucket() {
    let grants = [
        grant_from(&["delete"], &["b/in/*", "b/one", "c/*"], &[]),
        grant_from(&["delete"], &["b/office/*"], &["10.0.0.0/8"]),
        grant_from(&["read", "list"], &["b/*"], &[]),
    ];
    let command = s3::DeleteObjects {
        bucket: some("b"),
        ..Default::default()
    };
    let actions = json!(["s3:DeleteObject", "s3:DeleteObjectVersion"]);
    let anywhere = json!(["arn:aws:s3:::b/in/*", "arn:aws:s3:::b/one"]);
    let office = json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}});
    let expected = [
        json!({"Effect": "Allow", "Action": actions, "Resource": anywhere}),
        only(allow(&actions, "b/office/*"), office.clone()),
    ];
    assert_eq!(statements(&grants, &command, &[]), expected);

    let asked = statements(&grants, &command, &["10.1.0.0/16"]);
    let asked_ip = json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}});
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0]["Condition"], asked_ip);
    let reached = json!([
        "arn:aws:s3:::b/in/*",
        "arn:aws:s3:::b/office/*",
        "arn:aws:s3:::b/one"
    ]);
    assert_eq!(asked[0]["Resource"], reached);
}

#[test]
fn addresses_are_those_of_the_request_or_of_each_grant_that_allows_it() {
    let from = |networks: &str| {
        let condition = json!({"IpAddress": {"aws:SourceIp": networks}});
        only(allow(&json!("s3:GetObject"), "b/k"), condition)
    };
    let office = grant_from(&["read"], &["b/*"], &["10.0.0.0/8"]);
    let home = grant_from(&["GetObject"], &["b/k"], &["192.0.2.0/24"]);
    let elsewhere = grant_from(&["read"], &["b/x/*"], &["203.0.113.0/24"]);
    let both = [office, home, elsewhere];
    let k = get("k");
    assert_eq!(
        statements(&both, &k, &[]),
        [from("10.0.0.0/8"), from("192.0.2.0/24")]
    );
    assert_eq!(statements(&both, &k, &["10.1.1.1"]), [from("10.1.1.1/32")]);
    assert_eq!(
        statements(&both, &k, &["192.0.2.0/25"]),
        [from("192.0.2.0/25")]
    );
    let command = k.to_bound().unwrap();
    for source_ip in [
        &["203.0.113.1"][..],
        &["10.1.1.1", "192.0.2.1"],
        &["0.0.0.0/0"],
    ] {
        let denied = decide(
            &both,
            &command,
            Called::default(),
            addresses(source_ip).as_ref(),
        );
        assert!(
            denied.unwrap_err().to_string().contains("source_ip"),
            "{source_ip:?}"
        );
    }

    let [office, ..] = both;
    let open = [office, grant_from(&["read"], &["b/*"], &[])];
    assert_eq!(
        statements(&open, &k, &[]),
        [allow(&json!("s3:GetObject"), "b/k")]
    );
    assert_eq!(
        statements(&open, &k, &["198.51.100.1"]),
        [from("198.51.100.1/32")]
    );
}

/// What is allowed until an end is not allowed for longer by another grant, nor from elsewhere.
#[test]
fn ends_are_those_of_each_grant() {
    let ending = |resource: &str, source_ip: &[&str], end: Option<u64>| {
        let terms = Terms {
            source_ip: addresses(source_ip),
            not_after: end.map(|end| std::time::UNIX_EPOCH + std::time::Duration::from_secs(end)),
            ..Default::default()
        };
        let commands = ["read", "delete"].map(|c| CommandSelector::parse(c).unwrap());
        let resources = vec![ResourcePattern::parse(resource).unwrap()];
        Grant::new(commands.into(), resources, terms, Store::Aws)
    };
    let ten = json!({"DateLessThan": {"aws:CurrentTime": "10"}});
    let office = json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}});
    let get_k = |condition: &Value| only(allow(&json!("s3:GetObject"), "b/k"), condition.clone());
    let k = get("k");

    let both = [
        ending("b/*", &[], Some(10)),
        ending("b/*", &["10.0.0.0/8"], None),
    ];
    let mut found = statements(&both, &k, &[]);
    found.sort_by_key(ToString::to_string);
    let mut expected = [get_k(&ten), get_k(&office)];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);

    let open = [ending("b/*", &[], Some(10)), ending("b/*", &[], None)];
    assert_eq!(
        statements(&open, &k, &[]),
        [allow(&json!("s3:GetObject"), "b/k")]
    );

    // What presignd sends itself comes from anywhere, and no later.
    let command = k.to_bound().unwrap();
    let bound = [ending("b/*", &["10.0.0.0/8"], Some(10))];
    let own = own_policy(&input(&bound, &[]), &[&command], None);
    assert_eq!(own["Statement"], json!([get_k(&ten)]));

    let many = s3::DeleteObjects {
        bucket: some("b"),
        ..Default::default()
    };
    let keys = [ending("b/a/*", &[], None), ending("b/c/*", &[], Some(10))];
    let found = statements(&keys, &many, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["Condition"], Value::Null);
    assert_eq!(found[1]["Condition"], ten);
    assert_eq!(found[1]["Resource"], "arn:aws:s3:::b/c/*");

    let of_tenant = policy(&input(&keys, &[]), None);
    for statement in of_tenant["Statement"].as_array().unwrap() {
        let ends = statement.to_string().contains("b/c/*");
        assert_eq!(statement["Condition"] == ten, ends, "{statement}");
    }
}

/// What a policy allows, one by one: action, ARN, condition.
fn permissions(policy: &Value) -> Vec<(String, String, Value)> {
    let many = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(values) => values
                .iter()
                .map(|v| v.as_str().unwrap().to_owned())
                .collect(),
            value => vec![value.as_str().unwrap().to_owned()],
        }
    };
    let mut found = Vec::new();
    for statement in policy["Statement"].as_array().unwrap() {
        if statement["Effect"] != "Allow" {
            continue;
        }
        for action in many(&statement["Action"]) {
            for arn in many(&statement["Resource"]) {
                found.push((action.clone(), arn, statement["Condition"].clone()));
            }
        }
    }
    found
}

/// Whether the wider permission holds whatever the narrower one does.
fn within(narrow: &(String, String, Value), wide: &(String, String, Value)) -> bool {
    let arn = match wide.1.strip_suffix('*') {
        // An escaped `*` ends in a brace.
        Some(prefix) => narrow.1.starts_with(prefix),
        None => narrow.1 == wide.1,
    };
    let prefix = match wide.2["StringLike"]["s3:prefix"].as_str() {
        None => true,
        Some(pattern) => {
            let asked = narrow.2["StringEquals"]["s3:prefix"].as_str();
            let start = pattern.strip_suffix('*').unwrap();
            // Both escape `$`; only patterns have wildcards to escape.
            let start = start.replace("${*}", "*").replace("${?}", "?");
            asked.is_some_and(|asked| asked.starts_with(&start))
        }
    };
    narrow.0 == wide.0 && arn && prefix && narrow.2["IpAddress"] == wide.2["IpAddress"]
}

/// No wildcard and no variable is left of a name once what is escaped is taken out.
fn is_literal(arn: &str) -> bool {
    let rest = arn
        .replace("${*}", "")
        .replace("${?}", "")
        .replace("${$}", "");
    !rest.contains(['*', '?', '$'])
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c/*?$%{}:é]{1,8}",
        any::<String>(),
        Just("${aws:username}".to_owned()),
        Just("%2F..".to_owned()),
        Just("a/*".to_owned()),
    ]
}

fn messages(key: &str, source: &str) -> Vec<Box<dyn BindAny>> {
    let (bucket, key) = (some("b"), some(key));
    vec![
        Box::new(s3::GetObject {
            bucket: bucket.clone(),
            key: key.clone(),
            ..Default::default()
        }),
        Box::new(s3::PutObject {
            bucket: bucket.clone(),
            key: key.clone(),
            tagging: some("a=b"),
            ..Default::default()
        }),
        Box::new(s3::DeleteObject {
            bucket: bucket.clone(),
            key: key.clone(),
            version_id: some("v"),
            ..Default::default()
        }),
        Box::new(s3::ListObjectsV2 {
            bucket: bucket.clone(),
            prefix: key.clone(),
            ..Default::default()
        }),
        Box::new(s3::ListObjectVersions {
            bucket: bucket.clone(),
            ..Default::default()
        }),
        Box::new(s3::HeadBucket {
            bucket: bucket.clone(),
            ..Default::default()
        }),
        Box::new(s3::UploadPartCopy {
            bucket: bucket.clone(),
            key: key.clone(),
            copy_source: some(&format!("b/{source}")),
            upload_id: some("u"),
            part_number: Some(1),
            ..Default::default()
        }),
        Box::new(s3::GetObjectAttributes {
            bucket,
            key,
            ..Default::default()
        }),
    ]
}

/// Whether a resource or an `s3:prefix` of a policy is about this text, as IAM reads them: `*` and `?` are wildcards unless escaped.
fn is_about(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix('*') {
        let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return ends.any(|at| is_about(rest, &text[at..]));
    }
    for (escaped, meant) in [("${*}", '*'), ("${?}", '?'), ("${$}", '$')] {
        if let Some(rest) = pattern.strip_prefix(escaped) {
            return text
                .strip_prefix(meant)
                .is_some_and(|text| is_about(rest, text));
        }
    }
    let mut rest = text.chars();
    match (pattern.chars().next(), rest.next()) {
        (None, None) => true,
        (Some('?'), Some(_)) => is_about(&pattern[1..], rest.as_str()),
        (Some(wanted), Some(found)) if wanted == found => {
            is_about(&pattern[wanted.len_utf8()..], rest.as_str())
        }
        _ => false,
    }
}

/// Whether a policy allows something with the object, or to list what begins so.
fn reaches(policy: &Value, key: &str) -> bool {
    permissions(policy).iter().any(|(_, arn, condition)| {
        let object = is_about(arn, &format!("arn:aws:s3:::b/{key}"));
        let listed = condition["StringLike"]["s3:prefix"].as_str();
        let asked = condition["StringEquals"]["s3:prefix"].as_str();
        let asked = asked.map(|asked| asked.replace("${$}", "$"));
        object
            || arn == "arn:aws:s3:::b"
                && match (listed, asked) {
                    (Some(pattern), _) => is_about(pattern, key),
                    (None, Some(asked)) => asked == key,
                    (None, None) => true,
                }
    })
}

/// Callers as an attacker would call themselves, and beginnings of keys beside somebody's: encoded, in another case or normal form, with
/// more slashes, above it.
fn disguises(name: &str) -> Vec<String> {
    let encoded: Vec<String> = name.bytes().map(|b| format!("%{b:02x}")).collect();
    let encoded = encoded.concat();
    let doubled = format!("{name}/");
    vec![
        encoded,
        doubled,
        name.to_uppercase(),
        name.replace('\u{e9}', "e\u{301}"),
        name.replace("e\u{301}", "\u{e9}"),
        format!("/{name}"),
        format!("./{name}"),
        format!("x/../{name}"),
        format!("{name}*"),
        format!("{name}%00"),
        name.chars().take(name.chars().count() - 1).collect(),
        name.to_owned() + "b",
        "*".to_owned(),
        "?".repeat(name.chars().count()),
        "${aws:userid}".to_owned(),
        "{caller}".to_owned(),
        String::new(),
    ]
}

fn somebody() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,2}",
        "[a-bé.%:-]{1,4}",
        Just("e\u{301}".to_owned()),
        Just("\u{e9}".to_owned()),
    ]
}

proptest! {
    /// Nobody reaches what is below another's name, whatever they are called and whatever they ask for: neither by the decision, nor by
    /// the sessions that their URLs carry, of the tenant or of the request.
    #[test]
    fn no_caller_reaches_below_another(
        other in somebody(),
        own in (0..17_usize, somebody(), any::<bool>()),
        key in (0..17_usize, "[ab/%]{0,3}"),
        text in prop_oneof![
            Just("b/in/{caller}/*"), Just("b/{caller}/x*"), Just("b/{caller}/*"), Just("b/v{caller}/{caller}/*"),
        ],
    ) {
        let own = if own.2 { disguises(&other)[own.0].clone() } else { own.1 };
        prop_assume!(own != other);
        let pattern = |name: &str| text.trim_start_matches("b/").trim_end_matches('*').replace("{caller}", name);
        let written = [grant_from(&["read", "write", "list", "delete"], &[text], &[])];
        let rules = RulesOfCaller::of(&written, &[], &own);
        let of_tenant = policy(&input(&rules.grants, &[]), None);
        for key in [pattern(&other) + &key.1, pattern(&disguises(&other)[key.0]) + &key.1] {
            let others = key.starts_with(&pattern(&other));
            prop_assert!(!(others && reaches(&of_tenant, &key)), "{own:?} reaches {key:?}: {of_tenant}");
            for message in messages(&key, &key) {
                let Ok(command) = message.to_bound() else { continue };
                if decide(&rules.grants, &command, Called::default(), None).is_err() {
                    continue;
                }
                let reached = command.key.or(command.reference.as_ref().map(|r| r.key)).unwrap_or(&key);
                prop_assert!(reached.starts_with(&pattern(&own)), "{own:?} may have {reached:?}");
                prop_assert!(!reached.starts_with(&pattern(&other)), "{own:?} may have {reached:?} of {other:?}");
                let of_request = request_policy(&input(&rules.grants, &[]), &[&command], None);
                prop_assert!(!(others && reaches(&of_request, &key)), "{of_request}");
            }
        }
    }

    /// What a grant that names its caller gives whoever it names, it does give; and what is denied so is denied, also to those whose name
    /// can stand for nothing.
    #[test]
    fn a_caller_reaches_their_own_unless_it_is_denied(name in somebody(), other in names(), rest in "[ab]{1,3}") {
        let written = [grant_from(&["read"], &["b/*"], &[]), grant_from(&["read"], &["b/in/{caller}/*"], &[])];
        let selectors = vec![CommandSelector::parse("read").unwrap()];
        let resources = vec![ResourcePattern::parse("b/in/{caller}/*").unwrap()];
        let written_denials = [Denial::new(selectors, resources, Store::Aws)];
        prop_assume!(!matches!(&*name, "." | ".."));
        for caller in [&name, &other] {
            let RulesOfCaller { grants, deny } = RulesOfCaller::of(&written, &written_denials, caller);
            let message = get(&format!("in/{name}/{rest}"));
            let command = message.to_bound().unwrap();
            let is_own = *caller == name;
            prop_assert!(!is_own || decide(&grants[1..], &command, Called::default(), None).is_ok());
            let denied = crate::admit::deny::check(&deny, &command, Called::default()).is_err();
            let stands = crate::admit::resource::is_one_part(caller);
            prop_assert_eq!(denied, is_own || !stands, "{:?} in {:?}", caller, &name);
            let told = super::denials(&deny, "aws");
            let object = format!("arn:aws:s3:::b/in/{name}/{rest}");
            let named = told.iter().any(|statement| match &statement["Resource"] {
                Value::Array(arns) => arns.iter().any(|arn| is_about(arn.as_str().unwrap(), &object)),
                arn => is_about(arn.as_str().unwrap(), &object),
            });
            prop_assert_eq!(denied, named, "{:?}", told);
        }
    }

    /// Whatever is asked and granted, a request's policy names its own object alone, or its own list, and nothing that the policy of
    /// the tenant would not allow.
    #[test]
    fn a_request_is_never_allowed_more_than_itself_nor_than_the_tenant(
        (key, source, prefix) in (names(), names(), "[a-c/$?]{0,2}"),
        whole: bool,
    ) {
        let resource = if whole || prefix.is_empty() { "b/*".to_owned() } else { format!("b/{prefix}*") };
        let commands = ["read", "write", "list", "delete"];
        let grants = [grant_from(&commands, &[&resource], &[])];
        let of_tenant = permissions(&policy(&input(&grants, &[]), None));
        for message in messages(&key, &source) {
            let Ok(command) = message.to_bound() else { continue };
            if decide(&grants, &command, Called::default(), None).is_err() {
                continue;
            }
            let own = permissions(&request_policy(&input(&grants, &[]), &[&command], None));
            prop_assert!(!own.is_empty());
            let object = command.key.map(|key| format!("arn:aws:s3:::b/{}", literal(key)));
            let source = command.reference.as_ref().map(|r| format!("arn:aws:s3:::b/{}", literal(r.key)));
            for permission in &own {
                let arn = Some(&permission.1);
                let bucket = object.is_none() && permission.1 == "arn:aws:s3:::b";
                prop_assert!(bucket || arn == object.as_ref() || arn == source.as_ref(), "{permission:?}");
                prop_assert!(is_literal(&permission.1), "{permission:?}");
                prop_assert!(of_tenant.iter().any(|wide| within(permission, wide)), "{permission:?} of {of_tenant:?}");
            }
        }
    }

    /// What comes out is ASCII, and reads back as what was meant.
    #[test]
    fn a_policy_is_ascii_and_whole(key in names()) {
        let grants = everything();
        let message = get(&key);
        let Ok(command) = message.to_bound() else { return Ok(()) };
        let input = SessionPolicyInput { signature_age: Some(60), ..input(&grants, &[]) };
        let policy = request_policy(&input, &[&command], None);
        let text = session_policy(&policy);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), policy);
    }
}
