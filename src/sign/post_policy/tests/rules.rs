//! What a request may not say, each rule with the member that breaks it.

use super::*;

/// The members that break a rule, with what is said of them.
fn refused(request: &PresignPostRequest) -> Vec<(String, String)> {
    match bind(request) {
        Ok(_) => Vec::new(),
        Err(violations) => {
            let said = violations.0.into_iter();
            said.map(|v| (v.field.into_owned(), v.description.into_owned()))
                .collect()
        }
    }
}

fn assert_refused(request: &PresignPostRequest, expected: &[(&str, &str)]) {
    let said = refused(request);
    assert_eq!(said.len(), expected.len(), "{said:?}");
    for ((field, description), (member, words)) in said.iter().zip(expected) {
        assert_eq!(field, member, "{description}");
        assert!(description.contains(words), "{member}: {description}");
    }
}

fn with(change: impl FnOnce(&mut PresignPostRequest)) -> PresignPostRequest {
    let mut request = key("in/k");
    change(&mut request);
    request
}

fn field(name: &str, value: &str) -> PresignPostRequest {
    with(|r| {
        r.fields.insert(name.to_owned(), value.to_owned());
    })
}

#[test]
fn a_form_needs_a_bucket_and_a_key() {
    let request = PresignPostRequest::default();
    assert_refused(
        &request,
        &[("bucket", "not a bucket name"), ("key", "is required")],
    );
}

#[test]
fn keys_are_what_every_client_and_store_reads_alike() {
    for (text, words) in [
        ("", "must not be empty"),
        ("a/../b", "segment"),
        ("../${filename}", "segment"),
        ("${filename}/..", "segment"),
        ("a\r\nb", "control"),
        ("a\0", "control"),
        ("$x-ignore-me", "'$'"),
    ] {
        assert_refused(&key(text), &[("key", words)]);
    }
    for (prefix, words) in [("a/./", "segment"), ("$key", "'$'"), ("a\n", "control")] {
        let request = form(AskedKey::KeyStartsWith(prefix.to_owned()));
        assert_refused(&request, &[("key_starts_with", words)]);
    }
    assert_refused(&key(&"k".repeat(1025)), &[("key", "1024")]);
    for good in [
        "a$b",
        "é",
        "a b",
        "a//b",
        "/a",
        "${filename}",
        "a/${filename}.jpg",
        "...",
        "a/.b",
    ] {
        assert_eq!(refused(&key(good)), [], "{good}");
    }
    for good in ["", "a/..b", "user/"] {
        assert_eq!(
            refused(&form(AskedKey::KeyStartsWith(good.to_owned()))),
            [],
            "{good}"
        );
    }
}

#[test]
fn the_name_of_the_file_opens_the_key_and_nothing_else() {
    for (text, prefix, template) in [
        ("user/${filename}", "user/", "user/${filename}"),
        ("${filename}", "", "${filename}"),
        (
            "u/${filename}-${filename}.jpg",
            "u/",
            "u/${filename}-${filename}.jpg",
        ),
    ] {
        for request in [key(text), form(AskedKey::KeyStartsWith(text.to_owned()))] {
            let bound = bind(&request).unwrap();
            assert_eq!(
                bound.key,
                KeyRule::StartsWith {
                    prefix,
                    template: template.into()
                }
            );
            assert_eq!(bound.command.key, None, "it is no PUT of one key");
        }
    }
    assert_refused(
        &field("Cache-Control", "${filename}"),
        &[("fields[\"Cache-Control\"]", "only the key")],
    );
}

#[test]
fn values_cannot_leave_their_place() {
    for value in ["a\r\nb", "a\nb", "\0", "é", " a", "\u{7f}", "${filename}"] {
        assert_eq!(
            refused(&field("Content-Disposition", value)).len(),
            1,
            "{value:?}"
        );
        let metadata = with(|r| {
            r.metadata.insert("m".into(), value.into());
        });
        assert_eq!(refused(&metadata).len(), 1, "{value:?}");
        let condition = with(|r| r.conditions.push(equals("Expires", value)));
        assert_eq!(refused(&condition).len(), 1, "{value:?}");
    }
    for url in [
        "javascript:alert(1)",
        "/done",
        "https://",
        "https:///x",
        "http://a b",
        "http://é.test",
        "https://a\r\nx",
        "",
    ] {
        let request = with(|r| r.success_action_redirect = Some(url.to_owned()));
        assert_eq!(refused(&request).len(), 1, "{url:?}");
    }
    let request = with(|r| {
        r.success_action_redirect = Some("https://a.test/done?a=%C3%A9&b='<\">".to_owned());
    });
    assert_eq!(refused(&request), []);
    for name in ["a b", "", "a\r\n", "é"] {
        let request = with(|r| {
            r.metadata.insert(name.into(), "v".into());
        });
        assert_eq!(refused(&request).len(), 1, "{name:?}");
    }
}

#[test]
fn only_fields_that_s3_knows_are_set_and_none_of_presignds_own() {
    for name in [
        "policy",
        "Key",
        "bucket",
        "file",
        "x-amz-signature",
        "X-Amz-Date",
        "x-amz-security-token",
        "content-length",
        "nonsense",
    ] {
        let member = format!("fields[{name:?}]");
        assert_eq!(
            refused(&field(name, "v")).first().map(|(field, _)| field),
            Some(&member)
        );
        let condition = with(|r| r.conditions.push(equals(name, "v")));
        assert_eq!(
            refused(&condition).first().map(|(field, _)| field.as_str()),
            Some("conditions[0]")
        );
    }
    assert_refused(
        &field("tagging", "<Tagging/>"),
        &[("fields[\"tagging\"]", "as pairs")],
    );
}

#[test]
fn a_condition_that_contradicts_a_field_names_both() {
    let given = |conditions: Vec<FormCondition>| PresignPostRequest {
        acl: Some("private".into()),
        conditions,
        ..field("Cache-Control", "no-cache")
    };
    for (condition, member, other) in [
        (
            equals("cache-control", "no-store"),
            "conditions[0]",
            "fields[\"Cache-Control\"]",
        ),
        (
            starts_with("Cache-Control", "max-age="),
            "conditions[0]",
            "fields[\"Cache-Control\"]",
        ),
        (
            equals("acl", "public-read"),
            "conditions[0]",
            "contradicts acl",
        ),
    ] {
        assert_refused(&given(vec![condition]), &[(member, other)]);
    }
    let twice = vec![
        starts_with("Cache-Control", "no"),
        equals("Cache-Control", "no-cache"),
    ];
    assert_refused(&given(twice), &[("conditions[1]", "conditions[0]")]);
    assert_eq!(refused(&given(vec![equals("acl", "private")])), []);

    let typed = PresignPostRequest {
        content_type_rule: Some(ContentTypeRule::ContentTypeStartsWith("image/".into())),
        ..field("content-type", "text/html")
    };
    assert_refused(
        &typed,
        &[("content_type_starts_with", "fields[\"content-type\"]")],
    );
    let both = with(|r| {
        r.acl = Some("private".into());
        r.fields.insert("acl".into(), "private".into());
    });
    assert_refused(&both, &[("fields[\"acl\"]", "as does acl")]);
    let capitals = with(|r| {
        r.metadata.insert("A".into(), "1".into());
        r.metadata.insert("a".into(), "1".into());
    });
    assert_refused(&capitals, &[("metadata[\"a\"]", "metadata[\"A\"]")]);
    let answers = with(|r| {
        r.success_action_status = Some(201);
        r.success_action_redirect = Some("https://a.test/".into());
    });
    assert_refused(
        &answers,
        &[("success_action_status", "success_action_redirect")],
    );
}

#[test]
fn a_condition_on_a_field_with_a_value_opens_it() {
    let request = PresignPostRequest {
        content_type_rule: Some(ContentTypeRule::ContentTypeStartsWith("image/".into())),
        ..field("Content-Type", "image/png")
    };
    let read = read(&request);
    assert_eq!(read.field("Content-Type"), "image/png");
    assert_eq!(read.to_fill, []);
    let (exact, open) = read.rules();
    assert_eq!(open.get("Content-Type").map(String::as_str), Some("image/"));
    assert_eq!(exact.get("Content-Type"), None);
}

#[test]
fn amazons_own_fields_are_exact_only() {
    for name in [
        "x-amz-storage-class",
        "x-amz-server-side-encryption",
        "success_action_status",
        "x-amz-checksum-sha256",
    ] {
        let request = with(|r| r.conditions.push(starts_with(name, "")));
        assert_refused(&request, &[("conditions[0]", "use equals")]);
    }
    let variable = with(|r| r.conditions.push(starts_with("Cache-Control", "$key")));
    assert_refused(&variable, &[("conditions[0]", "'$'")]);
    let ruleless = with(|r| {
        r.conditions.push(FormCondition {
            field: "acl".into(),
            rule: None,
        });
    });
    assert_refused(&ruleless, &[("conditions[0]", "no rule")]);
}

#[test]
fn ranges_tags_and_statuses_are_what_s3_takes() {
    let range = with(|r| {
        r.content_length_range = Some(crate::proto::v1::ContentLengthRange { min: 2, max: 1 });
    });
    assert_refused(&range, &[("content_length_range", "min above its max")]);
    for status in [0, 199, 202, 302, -1] {
        assert_refused(
            &with(|r| r.success_action_status = Some(status)),
            &[("success_action_status", "200 nor 201 nor 204")],
        );
    }
    let tags = |tags: Vec<(String, String)>| with(|r| r.tagging = tags.into_iter().collect());
    let many = (0..11).map(|n| (n.to_string(), String::new())).collect();
    for (tagging, words) in [
        (tags(many), "10 tags"),
        (tags(vec![(String::new(), "v".into())]), "empty"),
        (tags(vec![("k".repeat(129), "v".into())]), "128"),
        (tags(vec![("k".into(), "v".repeat(257))]), "256"),
        (tags(vec![("aws:k".into(), "v".into())]), "aws:"),
        (tags(vec![("k".into(), "a\nb".into())]), "does not carry"),
        (
            tags(vec![("k".into(), "\u{ffff}".into())]),
            "does not carry",
        ),
    ] {
        assert_refused(&tagging, &[("tagging", words)]);
    }
}

#[test]
fn what_aws_does_not_know_is_refused_for_aws_alone() {
    let request = with(|r| r.storage_class = Some("HOT".into()));
    let bound = bind(&request).unwrap();
    let violations = bound.known_to_aws().unwrap_err();
    assert_eq!(violations.0[0].field, "storage_class");
    assert!(violations.0[0].description.contains("STANDARD"));
    let request = field("x-amz-object-lock-mode", "FOREVER");
    let violations = bind(&request).unwrap().known_to_aws().unwrap_err();
    assert_eq!(violations.0[0].field, "fields[\"x-amz-object-lock-mode\"]");
    let request = field("x-amz-object-lock-mode", "GOVERNANCE");
    assert!(bind(&request).unwrap().known_to_aws().is_ok());
}

#[test]
fn no_refusal_is_longer_than_anybody_reads() {
    let many = with(|r| r.fields = (0..101).map(|n| (n.to_string(), String::new())).collect());
    assert_refused(&many, &[("*", "more than 100")]);
    let long = with(|r| {
        r.fields = (0..50)
            .map(|n| (format!("{n}{}", "\u{202e}".repeat(1300)), String::new()))
            .collect();
    });
    let said = refused(&long);
    assert_eq!(said.len(), 9);
    assert!(
        said.iter()
            .all(|(field, words)| field.len() + words.len() < 300),
        "{said:?}"
    );
}
