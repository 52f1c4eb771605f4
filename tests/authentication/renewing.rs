//! Another list of callers, and other sources of their names, while presignd serves.

use std::sync::Arc;
use std::time::Duration;

use presignd::app::callers;
use presignd::authenticate::Unauthenticated;

use super::api_keys::new_key;
use super::{authenticator, bearing, from, may_sign, outcome, settings};
use crate::harness::issuer::{FakeIssuer, SigningKey};
use crate::harness::presignd::TestClock;

fn config(issuer: &FakeIssuer, more: &str, subject: &str) -> String {
    format!(
        "authentication:
  jwt: {{ cluster: {{ issuer: \"{}\", audiences: [presignd], jwks: {{ url: \"{}\" }}{more} }} }}
callers:
  - {{ match: {{ jwt: {{ issuer: cluster, subject: \"{subject}\" }} }}, tenants: [acme] }}",
        issuer.name(),
        issuer.keys_url()
    )
}

#[tokio::test]
async fn a_token_that_is_known_is_judged_anew_without_new_keys() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let ann = bearing(&key.token(&issuer.claims(&*clock, "ann")));
    let door = authenticator(&config(&issuer, "", "ann"), &clock);
    assert!(may_sign(&door.authenticate(&ann).await.unwrap(), "acme"));
    assert_eq!(issuer.calls().len(), 1);

    let of_bob = callers::renewed(&door, &settings(&config(&issuer, "", "bob")));
    assert!(!may_sign(&of_bob.authenticate(&ann).await.unwrap(), "acme"));
    let bob = bearing(&key.token(&issuer.claims(&*clock, "bob")));
    assert!(may_sign(&of_bob.authenticate(&bob).await.unwrap(), "acme"));
    // The old one is let go of, and the keys are not.
    drop(door);
    let other_algorithm = config(&issuer, ", algorithms: [RS256]", "bob");
    let strict = callers::renewed(&of_bob, &settings(&other_algorithm));
    let said = "the token's algorithm is not one that is accepted from its issuer";
    assert_eq!(outcome(strict.authenticate(&bob).await), said);
    assert_eq!(issuer.calls().len(), 1, "{:?}", issuer.calls());

    let moved = config(&issuer, "", "bob").replace("/keys", "/other-keys");
    let moved = callers::renewed(&strict, &settings(&moved));
    issuer.called(2).await;
    assert_ne!(issuer.calls()[0].0, issuer.calls()[1].0);
    drop(moved);
}

#[tokio::test]
async fn who_has_failed_too_often_is_not_forgotten_unless_the_limit_is_another() {
    let ((key, hash), (other, other_hash)) = (new_key().await, new_key().await);
    let config = |hash: &str, burst: u32| {
        format!(
            "authentication:
  api_keys: {{ media: [\"{hash}\"] }}
  failures: {{ rate: 1/m, burst: {burst} }}
callers:
  - {{ match: {{ api_key: media }}, tenants: [acme] }}"
        )
    };
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&config(&hash, 2), &clock);
    let with = |key: &str| from("198.51.100.8", &[("x-api-key", key)]);
    for _ in 0..3 {
        assert!(door.authenticate(&with(&other)).await.is_err());
    }
    // The key that was listed is not any more, and the other one is.
    let renewed = callers::renewed(&door, &settings(&config(&other_hash, 2)));
    let refused = renewed.authenticate(&with(&key)).await.unwrap_err();
    let Unauthenticated::TooManyFailures { retry_after } = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after <= Duration::from_mins(1), "{retry_after:?}");
    let known = renewed.authenticate(&with(&other)).await;
    assert_eq!(outcome(known), "key.media");

    let lenient = callers::renewed(&renewed, &settings(&config(&other_hash, 3)));
    let refused = outcome(lenient.authenticate(&with(&key)).await);
    assert_eq!(refused, "the API key is not known");
}
