//! Who fails too often.

use std::sync::Arc;
use std::time::Duration;

use presignd::authenticate::Unauthenticated;

use super::{authenticator, from, outcome};
use crate::authentication::api_keys::{flipped, new_key};
use crate::harness::issuer::{FakeIssuer, SigningKey};
use crate::harness::presignd::TestClock;

#[tokio::test]
async fn an_address_that_fails_too_often_is_let_in_with_what_works_alone() {
    let signing = SigningKey::rsa("r");
    let issuer = FakeIssuer::start(&[&signing]).await;
    let (key, hash) = new_key().await;
    let config = format!(
        "authentication:
  jwt: {{ cluster: {{ issuer: \"{}\", audiences: [presignd], jwks: {{ url: \"{}\" }} }} }}
  api_keys: {{ media: [\"{hash}\"] }}
  failures: {{ rate: 1/s, burst: 3 }}
callers:
  - {{ match: {{ jwt: {{ issuer: cluster, subject: \"*\" }} }}, tenants: [acme] }}
  - {{ match: {{ api_key: media }}, tenants: [acme] }}",
        issuer.name(),
        issuer.keys_url()
    );
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&config, &clock);
    let bearer = |subject: &str| {
        let token = signing.token(&issuer.claims(&*clock, subject));
        ("authorization", format!("Bearer {token}"))
    };
    let (known, fresh) = (bearer("known"), bearer("fresh"));
    let (good, bad) = ("198.51.100.7", "198.51.100.8");
    let ask = async |address, (name, value): &(&str, String)| {
        door.authenticate(&from(address, &[(name, value)])).await
    };
    assert_eq!(outcome(ask(good, &known).await), "jwt.cluster.known");

    let wrong = ("x-api-key", flipped(&key));
    let wrong_token = ("authorization", "Bearer x.y.z".to_owned());
    for _ in 0..4 {
        assert_eq!(outcome(ask(bad, &wrong).await), "the API key is not known");
    }
    // Not looked at any more, and not for the records.
    for shown in [&wrong, &wrong_token, &fresh] {
        let refused = ask(bad, shown).await.unwrap_err();
        let Unauthenticated::TooManyFailures { retry_after } = refused else {
            panic!("{refused:?}");
        };
        assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
    }
    // What is known to work does so still, and other addresses are not meant.
    assert_eq!(outcome(ask(bad, &known).await), "jwt.cluster.known");
    assert_eq!(outcome(ask(bad, &("x-api-key", key)).await), "key.media");
    assert_eq!(outcome(ask(good, &fresh).await), "jwt.cluster.fresh");

    clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(ask(bad, &wrong).await), "the API key is not known");
}
