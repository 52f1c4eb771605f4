//! What checking finds, and what building makes of good settings.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::admit::grant::CLASSES;
use crate::config::Mistake;
use crate::scope::session_policy::MAX_SESSION_POLICY;

const ROLE: &str = r#"assume_role: { role_arn: "arn:aws:iam::111122223333:role/presignd" }"#;

fn parse(tenant: &str) -> Result<config::Settings, Vec<Mistake>> {
    let text = format!(
        "tenants:\n  acme:\n    region: eu-west-1\n{tenant}callers: [{{ match: anyone }}]\n"
    );
    config::parse(&text, "a.yaml", Path::new(""), &ProcessSurroundings)
}

fn mistakes(tenant: &str) -> Vec<String> {
    let mistakes = parse(tenant).expect_err("there are mistakes");
    mistakes.iter().map(ToString::to_string).collect()
}

/// Grants of reading `count` prefixes of a bucket.
fn prefixes(bucket: &str, count: usize) -> String {
    let prefixes: Vec<String> = (0..count)
        .map(|n| format!("\"{bucket}/a-prefix-of-some-length-{n}/*\""))
        .collect();
    let resources = prefixes.join(", ");
    format!("      - {{ commands: [GetObject], resources: [{resources}] }}\n")
}

fn tenant(scope: &str, grants: &str) -> String {
    format!(
        "    credentials: {{ {ROLE} }}\n    session: {{ scope: {scope} }}\n    grants:\n{grants}"
    )
}

#[test]
fn a_command_that_is_none_is_told_with_the_one_that_was_meant() {
    use config::Surroundings as _;
    for known in CLASSES.into_iter().chain(["GetObject", "CreateSession"]) {
        assert_eq!(ProcessSurroundings.command(known), Ok(()), "{known}");
    }
    for (typed, meant) in [
        ("getObject", Some("GetObject")),
        ("get_object", Some("GetObject")),
        ("GetObjct", Some("GetObject")),
        ("ListObjectV2", Some("ListObjectsV2")),
        ("Read", Some("read")),
        ("s3:PutObject", Some("PutObject")),
        ("all", None),
        ("*", None),
        ("sts:AssumeRole", None),
    ] {
        let said = ProcessSurroundings.command(typed).unwrap_err();
        let named = said.split_once("did you mean `").map(|(_, rest)| rest);
        let named = named.and_then(|rest| rest.strip_suffix("`?"));
        assert_eq!(named, meant, "{typed}: {said}");
    }
}

#[test]
fn commands_and_resources_are_checked_where_they_stand_with_everything_else() {
    let grants = "    credentials: { static: { access_key_id: A, secret_access_key: { env: NO_SUCH_VARIABLE_HERE } } }
    grants:
      - { commands: [GetObjct], resources: [\"a*/k\", a/k] }
    limits:
      - { name: l, commands: [reed], rate: 5/s }
";
    let said = mistakes(grants);
    let places = [
        "a.yaml:4:74: tenants.acme.credentials.static.secret_access_key.env: ",
        "a.yaml:6:22: tenants.acme.grants[0].commands[0]: `GetObjct` is neither",
        "a.yaml:6:45: tenants.acme.grants[0].resources[0]: `a*/k` has a '*' in its bucket",
        "a.yaml:8:31: tenants.acme.limits[0].commands[0]: `reed` is neither",
    ];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.starts_with(place), "{said}\nnot {place}");
    }
}

#[test]
fn a_session_policy_that_is_too_long_is_a_mistake_of_its_tenant() {
    let wide = prefixes("files", 50);
    let [said] = &mistakes(&tenant("tenant", &wide))[..] else {
        panic!("one mistake")
    };
    assert!(said.starts_with("a.yaml:2:3: tenants.acme: "), "{said}");
    assert!(said.contains("set session.scope to bucket"), "{said}");

    // Only the bucket that is too much is named, and what would not help is not proposed.
    let grants = wide + &prefixes("other", 2);
    let [said] = &mistakes(&tenant("bucket", &grants))[..] else {
        panic!("one mistake")
    };
    assert!(said.contains("for the bucket \"files\""), "{said}");
    assert!(said.contains("set session.scope to object"), "{said}");
    assert!(!said.contains("scope to bucket"), "{said}");
}

#[test]
fn sessions_of_one_request_hold_any_grants_that_name_their_keys() {
    let wide = prefixes("files", 50);
    assert!(parse(&tenant("object", &wide)).is_ok());
    // What DeleteObjects reaches is in no request.
    let deletes = wide.replace("GetObject", "GetObject, DeleteObjects");
    let [said] = &mistakes(&tenant("object", &deletes))[..] else {
        panic!("one mistake")
    };
    let words = "for DeleteObjects for the bucket \"files\" has";
    assert!(said.contains(words), "{said}");
}

#[test]
fn an_operators_statements_count_in_every_scope() {
    let deny = |characters: usize| {
        let resource = "r".repeat(characters);
        let statement =
            format!(r#"{{ "Effect": "Deny", "Action": "s3:*", "Resource": "{resource}" }}"#);
        let grants = prefixes("files", 1).replace("GetObject", "GetObject, DeleteObjects");
        let tenant = tenant("SCOPE, deny: 'STATEMENT'", &grants);
        tenant.replace("STATEMENT", &statement)
    };
    for scope in ["tenant", "bucket", "object"] {
        assert!(
            parse(&deny(1500).replace("SCOPE", scope)).is_ok(),
            "{scope}"
        );
        let said = mistakes(&deny(2000).replace("SCOPE", scope));
        assert_eq!(said.len(), 1, "{said:?}");
        let fix = "shorten `session.deny`";
        assert_eq!(said[0].contains(fix), scope == "object", "{said:?}");
    }
}

#[test]
fn addresses_that_are_none_are_told_of_where_they_stand() {
    let grants = "      - { commands: [read], resources: [a/*], source_ip: [10.0.0.1/8, office, 10.0.0.0/8] }\n";
    let said = mistakes(&tenant("tenant", grants));
    let places = [
        "a.yaml:7:59: tenants.acme.grants[0].source_ip[0]: `10.0.0.1/8` has bits beyond its prefix length: write 10.0.0.0/8",
        "a.yaml:7:71: tenants.acme.grants[0].source_ip[1]: `office` is no IP address",
    ];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.starts_with(place), "{said}\nnot {place}");
    }
}

#[test]
fn sessions_of_one_bucket_hold_what_one_of_all_does_not() {
    let grants = prefixes("files", 25) + &prefixes("other", 25);
    assert!(mistakes(&tenant("tenant", &grants))[0].contains("session policy"));
    assert!(parse(&tenant("bucket", &grants)).is_ok());
}

#[test]
fn the_session_policy_counts_what_is_sent() {
    let length_of = |count| {
        let settings = parse(&tenant("tenant", &prefixes("files", count))).ok()?;
        let tenant = &settings.tenants["acme"].value;
        let Some(role) = tenant.credentials.role() else {
            panic!("{:?}", tenant.credentials)
        };
        let grants = Arc::new(grants("acme", tenant).unwrap());
        let lengths = session_policies("acme", tenant, role, grants);
        lengths.lengths().get(&None).copied()
    };
    let lengths: Vec<usize> = (1..60).map_while(length_of).collect();
    let (last, step) = (lengths[lengths.len() - 1], lengths[3] - lengths[2]);
    assert!(lengths.len() < 59, "some are too long");
    assert!(last <= MAX_SESSION_POLICY, "{last}");
    assert!(last + 2 * step > MAX_SESSION_POLICY, "{last} is far below");
}

#[test]
fn a_grant_on_a_name_is_one_on_its_bucket() {
    let named = tenant(
        "tenant",
        "      - { commands: [read, list], resources: [\"media/a/*\", \"acme-logs/*\"] }
    buckets: { media: { bucket: acme-media-7f, region: eu-central-1 }, acme-logs: { region: us-east-1 } }
",
    );
    let settings = parse(&named).unwrap();
    let tenant = &settings.tenants["acme"].value;
    let resources: Vec<String> = grants("acme", tenant).unwrap()[0]
        .resources()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(resources, ["acme-media-7f/a/*", "acme-logs/*"]);
    let policy = role_policy("acme", tenant, tenant.credentials.role().unwrap()).unwrap();
    let policy = policy.to_string();
    assert!(
        policy.contains("arn:aws:s3:::acme-media-7f/a/*"),
        "{policy}"
    );
    assert!(!policy.contains(":::media"), "{policy}");
}

#[test]
fn rules_on_content_are_for_grants_of_commands_that_have_any() {
    let grants = "      - { commands: [list], resources: [\"a/*\"], content_types: [image/png] }
      - { commands: [write], resources: [\"a/*\"], response_headers: deny }
      - { commands: [write], resources: [\"a/*\"], content_types: [image/png] }
      - { commands: [HeadObject], resources: [\"a/*\"], response_content_types: [image/png] }
";
    let said = mistakes(&tenant("tenant", grants));
    let places = [
        "a.yaml:7:9: tenants.acme.grants[0]: `content_types` is about CopyObject, ",
        "a.yaml:8:9: tenants.acme.grants[1]: `response_content_types` or `response_headers` is about GetObject, ",
    ];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.starts_with(place), "{said}\nnot {place}");
    }
}

#[test]
fn rules_on_headers_are_for_grants_of_commands_that_have_any() {
    let grants =
        "      - { commands: [read], resources: [\"a/*\"], headers: { acl: forbid, storage_class: forbid } }
      - { commands: [PutObjectAcl], resources: [\"a/*\"], headers: { acl: forbid, server_side_encryption: forbid } }
";
    let said = mistakes(&tenant("tenant", grants));
    let places = [
        "a.yaml:7:9: tenants.acme.grants[0]: `headers.acl` is about CopyObject, ",
        "a.yaml:7:9: tenants.acme.grants[0]: `headers.storage_class` is about CopyObject, ",
        "a.yaml:8:9: tenants.acme.grants[1]: `headers.server_side_encryption` is about CopyObject, ",
    ];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.starts_with(place), "{said}\nnot {place}");
    }
}

#[test]
fn values_that_aws_does_not_know_are_told_of_for_aws_alone() {
    let grants =
        "      - { commands: [PutObject], resources: [\"a/*\"], headers: { acl: { allow: [privat, private] }, storage_class: { require: [STANDRAD] } } }
";
    let on_aws = tenant("tenant", grants);
    let said = mistakes(&on_aws);
    let place = "a.yaml:7:54: tenants.acme.grants[0].headers: ";
    let wanted = [
        "`acl` lists \"privat\", which AWS does not know: did you mean `private`?",
        "`storage_class` lists \"STANDRAD\", which AWS does not know: did you mean `STANDARD`?",
    ];
    assert_eq!(said, wanted.map(|wanted| format!("{place}{wanted}")));
    let elsewhere = format!("    endpoint: {{ url: \"http://127.0.0.1:9\" }}\n{on_aws}");
    let elsewhere = elsewhere.replace(
        "role_arn:",
        "sts_endpoint: \"http://127.0.0.1:9\", role_arn:",
    );
    assert!(parse(&elsewhere).is_ok(), "{:?}", parse(&elsewhere).err());
}

#[test]
fn variables_that_are_none_or_too_wide_are_told_of_where_they_stand() {
    let grants = "      - { commands: [read], resources: [\"a/{user}/*\", \"a-{tenant}/*\", \"a/{caller}*\", \"a/{tenant}/{caller}/*\"] }
    deny: [{ commands: [delete], resources: [\"a/x}\"] }]
";
    let said = mistakes(&tenant("tenant", grants));
    let places = [
        "a.yaml:7:41: tenants.acme.grants[0].resources[0]: `a/{user}/*` has a brace that is not of {tenant} or {caller}",
        "a.yaml:7:55: tenants.acme.grants[0].resources[1]: `a-{tenant}/*` has a variable in its bucket",
        "a.yaml:7:71: tenants.acme.grants[0].resources[2]: `a/{caller}*` has its '*' in the part of the key that {caller} is in",
        "a.yaml:8:46: tenants.acme.deny[0].resources[0]: `a/x}` has a brace",
    ];
    assert_eq!(said.len(), places.len(), "{said:#?}");
    for (said, place) in said.iter().zip(places) {
        assert!(said.starts_with(place), "{said}\nnot {place}");
    }
}

#[test]
fn a_role_has_what_every_caller_may_need_and_a_session_what_its_own_does() {
    let grants = "      - { commands: [GetObject, ListObjectsV2], resources: [\"files/{tenant}/{caller}/*\"] }
    deny: [{ commands: [DeleteObject], resources: [\"files/{tenant}/{caller}/*\"] }]
";
    let settings = parse(&tenant("tenant", grants)).unwrap();
    let tenant = &settings.tenants["acme"].value;
    let role = tenant.credentials.role().unwrap();
    let needed = role_policy("acme", tenant, role).unwrap().to_string();
    assert!(
        needed.contains(r#""arn:aws:s3:::files/acme/*/*""#),
        "{needed}"
    );
    assert!(needed.contains(r#""s3:prefix":"acme/*/*""#), "{needed}");
    let of_role = grants_length(tenant, role);
    assert!(of_role > needed.len(), "{of_role} with a name in it");

    let counting = Counting::new(Arc::new(crate::clock::SystemClock::new()));
    let built = build_one("acme", tenant, &counting).unwrap();
    let resources = |caller: &str| -> Vec<String> {
        let rules = built.rules.of(caller);
        let (grant, denial) = (&rules.grants()[0], &rules.deny()[0]);
        let all = grant.resources().iter().chain(denial.resources());
        all.map(ToString::to_string).collect()
    };
    assert_eq!(resources("ann"), ["files/acme/ann/*"; 2]);
    assert_eq!(
        resources("a/b"),
        ["files/acme/{caller}/*", "files/acme/*"],
        "nothing is granted, and whatever might be meant is denied"
    );
}

fn grants_length(tenant: &config::Tenant, role: &config::Role) -> usize {
    let grants = Arc::new(grants("acme", tenant).unwrap());
    session_policies("acme", tenant, role, grants).lengths()[&None]
}

#[test]
fn static_credentials_have_no_session_policy_to_be_too_long() {
    let fixed = "    credentials: { static: { access_key_id: A, secret_access_key: { env: PATH } } }\n    grants:\n";
    assert!(parse(&(fixed.to_owned() + &prefixes("files", 50))).is_ok());
}

#[test]
fn a_tenant_that_says_the_same_stays_the_same() {
    let counting = Counting::new(Arc::new(crate::clock::SystemClock::new()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let text = |age: &str| {
        format!(
            "callers: [{{ match: anyone }}]
tenants:
  acme: {{ region: eu-west-1, expiry: {{ max: {age} }}, credentials: {{ static: {{ access_key_id: A, secret_access_key: {{ file: secret }} }} }} }}
"
        )
    };
    let renewed = |current: &ById, text: &str| {
        let settings = config::parse(text, "a.yaml", folder.path(), &ProcessSurroundings);
        let drafts = drafts(&settings.unwrap().tenants, current);
        renew(current, drafts, &counting).unwrap()
    };
    std::fs::write(&file, "one").unwrap();
    let first = renewed(&ById::new(), &text("1h"));
    assert_eq!((first.added, first.changed, first.removed), (1, 0, 0));
    let first = first.tenants;

    let moved = renewed(&first, &format!("# A comment.\n\n{}", text("1h")));
    assert!(moved.is_as_before());
    let id = TenantId::parse("acme").unwrap();
    assert!(Arc::ptr_eq(&first[&id], &moved.tenants[&id]));

    assert_eq!(renewed(&first, &text("2h")).changed, 1);
    std::fs::write(&file, "two").unwrap();
    assert_eq!(renewed(&first, &text("1h")).changed, 1);
    let other = text("1h").replace("acme", "globex");
    let other = renewed(&first, &other);
    assert_eq!((other.added, other.changed, other.removed), (1, 0, 1));
}

/// Settings of so many tenants who look alike, as those of a service that makes them itself do.
fn many(count: usize) -> String {
    let mut text = "callers: [{ match: anyone }]\ntenants:\n".to_owned();
    for n in 0..count {
        text += &format!(
            "  customer-{n:06}:
    region: eu-west-1
    credentials: {{ assume_role: {{ role_arn: \"arn:aws:iam::111122223333:role/presignd-{n:06}\" }} }}
    grants:
      - {{ commands: [read, list], resources: [\"files-{n:06}/*\"], max_expiry: 1h }}
      - {{ commands: [PutObject, CreateMultipartUpload], resources: [\"files-{n:06}/uploads/*\"], max_expiry: 15m, max_upload: 100MiB }}
    limits:
      - {{ name: all, rate: 100/s, burst: 200 }}
"
        );
    }
    text
}

#[test]
fn an_idle_tenant_takes_at_most_two_kibibytes() {
    const COUNT: usize = 1_000;
    let counting = Counting::new(Arc::new(crate::clock::SystemClock::new()));
    let text = many(COUNT);
    let settings = config::parse(&text, "a.yaml", Path::new(""), &ProcessSurroundings);
    let settings = settings.expect("there are no mistakes");
    let mut tenants = None;
    let built = allocation_counter::measure(|| tenants = build(&settings.tenants, &counting).ok());
    let tenants = tenants.expect("they add up");
    assert_eq!(tenants.all().len(), COUNT);
    let count = i64::try_from(COUNT).expect("it is small");
    let each = built.bytes_current / count;
    assert!(each <= 2048, "{each} bytes");
}
