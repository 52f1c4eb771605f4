//! API keys as an operator makes them, and as callers show them.

use std::sync::Arc;

use super::{authenticator, from, may_sign, outcome, showing};
use crate::harness::presignd::TestClock;
use crate::harness::process::presignd;

/// A key and its hash, as `presignd api-key new` prints them.
pub(crate) async fn new_key() -> (String, String) {
    let ended = presignd(["api-key", "new"]).run().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut lines = ended.stdout.lines();
    let mut line = |name: &str| {
        let line = lines.next().expect("a line");
        let value = line
            .strip_prefix(name)
            .unwrap_or_else(|| panic!("{ended:?}"));
        value.to_owned()
    };
    let (key, hash) = (line("key: "), line("hash: "));
    assert!(!ended.stderr.contains(&key) && ended.stderr.contains("authentication.api_keys"));
    (key, hash)
}

/// The key with its last digit changed.
pub(crate) fn flipped(key: &str) -> String {
    let (start, last) = key.split_at(key.len() - 1);
    let last = u8::from_str_radix(last, 16).expect("a digit") ^ 1;
    format!("{start}{last:x}")
}

#[tokio::test]
async fn every_key_is_new() {
    let (first, second) = (new_key().await, new_key().await);
    assert_ne!(first, second);
    assert!(first.0.starts_with("presignd_") && first.1.starts_with("sha256:"));
}

#[tokio::test]
async fn old_and_new_keys_work_while_both_are_listed() {
    let (old, new, gone) = (new_key().await, new_key().await, new_key().await);
    let other = new_key().await;
    let config = format!(
        "authentication:
  api_keys: {{ media: [\"{}\", \"{}\"], billing: [\"{}\"] }}
callers:
  - {{ match: {{ api_key: media }}, tenants: [acme] }}
  - {{ match: {{ api_key: billing }}, tenants: [globex], name: bills }}",
        old.1, new.1, other.1
    );
    let door = authenticator(&config, &Arc::new(TestClock::default()));
    for key in [&old.0, &new.0] {
        let caller = door
            .authenticate(&showing(&[("x-api-key", key)]))
            .await
            .unwrap();
        assert_eq!(caller.name(), "key.media");
        assert!(may_sign(&caller, "acme") && !may_sign(&caller, "globex"));
    }
    let bills = door
        .authenticate(&showing(&[("x-api-key", &other.0)]))
        .await
        .unwrap();
    assert_eq!(bills.name(), "bills");
    assert!(!may_sign(&bills, "acme") && may_sign(&bills, "globex"));

    let flipped = flipped(&old.0);
    let unknown = "the API key is not known";
    for (index, (key, wanted)) in [
        (gone.0.as_str(), unknown),
        (&flipped, unknown),
        (&old.0.to_uppercase(), unknown),
        (&old.1, unknown),
        ("", unknown),
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("192.0.2.{index}");
        let result = door
            .authenticate(&from(&address, &[("x-api-key", key)]))
            .await;
        assert_eq!(outcome(result), wanted);
    }
    // Tokens are not accepted here, so the header says nothing.
    let missing = door
        .authenticate(&showing(&[("authorization", "Bearer x")]))
        .await;
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("holds no credential"), "{missing}");
    assert!(
        missing.contains("accepted is `x-api-key` with an API key"),
        "{missing}"
    );
}
