//! How the rules of several grants on what is told about objects come together, and what a caller is told of buckets.

use super::{copy, decide, get, put, some};

use crate::admit::content::{ContentRules, ResponseRule};
use crate::admit::grant::{CommandSelector, Grant, Store, Terms};
use crate::admit::media_type::MediaRange;
use crate::admit::policy::{Called, Denied};
use crate::admit::resource::ResourcePattern;
use crate::proto::s3;
use crate::proto::v1::PresignPostRequest;
use crate::sign::bind::BindAny;
use crate::sign::post_policy::bind::bind;

/// A grant of one class or command on one resource.
fn grant(command: &str, resource: &str, content: ContentRules) -> Grant {
    let terms = Terms {
        content,
        ..Terms::default()
    };
    Grant::new(
        vec![CommandSelector::parse(command).unwrap()],
        vec![ResourcePattern::parse(resource).unwrap()],
        terms,
        Store::Aws,
    )
}

fn uploads(types: &[&str]) -> ContentRules {
    let types = types.iter().map(|text| MediaRange::parse(text).unwrap());
    ContentRules {
        uploads: Some(types.collect()),
        ..ContentRules::default()
    }
}

/// The fields that the grants do not allow; none, if they allow the command.
fn fields(grants: &[Grant], message: &dyn BindAny) -> Vec<String> {
    match decide(
        grants,
        &message.to_bound().unwrap(),
        Called::default(),
        None,
    ) {
        Ok(_) => Vec::new(),
        Err(Denied::Content { violations, .. }) => {
            let violations = violations.0.iter();
            violations.map(|v| v.field.to_string()).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

fn typed(key: &str, content_type: &str) -> s3::PutObject {
    s3::PutObject {
        content_type: some(content_type),
        ..put(key)
    }
}

#[test]
fn one_grant_that_allows_command_resource_and_type_is_enough() {
    let pictures = || grant("write", "files/*", uploads(&["image/*"]));
    let papers = || grant("PutObject", "files/papers/*", uploads(&["application/pdf"]));
    let both = [pictures(), papers()];
    assert_eq!(fields(&both, &typed("papers/k", "image/png")), [""; 0]);
    assert_eq!(
        fields(&both, &typed("papers/k", "application/pdf")),
        [""; 0]
    );
    // Of those that cover it, and no others.
    assert_eq!(
        fields(&both, &typed("k", "application/pdf")),
        ["content_type"]
    );
    // Each rule that stood in the way is told, and once.
    let twice = [pictures(), papers(), pictures()];
    let told = fields(&twice, &typed("papers/k", "text/html"));
    assert_eq!(told, ["content_type", "content_type"]);
    // A grant without the rule is one without the rule.
    let free = [
        pictures(),
        grant("PutObject", "files/*", ContentRules::default()),
    ];
    assert_eq!(fields(&free, &typed("k", "text/html")), [""; 0]);
}

#[test]
fn the_cap_is_of_the_grants_whose_rules_hold() {
    let capped = |seconds, types: &[&str]| {
        let terms = Terms {
            max_expiry: Some(seconds),
            content: uploads(types),
            ..Terms::default()
        };
        let commands = vec![CommandSelector::parse("PutObject").unwrap()];
        let resources = vec![ResourcePattern::parse("files/*").unwrap()];
        Grant::new(commands, resources, terms, Store::Aws)
    };
    let grants = [capped(60, &["image/*"]), capped(3600, &["application/pdf"])];
    let cap = |content_type: &str| {
        let message = typed("k", content_type);
        let command = message.to_bound().unwrap();
        let allowed = decide(&grants, &command, Called::default(), None).unwrap();
        allowed.cap.max_expiry
    };
    assert_eq!(cap("image/png"), Some(60));
    assert_eq!(cap("application/pdf"), Some(3600));
}

#[test]
fn the_source_of_a_copy_is_read_whatever_a_browser_is_told_of_it() {
    let silent = ContentRules {
        responses: ResponseRule::Nothing,
        uploads: Some(Vec::new()),
    };
    let grants = [
        grant("GetObject", "files/*", silent),
        grant("CopyObject", "files/*", ContentRules::default()),
    ];
    assert_eq!(fields(&grants, &copy("files/a", "b")), [""; 0]);
}

#[test]
fn without_a_grant_of_the_resource_no_rule_is_told() {
    let grants = [grant("PutObject", "files/a/*", uploads(&["image/*"]))];
    let message = typed("b/k", "text/html");
    let denied = decide(
        &grants,
        &message.to_bound().unwrap(),
        Called::default(),
        None,
    );
    assert!(matches!(denied, Err(Denied::Command { .. })), "{denied:?}");
}

#[test]
fn a_sentence_calls_a_bucket_what_the_caller_called_it() {
    let called = Called {
        bucket: Some("media"),
        source: Some("archive"),
    };
    let told = |grants: &[Grant], message: &dyn BindAny| {
        let command = message.to_bound().unwrap();
        decide(grants, &command, called, None)
            .unwrap_err()
            .to_string()
    };
    let with_acl = s3::PutObject {
        acl: some("private"),
        ..put("k")
    };
    let puts = [grant("PutObject", "files/*", ContentRules::default())];
    let copies = [grant("CopyObject", "files/*", ContentRules::default())];
    for (grants, message, name) in [
        (&[][..], &get("files", "k") as &dyn BindAny, "\"media\""),
        (&puts, &with_acl, "\"media\""),
        (&copies, &copy("files/source", "k"), "\"archive\""),
    ] {
        let sentence = told(grants, message);
        assert!(sentence.contains(name), "{sentence}");
        assert!(!sentence.contains("files"), "{sentence}");
    }
}

#[test]
fn a_form_names_the_one_type_of_what_is_uploaded() {
    use crate::proto::v1::presign_post_request::{ContentTypeRule, KeyRule};
    let grants = [grant(
        "write",
        "files/*",
        uploads(&["image/*", "image/svg+xml"]),
    )];
    let form = |rule: Option<ContentTypeRule>| PresignPostRequest {
        bucket: "files".to_owned(),
        key_rule: Some(KeyRule::KeyStartsWith("in/".to_owned())),
        content_type_rule: rule,
        ..PresignPostRequest::default()
    };
    let exact = |text: &str| form(Some(ContentTypeRule::ContentType(text.to_owned())));
    let open = |text: &str| {
        form(Some(ContentTypeRule::ContentTypeStartsWith(
            text.to_owned(),
        )))
    };
    let as_field = PresignPostRequest {
        fields: [("content-type".to_owned(), "image/png".to_owned())].into(),
        ..form(None)
    };
    let opened = PresignPostRequest {
        fields: as_field.fields.clone(),
        ..open("image/")
    };
    for (request, allowed) in [
        (exact("image/png"), true),
        (exact("image/svg+xml"), true),
        (as_field, true),
        (exact("text/html"), false),
        (form(None), false),
        // From each of these it goes on to a type that browsers run: image/svg+xml, or image/png, text/html.
        (open("image/"), false),
        (open("image/png"), false),
        (open(""), false),
        (opened, false),
    ] {
        let form = bind(&request).unwrap();
        match decide(&grants, &form.command, Called::default(), None) {
            Ok(_) => assert!(allowed, "{request:?}"),
            Err(Denied::Content { violations, .. }) => {
                assert!(!allowed, "{request:?}: {violations}");
                let [violation] = &violations.0[..] else {
                    panic!("{violations}");
                };
                assert_eq!(violation.field, "content_type");
                assert!(violation.description.contains("image/*"), "{violations}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    let free = [grant("write", "files/*", ContentRules::default())];
    let request = open("image/");
    let form = bind(&request).unwrap();
    assert!(decide(&free, &form.command, Called::default(), None).is_ok());
}
