//! The rules as tables, and their law: a rule is not talked round by capitals, parameters, quotes or lists.

use proptest::prelude::*;

use super::*;

use crate::proto::s3;
use crate::sign::bind::BindAny;
use crate::sign::operations::OPERATIONS;

#[expect(
    clippy::unnecessary_wraps,
    reason = "the members of messages are optional"
)]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn get(content_type: Option<&str>, disposition: Option<&str>) -> s3::GetObject {
    s3::GetObject {
        bucket: some("b"),
        key: some("k"),
        response_content_type: content_type.map(str::to_owned),
        response_content_disposition: disposition.map(str::to_owned),
        ..Default::default()
    }
}

fn put(content_type: Option<&str>) -> s3::PutObject {
    s3::PutObject {
        bucket: some("b"),
        key: some("k"),
        content_type: content_type.map(str::to_owned),
        ..Default::default()
    }
}

fn copy(directive: Option<&str>, content_type: Option<&str>) -> s3::CopyObject {
    s3::CopyObject {
        bucket: some("b"),
        key: some("k"),
        copy_source: some("b/source"),
        metadata_directive: directive.map(str::to_owned),
        content_type: content_type.map(str::to_owned),
        ..Default::default()
    }
}

fn ranges(texts: &[&str]) -> Vec<MediaRange> {
    let ranges = texts.iter().map(|text| MediaRange::parse(text).unwrap());
    ranges.collect()
}

fn uploads(texts: &[&str]) -> ContentRules {
    ContentRules {
        uploads: Some(ranges(texts)),
        ..ContentRules::default()
    }
}

fn responses(responses: ResponseRule) -> ContentRules {
    ContentRules {
        responses,
        ..ContentRules::default()
    }
}

/// The fields that the message breaks the rules with.
fn broken(rules: &ContentRules, message: &dyn BindAny) -> Vec<String> {
    let broken = rules.broken_by(&message.to_bound().unwrap());
    broken.iter().map(|v| v.field.to_string()).collect()
}

#[test]
fn the_lists_of_commands_are_those_with_the_fields() {
    let with = |field: &str| {
        let pool = prost_reflect::DescriptorPool::decode(crate::proto::FILE_DESCRIPTOR_SET);
        let pool = pool.unwrap();
        let mut names: Vec<&str> = OPERATIONS
            .iter()
            .filter(|operation| {
                let message = format!("presignd.s3.v1.{}", operation.name);
                let message = pool.get_message_by_name(&message).unwrap();
                message.get_field_by_name(field).is_some()
            })
            .map(|operation| operation.name)
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(with("content_type"), TYPING);
    assert_eq!(with("response_content_type"), ASKING);
}

#[test]
fn without_a_rule_a_type_that_browsers_run_is_for_saving_only() {
    let rules = ContentRules::default();
    for (content_type, disposition, allowed) in [
        (None, None, true),
        (None, Some("inline"), true),
        (Some("image/png"), None, true),
        (Some("application/pdf"), Some("inline"), true),
        (Some("text/html"), None, false),
        (Some("text/html"), Some("inline"), false),
        (Some("text/html"), Some("attachments"), false),
        (Some("text/html"), Some("x-attachment"), false),
        (
            Some("text/html"),
            Some("inline; filename=attachment"),
            false,
        ),
        (Some("text/html"), Some("attachment"), true),
        (
            Some("TEXT/HTML;charset=utf-8"),
            Some("Attachment; filename=\"a b.html\""),
            true,
        ),
        (Some("image/svg+xml"), None, false),
        (Some("text/plain, text/html"), None, false),
        (Some(""), None, false),
        (Some("nonsense"), None, false),
        (Some("nonsense"), Some("attachment"), true),
    ] {
        let fields = broken(&rules, &get(content_type, disposition));
        let expected: &[&str] = if allowed {
            &[]
        } else {
            &["response_content_type"]
        };
        assert_eq!(fields, expected, "{content_type:?} as {disposition:?}");
    }
    // Uploads are as free as they were.
    for content_type in [None, Some("text/html"), Some("nonsense")] {
        assert_eq!(broken(&rules, &put(content_type)), [""; 0]);
    }
}

#[test]
fn listed_types_are_allowed_whatever_the_disposition_and_no_others() {
    let rules = responses(ResponseRule::Types(ranges(&["image/*", "text/html"])));
    for (content_type, allowed) in [
        (None, true),
        (Some("image/png"), true),
        (Some("text/html; charset=utf-8"), true),
        (Some("image/svg+xml"), false),
        (Some("application/pdf"), false),
        (Some("nonsense"), false),
    ] {
        for disposition in [None, Some("inline"), Some("attachment")] {
            let fields = broken(&rules, &get(content_type, disposition));
            assert_eq!(fields.is_empty(), allowed, "{content_type:?}");
        }
    }
}

#[test]
fn where_nothing_may_be_said_every_field_that_says_something_is_named() {
    let rules = responses(ResponseRule::Nothing);
    assert_eq!(broken(&rules, &get(None, None)), [""; 0]);
    let message = s3::HeadObject {
        bucket: some("b"),
        key: some("k"),
        response_cache_control: some("no-store"),
        response_content_disposition: some("attachment"),
        response_content_encoding: some("gzip"),
        response_content_language: some("en"),
        response_content_type: some("image/png"),
        response_expires: Some(prost_types::Timestamp::default()),
        version_id: some("v"),
        ..Default::default()
    };
    let mut fields = broken(&rules, &message);
    fields.sort();
    let expected = [
        "response_cache_control",
        "response_content_disposition",
        "response_content_encoding",
        "response_content_language",
        "response_content_type",
        "response_expires",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn an_upload_signs_a_listed_type() {
    let rules = uploads(&["image/*", "application/pdf"]);
    for (content_type, allowed) in [
        (Some("image/png"), true),
        (Some("Application/PDF"), true),
        (Some("image/svg+xml"), false),
        (Some("text/html"), false),
        (Some("image/png, text/html"), false),
        (Some(""), false),
        (None, false),
    ] {
        let expected: &[&str] = if allowed { &[] } else { &["content_type"] };
        let create = s3::CreateMultipartUpload {
            bucket: some("b"),
            key: some("k"),
            content_type: content_type.map(str::to_owned),
            ..Default::default()
        };
        let answer = s3::WriteGetObjectResponse {
            request_route: some("r"),
            request_token: some("t"),
            content_type: content_type.map(str::to_owned),
            ..Default::default()
        };
        let replacing = copy(Some("REPLACE"), content_type);
        let messages: [&dyn BindAny; 4] = [&put(content_type), &create, &answer, &replacing];
        for message in messages {
            let name = message.operation().name;
            assert_eq!(
                broken(&rules, message),
                expected,
                "{name}: {content_type:?}"
            );
        }
    }
    // A type in the metadata is not the object's.
    let named = s3::PutObject {
        metadata: [("content-type".to_owned(), "image/png".to_owned())].into(),
        ..put(None)
    };
    assert_eq!(broken(&rules, &named), ["content_type"]);
}

#[test]
fn a_copy_that_keeps_its_sources_type_carries_none_of_the_list() {
    let rules = uploads(&["image/*"]);
    for directive in [None, Some("COPY"), Some("replace"), Some("REPLACE ")] {
        let message = copy(directive, Some("image/png"));
        if message.to_bound().is_ok() {
            assert_eq!(broken(&rules, &message), ["metadata_directive"]);
        }
    }
    let free = ContentRules::default();
    assert_eq!(broken(&free, &copy(None, None)), [""; 0]);
}

/// Types about a list of types: in it, beside it, and dressed up.
fn content_types() -> impl Strategy<Value = String> {
    let kind = prop_oneof!["image", "text", "IMAGE", "application", "[a-z*]{1,4}"];
    let subtype = prop_oneof![
        "png",
        "PNG",
        "pdf",
        "html",
        "svg\\+xml",
        "svg",
        "[a-z*]{1,4}",
        "x-javascript",
        "xml"
    ];
    let tail = prop_oneof![
        Just(String::new()),
        Just("; charset=utf-8".to_owned()),
        Just("; a=\", text/html\"".to_owned()),
        Just(", text/html".to_owned()),
        "[ ;=\",/a-z]{0,12}",
    ];
    (kind, subtype, tail).prop_map(|(kind, subtype, tail)| format!("{kind}/{subtype}{tail}"))
}

/// What a browser makes of a Content-Type at its most lenient: each of what stands between commas, without parameters and spaces.
fn lenient(text: &str) -> Vec<String> {
    let types = text.split(',').map(|part| {
        let bare = part.split(';').next().unwrap_or_default();
        bare.trim().to_ascii_lowercase()
    });
    types.collect()
}

/// Whether it is one of those that [`content_types`] makes and browsers run.
fn runs(text: &str) -> bool {
    let subtype = text.split_once('/').map_or("", |(_, subtype)| subtype);
    ["html", "svg+xml", "svg", "x-javascript", "xml"].contains(&subtype)
}

proptest! {
    #[test]
    fn what_a_rule_allows_carries_a_type_of_the_rule(text in content_types()) {
        let is_listed = |text: &String| text == "application/pdf" || text.starts_with("image/") && !runs(text);
        let list = ["image/*", "application/pdf"];
        let (put, get) = (put(Some(&text)), get(Some(&text), Some("attachment")));
        if let Ok(command) = put.to_bound() && uploads(&list).broken_by(&command).is_empty() {
            prop_assert!(lenient(&text).iter().all(is_listed), "{text}");
        }
        let rules = responses(ResponseRule::Types(ranges(&list)));
        if let Ok(command) = get.to_bound() && rules.broken_by(&command).is_empty() {
            prop_assert!(lenient(&text).iter().all(is_listed), "{text}");
        }
    }

    #[test]
    fn without_a_rule_no_type_that_runs_is_shown(text in content_types(), disposition in "(inline|attachment)[ ;=\",a]{0,6}") {
        let message = get(Some(&text), Some(&disposition));
        let Ok(command) = message.to_bound() else { return Ok(()) };
        if ContentRules::default().broken_by(&command).is_empty() {
            let saved = disposition.starts_with("attachment") && !disposition.starts_with("attachmenta");
            prop_assert!(saved || !lenient(&text).iter().any(|text| runs(text)), "{text} as {disposition}");
        }
    }
}
