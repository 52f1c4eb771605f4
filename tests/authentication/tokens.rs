//! Tokens of three kinds of keys, and every way in which one is not to be believed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{authenticator, bearing, from, may_sign, outcome, showing};
use crate::harness::issuer::{FakeIssuer, SigningKey, base64, key_set, now};
use crate::harness::presignd::TestClock;

/// For tokens of an issuer, of which these callers may sign for `acme`.
fn config(issuer: &FakeIssuer, more: &str, subject: &str) -> String {
    format!(
        "authentication:
  jwt:
    cluster: {{ issuer: \"{}\", audiences: [presignd, files], jwks: {{ url: \"{}\" }}, algorithms: [RS256, ES256, EdDSA]{more} }}
callers:
  - {{ match: {{ jwt: {{ issuer: cluster, subject: \"{subject}\" }} }}, tenants: [acme] }}",
        issuer.name(),
        issuer.keys_url()
    )
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_believed() {
    let keys = [
        SigningKey::rsa("r"),
        SigningKey::ec("e"),
        SigningKey::ed("d"),
    ];
    let issuer = FakeIssuer::start(&keys.each_ref()).await;
    let clock = Arc::new(TestClock::default());
    let subject = "system:serviceaccount:media:api";
    let door = authenticator(
        &config(&issuer, "", "system:serviceaccount:media:*"),
        &clock,
    );
    for key in &keys {
        let token = key.token(&issuer.claims(&*clock, subject));
        let caller = door.authenticate(&bearing(&token)).await.unwrap();
        assert_eq!(caller.name(), format!("jwt.cluster.{subject}"));
        assert!(may_sign(&caller, "acme") && !may_sign(&caller, "globex"));
        // Known now, without a look at the keys.
        let again = door.authenticate(&bearing(&token)).await.unwrap();
        assert_eq!(again, caller);
    }
    // Believed, and allowed nothing.
    let stranger = keys[0].token(&issuer.claims(&*clock, "system:serviceaccount:other:api"));
    let caller = door.authenticate(&bearing(&stranger)).await.unwrap();
    assert!(!may_sign(&caller, "acme"));
    assert_eq!(issuer.calls().len(), 1, "{:?}", issuer.calls());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn what_is_not_to_be_believed_is_refused() {
    let keys = [
        SigningKey::rsa("r"),
        SigningKey::ec("e"),
        SigningKey::ed("d"),
    ];
    let [rsa, ec, _] = &keys;
    let (stranger, unlisted) = (SigningKey::rsa("r"), SigningKey::ec("unlisted"));
    let issuer = FakeIssuer::start(&keys.each_ref()).await;
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&config(&issuer, "", "*"), &clock);
    let claims = |change: Value| {
        let mut claims = issuer.claims(&*clock, "ann");
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let good = claims(json!({}));
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        rsa.token(&claims)
    };
    let header = |header: Value| rsa.token_with(&header, &good);
    let now = now(&*clock);
    let unsigned = |header: Value| {
        format!(
            "{}.{}.",
            base64(header.to_string()),
            base64(good.to_string())
        )
    };
    // The public key as the secret of an HMAC: the attack of CVE-2015-9235.
    let hmac = |secret: &[u8]| {
        let header = json!({"alg": "HS256", "kid": "r"});
        let message = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(good.to_string())
        );
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = base64(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    };
    let right = rsa.token(&good);
    let (message, signature) = right.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let forged = claims(json!({"sub": "root"}));

    let (malformed, algorithm, signature_wrong) = (
        "the token is no signed JSON Web Token",
        "the token's algorithm is not one that is accepted from its issuer",
        "the token's signature is wrong",
    );
    let (key, other_issuer, audience) = (
        "the token's key is not among its issuer's",
        "the token's issuer is not one that is accepted",
        "the token is for another audience",
    );
    let attacks: Vec<(&str, String, &str)> = vec![
        ("alg none", unsigned(json!({"alg": "none"})), malformed),
        ("alg None", unsigned(json!({"alg": "None", "kid": "r"})), malformed),
        ("alg none, signed", header(json!({"alg": "none", "kid": "r"})), malformed),
        ("no alg", header(json!({"kid": "r"})), malformed),
        ("HS256 with the modulus", hmac(rsa.jwk()["n"].as_str().unwrap().as_bytes()), algorithm),
        ("HS256 with the set", hmac(key_set(&[rsa]).as_bytes()), algorithm),
        ("an algorithm that is not on the list", header(json!({"alg": "RS384", "kid": "r"})), algorithm),
        ("another key's algorithm", header(json!({"alg": "ES256", "kid": "r"})), key),
        ("another key's id", header(json!({"alg": "RS256", "kid": "e"})), key),
        ("an empty signature", format!("{message}."), signature_wrong),
        ("half a signature", format!("{message}.{}", &signature[..100]), signature_wrong),
        ("another token's signature", {
            let other = rsa.token(&forged);
            format!("{}.{signature}", other.rsplit_once('.').unwrap().0)
        }, signature_wrong),
        ("claims that were changed", format!("{head}.{}.{signature}", base64(forged.to_string())), signature_wrong),
        ("a stranger's key of this id", stranger.token(&good), signature_wrong),
        ("a key that is not listed", unlisted.token(&good), key),
        ("a key in the header", unlisted.token_with(
            &json!({"alg": "ES256", "kid": "unlisted", "jwk": unlisted.jwk(), "jku": issuer.keys_url()}), &good), key),
        ("a path as key id", header(json!({"alg": "RS256", "kid": "../../keys/r"})), key),
        ("a URL as key id", header(json!({"alg": "RS256", "kid": "http://127.0.0.1/r"})), key),
        ("SQL as key id", header(json!({"alg": "RS256", "kid": "r' OR '1'='1"})), key),
        ("a null in the key id", header(json!({"alg": "RS256", "kid": "r\0"})), key),
        ("a number as key id", header(json!({"alg": "RS256", "kid": 1})), malformed),
        ("critical headers", header(json!({"alg": "RS256", "kid": "r", "crit": ["b64"], "b64": false})), "the token has critical headers"),
        ("another issuer", rsa.token(&claims(json!({"iss": "https://evil.example"}))), other_issuer),
        ("almost the issuer", rsa.token(&claims(json!({"iss": format!("{}/", issuer.name())}))), other_issuer),
        ("two issuers", rsa.token(&claims(json!({"iss": [issuer.name(), "x"]}))), malformed),
        ("no issuer", without("iss"), malformed),
        ("another audience", rsa.token(&claims(json!({"aud": "others"}))), audience),
        ("other audiences", rsa.token(&claims(json!({"aud": ["others", "Presignd"]}))), audience),
        ("no audience", without("aud"), audience),
        ("an empty audience", rsa.token(&claims(json!({"aud": []}))), audience),
        ("no end", without("exp"), "the token has no expiry (`exp`)"),
        ("an end as text", rsa.token(&claims(json!({"exp": "9999999999"}))), "the token has no expiry (`exp`)"),
        ("expired", rsa.token(&claims(json!({"exp": now - 31}))), "the token has expired"),
        ("a beginning in the future", rsa.token(&claims(json!({"nbf": now + 90}))), "the token is not valid yet"),
        ("nobody", without("sub"), "the token does not name its caller where it should"),
        ("an empty name", rsa.token(&claims(json!({"sub": ""}))), "the token does not name its caller where it should"),
        ("a list of names", rsa.token(&claims(json!({"sub": ["ann"]}))), malformed),
        ("a long name", rsa.token(&claims(json!({"sub": "x".repeat(600)}))), "the token does not name its caller where it should"),
        ("a giant", rsa.token(&claims(json!({"more": "x".repeat(16 << 10)}))), "the token is longer than 16 KiB"),
        ("two parts", message.to_owned(), malformed),
        ("four parts", format!("{right}.x"), malformed),
        ("dots", "..".to_owned(), malformed),
        ("no base64", "a!.b!.c!".to_owned(), malformed),
        ("deep JSON", format!("{}.{}.x", base64("[".repeat(3000)), base64("{}")), malformed),
        ("standard base64", right.replace(['-', '_'], "+"), if right.contains(['-', '_']) { "" } else { "jwt.cluster.ann" }),
    ];
    for (index, (what, token, why)) in attacks.iter().enumerate() {
        // Each from an address of its own: how often one may fail is another test.
        let address = format!("192.0.2.{}", index + 1);
        let header = format!("Bearer {token}");
        let result = door
            .authenticate(&from(&address, &[("authorization", &header)]))
            .await;
        if why.is_empty() {
            assert!(result.is_err(), "{what}");
        } else {
            assert_eq!(outcome(result), *why, "{what}");
        }
    }
    // The keys are those that were there, and one was looked for again at most.
    assert!(issuer.calls().len() <= 2, "{:?}", issuer.calls());
    let still = door.authenticate(&bearing(&ec.token(&good))).await;
    assert_eq!(outcome(still), "jwt.cluster.ann");
}

#[tokio::test]
async fn a_credential_is_shown_once_and_alone() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let hash = format!("sha256:{}", "1".repeat(64));
    let config = config(&issuer, "", "*").replace(
        "authentication:",
        &format!("authentication:\n  api_keys: {{ media: [\"{hash}\"] }}"),
    );
    let door = authenticator(&format!("{config}\n  - match: anyone"), &clock);
    let token = format!("Bearer {}", key.token(&issuer.claims(&*clock, "ann")));
    let repeated = "the header with the credential is there more than once";
    for (headers, wanted) in [
        (&[("authorization", &*token)][..], "jwt.cluster.ann"),
        (
            &[("authorization", &token), ("authorization", &token)],
            repeated,
        ),
        (
            &[("authorization", "Bearer x"), ("authorization", &token)],
            repeated,
        ),
        (&[("x-api-key", "x"), ("x-api-key", "x")], repeated),
        (
            &[("authorization", &token), ("x-api-key", "x")],
            "the request holds both a token and an API key",
        ),
        (
            &[("authorization", "Basic YTpi")],
            "the header `authorization` holds no bearer token",
        ),
        (
            &[("authorization", "")],
            "the header `authorization` holds no bearer token",
        ),
        (&[("x-api-key", "x")], "the API key is not known"),
        // Whoever shows something wrong is not anyone.
        (
            &[("authorization", "Bearer x")],
            "the token is no signed JSON Web Token",
        ),
        (&[("other", &token)], "anyone"),
        (&[], "anyone"),
    ] {
        let result = door.authenticate(&showing(headers)).await;
        assert_eq!(outcome(result), wanted, "{headers:?}");
    }
}

#[tokio::test]
async fn a_known_token_is_forgotten_at_its_end() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let door = authenticator(&config(&issuer, ", leeway: 10s", "*"), &clock);
    let token = key.token(&issuer.claims(&*clock, "ann"));
    for (later, wanted) in [
        (0, "jwt.cluster.ann"),
        (299, "jwt.cluster.ann"),
        (9, "jwt.cluster.ann"),
        (3, "the token has expired"),
    ] {
        clock.advance(Duration::from_secs(later));
        let result = door.authenticate(&bearing(&token)).await;
        assert_eq!(outcome(result), wanted, "{later}");
    }
}

#[tokio::test]
async fn a_token_may_bind_its_bearer_to_tenants() {
    let key = SigningKey::ec("e");
    let issuer = FakeIssuer::start(&[&key]).await;
    let clock = Arc::new(TestClock::default());
    let more = ", caller_claim: email, tenant_claim: /example.com/tenants";
    let config = config(&issuer, more, "*").replace("tenants: [acme]", "tenants: [\"*\"]");
    let door = authenticator(&config, &clock);
    for (index, (tenants, acme, globex)) in [
        (json!("acme"), true, false),
        (json!(["acme", "globex"]), true, true),
        (json!(["*"]), false, false),
        (json!(null), false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut claims = issuer.claims(&*clock, "subject");
        claims["email"] = format!("ann{index}@example.com").into();
        claims["example.com"] = json!({ "tenants": tenants });
        let caller = door
            .authenticate(&bearing(&key.token(&claims)))
            .await
            .unwrap();
        assert_eq!(caller.name(), format!("jwt.cluster.ann{index}@example.com"));
        assert_eq!(
            (may_sign(&caller, "acme"), may_sign(&caller, "globex")),
            (acme, globex),
            "{claims}"
        );
    }
}
