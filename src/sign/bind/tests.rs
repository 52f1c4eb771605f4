//! The rules, one table for each place. That every field of every operation is held to them is tested from outside, by reflection.

mod actions;
mod names;

use super::*;

use crate::proto::s3;

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
        bucket: some("b"),
        key: some(key),
        ..Default::default()
    }
}

fn with_metadata(entries: &[(&str, &str)]) -> s3::PutObject {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    s3::PutObject {
        metadata: entries.iter().map(owned).collect(),
        ..put("k")
    }
}

fn copy(source: &str) -> s3::CopyObject {
    s3::CopyObject {
        bucket: some("b"),
        key: some("k"),
        copy_source: some(source),
        ..Default::default()
    }
}

/// The fields that the binding refuses.
fn refused(message: &dyn BindAny) -> Vec<String> {
    match message.to_bound() {
        Ok(_) => Vec::new(),
        Err(Violations(violations)) => {
            assert!(violations.iter().all(|v| !v.description.is_empty()));
            violations.into_iter().map(|v| v.field.into()).collect()
        }
    }
}

fn header<'a>(command: &'a BoundCommand<'_>, name: &str) -> Option<&'a str> {
    let found = command.headers.iter().find(|header| {
        let (start, end) = (header.name, header.suffix.as_ref());
        name.strip_prefix(start) == Some(end)
    });
    found.map(|header| header.value.as_str())
}

#[test]
fn every_broken_rule_is_named_at_once() {
    assert_eq!(
        refused(&s3::CopyObject::default()),
        ["bucket", "copy_source", "key"]
    );
    let message = s3::PutObject {
        key: some("a/../b"),
        content_type: some("text/plain\r\nx-evil: 1"),
        checksum_algorithm: some("CRC32"),
        ..with_metadata(&[("a b", "v"), ("ok", "v"), ("z", "é")])
    };
    let fields = [
        "content_type",
        "key",
        "metadata[\"a b\"]",
        "metadata[\"z\"]",
        "checksum_algorithm",
    ];
    assert_eq!(refused(&message), fields);
}

#[test]
fn a_required_member_may_not_be_empty_and_an_optional_one_may() {
    assert_eq!(refused(&get("", "")), ["bucket", "key"]);
    let part = |number, upload: &str| s3::UploadPart {
        bucket: some("b"),
        key: some("k"),
        part_number: number,
        upload_id: some(upload),
        ..Default::default()
    };
    assert_eq!(refused(&part(None, "")), ["part_number", "upload_id"]);
    assert_eq!(refused(&part(Some(0), "u")), [""; 0]);
    let list = s3::ListObjectsV2 {
        bucket: some("b"),
        prefix: some(""),
        ..Default::default()
    };
    let bound = list.to_bound().unwrap();
    assert_eq!(
        (bound.query[0].name, bound.query[0].value.as_str()),
        ("prefix", "")
    );
}

#[test]
fn header_values_are_printable_ascii_without_spaces_around() {
    let longest = "x".repeat(8192);
    let too_long = "x".repeat(8193);
    for (value, accepted) in [
        ("", true),
        ("text/plain; charset=\"utf-8\"", true),
        ("two  spaces inside", true),
        ("!~", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("a\rb", false),
        ("a\nb", false),
        ("a\r\nHost: evil.example", false),
        ("a\tb", false),
        ("a\0b", false),
        ("a\u{1b}b", false),
        ("a\u{7f}b", false),
        ("résumé", false),
        ("\u{85}", false),
        ("\u{2028}", false),
        (" a", false),
        ("a ", false),
        (" ", false),
    ] {
        let message = s3::PutObject {
            content_language: some(value),
            ..put("k")
        };
        let expected: &[&str] = if accepted { &[] } else { &["content_language"] };
        assert_eq!(refused(&message), expected, "{value:?}");

        let message = with_metadata(&[("name", value)]);
        let expected: &[&str] = if accepted {
            &[]
        } else {
            &["metadata[\"name\"]"]
        };
        assert_eq!(refused(&message), expected, "{value:?} in metadata");
    }
}

#[test]
fn query_values_may_hold_anything() {
    let hostile = " a\r\n\t\0é&=%41#\u{1f980} ";
    let message = s3::ListObjectsV2 {
        bucket: some("b"),
        prefix: some(hostile),
        ..Default::default()
    };
    let bound = message.to_bound().unwrap();
    assert_eq!(bound.query[0].value.as_str(), hostile);
}

#[test]
fn what_becomes_a_header_of_the_answer_is_held_to_the_rules_of_headers() {
    let message = |value: &str| s3::GetObject {
        response_cache_control: some(value),
        response_content_disposition: some(value),
        response_content_encoding: some(value),
        response_content_language: some(value),
        response_content_type: some(value),
        ..get("b", "k")
    };
    for value in [
        "inline\r\nSet-Cookie: a=b",
        "inline\nb",
        "inline\0",
        "inline\t",
        "inline; filename=é.txt",
        "inline; filename=\"\u{2028}\"",
        " inline",
        "inline ",
    ] {
        let fields = [
            "response_cache_control",
            "response_content_disposition",
            "response_content_encoding",
            "response_content_language",
            "response_content_type",
        ];
        assert_eq!(refused(&message(value)), fields, "{value:?}");
    }
    assert_eq!(refused(&message("inline")), [""; 0]);
}

#[test]
fn a_disposition_means_one_thing_or_is_refused() {
    for (value, accepted) in [
        ("attachment", true),
        ("attachment; filename=\"a \\\"b\\\", c.txt\"", true),
        (
            "attachment; filename=e.txt; filename*=UTF-8''%C3%A9.txt",
            true,
        ),
        ("", false),
        ("attachment; filename=a b.txt", false),
        ("attachment; filename=\"a\"; filename=\"b\"", false),
        ("attachment; filename=\"a\"b.html\"", false),
        ("attachment, inline", false),
        ("in line", false),
    ] {
        let put = s3::PutObject {
            content_disposition: some(value),
            ..put("k")
        };
        let get = s3::GetObject {
            response_content_disposition: some(value),
            ..get("b", "k")
        };
        assert_eq!(refused(&put).is_empty(), accepted, "{value:?}");
        assert_eq!(refused(&get).is_empty(), accepted, "{value:?}");
    }
    let told = |name: &str| {
        let put = s3::PutObject {
            content_disposition: some(&format!("attachment; filename=\"{name}\"")),
            ..put("k")
        };
        put.to_bound().unwrap_err().to_string()
    };
    assert!(told("naïve.txt").contains("filename*=UTF-8''"));
    assert!(told("a\"b").contains("backslash"));
}

#[test]
fn a_bucket_takes_its_name_in_the_place_of_what_it_was_called() {
    let message = copy("called/a b?versionId=v");
    let mut bound = message.to_bound().unwrap();
    bound.set_bucket("here");
    bound.set_reference_bucket("there");
    assert_eq!(bound.bucket, Some("here"));
    assert_eq!(
        header(&bound, "x-amz-copy-source"),
        Some("there/a%20b?versionId=v")
    );
    assert_eq!(bound.reference.unwrap().bucket, "there");

    let message = get("b", "k");
    let mut bound = message.to_bound().unwrap();
    bound.set_reference_bucket("there");
    assert!(bound.reference.is_none() && bound.headers.is_empty());
}

#[test]
fn names_of_metadata_are_header_names() {
    let longest = "n".repeat(256);
    let too_long = "n".repeat(257);
    for (name, accepted) in [
        ("a", true),
        ("Mixed-Case", true),
        ("with.dots_and~!#$%&'*+^`|", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("a b", false),
        ("a:b", false),
        ("a\r\nhost", false),
        ("a\tb", false),
        ("a\0", false),
        ("é", false),
        ("a;b", false),
        ("a,b", false),
        ("a/b", false),
        ("a\"b", false),
        ("(a)", false),
    ] {
        let fields = refused(&with_metadata(&[(name, "v")]));
        assert_eq!(fields.is_empty(), accepted, "{name:?}");
        assert!(
            fields.iter().all(|f| f.starts_with("metadata[\"")),
            "{fields:?}"
        );
    }
    let bound = with_metadata(&[("Mixed-Case", "Value")]);
    let bound = bound.to_bound().unwrap();
    assert_eq!(header(&bound, "x-amz-meta-mixed-case"), Some("Value"));
}

#[test]
fn metadata_names_that_differ_in_capitals_only_are_one_header() {
    for (names, field) in [
        (["a", "A"], Some("metadata[\"A\"]")),
        (["Aa", "aA"], Some("metadata[\"aA\"]")),
        (["AA", "aa"], Some("metadata[\"AA\"]")),
        (["a", "b"], None),
        (["A", "b"], None),
    ] {
        let entries = names.map(|name| (name, "v"));
        let expected: Vec<&str> = field.into_iter().collect();
        // Twice, for maps come in an order of their own.
        for _ in 0..2 {
            assert_eq!(refused(&with_metadata(&entries)), expected, "{names:?}");
        }
    }
}

#[test]
fn a_checksum_algorithm_comes_with_its_checksum() {
    let with = |algorithm: &str, crc32: bool, sha256: bool| s3::PutObject {
        checksum_algorithm: some(algorithm),
        checksum_crc32: crc32.then(|| "DUoRhQ==".to_owned()),
        checksum_sha256: sha256.then(|| "uU0nuZNNPg==".to_owned()),
        ..put("k")
    };
    for (message, accepted) in [
        (with("CRC32", true, false), true),
        (with("SHA256", false, true), true),
        (with("crc32", true, false), true),
        (with("CRC32", false, false), false),
        (with("CRC32", false, true), false),
        (with("CRC32C", true, false), false),
        (with("CRC", true, true), false),
        (with("", true, true), false),
    ] {
        let expected: &[&str] = if accepted {
            &[]
        } else {
            &["checksum_algorithm"]
        };
        assert_eq!(refused(&message), expected, "{message:?}");
    }
    // Here it asks S3 to compute one, in another header.
    let message = s3::CreateMultipartUpload {
        bucket: some("b"),
        key: some("k"),
        checksum_algorithm: some("CRC32"),
        ..Default::default()
    };
    let bound = message.to_bound().unwrap();
    assert_eq!(header(&bound, "x-amz-checksum-algorithm"), Some("CRC32"));
    // The URL cannot hold the checksum of a body that has no member for it.
    let message = s3::DeleteObjects {
        bucket: some("b"),
        checksum_algorithm: some("CRC32"),
        ..Default::default()
    };
    assert_eq!(refused(&message), ["checksum_algorithm"]);
}

#[test]
fn values_unknown_to_aws_bind_and_are_refused_for_aws_only() {
    let message = s3::PutObject {
        storage_class: some("VENDOR_COLD"),
        acl: some("private"),
        server_side_encryption: some("vendor:ring"),
        ..put("k")
    };
    let bound = message.to_bound().unwrap();
    assert_eq!(header(&bound, "x-amz-storage-class"), Some("VENDOR_COLD"));
    let Violations(violations) = bound.known_to_aws().unwrap_err();
    let fields: Vec<&str> = violations.iter().map(|v| v.field.as_ref()).collect();
    assert_eq!(fields, ["server_side_encryption", "storage_class"]);
    assert!(
        violations[1].description.contains("STANDARD_IA"),
        "{violations:?}"
    );

    let message = s3::PutObject {
        storage_class: some("STANDARD_IA"),
        ..put("k")
    };
    assert_eq!(message.to_bound().unwrap().known_to_aws(), Ok(()));
    // Enum values are told apart by their capitals.
    let message = s3::PutObject {
        storage_class: some("standard_ia"),
        ..put("k")
    };
    assert!(message.to_bound().unwrap().known_to_aws().is_err());
}

#[test]
fn lists_are_joined_with_commas_that_no_entry_may_hold() {
    let attributes = |values: &[&str]| s3::GetObjectAttributes {
        bucket: some("b"),
        key: some("k"),
        object_attributes: values.iter().map(|v| (*v).to_owned()).collect(),
        ..Default::default()
    };
    let message = attributes(&["ETag", "Checksum", "VENDOR"]);
    let bound = message.to_bound().unwrap();
    assert_eq!(
        header(&bound, "x-amz-object-attributes"),
        Some("ETag,Checksum,VENDOR")
    );
    assert!(bound.known_to_aws().is_err());
    for values in [
        &[][..],
        &[""],
        &["ETag", ""],
        &["ETag,Checksum"],
        &["ETag\r\nx: y"],
        &["é"],
        &[" ETag"],
        &["Checksum", "ETag "],
    ] {
        assert_eq!(
            refused(&attributes(values)),
            ["object_attributes"],
            "{values:?}"
        );
    }
}

#[test]
fn times_are_written_in_the_form_of_their_place() {
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let with = |time: Option<prost_types::Timestamp>| s3::PutObject {
        expires: time,
        object_lock_retain_until_date: time,
        ..put("k")
    };
    for (seconds, nanos, http, iso) in [
        (
            784_111_777,
            0,
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "1994-11-06T08:49:37Z",
        ),
        (
            784_111_777,
            5,
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "1994-11-06T08:49:37.000000005Z",
        ),
        (
            -1,
            0,
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "1969-12-31T23:59:59Z",
        ),
        (
            253_402_300_799,
            999_999_999,
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "9999-12-31T23:59:59.999999999Z",
        ),
    ] {
        let message = with(at(seconds, nanos));
        let bound = message.to_bound().unwrap();
        assert_eq!(header(&bound, "expires"), Some(http));
        assert_eq!(
            header(&bound, "x-amz-object-lock-retain-until-date"),
            Some(iso)
        );
    }
    for (seconds, nanos) in [
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
        (0, -1),
        (0, 1_000_000_000),
    ] {
        let fields = refused(&with(at(seconds, nanos)));
        assert_eq!(
            fields,
            ["expires", "object_lock_retain_until_date"],
            "{seconds} {nanos}"
        );
    }
}

#[test]
fn numbers_and_booleans_are_written_plainly() {
    let message = s3::PutObject {
        content_length: Some(i64::MIN),
        bucket_key_enabled: Some(false),
        ..put("k")
    };
    let bound = message.to_bound().unwrap();
    assert_eq!(
        header(&bound, "content-length"),
        Some("-9223372036854775808")
    );
    assert_eq!(
        header(&bound, "x-amz-server-side-encryption-bucket-key-enabled"),
        Some("false")
    );
}

#[test]
fn violations_never_hold_a_sensitive_value() {
    const MARKER: &str = "U0VDUkVU";
    let hostile = format!("{MARKER}\r\n");
    let message = s3::CopyObject {
        sse_customer_key: some(&hostile),
        ssekms_encryption_context: some(&hostile),
        copy_source_sse_customer_key: some(&hostile),
        ..copy("b")
    };
    let error = message.to_bound().unwrap_err();
    assert_eq!(error.0.len(), 4);
    let printed = format!("{error} {error:?}");
    assert!(!printed.contains(MARKER), "{printed}");
}

#[test]
fn what_a_caller_sends_cannot_make_urls_or_answers_any_length() {
    let version = |length: usize| s3::GetObject {
        version_id: some(&"v".repeat(length)),
        ..get("b", "k")
    };
    assert!(refused(&version(1024)).is_empty());
    assert_eq!(refused(&version(1025)), ["version_id"]);

    let disposition = |length: usize| s3::GetObject {
        response_content_disposition: some(&"d".repeat(length)),
        ..get("b", "k")
    };
    assert!(refused(&disposition(8192)).is_empty());
    assert_eq!(
        refused(&disposition(8193)),
        ["response_content_disposition"]
    );

    let long = "x".repeat(8192);
    let entries = [("a", long.as_str()), ("b", &long)];
    assert!(refused(&with_metadata(&entries[..1])).is_empty());
    assert_eq!(refused(&with_metadata(&entries)), ["*"]);

    let names: Vec<String> = (0..1000).map(|n| format!("bad name {n}")).collect();
    let bad: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let fields = refused(&with_metadata(&bad));
    assert_eq!(fields.len(), violation::MAX_VIOLATIONS + 1);
    // Escaping makes names longer, and is cut too.
    let names = "\u{202e}".repeat(100);
    let long: Vec<String> = (0..30).map(|n| format!("{names}{n}")).collect();
    let long: Vec<(&str, &str)> = long.iter().map(|name| (&**name, "v")).collect();
    let violations = with_metadata(&long).to_bound().unwrap_err();
    assert!(violations.to_string().len() < 2000, "{violations}");
}
