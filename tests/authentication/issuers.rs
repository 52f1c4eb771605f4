//! Issuers that change their keys, and issuers in trouble.

use std::sync::Arc;
use std::time::Duration;

use presignd::clock::Clock as _;
use serde_json::json;

use super::{authenticator, bearing, from, outcome};
use crate::harness::issuer::{Answer, FakeIssuer, SigningKey, key_set, now};
use crate::harness::presignd::TestClock;

const UNKNOWN_KEY: &str = "the token's key is not among its issuer's";
const NO_KEYS: &str = "the keys of the token's issuer are not at hand, so the token cannot be verified: try again later";
/// How often an issuer is asked at most, and a little more.
const INTERVAL: Duration = Duration::from_secs(31);

fn config(issuer: &str, more: &str) -> String {
    format!(
        "authentication:
  jwt: {{ cluster: {{ issuer: \"{issuer}\", audiences: [presignd]{more} }} }}
callers:
  - {{ match: {{ jwt: {{ issuer: cluster, subject: \"*\" }} }}, tenants: [acme] }}"
    )
}

fn by_url(issuer: &FakeIssuer) -> String {
    config(
        &issuer.name(),
        &format!(", jwks: {{ url: \"{}\" }}", issuer.keys_url()),
    )
}

#[tokio::test]
async fn a_new_key_is_looked_for_once_and_not_for_every_token_that_names_one() {
    let (old, new) = (SigningKey::rsa("old"), SigningKey::ec("new"));
    let issuer = FakeIssuer::start(&[&old]).await;
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&by_url(&issuer), &clock);
    let token = |key: &SigningKey, subject: &str| key.token(&issuer.claims(&*clock, subject));
    assert_eq!(
        outcome(door.authenticate(&bearing(&token(&old, "ann"))).await),
        "jwt.cluster.ann"
    );
    assert_eq!(issuer.calls().len(), 1);

    // A flood of tokens that name keys which nobody has: not a single call, in the interval.
    for number in 0..100_u8 {
        let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
        let made_up = new.token_with(&header, &issuer.claims(&*clock, "ann"));
        let shown = from(
            &format!("192.0.2.{number}"),
            &[("authorization", &format!("Bearer {made_up}"))],
        );
        assert_eq!(outcome(door.authenticate(&shown).await), UNKNOWN_KEY);
    }
    assert_eq!(issuer.calls().len(), 1);

    // After it one, for all who come at once, and that finds what was published meanwhile.
    issuer.publish(&[&old, &new]);
    clock.advance(INTERVAL);
    let fresh: Vec<_> = (0..20)
        .map(|n| bearing(&token(&new, &format!("u{n}"))))
        .collect();
    let asked = futures_util::future::join_all(fresh.iter().map(|shown| door.authenticate(shown)));
    for (number, result) in asked.await.into_iter().enumerate() {
        assert_eq!(outcome(result), format!("jwt.cluster.u{number}"));
    }
    assert_eq!(issuer.calls().len(), 2);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_ends_the_tokens_that_were_known() {
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    let issuer = FakeIssuer::start(&[&old]).await;
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&by_url(&issuer), &clock);
    let of_old = bearing(&old.token(&issuer.claims(&*clock, "ann")));
    let of_new = bearing(&new.token(&issuer.claims(&*clock, "bob")));
    assert_eq!(outcome(door.authenticate(&of_old).await), "jwt.cluster.ann");
    issuer.publish(&[&new]);
    clock.advance(INTERVAL);
    assert_eq!(outcome(door.authenticate(&of_new).await), "jwt.cluster.bob");
    assert_eq!(outcome(door.authenticate(&of_old).await), UNKNOWN_KEY);
}

#[tokio::test]
async fn the_last_good_keys_are_kept_whatever_becomes_of_the_issuer() {
    let (key, new) = (SigningKey::ec("e"), SigningKey::ec("new"));
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&by_url(&issuer), &clock);
    let unknown = |n: usize| {
        let token = new.token(&issuer.claims(&*clock, "ann"));
        from(
            &format!("192.0.2.{n}"),
            &[("authorization", &format!("Bearer {token}"))],
        )
    };
    assert_eq!(
        outcome(
            door.authenticate(&bearing(&key.token(&issuer.claims(&*clock, "ann"))))
                .await
        ),
        "jwt.cluster.ann"
    );
    let good = key_set(&[&key, &new]);
    let padded = format!("{}{}", " ".repeat(300 << 10), good);
    let answers = [
        Answer::Text(500, good.clone()),
        // A redirection is not followed.
        Answer::Text(302, good.clone()),
        Answer::Text(200, padded),
        Answer::Text(200, "<html>maintenance</html>".to_owned()),
        Answer::Text(200, good[..good.len() / 2].to_owned()),
        Answer::Text(200, r#"{"keys":[]}"#.to_owned()),
        Answer::Text(
            200,
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"new"}]}"#.to_owned(),
        ),
    ];
    for (count, answer) in answers.into_iter().enumerate() {
        issuer.answer(answer.clone());
        clock.advance(INTERVAL);
        let known = bearing(&key.token(&issuer.claims(&*clock, "ann")));
        assert_eq!(
            outcome(door.authenticate(&unknown(count)).await),
            UNKNOWN_KEY,
            "{answer:?}"
        );
        assert!(issuer.calls().len() >= count + 2, "{answer:?}");
        assert_eq!(
            outcome(door.authenticate(&known).await),
            "jwt.cluster.ann",
            "{answer:?}"
        );
    }

    issuer.answer(Answer::Nothing);
    let calls = issuer.calls().len();
    clock.advance(INTERVAL);
    let began = clock.monotonic();
    let hangs = unknown(100);
    let (hangs, goes_on) = tokio::join!(door.authenticate(&hangs), async {
        issuer.called(calls + 1).await;
        let fresh = key.token(&issuer.claims(&*clock, "bob"));
        let result = door.authenticate(&bearing(&fresh)).await;
        (result, clock.monotonic())
    });
    assert_eq!(outcome(hangs), UNKNOWN_KEY, "it does not wait for ever");
    assert_eq!(outcome(goes_on.0), "jwt.cluster.bob");
    let since = |time: Duration| time.saturating_sub(began);
    let waited = since(clock.monotonic());
    assert!(
        since(goes_on.1) < waited,
        "a key that is at hand waits for nobody"
    );
    assert!(waited < Duration::from_mins(1), "{waited:?}");
}

#[tokio::test]
async fn without_any_keys_a_token_is_not_wrong_but_cannot_be_verified() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    issuer.answer(Answer::Text(503, String::new()));
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&by_url(&issuer), &clock);
    let token = key.token(&issuer.claims(&*clock, "ann"));
    for _ in 0..50 {
        // Not counted as a failure of the caller's.
        assert_eq!(outcome(door.authenticate(&bearing(&token)).await), NO_KEYS);
    }
    assert!(issuer.calls().len() < 5, "{}", issuer.calls().len());
    issuer.publish(&[&key]);
    clock.advance(INTERVAL);
    assert_eq!(
        outcome(door.authenticate(&bearing(&token)).await),
        "jwt.cluster.ann"
    );
    issuer.vanish();
    let door = authenticator(&by_url(&issuer), &clock);
    assert_eq!(outcome(door.authenticate(&bearing(&token)).await), NO_KEYS);
}

#[tokio::test]
async fn keys_are_found_by_discovery_if_the_issuer_says_the_same() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    for (path, calls, wanted) in [
        (
            "",
            &["/.well-known/openid-configuration", "/keys"][..],
            "jwt.cluster.ann",
        ),
        // Its configuration is of another issuer, or leads where everybody may change what is read.
        (
            "/liar",
            &["/liar/.well-known/openid-configuration"],
            NO_KEYS,
        ),
        (
            "/insecure",
            &["/insecure/.well-known/openid-configuration"],
            NO_KEYS,
        ),
        (
            "/missing",
            &["/missing/.well-known/openid-configuration"],
            NO_KEYS,
        ),
    ] {
        let before = issuer.calls().len();
        let name = format!("{}{path}", issuer.name());
        let door = authenticator(&config(&name, ""), &clock);
        let mut claims = issuer.claims(&*clock, "ann");
        claims["iss"] = name.into();
        assert_eq!(
            outcome(door.authenticate(&bearing(&key.token(&claims))).await),
            wanted,
            "{path}"
        );
        let made: Vec<String> = issuer.calls()[before..]
            .iter()
            .map(|call| call.0.clone())
            .collect();
        assert_eq!(made, calls);
    }
}

#[tokio::test]
async fn a_cluster_is_asked_over_tls_with_its_ca_and_a_token() {
    let key = SigningKey::rsa("k");
    let (issuer, ca) = FakeIssuer::start_tls(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let other_ca = rcgen::generate_simple_self_signed(["ca".to_owned()])
        .unwrap()
        .cert
        .pem();
    let (ca, other_ca) = (file("ca.crt", &ca), file("other.crt", &other_ca));
    let token = file("token", "shown-to-the-cluster\n");
    let url = issuer.keys_url().replace("http:", "https:");
    // As Kubernetes writes the token of a service account.
    let now = now(&*clock);
    let projected = key.token_with(
        &json!({"alg": "RS256", "kid": "k"}),
        &json!({
            "aud": ["presignd"], "exp": now + 3607, "iat": now, "nbf": now,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": "ea28ed49-2e11-4280-9ec5-bc3d1d84661a",
            "kubernetes.io": {"namespace": "media", "serviceaccount": {"name": "api", "uid": "1"}},
            "sub": "system:serviceaccount:media:api",
        }),
    );
    for (trust, wanted) in [
        (
            format!("ca_file: \"{ca}\", token_file: \"{token}\""),
            "jwt.cluster.system:serviceaccount:media:api",
        ),
        (
            format!("ca_file: \"{other_ca}\", token_file: \"{token}\""),
            NO_KEYS,
        ),
        (format!("token_file: \"{token}\""), NO_KEYS),
        (format!("ca_file: \"{token}\""), NO_KEYS),
    ] {
        let config = config(
            "https://kubernetes.default.svc.cluster.local",
            &format!(", jwks: {{ url: \"{url}\", {trust} }}"),
        );
        let door = authenticator(&config, &clock);
        assert_eq!(
            outcome(door.authenticate(&bearing(&projected)).await),
            wanted,
            "{trust}"
        );
    }
    let calls = issuer.calls();
    assert_eq!(
        calls,
        [("/keys".to_owned(), "Bearer shown-to-the-cluster".to_owned())]
    );
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_when_they_change() {
    let (old, new) = (SigningKey::ed("old"), SigningKey::ed("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, key_set(&[&old])).unwrap();
    let clock = Arc::new(TestClock::default());
    let config = config(
        "local",
        &format!(
            ", algorithms: [EdDSA], jwks: {{ file: \"{}\" }}",
            path.display()
        ),
    );
    let door = authenticator(&config, &clock);
    let claims =
        json!({"iss": "local", "aud": "presignd", "sub": "ann", "exp": now(&*clock) + 300});
    let (of_old, of_new) = (bearing(&old.token(&claims)), bearing(&new.token(&claims)));
    assert_eq!(outcome(door.authenticate(&of_old).await), "jwt.cluster.ann");
    assert_eq!(outcome(door.authenticate(&of_new).await), UNKNOWN_KEY);
    // As Kubernetes changes a mounted file: another one in its place.
    let next = folder.path().join("next.json");
    std::fs::write(&next, key_set(&[&new])).unwrap();
    std::fs::rename(&next, &path).unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(outcome(door.authenticate(&of_new).await), "jwt.cluster.ann");
    assert_eq!(outcome(door.authenticate(&of_old).await), UNKNOWN_KEY);
    std::fs::write(&path, "half a fi").unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(outcome(door.authenticate(&of_old).await), UNKNOWN_KEY);
    assert_eq!(outcome(door.authenticate(&of_new).await), "jwt.cluster.ann");
}
