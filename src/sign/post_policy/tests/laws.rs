//! Laws of forms, over random requests: the policy says what was asked and no more, and HTML gives back the fields.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Texts with everything that JSON, HTML and policies trip over.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "\"",
            "\\",
            "'",
            "<",
            ">",
            "&",
            "&amp;",
            "$",
            "${filename}",
            "/",
            "é",
            "\u{1f9ca}",
            "\u{2028}",
            "%",
            " ",
            "{",
            "]"
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-z0-9]{1,8}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn requests() -> impl Strategy<Value = PresignPostRequest> {
    let fields = select(vec![
        "Cache-Control",
        "Content-Disposition",
        "expires",
        "x-amz-storage-class",
        "Content-Type",
    ]);
    let conditions = (
        select(vec![
            "acl",
            "Content-Type",
            "cache-control",
            "x-amz-meta-a",
            "x-amz-meta-zz",
        ]),
        any::<bool>(),
        "[ -~]{0,6}",
    );
    (
        (any::<bool>(), texts()),
        btree_map(fields, "[ -~]{0,12}", 0..3),
        btree_map("[a-cA-C-]{1,3}", "[ -~]{0,12}", 0..3),
        btree_map("[a-z<&\"é]{1,4}", texts(), 0..3),
        vec(conditions, 0..3),
        proptest::option::of(prop_oneof![Just(200), Just(201), Just(204)]),
        proptest::option::of((0..1000_u64, 0..u64::MAX / 2)),
    )
        .prop_map(
            |((is_prefix, text), fields, metadata, tagging, conditions, status, range)| {
                let asked = if is_prefix {
                    AskedKey::KeyStartsWith(text)
                } else {
                    AskedKey::Key(text)
                };
                let owned = |(name, value): (&str, String)| (name.to_owned(), value);
                let range = range.map(|(min, more)| crate::proto::v1::ContentLengthRange {
                    min,
                    max: min + more,
                });
                PresignPostRequest {
                    fields: fields.into_iter().map(owned).collect(),
                    metadata: metadata.into_iter().collect(),
                    tagging: tagging.into_iter().collect(),
                    conditions: conditions
                        .into_iter()
                        .map(|(name, exact, text)| {
                            if exact {
                                equals(name, &text)
                            } else {
                                starts_with(name, &text)
                            }
                        })
                        .collect(),
                    success_action_status: status,
                    content_length_range: range,
                    ..form(asked)
                }
            },
        )
}

/// A value of HTML without its entities.
fn unescaped(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (entity, char)| {
        text.replace(entity, char)
    })
}

proptest! {
    /// Each field that is sent or to be filled in, the bucket and the length have one condition, and there is none beside.
    #[test]
    fn the_policy_decodes_to_exactly_the_conditions(request in requests(), token in proptest::option::of("[A-Za-z0-9/+=]{1,99}")) {
        let Ok(bound) = bind(&request) else { return Ok(()) };
        let read = read_with(&request, token.as_deref());
        let (mut exact, mut open) = read.rules();
        prop_assert_eq!(exact.remove("bucket"), Some("files".to_owned()));
        for (name, value) in &read.fields {
            if name == "policy" || name == "x-amz-signature" {
                continue;
            }
            match (exact.remove(name), open.remove(name)) {
                (Some(only), None) => prop_assert_eq!(&only, value, "{}", name),
                (None, Some(beginning)) => prop_assert!(value.starts_with(&beginning), "{}", name),
                both => prop_assert!(false, "{name}: {both:?}"),
            }
        }
        for (name, beginning) in &read.to_fill {
            prop_assert_eq!(open.remove(name), Some(beginning.clone()));
        }
        prop_assert!(exact.is_empty() && open.is_empty(), "{:?} {:?}", exact, open);
        let ranges: Vec<_> = read.conditions.iter().filter(|c| c[0] == "content-length-range").collect();
        let asked: Vec<_> = bound.content_length().iter().map(|r| json!(["content-length-range", r.min, r.max])).collect();
        prop_assert_eq!(ranges, asked.iter().collect::<Vec<_>>());
    }

    /// The key that the policy lets through is the one that was bound, or begins with what was: grants were asked about just that.
    #[test]
    fn no_key_outside_what_was_asked_is_let_through(request in requests(), key in texts()) {
        let Ok(bound) = bind(&request) else { return Ok(()) };
        let (exact, open) = read(&request).rules();
        let lets = match (exact.get("key"), open.get("key")) {
            (Some(only), None) => *only == key,
            // No store reads the beginning as the name of a field.
            (None, Some(beginning)) => { prop_assert!(!beginning.starts_with('$')); key.starts_with(beginning) }
            both => return Err(TestCaseError::fail(format!("{both:?}"))),
        };
        prop_assert_eq!(lets, match bound.key {
            KeyRule::Exact(only) => only == key,
            KeyRule::StartsWith { prefix, .. } => key.starts_with(prefix),
        });
    }

    #[test]
    fn html_gives_back_the_fields(request in requests()) {
        if bind(&request).is_err() { return Ok(()) }
        let read = read(&request);
        let inputs = read.html.lines().filter_map(|line| line.trim().strip_prefix("<input type=\"hidden\" name=\""));
        let fields: Vec<_> = inputs.map(|input| {
            let (name, rest) = input.split_once("\" value=\"").unwrap();
            (unescaped(name), unescaped(rest.strip_suffix("\">").unwrap()))
        }).collect();
        prop_assert_eq!(fields, read.fields);
    }
}
