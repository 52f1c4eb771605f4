//! Laws of the decision, over random grants and keys: what is signed never leaves what was admitted.

use proptest::prelude::*;

use super::{Called, copy, decide, delete, get, grants_of, list, put};

use crate::admit::grant::Store;
use crate::sign::bind::BindAny;
use crate::sign::{Algorithm, Credentials, SigningEndpoint, presign};

/// The path of a signed URL, and the header that names a copy's source.
fn signed(message: &dyn BindAny) -> (String, Option<String>) {
    let command = message.to_bound().unwrap();
    let endpoint = SigningEndpoint {
        origin: "http://127.0.0.1:9000".to_owned(),
        host: "127.0.0.1:9000".to_owned(),
        base_path: "/files".to_owned(),
        algorithm: Algorithm::HmacSha256,
        region: "eu-west-1".to_owned(),
        service: "s3".to_owned(),
    };
    let credentials = Credentials::new("AKIDEXAMPLE".to_owned(), "secret".into(), None, None);
    let url = presign(&command, &endpoint, &credentials, std::time::UNIX_EPOCH, 1);
    let rest = url.as_str().strip_prefix("http://127.0.0.1:9000").unwrap();
    let (path, _) = rest.split_once('?').unwrap();
    let source = command
        .headers
        .iter()
        .find(|header| header.name == "x-amz-copy-source");
    (
        path.to_owned(),
        source.map(|header| header.value.as_str().to_owned()),
    )
}

/// Undoes percent-encoding, once.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, tail @ ..]) = (first, tail) {
            let digits = [*high, *low];
            let digits = std::str::from_utf8(&digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Keys about a prefix: under it, beside it, above it, and with everything that a path may trip over.
fn keys(prefix: &str) -> impl Strategy<Value = String> + use<> {
    let start = prop_oneof![
        4 => Just(prefix.to_owned()),
        1 => Just(prefix.trim_end_matches('/').to_owned()),
        1 => Just(prefix.replace('/', "%2F")),
        1 => Just(format!("/{prefix}")),
        1 => Just(String::new()),
    ];
    let rest = prop_oneof![
        "[a-c./%*?$ ]{0,8}",
        any::<String>(),
        Just("x/../../b/k".to_owned()),
        Just("%2e%2e/k".to_owned()),
    ];
    (start, rest).prop_map(|(start, rest)| start + &rest)
}

fn prefixes_and_keys() -> impl Strategy<Value = (String, String, String)> {
    "[a-c%?$]{1,3}/?".prop_flat_map(|prefix| {
        let keys = (keys(&prefix), keys(&prefix));
        (Just(prefix), keys).prop_map(|(prefix, (key, source))| (prefix, key, source))
    })
}

proptest! {
    #[test]
    fn a_signed_path_never_leaves_the_admitted_prefix((prefix, key, source) in prefixes_and_keys()) {
        let grant = format!("GetObject, PutObject, DeleteObject, CopyObject on files/{prefix}*");
        let grants = grants_of(&[&grant], Store::Aws);
        let admitted = format!("/files/{prefix}");
        let source = format!("files/{source}");
        let messages: [&dyn BindAny; 4] = [&get("files", &key), &put(&key), &delete(&key), &copy(&source, &key)];
        for message in messages {
            let Ok(command) = message.to_bound() else {
                continue;
            };
            if decide(&grants, &command, Called::default(), None).is_err() {
                continue;
            }
            let (path, source) = signed(message);
            let path = decode(&path);
            prop_assert!(path.starts_with(&admitted), "{path:?} under {prefix:?}");
            prop_assert!(!path.split('/').any(|s| matches!(s, "." | "..")), "{path:?}");
            if let Some(source) = source {
                let source = format!("/{}", decode(source.split('?').next().unwrap()));
                prop_assert!(source.starts_with(&admitted), "{source:?} under {prefix:?}");
                prop_assert!(!source.split('/').any(|s| matches!(s, "." | "..")), "{source:?}");
            }
        }
    }

    #[test]
    fn no_grant_ever_reaches_a_sibling_prefix((prefix, key, source) in prefixes_and_keys()) {
        let grant = format!("read, write, list, delete, admin on files/{prefix}*");
        let grants = grants_of(&[&grant], Store::Aws);
        let under = |name: &str| name.starts_with(&prefix);
        let messages: [(&dyn BindAny, bool); 5] = [
            (&get("files", &key), under(&key)),
            (&put(&key), under(&key)),
            (&delete(&key), under(&key)),
            (&list(Some(&key)), under(&key)),
            (&copy(&format!("files/{source}"), &key), under(&key) && under(&source)),
        ];
        for (message, expected) in messages {
            let Ok(command) = message.to_bound() else {
                continue;
            };
            let name = command.operation.name;
            prop_assert_eq!(decide(&grants, &command, Called::default(), None).is_ok(), expected, "{} of {:?}", name, key);
        }
        let elsewhere = get("files2", &key);
        if let Ok(command) = elsewhere.to_bound() {
            prop_assert!(decide(&grants, &command, Called::default(), None).is_err());
        }
    }
}
