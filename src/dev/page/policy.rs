//! What a browser lets the page do: load its own files, and reach its own server and the stores.

use std::fmt::Write as _;

use http::HeaderValue;

/// What goes with every answer.
pub(super) const HEADERS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The content security policy of a page that sends to these stores.
pub(super) fn policy(stores: &[String]) -> HeaderValue {
    let mut sources = String::from("'self'");
    for store in stores {
        let _ = write!(sources, " {store}");
    }
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {sources}; form-action {sources}; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    // A store's URL has no other characters; without stores the page can still be read.
    HeaderValue::try_from(policy).unwrap_or_else(|_| policy_without_stores())
}

fn policy_without_stores() -> HeaderValue {
    HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stores_are_reached() {
        let policy = policy(&["http://127.0.0.1:9000".to_owned()]);
        let policy = policy.to_str().unwrap();
        assert!(policy.contains(
            "connect-src 'self' http://127.0.0.1:9000; form-action 'self' http://127.0.0.1:9000;"
        ));
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    }
}
