//! What `deny` takes away, as tables and as laws.

use proptest::prelude::*;

use super::{Called, NOW, copy, delete, delete_objects, get, grants_of, list, put, some};

use crate::admit::deny::{Denial, check};
use crate::admit::explain::{Requirement, explain};
use crate::admit::grant::{CommandSelector, Store};
use crate::admit::policy::Denied;
use crate::admit::resource::ResourcePattern;
use crate::proto::s3;
use crate::proto::v1::PresignPostRequest;
use crate::proto::v1::presign_post_request::KeyRule;
use crate::sign::bind::BindAny;
use crate::sign::post_policy::bind::bind;

/// An entry such as `read, PutObject on files/a/*`.
fn denial(text: &str) -> Denial {
    let (commands, resources) = text.split_once(" on ").unwrap();
    let commands = commands.split(", ");
    let resources = resources.split(", ");
    Denial::new(
        commands
            .map(|c| CommandSelector::parse(c).unwrap())
            .collect(),
        resources
            .map(|r| ResourcePattern::parse(r).unwrap())
            .collect(),
        Store::Aws,
    )
}

fn denied(deny: &str, message: &dyn BindAny) -> Option<Denied> {
    let command = message.to_bound().unwrap();
    check(&[denial(deny)], &command, Called::default()).err()
}

#[test]
fn whatever_may_reach_what_is_denied_is_denied() {
    let tagged = s3::PutObject {
        tagging: some("a=b"),
        ..put("k")
    };
    let with_acl = s3::PutObject {
        acl: some("private"),
        ..put("k")
    };
    let locked = s3::PutObject {
        object_lock_legal_hold_status: some("ON"),
        ..put("k")
    };
    let head = s3::HeadObject {
        bucket: some("files"),
        key: some("a/k"),
        ..Default::default()
    };
    let session = s3::CreateSession {
        bucket: some("files"),
        ..Default::default()
    };
    let rows: &[(&str, &dyn BindAny, bool)] = &[
        ("read on files/a/*", &get("files", "a/k"), true),
        ("read on files/a/*", &get("files", "ab/k"), false),
        ("read on files/a/*", &get("files", "a"), false),
        ("read on files/a/*", &get("other", "a/k"), false),
        ("read on files/a/k", &get("files", "a/k"), true),
        ("read on files/a/k", &get("files", "a/k2"), false),
        ("read on files", &get("files", "a/k"), false),
        ("read on *", &get("files", "a/k"), false),
        ("list on *", &s3::ListBuckets::default(), true),
        // The permission is one for both.
        ("GetObject on files/a/*", &head, true),
        ("read on files/a/*", &put("a/k"), false),
        ("PutObject on files/a/*", &copy("other/k", "a/k"), true),
        ("read on files/a/*", &copy("files/a/k", "b/k"), true),
        ("read on files/a/*", &copy("files/b/k", "a/k"), false),
        ("GetObject on other/*", &copy("other/k", "k"), true),
        ("PutObjectTagging on files/*", &tagged, true),
        ("PutObjectTagging on files/*", &put("k"), false),
        ("PutObjectAcl on files/*", &with_acl, true),
        ("PutObjectLegalHold on files/*", &locked, true),
        ("list on files/a/*", &list(Some("a/")), true),
        ("list on files/a/*", &list(Some("a/b/")), true),
        ("list on files/a/*", &list(Some("a")), true),
        ("list on files/a/*", &list(Some("")), true),
        ("list on files/a/*", &list(None), true),
        ("list on files/a/*", &list(Some("ab")), false),
        ("list on files/a/k", &list(Some("a/")), true),
        ("list on files/a/k", &list(Some("a/k/")), false),
        ("list on files", &list(Some("x")), true),
        ("delete on files/a/*", &delete("a/k"), true),
        ("delete on files/a/*", &delete_objects(), true),
        ("delete on other/*", &delete_objects(), false),
        ("read on files/a/*", &session, true),
        ("read on other/a/*", &session, false),
    ];
    for (deny, message, expected) in rows {
        let command = message.operation().name;
        let denied = denied(deny, *message);
        assert_eq!(
            denied.is_some(),
            *expected,
            "{command} under {deny}: {denied:?}"
        );
    }
}

#[test]
fn a_form_is_denied_that_could_reach_what_is() {
    for (key, expected) in [
        (KeyRule::Key("a/k".to_owned()), true),
        (KeyRule::Key("b".to_owned()), false),
        (KeyRule::KeyStartsWith("a/b/".to_owned()), true),
        (KeyRule::KeyStartsWith("a".to_owned()), true),
        (KeyRule::KeyStartsWith("ab".to_owned()), false),
    ] {
        let request = PresignPostRequest {
            bucket: "files".to_owned(),
            key_rule: Some(key.clone()),
            ..Default::default()
        };
        let form = bind(&request).unwrap();
        let denial = [denial("write on files/a/*")];
        let denied = check(&denial, &form.command, Called::default());
        assert_eq!(denied.is_err(), expected, "{key:?}");
    }
}

#[test]
fn a_refusal_names_the_entry_and_so_does_an_explanation() {
    let deny = [denial("delete on files/*"), denial("read on files/a/*")];
    let called = Called {
        bucket: Some("mine"),
        source: None,
    };
    let message = get("files", "a/k");
    let command = message.to_bound().unwrap();
    let said = check(&deny, &command, called).unwrap_err().to_string();
    let expected =
        r#"deny[1] of the tenant denies GetObject on "mine", key "a/k", whatever its grants say"#;
    assert_eq!(said, expected);
    let copy = copy("files/a/k", "b");
    let said = check(&deny, &copy.to_bound().unwrap(), Called::default());
    let said = said.unwrap_err().to_string();
    let expected = r#"deny[1] of the tenant denies CopyObject because it denies s3:GetObject on "files", key "a/k", whatever its grants say"#;
    assert_eq!(said, expected);

    let grants = grants_of(&["read on files/*"], Store::Aws);
    let told = explain(&grants, &deny, &command, called, None, NOW);
    for requirement in &told {
        assert!(!requirement.is_met(), "{requirement:?}");
        assert!(requirement.grants[0].why_not.is_empty());
        let [entry] = &requirement.denied_by[..] else {
            panic!("{requirement:?}")
        };
        assert_eq!(entry.index, 1);
        assert_eq!(entry.text, "commands: [read], resources: [files/a/*]");
    }
}

proptest! {
    /// Whatever is granted: what a decision denies is not met, and the other way round.
    #[test]
    fn an_explanation_shows_a_denial_exactly_where_there_is_one(
        commands in prop::sample::select(vec!["read", "write", "list", "delete", "GetObject", "PutObject", "PutObjectTagging"]),
        resource in prop::sample::select(vec!["files/*", "files/a/*", "files/a", "files", "other/*", "*"]),
        key in "[ab]{0,2}/?[ab]{1,2}",
    ) {
        let deny = [denial(&format!("{commands} on {resource}"))];
        let grants = grants_of(&["read, write, list, delete on files/*, other/*"], Store::Aws);
        let messages: [Box<dyn BindAny>; 6] = [
            Box::new(get("files", &key)), Box::new(put(&key)), Box::new(delete(&key)), Box::new(copy("other/k", &key)),
            Box::new(list(Some(&key))), Box::new(delete_objects()),
        ];
        for message in messages {
            let command = message.to_bound().unwrap();
            let denied = check(&deny, &command, Called::default()).is_err();
            let told = explain(&grants, &deny, &command, Called::default(), None, NOW);
            prop_assert_eq!(denied, told.iter().any(|r| !r.denied_by.is_empty()));
            prop_assert_eq!(denied, !told.iter().all(Requirement::is_met));
        }
    }

    /// Whatever a denial covers it overlaps, and what neither begins the other is apart.
    #[test]
    fn what_overlaps_is_what_some_key_is_in_both_of(denied in "[ab/]{1,3}", open in "[ab/]{0,3}", key in "[ab/]{1,5}") {
        use crate::admit::resource::Target;
        let pattern = ResourcePattern::Prefix { bucket: "files".to_owned(), prefix: denied.clone() };
        let overlaps = pattern.overlaps(&Target::Keys { bucket: "files", prefix: &open });
        let reached = key.starts_with(&open);
        if reached && pattern.covers(&Target::Object { bucket: "files", key: &key }) {
            prop_assert!(overlaps, "{} {} {}", denied, open, key);
        }
        prop_assert_eq!(overlaps, denied.starts_with(&open) || open.starts_with(&denied));
    }
}
