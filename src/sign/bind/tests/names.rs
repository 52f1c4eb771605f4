//! What goes into hosts and paths: buckets, keys, the sources of copies, and routes.

use super::{copy, get, header, refused, some};

use crate::proto::s3;
use crate::sign::bind::BindAny;

#[test]
fn keys_are_taken_as_they_are_unless_a_url_parser_would_change_them() {
    let longest = format!("é{}", "x".repeat(1022));
    let too_long = format!("é{}", "x".repeat(1023));
    for (key, accepted) in [
        ("k", true),
        ("/", true),
        ("//", true),
        ("a//b", true),
        ("a..b", true),
        ("...", true),
        (".a", true),
        ("a.", true),
        ("..a/b..", true),
        ("%2e%2e/a", true),
        ("%2F..", true),
        ("a\\..\\b", true),
        ("\r\n\t\0", true),
        (" ", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        (".", false),
        ("..", false),
        ("a/../b", false),
        ("./a", false),
        ("../a", false),
        ("a/.", false),
        ("a/..", false),
        ("/..", false),
        ("/./", false),
        ("a//../b", false),
    ] {
        let expected: &[&str] = if accepted { &[] } else { &["key"] };
        assert_eq!(refused(&get("b", key)), expected, "{key:?}");
        if accepted {
            assert_eq!(get("b", key).to_bound().unwrap().key, Some(key));
        }
    }
}

#[test]
fn buckets_are_names() {
    let longest = "b".repeat(255);
    let too_long = "b".repeat(256);
    for (bucket, accepted) in [
        ("acme-files", true),
        ("dotted.bucket", true),
        ("Old_Bucket", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("arn:aws:s3:eu-west-1:111122223333:accesspoint/a", true),
        ("arn:aws:s3:eu-west-1:111122223333:accesspoint/a/b", false),
        ("arn:x", false),
        ("a/b", false),
        ("/", false),
        ("..", false),
        (".a", false),
        ("a b", false),
        ("a?b", false),
        ("a%2Fb", false),
        ("a:80", false),
        ("a@b", false),
        ("bücket", false),
        ("a\0", false),
        ("*", false),
    ] {
        let expected: &[&str] = if accepted { &[] } else { &["bucket"] };
        assert_eq!(refused(&get(bucket, "k")), expected, "{bucket:?}");
    }
}

#[test]
fn the_route_of_a_request_is_one_label_of_a_host() {
    let longest = "r".repeat(63);
    let too_long = "r".repeat(64);
    for (route, accepted) in [
        ("io-cell1-001", true),
        ("A1", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("evil.com", false),
        ("a.b", false),
        ("a/b", false),
        ("evil.com/", false),
        ("a@evil.com", false),
        ("a:80", false),
        ("a#", false),
        ("a?", false),
        ("a%2e", false),
        ("a_b", false),
        (" a", false),
        ("é", false),
    ] {
        let message = s3::WriteGetObjectResponse {
            request_route: some(route),
            request_token: some("t"),
            ..Default::default()
        };
        let expected: &[&str] = if accepted { &[] } else { &["request_route"] };
        assert_eq!(refused(&message), expected, "{route:?}");
        if accepted {
            assert_eq!(message.to_bound().unwrap().host_label, Some(route));
        }
    }
}

#[test]
fn a_copy_source_is_raw_and_its_header_is_the_single_encoding() {
    let longest = format!("b/{}", "k".repeat(1024));
    for (source, bucket, key, version, encoded) in [
        ("b/k", "b", "k", None, "b/k"),
        ("/b/k", "b", "k", None, "b/k"),
        ("b//k", "b", "/k", None, "b//k"),
        ("b/k/", "b", "k/", None, "b/k/"),
        ("b/k?versionId=v", "b", "k", Some("v"), "b/k?versionId=v"),
        (
            "b/k?versionId=null",
            "b",
            "k",
            Some("null"),
            "b/k?versionId=null",
        ),
        ("b/a?b", "b", "a?b", None, "b/a%3Fb"),
        (
            "b/a?versionid=v",
            "b",
            "a?versionid=v",
            None,
            "b/a%3Fversionid%3Dv",
        ),
        (
            "b/a?versionId=x?versionId=v",
            "b",
            "a?versionId=x",
            Some("v"),
            "b/a%3FversionId%3Dx?versionId=v",
        ),
        (
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/a/object/b c",
            "arn:aws:s3:eu-west-1:111122223333:accesspoint/a",
            "b c",
            None,
            "arn%3Aaws%3As3%3Aeu-west-1%3A111122223333%3Aaccesspoint/a/object/b%20c",
        ),
        ("b/%41", "b", "%41", None, "b/%2541"),
        ("b/a b+c", "b", "a b+c", None, "b/a%20b%2Bc"),
        (
            "b/é\u{1f980}",
            "b",
            "é\u{1f980}",
            None,
            "b/%C3%A9%F0%9F%A6%80",
        ),
        ("b/\r\n", "b", "\r\n", None, "b/%0D%0A"),
        ("b/..a/...", "b", "..a/...", None, "b/..a/..."),
        (longest.as_str(), "b", &longest[2..], None, longest.as_str()),
    ] {
        let message = copy(source);
        let bound = message
            .to_bound()
            .unwrap_or_else(|e| panic!("{source:?}: {e}"));
        let reference = bound.reference.as_ref().unwrap();
        assert_eq!(
            (reference.bucket, reference.key, reference.version_id),
            (bucket, key, version),
            "{source:?}"
        );
        assert_eq!(
            header(&bound, "x-amz-copy-source"),
            Some(encoded),
            "{source:?}"
        );
    }
}

#[test]
fn what_is_no_copy_source_is_refused() {
    let too_long = format!("b/{}", "k".repeat(1025));
    for source in [
        "",
        "b",
        "/b",
        "b/",
        "/",
        "//k",
        "//b/k",
        "arn:aws:s3:::b/k",
        "arn:aws:s3:eu-west-1:111122223333:accesspoint/a/k",
        "arn:aws:s3:eu-west-1:111122223333:accesspoint/a/object/",
        "arn:aws:s3::111122223333:accesspoint/a.mrap/object/k",
        "b/../k",
        "b/..",
        "b/.",
        "b/./k",
        "../k",
        "b%2Fk",
        "b?versionId=v",
        "b/k?versionId=",
        "b/k?versionId=a b",
        "b/k?versionId=a&x=y",
        "b/k?versionId=%41",
        "b/k?versionId=a\r\nb",
        "b/?versionId=v",
        "http://b/k",
        too_long.as_str(),
    ] {
        assert_eq!(refused(&copy(source)), ["copy_source"], "{source:?}");
        let message = s3::UploadPartCopy {
            bucket: some("b"),
            key: some("k"),
            copy_source: some(source),
            part_number: Some(1),
            upload_id: some("u"),
            ..Default::default()
        };
        assert_eq!(refused(&message), ["copy_source"], "{source:?}");
        let message = s3::RenameObject {
            bucket: some("b"),
            key: some("k"),
            rename_source: some(source),
            ..Default::default()
        };
        assert_eq!(refused(&message), ["rename_source"], "{source:?}");
    }
}
