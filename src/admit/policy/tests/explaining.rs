//! Explanations against decisions, and what they say.

use proptest::prelude::*;

use super::{Called, NOW, addresses, copy, decide, delete_objects, get, grants_of, list, put};

use crate::admit::explain::{Requirement, explain};
use crate::admit::grant::Store;
use crate::proto::s3;
use crate::sign::bind::BindAny;

fn explained(grants: &[&str], message: &dyn BindAny) -> Vec<Requirement> {
    let command = message.to_bound().unwrap();
    explain(
        &grants_of(grants, Store::Aws),
        &[],
        &command,
        Called::default(),
        None,
        NOW,
    )
}

fn why_not(grants: &[&str], message: &dyn BindAny) -> Vec<(usize, String)> {
    let requirements = explained(grants, message);
    let considered = requirements.into_iter().flat_map(|r| r.grants);
    let told = considered.map(|grant| (grant.index, grant.why_not.join("; ")));
    told.collect()
}

#[test]
fn the_grant_that_allows_is_told_with_its_place_and_text() {
    let grants = [
        "write on files/*",
        "read, PutObject on files/a/*, files for 60 up to 9 from 10.0.0.0/8",
    ];
    let requirements = explained(&grants, &get("files", "a/k"));
    for requirement in &requirements {
        assert!(requirement.is_met(), "{requirement:?}");
        let [grant] = &requirement.grants[..] else {
            panic!("{requirement:?}");
        };
        assert_eq!(grant.index, 1);
        assert_eq!(
            grant.text,
            "commands: [read, PutObject], resources: [files/a/*, files], max_expiry: 60s, max_upload: 9, source_ip: [10.0.0.0/8]"
        );
    }
    let actions: Vec<_> = requirements.iter().map(|r| r.action).collect();
    assert_eq!(actions, [None, Some("s3:GetObject")]);
}

#[test]
fn grants_that_nearly_allow_are_told_with_what_is_in_the_way() {
    let grants = ["read on files/a/*", "write on files/*", "write on other/*"];
    let told = why_not(&grants, &get("files", "b/k"));
    let expected = [
        (0, r#"it does not cover "files", key "b/k""#),
        (1, "it is not of GetObject"),
    ];
    for (told, (index, words)) in told.iter().zip(expected) {
        assert_eq!(told.0, index);
        assert!(told.1.contains(words), "{told:?}");
    }
    let told = why_not(&["PutObject on files/* up to 5"], &put("k"));
    assert!(told[0].1.contains("nothing bounds this upload"), "{told:?}");
}

/// Any grants about two prefixes, in the words of [`grants_of`].
fn grants() -> impl Strategy<Value = Vec<String>> {
    let commands = prop::sample::subsequence(
        vec![
            "read",
            "write",
            "list",
            "PutObject",
            "CopyObject",
            "GetObject",
            "PutObjectTagging",
            "PutObjectAcl",
            "DeleteObjects",
        ],
        1..4,
    );
    let resources = prop::sample::subsequence(
        vec!["files/*", "files/a/*", "files/a/k", "files", "other/*", "*"],
        1..3,
    );
    let cap = prop::sample::select(vec!["", " for 60"]);
    let size = prop::sample::select(vec!["", " up to 5", " up to 50"]);
    let from = prop::sample::select(vec!["", " from 10.0.0.0/8", " from 10.1.0.0/16, 192.0.2.1"]);
    let grant = (commands, resources, cap, size, from).prop_map(
        |(commands, resources, cap, size, from)| {
            let (commands, resources) = (commands.join(", "), resources.join(", "));
            format!("{commands} on {resources}{cap}{size}{from}")
        },
    );
    prop::collection::vec(grant, 0..4)
}

fn messages() -> Vec<Box<dyn BindAny>> {
    let sized = |bytes| s3::PutObject {
        content_length: Some(bytes),
        ..put("a/k")
    };
    let tagged = s3::PutObject {
        tagging: Some("a=b".to_owned()),
        acl: Some("private".to_owned()),
        ..sized(4)
    };
    let typed = s3::GetObject {
        response_content_type: Some("text/html".to_owned()),
        ..get("files", "a/k")
    };
    vec![
        Box::new(get("files", "a/k")),
        Box::new(get("files", "b")),
        Box::new(get("other", "k")),
        Box::new(typed),
        Box::new(put("a/k")),
        Box::new(sized(4)),
        Box::new(sized(40)),
        Box::new(tagged),
        Box::new(copy("files/a/k", "a/l")),
        Box::new(copy("other/k", "a/l")),
        Box::new(list(None)),
        Box::new(list(Some("a/"))),
        Box::new(delete_objects()),
        Box::new(s3::ListBuckets::default()),
    ]
}

proptest! {
    #[test]
    fn an_explanation_says_allowed_exactly_when_the_decision_does(
        grants in grants(),
        from in prop::sample::select(vec![None, Some("10.0.0.0/8"), Some("10.1.2.0/24"), Some("192.0.2.1")]),
    ) {
        let texts: Vec<&str> = grants.iter().map(String::as_str).collect();
        let source_ip = from.and_then(addresses);
        let grants = grants_of(&texts, Store::Aws);
        for message in messages() {
            let command = message.to_bound().unwrap();
            let called = Called::default();
            let decided = decide(&grants, &command, called, source_ip.as_ref());
            let requirements = explain(&grants, &[], &command, called, source_ip.as_ref(), NOW);
            let allowed = requirements.iter().all(Requirement::is_met);
            prop_assert_eq!(decided.is_ok(), allowed, "{:?} {:?} {:?}", decided, texts, requirements);
        }
    }
}
