//! Laws of every signed URL, over random commands.

use std::fmt::Write;

use proptest::prelude::*;

use super::samples::{
    GET_BUCKET_ACL, GET_OBJECT, LIST_BUCKETS, LIST_OBJECTS_V2, PUT_OBJECT, Sample,
    WRITE_GET_OBJECT_RESPONSE, command, credentials, endpoint, header, parameter, samples, seconds,
    session_token,
};
use super::{BoundCommand, SigningEndpoint, canonical_request, presign, string_to_sign};

/// Undoes percent-encoding, once, as a server does.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || {
                let digit = char::from(bytes.next().expect("two digits follow a %"));
                assert!(!digit.is_ascii_lowercase(), "{text}");
                digit.to_digit(16).expect("they are hexadecimal")
            };
            u8::try_from(digit() * 16 + digit()).expect("they fit a byte")
        } else {
            byte
        });
    }
    decoded
}

fn sign(sample: &Sample) -> String {
    presign(
        &sample.command(),
        &sample.endpoint(),
        &sample.credentials(),
        sample.signed_at(),
        sample.expires_in,
    )
    .into_string()
}

/// Path and query of a URL, split as any client splits them.
fn path_and_query<'a>(url: &'a str, endpoint: &SigningEndpoint) -> (&'a str, &'a str) {
    url.strip_prefix(&endpoint.origin)
        .and_then(|rest| rest.split_once('?'))
        .expect("a URL starts with its origin and has a query")
}

proptest! {
    #[test]
    fn the_path_signed_is_the_key_asked(sample in samples()) {
        let endpoint = sample.endpoint();
        let url = sign(&sample);
        let (path, query) = path_and_query(&url, &endpoint);
        let asked = format!("{}/{}", endpoint.base_path, sample.key);
        prop_assert_eq!(decode(path), asked.as_bytes());
        prop_assert!(!query.contains(['?', '#', ' ', '+']));
        prop_assert!(url.is_ascii() && !url.contains('#'));
    }

    #[test]
    fn the_query_holds_what_was_asked_and_what_signs_it(sample in samples()) {
        let url = sign(&sample);
        let endpoint = sample.endpoint();
        let (_, query) = path_and_query(&url, &endpoint);
        let mut held: Vec<(String, Vec<u8>)> = query
            .split('&')
            .map(|pair| pair.split_once('=').expect("every parameter has a ="))
            .map(|(name, value)| (name.to_owned(), decode(value)))
            .collect();
        let (last, signature) = held.pop().expect("the signature comes last");
        prop_assert_eq!(last, "X-Amz-Signature");
        prop_assert_eq!(signature.len(), 64);
        prop_assert!(held.is_sorted_by(|a, b| a.0 < b.0), "{:?}", held);

        let (own, asked): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|(name, _)| name.starts_with("X-Amz-"));
        let mut expected: Vec<(String, Vec<u8>)> = sample
            .query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()))
            .collect();
        let [_, moved] = sample.placed_headers();
        expected.extend(moved.into_iter().map(|(name, value)| (name, value.as_bytes().to_vec())));
        expected.sort();
        prop_assert_eq!(asked, expected);
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        let mut expected = vec!["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires"];
        if let Some(token) = &sample.token {
            expected.push("X-Amz-Security-Token");
            prop_assert_eq!(&own[4].1, token.as_bytes());
        }
        expected.push("X-Amz-SignedHeaders");
        prop_assert_eq!(names, expected);
        let expires_in = sample.expires_in.to_string();
        prop_assert_eq!(&own[3].1, expires_in.as_bytes());
    }

    #[test]
    fn what_is_signed_is_what_is_sent(sample in samples()) {
        let endpoint = sample.endpoint();
        let canonical = canonical_request(
            &sample.command(), &endpoint, &sample.credentials(), sample.signed_at(), sample.expires_in,
        );
        let url = sign(&sample);
        let (path, query) = path_and_query(&url, &endpoint);
        let (query, _) = query.split_once("&X-Amz-Signature=").expect("it is signed");
        let mut lines = canonical.split('\n');
        prop_assert_eq!(lines.next(), Some(if sample.put { "PUT" } else { "GET" }));
        prop_assert_eq!(lines.next(), Some(path));
        prop_assert_eq!(lines.next(), Some(query));
        let names: Vec<&str> = lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(':').expect("a header line").0)
            .collect();
        prop_assert!(names.is_sorted(), "{:?}", names);
        let [sent, _] = sample.placed_headers();
        prop_assert_eq!(names.len(), 1 + sent.len());
        let command = sample.command();
        let mut told = command.headers_to_send();
        let mut sent: Vec<_> = sent.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        told.sort();
        sent.sort();
        prop_assert_eq!(told, sent);
        let names = names.join(";");
        prop_assert_eq!(lines.next(), Some(names.as_str()));
        prop_assert_eq!(lines.next(), Some("UNSIGNED-PAYLOAD"));
        prop_assert_eq!(lines.next(), None);
    }

    #[test]
    fn a_url_is_one_allocation_of_its_own_size(sample in samples()) {
        let (command, endpoint, credentials) = (sample.command(), sample.endpoint(), sample.credentials());
        let sign = || presign(&command, &endpoint, &credentials, sample.signed_at(), sample.expires_in);
        drop(sign());
        let mut length = 0;
        let allocations = allocation_counter::measure(|| {
            length = sign().as_str().len();
        });
        prop_assert_eq!(allocations.count_total, 1);
        prop_assert_eq!(allocations.bytes_total, u64::try_from(length).unwrap());
    }
}

#[test]
fn a_long_token_changes_nothing_about_allocations() {
    let token = session_token(900);
    let credentials = credentials("secret", Some(&token));
    let endpoint = endpoint("https://files.s3.eu-west-1.amazonaws.com", "");
    for operation in [GET_OBJECT, PUT_OBJECT] {
        let command = BoundCommand {
            bucket: Some("files"),
            key: Some("reports/2026/november.pdf"),
            ..command(operation)
        };
        let sign = || {
            presign(
                &command,
                &endpoint,
                &credentials,
                seconds(1_800_000_000),
                900,
            )
        };
        drop(sign());
        let allocations = allocation_counter::measure(|| drop(sign()));
        assert_eq!(allocations.count_total, 1);
    }
}

#[test]
fn each_path_form_is_written_as_botocore_writes_it() {
    for (origin, base_path, bucket, service, bucket_path, object) in [
        (
            "https://files.s3.amazonaws.com",
            "",
            "files",
            "/",
            "/",
            "//a//b%20c/",
        ),
        (
            "http://127.0.0.1:9000",
            "/files",
            "files",
            "/files/",
            "/files",
            "/files//a//b%20c/",
        ),
        (
            "https://s3.example.com",
            "/base/files",
            "files",
            "/base/files/",
            "/base/files",
            "/base/files//a//b%20c/",
        ),
        (
            "https://files.example.com",
            "/base",
            "files",
            "/base/",
            "/base/",
            "/base//a//b%20c/",
        ),
        (
            "https://files.example.com",
            "/base",
            "ase",
            "/base/",
            "/base/",
            "/base//a//b%20c/",
        ),
    ] {
        for (operation, expected) in [
            (LIST_BUCKETS, service),
            (GET_BUCKET_ACL, bucket_path),
            (GET_OBJECT, object),
        ] {
            let command = BoundCommand {
                bucket: Some(bucket),
                key: Some("/a//b c/"),
                ..command(operation)
            };
            let endpoint = endpoint(origin, base_path);
            let url = presign(&command, &endpoint, &credentials("s", None), seconds(0), 1);
            assert_eq!(
                path_and_query(url.as_str(), &endpoint).0,
                expected,
                "{origin}{base_path}"
            );
        }
    }
}

#[test]
fn fixed_and_asked_parameters_are_merged() {
    let command = BoundCommand {
        bucket: Some("files"),
        query: [
            parameter("prefix", "a b/~"),
            parameter("encoding-type", "url"),
        ]
        .into_iter()
        .collect(),
        ..command(LIST_OBJECTS_V2)
    };
    let endpoint = endpoint("http://127.0.0.1:9000", "/files");
    let url = presign(&command, &endpoint, &credentials("s", None), seconds(0), 1).into_string();
    assert!(
        url.contains("&X-Amz-SignedHeaders=host&encoding-type=url&list-type=2&prefix=a%20b%2F~&X-Amz-Signature="),
        "{url}"
    );

    let command = BoundCommand {
        query: [].into_iter().collect(),
        ..super::samples::command(GET_BUCKET_ACL)
    };
    let url = presign(&command, &endpoint, &credentials("s", None), seconds(0), 1).into_string();
    assert!(
        url.contains("&X-Amz-SignedHeaders=host&acl=&X-Amz-Signature="),
        "{url}"
    );
}

#[test]
fn parameters_of_one_name_are_sorted_by_value() {
    let values = ["b", "", "ab", "a", "a/", "a~", "ä"];
    let command = BoundCommand {
        query: values.iter().map(|value| parameter("tag", value)).collect(),
        ..command(LIST_BUCKETS)
    };
    let endpoint = endpoint("http://127.0.0.1:9000", "");
    let canonical = canonical_request(&command, &endpoint, &credentials("s", None), seconds(0), 1);
    let mut written: Vec<&str> = canonical
        .lines()
        .nth(2)
        .unwrap()
        .split('&')
        .filter(|pair| pair.starts_with("tag="))
        .collect();
    let order = written.clone();
    written.sort_unstable();
    assert_eq!(order, written);
    assert_eq!(order.len(), values.len());
}

#[test]
fn the_host_label_goes_before_the_host_and_nowhere_else() {
    const AWS: &str = "s3-object-lambda.eu-west-1.amazonaws.com";
    for (host, label, expected) in [
        (
            AWS,
            "io-route-1",
            "io-route-1.s3-object-lambda.eu-west-1.amazonaws.com",
        ),
        (
            AWS,
            "evil.example/?",
            "evil.example%2F%3F.s3-object-lambda.eu-west-1.amazonaws.com",
        ),
        (
            "store.example:9000",
            "io-route-1",
            "io-route-1.store.example:9000",
        ),
        ("localhost", "io-route-1", "io-route-1.localhost"),
        // An address with a label before it is no host.
        ("127.0.0.1:9000", "io-route-1", "127.0.0.1:9000"),
        ("127.0.0.1", "io-route-1", "127.0.0.1"),
        ("[::1]:9000", "io-route-1", "[::1]:9000"),
        ("[::1]", "io-route-1", "[::1]"),
    ] {
        let command = BoundCommand {
            headers: [header("x-amz-request-route", "", label)]
                .into_iter()
                .collect(),
            host_label: Some(label),
            ..command(WRITE_GET_OBJECT_RESPONSE)
        };
        let endpoint = endpoint(&format!("https://{host}"), "");
        let credentials = credentials("s", None);
        let url = presign(&command, &endpoint, &credentials, seconds(0), 1).into_string();
        assert!(
            url.starts_with(&format!("https://{expected}/WriteGetObjectResponse?X-Amz-")),
            "{url}"
        );
        let canonical = canonical_request(&command, &endpoint, &credentials, seconds(0), 1);
        assert!(
            canonical.contains(&format!("\nhost:{expected}\nx-amz-request-route:")),
            "{canonical}"
        );
    }
}

#[test]
fn a_bound_payload_stands_in_the_canonical_request() {
    let hash = "ab".repeat(32);
    let command = BoundCommand {
        key: Some("k"),
        headers: [header("x-amz-content-sha256", "", &hash)]
            .into_iter()
            .collect(),
        ..command(PUT_OBJECT)
    };
    let endpoint = endpoint("http://127.0.0.1:9000", "/files");
    let canonical = canonical_request(&command, &endpoint, &credentials("s", None), seconds(0), 1);
    assert!(
        canonical.ends_with(&format!(
            "\nhost:127.0.0.1:9000\nx-amz-content-sha256:{hash}\n\nhost;x-amz-content-sha256\n{hash}"
        )),
        "{canonical}"
    );
}

#[test]
fn header_values_lose_superfluous_spaces_in_the_canonical_request() {
    for (value, expected) in [
        ("  a   b  ", "a b"),
        ("", ""),
        ("   ", ""),
        ("a b", "a b"),
        ("\"a  b\"", "\"a b\""),
    ] {
        let command = BoundCommand {
            key: Some("k"),
            headers: [header("x-amz-meta-", "note", value)].into_iter().collect(),
            ..command(PUT_OBJECT)
        };
        let endpoint = endpoint("http://127.0.0.1:9000", "/files");
        let canonical =
            canonical_request(&command, &endpoint, &credentials("s", None), seconds(0), 1);
        assert!(
            canonical.contains(&format!("\nx-amz-meta-note:{expected}\n\n")),
            "{canonical}"
        );
    }
}

#[test]
fn the_string_to_sign_names_the_time_and_the_scope() {
    let endpoint = endpoint("http://127.0.0.1:9000", "/files");
    let text = string_to_sign(
        &command(LIST_BUCKETS),
        &endpoint,
        &credentials("s", None),
        seconds(1_369_400_645),
        1,
    );
    let (head, hash) = text.rsplit_once('\n').unwrap();
    assert_eq!(
        head,
        "AWS4-HMAC-SHA256\n20130524T130405Z\n20130524/eu-west-1/s3/aws4_request"
    );
    assert_eq!(hash.len(), 64);
}

#[test]
fn nothing_secret_is_printed() {
    let credentials = credentials("SECRETMARKER", Some("TOKENMARKER/"));
    let endpoint = endpoint("http://127.0.0.1:9000", "/files");
    let url = presign(
        &command(LIST_BUCKETS),
        &endpoint,
        &credentials,
        seconds(0),
        1,
    );
    let mut printed = String::new();
    write!(printed, "{url:?} {url:#?} {credentials:?} {credentials:#?}").unwrap();
    credentials.with_signing_key(super::SigningTime::new(seconds(0)).day, &endpoint, |key| {
        write!(printed, "{key:?} {:?}", credentials.asymmetric_key()).unwrap();
    });
    let signature = url.as_str().rsplit_once('=').unwrap().1;
    for secret in ["SECRETMARKER", "TOKENMARKER", "http", signature] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("AKIDEXAMPLE"));
}
