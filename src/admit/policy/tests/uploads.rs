//! `max_upload`, and forms.

use proptest::prelude::*;

use super::*;

use crate::proto::v1::ContentLengthRange;
use crate::proto::v1::PresignPostRequest;
use crate::proto::v1::presign_post_request::KeyRule as AskedKey;
use crate::sign::post_policy::LengthRange;
use crate::sign::post_policy::bind::bind;

fn put_of(content_length: Option<i64>) -> s3::PutObject {
    s3::PutObject {
        content_length,
        ..put("in/k")
    }
}

fn form(key: AskedKey) -> PresignPostRequest {
    PresignPostRequest {
        bucket: "files".to_owned(),
        key_rule: Some(key),
        ..Default::default()
    }
}

fn key(key: &str) -> PresignPostRequest {
    form(AskedKey::Key(key.to_owned()))
}

fn beginning(prefix: &str) -> PresignPostRequest {
    form(AskedKey::KeyStartsWith(prefix.to_owned()))
}

fn of_range(min: u64, max: u64) -> PresignPostRequest {
    PresignPostRequest {
        content_length_range: Some(ContentLengthRange { min, max }),
        ..key("in/k")
    }
}

type FormDecision = Result<(Allowed, Option<LengthRange>), Denied>;

fn decide_form_on(grants: &[&str], request: &PresignPostRequest) -> FormDecision {
    decide_form(&grants_of(grants, Store::Aws), request, None)
}

/// As a request for a form is decided.
fn decide_form(
    grants: &[Grant],
    request: &PresignPostRequest,
    source_ip: Option<&SourceIps>,
) -> FormDecision {
    let mut form = bind(request).unwrap();
    bound_upload(grants, &mut form, source_ip);
    let allowed = decide(grants, &form.command, Called::default(), source_ip)?;
    Ok((allowed, form.content_length()))
}

#[test]
fn a_bounded_grant_takes_a_put_that_declares_its_length_and_no_other() {
    let grants = &["PutObject on files/* up to 100"][..];
    for length in [0, 100] {
        assert!(decide_on(grants, &put_of(Some(length))).is_ok(), "{length}");
    }
    let too_large = decide_on(grants, &put_of(Some(101))).unwrap_err();
    assert!(
        matches!(
            too_large,
            Denied::UploadTooLarge {
                bytes: 101,
                most: 100,
                ..
            }
        ),
        "{too_large}"
    );
    let unbounded = decide_on(grants, &put_of(None)).unwrap_err();
    assert!(
        matches!(unbounded, Denied::UploadUnbounded { most: 100, .. }),
        "{unbounded}"
    );
    for advice in ["content_length", "PresignPost"] {
        assert!(unbounded.to_string().contains(advice), "{unbounded}");
    }
    let elsewhere = decide_on(grants, &put("k")).unwrap_err();
    assert!(
        matches!(elsewhere, Denied::UploadUnbounded { .. }),
        "{elsewhere}"
    );
    let elsewhere = decide_on(&["PutObject on files/in/* up to 100"], &put("out/k")).unwrap_err();
    assert!(
        matches!(elsewhere, Denied::Command { .. }),
        "no bound is told where nothing is granted: {elsewhere}"
    );
}

#[test]
fn parts_are_bounded_like_objects_and_what_uploads_nothing_is_not() {
    let grants = &["write on files/* up to 100"][..];
    let part = |content_length| s3::UploadPart {
        bucket: some("files"),
        key: some("in/k"),
        part_number: Some(1),
        upload_id: some("u"),
        content_length,
        ..Default::default()
    };
    assert!(decide_on(grants, &part(Some(100))).is_ok());
    assert!(decide_on(grants, &part(Some(101))).is_err());
    assert!(decide_on(grants, &part(None)).is_err());
    let create = s3::CreateMultipartUpload {
        bucket: some("files"),
        key: some("in/k"),
        ..Default::default()
    };
    assert!(decide_on(grants, &create).is_ok());
}

#[test]
fn one_grant_has_to_allow_both_the_size_and_the_life() {
    let grants = &[
        "PutObject on files/* for 60",
        "PutObject on files/* for 3600 up to 100",
    ][..];
    let cap = |length| decide_on(grants, &put_of(length)).unwrap().cap.max_expiry;
    assert_eq!(cap(Some(100)), Some(3600));
    assert_eq!(cap(Some(101)), Some(60));
    assert_eq!(cap(None), Some(60));
}

#[test]
fn a_form_takes_its_bound_from_the_grants_unless_it_has_one() {
    let range = |min, max| Some(LengthRange { min, max });
    for (grants, request, expected) in [
        (&["PutObject on files/*"][..], key("in/k"), Some(None)),
        (
            &["PutObject on files/* up to 9"],
            key("in/k"),
            Some(range(0, 9)),
        ),
        (
            &[
                "PutObject on files/* up to 9",
                "PutObject on files/in/* up to 20",
            ],
            key("in/k"),
            Some(range(0, 20)),
        ),
        (
            &[
                "PutObject on files/* up to 9",
                "PutObject on files/in/* up to 20",
            ],
            key("out/k"),
            Some(range(0, 9)),
        ),
        (
            &["PutObject on files/* up to 9", "PutObject on files/in/*"],
            key("in/k"),
            Some(None),
        ),
        (
            &["PutObject on files/* up to 9"],
            of_range(2, 9),
            Some(range(2, 9)),
        ),
        (&["PutObject on files/* up to 9"], of_range(2, 10), None),
        (
            &["PutObject on files/*"],
            of_range(2, 10),
            Some(range(2, 10)),
        ),
    ] {
        let decision = decide_form_on(grants, &request);
        assert_eq!(
            decision.ok().map(|(_, range)| range),
            expected,
            "{request:?} under {grants:?}"
        );
    }
}

#[test]
fn a_beginning_needs_a_grant_of_every_key_that_begins_so() {
    for (grants, request, allowed) in [
        ("PutObject on files/*", beginning(""), true),
        ("PutObject on files/*", beginning("in/"), true),
        ("PutObject on files/in/*", beginning("in/"), true),
        ("PutObject on files/in/*", beginning("in/deep/"), true),
        ("PutObject on files/in/*", beginning("in"), false),
        ("PutObject on files/in/*", beginning(""), false),
        ("PutObject on files/in/*", key("in/${filename}"), true),
        ("PutObject on files/in/*", key("${filename}"), false),
        ("PutObject on files/in/*", key("i${filename}"), false),
        ("PutObject on files/in/k", key("in/k"), true),
        ("PutObject on files/in/k", beginning("in/k"), false),
        ("PutObject on files/in/k", key("in/k${filename}"), false),
        ("GetObject on files/*", beginning("in/"), false),
        ("PutObject on other/*", beginning("in/"), false),
    ] {
        let decision = decide_form_on(&[grants], &request);
        assert_eq!(
            decision.is_ok(),
            allowed,
            "{request:?} under {grants}: {decision:?}"
        );
    }
}

#[test]
fn one_grant_has_to_allow_both_the_size_and_the_addresses() {
    let office = "PutObject on files/* up to 100 from 10.0.0.0/8";
    let home = "PutObject on files/* up to 9 from 192.0.2.0/24";
    let grants = grants_of(&[office, home], Store::Aws);
    let from = |request: &PresignPostRequest, asked: &str| {
        decide_form(&grants, request, addresses(asked).as_ref())
    };
    let bound = |asked| from(&key("k"), asked).unwrap().1.unwrap().max;
    assert_eq!((bound("10.0.0.1"), bound("192.0.2.1")), (100, 9));
    assert!(from(&of_range(0, 100), "10.0.0.1").is_ok());
    let too_large = from(&of_range(0, 100), "192.0.2.1").unwrap_err();
    assert!(
        matches!(too_large, Denied::SourceIp { .. }),
        "larger from elsewhere: {too_large}"
    );
    for request in [key("k"), of_range(0, 9)] {
        let elsewhere = from(&request, "203.0.113.1").unwrap_err();
        assert!(
            matches!(elsewhere, Denied::SourceIp { .. }),
            "it is not the size: {elsewhere}"
        );
    }
    let everywhere = from(&of_range(0, 101), "203.0.113.1").unwrap_err();
    assert!(
        matches!(everywhere, Denied::UploadTooLarge { most: 100, .. }),
        "{everywhere}"
    );
}

#[test]
fn fields_need_what_the_headers_of_put_object_need() {
    let asking = |change: fn(&mut PresignPostRequest)| {
        let mut request = key("in/k");
        change(&mut request);
        request
    };
    let field = |request: &mut PresignPostRequest, name: &str, value: &str| {
        request.fields.insert(name.to_owned(), value.to_owned());
    };
    let plain = "PutObject on files/*";
    for (request, command) in [
        (asking(|r| r.acl = some("private")), "PutObjectAcl"),
        (
            asking(|r| {
                r.tagging.insert("a".into(), "b".into());
            }),
            "PutObjectTagging",
        ),
        (
            {
                let mut r = key("in/k");
                field(&mut r, "x-amz-object-lock-mode", "GOVERNANCE");
                r
            },
            "PutObjectRetention",
        ),
        (
            {
                let mut r = key("in/k");
                field(&mut r, "X-Amz-Object-Lock-Legal-Hold", "ON");
                r
            },
            "PutObjectLegalHold",
        ),
    ] {
        let refused = decide_form_on(&[plain], &request).unwrap_err();
        assert!(
            matches!(refused, Denied::Action { grant, .. } if grant == command),
            "{command}: {refused}"
        );
        let granted = format!("PutObject, {command} on files/*");
        assert!(decide_form_on(&[&granted], &request).is_ok(), "{command}");
    }
    let mut open = key("in/k");
    open.conditions.push(crate::proto::v1::FormCondition {
        field: "acl".to_owned(),
        rule: Some(crate::proto::v1::form_condition::Rule::StartsWith(
            String::new(),
        )),
    });
    assert!(
        decide_form_on(&[plain], &open).is_err(),
        "the client may choose the ACL"
    );
    let plain_fields = asking(|r| r.storage_class = some("STANDARD_IA"));
    assert!(decide_form_on(&[plain], &plain_fields).is_ok());
}

proptest! {
    /// Whatever key a form lets through, a PUT of that key is granted, with as many bytes as the form takes.
    #[test]
    fn a_form_is_never_wider_than_puts(
        prefix in "[a-c/]{0,4}", rest in "[a-c/]{1,4}", is_prefix: bool,
        caps in proptest::collection::vec(("[a-c/]{0,3}\\*?", proptest::option::of(0..9u64)), 1..4),
        range in proptest::option::of(0..9u64),
    ) {
        let grants: Vec<String> = caps.iter().filter(|(resource, _)| !resource.is_empty()).map(|(resource, cap)| {
            let up_to = cap.map_or(String::new(), |cap| format!(" up to {cap}"));
            format!("PutObject on files/{resource}{up_to}")
        }).collect();
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let text = format!("{prefix}{rest}");
        let mut request = if is_prefix { beginning(&prefix) } else { key(&text) };
        request.content_length_range = range.map(|max| ContentLengthRange { min: 0, max });
        let Ok((allowed, within)) = decide_form_on(&grants, &request) else { return Ok(()) };
        let content_length = within.map(|range| i64::try_from(range.max).unwrap());
        let put = s3::PutObject { content_length, ..put(&text) };
        let of_put = decide_on(&grants, &put);
        prop_assert!(of_put.is_ok(), "{:?}", of_put);
        prop_assert_eq!(allowed.cap.max_expiry, of_put.unwrap().cap.max_expiry);
    }
}
