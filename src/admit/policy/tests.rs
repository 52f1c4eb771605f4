//! What the grants allow, as tables: a grant is written `commands on resources [for seconds] [up to bytes]`, as briefly as a configuration does.

mod content;
mod denying;
mod explaining;
mod fields;
mod laws;
mod uploads;

use super::*;

use crate::admit::grant::{CommandSelector, Store, Terms};
use crate::admit::resource::ResourcePattern;
use crate::admit::source_ip;
use crate::proto::s3;
use crate::sign::bind::BindAny;

/// Grants such as `read, PutObject on files/*, files for 3600 from 10.0.0.0/8, 192.0.2.1`.
fn grants_of(texts: &[&str], store: Store) -> Vec<Grant> {
    let grant = |text: &&str| {
        let (commands, rest) = text.split_once(" on ").unwrap();
        let (rest, source_ip) = match rest.split_once(" from ") {
            Some((rest, networks)) => (rest, addresses(networks)),
            None => (rest, None),
        };
        let (rest, max_upload) = match rest.split_once(" up to ") {
            Some((rest, bytes)) => (rest, Some(bytes.parse().unwrap())),
            None => (rest, None),
        };
        let (resources, cap) = match rest.split_once(" for ") {
            Some((resources, seconds)) => (resources, Some(seconds.parse().unwrap())),
            None => (rest, None),
        };
        Grant::new(
            commands
                .split(", ")
                .map(|c| CommandSelector::parse(c).unwrap())
                .collect(),
            resources
                .split(", ")
                .map(|r| ResourcePattern::parse(r).unwrap())
                .collect(),
            Terms {
                max_expiry: cap,
                max_upload,
                source_ip,
                ..Terms::default()
            },
            store,
        )
    };
    texts.iter().map(grant).collect()
}

fn addresses(networks: &str) -> Option<SourceIps> {
    let networks = networks.split(", ");
    SourceIps::of(networks.map(|network| source_ip::parse(network).unwrap()))
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// The decision about grants that do not end.
fn decide(
    grants: &[Grant],
    command: &BoundCommand<'_>,
    called: Called<'_>,
    source_ip: Option<&SourceIps>,
) -> Result<Allowed, Denied> {
    super::decide(grants, command, called, source_ip, NOW)
}

fn decide_on(grants: &[&str], message: &dyn BindAny) -> Result<Allowed, Denied> {
    let command = message.to_bound().unwrap();
    decide(
        &grants_of(grants, Store::Aws),
        &command,
        Called::default(),
        None,
    )
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the members of messages are optional"
)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn get(bucket: &str, key: &str) -> s3::GetObject {
    s3::GetObject {
        bucket: some(bucket),
        key: some(key),
        ..Default::default()
    }
}

fn put(key: &str) -> s3::PutObject {
    s3::PutObject {
        bucket: some("files"),
        key: some(key),
        ..Default::default()
    }
}

fn delete(key: &str) -> s3::DeleteObject {
    s3::DeleteObject {
        bucket: some("files"),
        key: some(key),
        ..Default::default()
    }
}

fn list(prefix: Option<&str>) -> s3::ListObjectsV2 {
    s3::ListObjectsV2 {
        bucket: some("files"),
        prefix: prefix.map(str::to_owned),
        ..Default::default()
    }
}

fn copy(source: &str, key: &str) -> s3::CopyObject {
    s3::CopyObject {
        bucket: some("files"),
        key: some(key),
        copy_source: some(source),
        ..Default::default()
    }
}

fn delete_objects() -> s3::DeleteObjects {
    s3::DeleteObjects {
        bucket: some("files"),
        ..Default::default()
    }
}

/// Each row: grants, a command, and whether they allow it.
fn check(rows: &[(&[&str], &dyn BindAny, bool)]) {
    for (grants, message, allowed) in rows {
        let decision = decide_on(grants, *message);
        let command = message.operation().name;
        assert_eq!(
            decision.is_ok(),
            *allowed,
            "{command} under {grants:?}: {decision:?}"
        );
    }
}

#[test]
fn nothing_is_allowed_that_no_grant_names() {
    check(&[
        (&[], &get("files", "a/k"), false),
        (&["read on files/*"], &get("files", "a/k"), true),
        (&["GetObject on files/*"], &get("files", "a/k"), true),
        (&["HeadObject on files/*"], &get("files", "a/k"), false),
        (
            &["write, list, delete, admin on files/*"],
            &get("files", "a/k"),
            false,
        ),
        (&["read on files/a/*"], &get("files", "a/k"), true),
        (&["read on files/a/*"], &get("files", "ab/k"), false),
        (&["read on files/a/*"], &get("files", "a"), false),
        (&["read on files/a/*"], &get("files", "A/k"), false),
        (&["read on files/a/k"], &get("files", "a/k"), true),
        (&["read on files/a/k"], &get("files", "a/k2"), false),
        (&["read on files/*"], &get("others", "a/k"), false),
        (&["read on files/*"], &get("files2", "a/k"), false),
        (&["read on files"], &get("files", "a/k"), false),
        (&["read on *"], &get("files", "a/k"), false),
        // A command and its resource have to be of one grant.
        (
            &["read on files/a/*", "write on files/b/*"],
            &get("files", "b/k"),
            false,
        ),
        (
            &["read on files/a/*", "write on files/b/*"],
            &put("a/k"),
            false,
        ),
        (
            &["read on files/a/*", "write on files/b/*"],
            &put("b/k"),
            true,
        ),
    ]);
}

#[test]
fn lists_lie_under_the_prefix() {
    check(&[
        (&["list on files/*"], &list(None), true),
        (&["list on files/*"], &list(Some("a/")), true),
        (&["list on files"], &list(None), true),
        (&["list on files"], &list(Some("a/")), true),
        (&["list on files/a/*"], &list(Some("a/")), true),
        (&["list on files/a/*"], &list(Some("a/b")), true),
        (&["list on files/a/*"], &list(Some("a")), false),
        (&["list on files/a/*"], &list(Some("ab/")), false),
        (&["list on files/a/*"], &list(Some("")), false),
        (&["list on files/a/*"], &list(None), false),
        (&["list on files/a/k"], &list(Some("a/k")), false),
        (&["list on others/*"], &list(Some("a/")), false),
        (&["read on files/*"], &list(Some("a/")), false),
        (
            &["list on files/a/*"],
            &s3::ListObjectVersions {
                bucket: some("files"),
                prefix: some("a/"),
                ..Default::default()
            },
            true,
        ),
        // S3 has no way to hold these to a prefix.
        (
            &["list on files/a/*"],
            &s3::ListMultipartUploads {
                bucket: some("files"),
                prefix: some("a/"),
                ..Default::default()
            },
            false,
        ),
        (
            &["list on files/a/*"],
            &s3::HeadBucket {
                bucket: some("files"),
                ..Default::default()
            },
            false,
        ),
    ]);
}

#[test]
fn what_names_no_bucket_needs_a_grant_on_the_star() {
    let buckets = s3::ListBuckets::default();
    check(&[
        (&["list on files/*"], &buckets, false),
        (&["list on files"], &buckets, false),
        (&["list on *"], &buckets, true),
        (&["ListBuckets on *"], &buckets, true),
        (&["read, write, delete, admin on *"], &buckets, false),
        // A prefix is one of buckets' names here.
        (
            &["list on files/a/*"],
            &s3::ListBuckets {
                prefix: some("a/"),
                ..Default::default()
            },
            false,
        ),
    ]);
}

#[test]
fn buckets_are_set_up_with_a_grant_on_the_bucket() {
    let message = s3::PutBucketPolicy {
        bucket: some("files"),
        ..Default::default()
    };
    check(&[
        (&["admin on files"], &message, true),
        (&["admin on files/*"], &message, true),
        (&["admin on files/a/*"], &message, false),
        (&["admin on others"], &message, false),
        (&["write on files/*"], &message, false),
    ]);
}

#[test]
fn sessions_are_handed_out_by_name_only() {
    let message = s3::CreateSession {
        bucket: some("files"),
        ..Default::default()
    };
    check(&[
        (
            &["read, write, list, delete, admin on files/*"],
            &message,
            false,
        ),
        (&["CreateSession on files"], &message, true),
        (&["CreateSession on files/*"], &message, true),
        (&["CreateSession on files/a/*"], &message, false),
    ]);
}

#[test]
fn keys_in_the_body_are_held_by_the_session_alone_under_a_prefix() {
    let bypass = s3::DeleteObjects {
        bypass_governance_retention: Some(true),
        ..delete_objects()
    };
    let cases: &[(&[&str], &dyn BindAny, bool)] = &[
        (&["delete on files/*"], &delete_objects(), false),
        (&["delete on files/a/*"], &delete_objects(), true),
        (&["delete on files/a/k"], &delete_objects(), true),
        (
            &["delete on files/a/*", "delete on files/*"],
            &delete_objects(),
            false,
        ),
        (
            &["delete on files/*", "delete on files/a/*"],
            &delete_objects(),
            false,
        ),
        // That of the whole bucket is of another command.
        (
            &["DeleteObjects on files/a/*", "DeleteObject on files/*"],
            &delete_objects(),
            true,
        ),
        (&["DeleteObjects on files/*"], &bypass, false),
        // The right to bypass ends where its own grant does.
        (
            &["delete on files/*", "DeleteObjects on files/a/*"],
            &bypass,
            true,
        ),
        // The key is in the URL.
        (&["delete on files/a/*"], &delete("a/k"), false),
    ];
    for (grants, message, expected) in cases {
        let allowed = decide_on(grants, *message).unwrap();
        assert_eq!(allowed.bounded_by_session_only, *expected, "{grants:?}");
    }
    check(&[
        (&["delete on files"], &delete_objects(), false),
        (&["delete on others/*"], &delete_objects(), false),
        (&["DeleteObject on files/*"], &delete_objects(), false),
    ]);
}

#[test]
fn the_widest_cap_of_a_need_and_the_narrowest_of_all_needs_hold() {
    let with_acl = s3::PutObject {
        acl: some("private"),
        ..put("a/k")
    };
    let cases: &[(&[&str], &dyn BindAny, Option<u32>)] = &[
        (&["read on files/*"], &get("files", "a/k"), None),
        (&["read on files/* for 60"], &get("files", "a/k"), Some(60)),
        (
            &["read on files/* for 60", "GetObject on files/a/* for 3600"],
            &get("files", "a/k"),
            Some(3600),
        ),
        (
            &["read on files/* for 60", "GetObject on files/b/* for 3600"],
            &get("files", "a/k"),
            Some(60),
        ),
        (
            &["read on files/* for 60", "GetObject on files/a/*"],
            &get("files", "a/k"),
            None,
        ),
        // A longer grant of another command that shares the IAM action does not count.
        (
            &[
                "GetObject on files/* for 60",
                "HeadObject on files/* for 3600",
            ],
            &get("files", "a/k"),
            Some(60),
        ),
        (
            &[
                "PutObject on files/* for 3600",
                "PutObjectAcl on files/* for 60",
            ],
            &with_acl,
            Some(60),
        ),
        (
            &[
                "PutObject on files/* for 60",
                "PutObjectAcl on files/* for 3600",
            ],
            &with_acl,
            Some(60),
        ),
        (
            &["PutObject on files/*", "PutObjectAcl on files/* for 60"],
            &with_acl,
            Some(60),
        ),
        (
            &[
                "CopyObject on files/* for 3600",
                "GetObject on files/* for 60",
            ],
            &copy("files/a/k", "b/k"),
            Some(60),
        ),
        (
            &[
                "CopyObject on files/* for 3600",
                "GetObject on files/* for 60",
                "HeadObject on files/*",
            ],
            &copy("files/a/k", "b/k"),
            Some(60),
        ),
    ];
    for (grants, message, expected) in cases {
        let allowed = decide_on(grants, *message).unwrap();
        assert_eq!(allowed.cap.max_expiry, *expected, "{grants:?}");
    }
}

#[test]
fn an_action_that_stores_do_not_know_is_granted_there_by_name() {
    let attributes = s3::GetObjectAttributes {
        bucket: some("files"),
        key: some("a/k"),
        object_attributes: vec!["ETag".to_owned()],
        ..Default::default()
    };
    for (grant, store, allowed) in [
        ("read on files/*", Store::Aws, true),
        ("read on files/*", Store::Compatible, false),
        ("GetObjectAttributes on files/*", Store::Compatible, true),
    ] {
        let grants = grants_of(&[grant], store);
        let command = attributes.to_bound().unwrap();
        let decision = decide(&grants, &command, Called::default(), None);
        assert_eq!(decision.is_ok(), allowed, "{grant} at {store:?}");
    }
}

#[test]
fn addresses_have_to_lie_within_those_of_one_grant() {
    let office = "read on files/* from 10.0.0.0/8, 192.0.2.0/24";
    let home = "GetObject on files/a/* from 2001:db8::/32";
    let open = "read on files/open/*";
    let grants = grants_of(&[office, home, open], Store::Aws);
    for (key, asked, allowed) in [
        ("a/k", "10.1.2.3", true),
        ("a/k", "10.1.2.3, 192.0.2.7", true),
        ("a/k", "2001:db8::1", true),
        ("a/k", "10.1.2.3, 2001:db8::1", false),
        ("b/k", "2001:db8::1", false),
        ("a/k", "11.0.0.0/8", false),
        ("a/k", "8.0.0.0/5", false),
        ("open/k", "11.0.0.0/8, 2001:db8::1", true),
    ] {
        let message = get("files", key);
        let decision = decide(
            &grants,
            &message.to_bound().unwrap(),
            Called::default(),
            addresses(asked).as_ref(),
        );
        assert_eq!(decision.is_ok(), allowed, "{key} from {asked}");
        let command = "GetObject";
        assert!(allowed || decision == Err(Denied::SourceIp { command }));
    }
    // A command that no grant allows is not allowed from somewhere else.
    let denied = decide(
        &grants,
        &put("a/k").to_bound().unwrap(),
        Called::default(),
        addresses("11.0.0.1").as_ref(),
    );
    assert!(matches!(denied, Err(Denied::Command { .. })), "{denied:?}");
}

#[test]
fn what_is_allowed_from_some_addresses_does_not_outlive_what_is_from_others() {
    let open = "read on files/* for 300";
    let office = "read on files/* for 3600 from 10.0.0.0/8";
    let desk = "read on files/* for 60 from 10.0.0.7";
    let home = "read on files/* for 900 from 192.0.2.0/24";
    let endless = "read on files/* from 10.0.0.0/8";
    for (grants, asked, cap) in [
        (&[open, office][..], None, Some(300)),
        (&[open, office], Some("10.1.1.1"), Some(3600)),
        (&[open, office], Some("192.0.2.1"), Some(300)),
        (&[office], None, Some(3600)),
        (&[office, home], None, Some(900)),
        (&[endless, home], None, Some(900)),
        (&[endless, office], None, None),
        // What is allowed at the desk is allowed in the office.
        (&[office, desk], None, Some(3600)),
        (&[office, desk], Some("10.0.0.7"), Some(3600)),
        (&[desk, home], None, Some(60)),
    ] {
        let message = get("files", "k");
        let asked_ip = asked.and_then(addresses);
        let grants = grants_of(grants, Store::Aws);
        let command = message.to_bound().unwrap();
        let allowed = decide(&grants, &command, Called::default(), asked_ip.as_ref());
        assert_eq!(
            allowed.unwrap().cap.max_expiry,
            cap,
            "{asked:?} of {grants:?}"
        );
    }
}

#[test]
fn a_grant_ends_and_allows_nothing_from_then_on() {
    let ending = |text: &str, seconds| {
        let end = NOW + std::time::Duration::from_secs(seconds);
        let [grant] = &grants_of(&[text], Store::Aws)[..] else {
            panic!("one grant")
        };
        let terms = Terms {
            max_expiry: grant.max_expiry(),
            not_after: Some(end),
            ..Terms::default()
        };
        Grant::new(
            grant.commands().to_vec(),
            grant.resources().to_vec(),
            terms,
            Store::Aws,
        )
    };
    let of = "read on files/a/* for 900";
    let message = get("files", "a/k");
    let command = message.to_bound().unwrap();
    let left = |grants: &[Grant], later| {
        let now = NOW + std::time::Duration::from_millis(later);
        let standing = crate::admit::grant::standing(grants, now);
        let allowed = super::decide(&standing, &command, Called::default(), None, now).ok();
        allowed.map(|allowed| allowed.cap.left_at(now))
    };
    let one = [ending(of, 600)];
    let two = [ending(of, 600), ending("read on files/* for 60", 6000)];
    for (grants, later, expected) in [
        (&one[..], 0, Some(Some(600))),
        (&one, 598_999, Some(Some(1))),
        (&one, 599_001, None),
        (&one, 700_000, None),
        (&two, 0, Some(Some(600))),
        (&two, 550_000, Some(Some(60))),
        (&two, 700_000, Some(Some(60))),
        (&two, 6_000_000, None),
    ] {
        assert_eq!(left(grants, later), expected, "after {later} ms");
    }
    let told = crate::admit::explain::explain(
        &one,
        &[],
        &command,
        Called::default(),
        None,
        NOW + std::time::Duration::from_mins(10),
    );
    let looked_at = &told[0].grants[0];
    assert_eq!(looked_at.why_not, ["it ended at 1970-01-01T00:10:00Z"]);
    let text = &looked_at.text;
    assert!(
        text.ends_with(", not_after: 1970-01-01T00:10:00Z"),
        "{text}"
    );
}
