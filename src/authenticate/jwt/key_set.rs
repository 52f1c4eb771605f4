//! An issuer's public keys: a JSON Web Key Set (RFC 7517), reduced to what may verify a token.
//!
//! Invariant: a key verifies the algorithms of its own kind alone, and none of them is symmetric: a public key is never taken for the
//! secret of an HMAC.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most keys of a set.
const MAX_KEYS: usize = 100;
/// What RSA keys verify.
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Keys that verify tokens. Two sets are equal if they were read from the same text.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Of the JSON that they were read from.
    digest: [u8; 32],
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    verifies: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// What a search comes to.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The key.
    Key(&'a DecodingKey),
    /// There is no key of this id: perhaps it is new.
    UnknownId,
    /// The set has what was named, or what is left unnamed is not clear, and no key fits.
    NoFit,
}

/// The text is no set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKeySet {
    /// It is something else.
    #[error("it is no JSON Web Key Set")]
    NoSet,
    /// There is nothing in it to verify a token with.
    #[error("none of its keys verifies tokens")]
    NoKey,
    /// It is too long.
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a set. Keys of other kinds and for other uses are left out.
    pub(super) fn parse(json: &[u8]) -> Result<Self, BadKeySet> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| BadKeySet::NoSet)?;
        if set.keys.len() > MAX_KEYS {
            return Err(BadKeySet::TooMany);
        }
        // Each by itself, so that a key of a new kind does not spoil the others.
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(BadKeySet::NoKey);
        }
        Ok(Self {
            keys,
            digest: Sha256::digest(json).into(),
        })
    }

    /// How many keys it has.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of this id that verifies this algorithm; without an id, the only one that does.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let named = |key: &&Key| id.is_none_or(|id| key.id.as_deref() == Some(id));
        if id.is_some() && !self.keys.iter().any(|key| named(&key)) {
            return Found::UnknownId;
        }
        let mut fitting = self
            .keys
            .iter()
            .filter(named)
            .filter(|key| key.verifies.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Found::Key(&key.decoding),
            _ => Found::NoFit,
        }
    }
}

impl Key {
    fn read(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let signs = jwk
            .common
            .public_key_use
            .as_ref()
            .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        let verifies = jwk
            .common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        let able: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &RSA,
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let meant = match jwk.common.key_algorithm {
            Some(algorithm) => Some(algorithm.to_string().parse::<Algorithm>().ok()?),
            None => None,
        };
        let verifies: Vec<Algorithm> = able
            .iter()
            .copied()
            .filter(|able| meant.is_none_or(|meant| meant == *able))
            .collect();
        if verifies.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self {
            id: jwk.common.key_id,
            verifies,
            decoding,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";

    fn set(keys: &[String]) -> Result<KeySet, BadKeySet> {
        KeySet::parse(format!("{{\"keys\": [{}]}}", keys.join(",")).as_bytes())
    }

    fn ec(more: &str) -> String {
        format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{X}\",\"y\":\"{X}\"{more}}}")
    }

    fn finds(set: &KeySet, id: Option<&str>, algorithm: Algorithm) -> &'static str {
        match set.find(id, algorithm) {
            Found::Key(_) => "key",
            Found::UnknownId => "unknown",
            Found::NoFit => "no fit",
        }
    }

    #[test]
    fn keys_are_found_by_id_and_by_kind() {
        let set = set(&[
            ec(r#","kid":"a""#),
            ec(r#","kid":"b","use":"sig","alg":"ES256""#),
            format!(r#"{{"kty":"RSA","kid":"r","n":"{X}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"RSA","kid":"r512","alg":"RS512","n":"{X}","e":"AQAB"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"../../e","x":"{X}"}}"#),
            ec(r#","kid":"twice""#),
            ec(r#","kid":"twice""#),
        ])
        .unwrap();
        for (id, algorithm, found) in [
            (Some("a"), Algorithm::ES256, "key"),
            (Some("b"), Algorithm::ES256, "key"),
            (Some("a"), Algorithm::ES384, "no fit"),
            (Some("a"), Algorithm::RS256, "no fit"),
            (Some("a"), Algorithm::HS256, "no fit"),
            (Some("r"), Algorithm::RS256, "key"),
            (Some("r"), Algorithm::PS512, "key"),
            (Some("r"), Algorithm::HS256, "no fit"),
            (Some("r"), Algorithm::ES256, "no fit"),
            (Some("r512"), Algorithm::RS512, "key"),
            (Some("r512"), Algorithm::RS256, "no fit"),
            // An id is a text to compare, and leads nowhere.
            (Some("../../e"), Algorithm::EdDSA, "key"),
            (Some("e"), Algorithm::EdDSA, "unknown"),
            (Some(""), Algorithm::ES256, "unknown"),
            (Some("A"), Algorithm::ES256, "unknown"),
            (Some("twice"), Algorithm::ES256, "no fit"),
            (None, Algorithm::EdDSA, "key"),
            (None, Algorithm::ES256, "no fit"),
            (None, Algorithm::HS256, "no fit"),
        ] {
            assert_eq!(finds(&set, id, algorithm), found, "{id:?} {algorithm:?}");
        }
    }

    #[test]
    fn what_verifies_no_token_is_left_out() {
        let useless = [
            ec(r#","use":"enc""#),
            ec(r#","key_ops":["encrypt"]"#),
            ec(r#","alg":"RS256""#),
            ec(r#","alg":"HS256""#),
            ec(r#","alg":"nonsense""#),
            format!(r#"{{"kty":"oct","k":"{X}"}}"#),
            format!(r#"{{"kty":"oct","k":"{X}","alg":"HS256"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-521","x":"{X}","y":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{X}","y":"{X}"}}"#),
            r#"{"kty":"new","z":1}"#.to_owned(),
            "1".to_owned(),
            "{}".to_owned(),
        ];
        for key in &useless {
            let alone = set(std::slice::from_ref(key));
            assert_eq!(alone.map(|_| ()), Err(BadKeySet::NoKey), "{key}");
        }
        let with_good = [&useless[..], &[ec("")]].concat();
        let set = set(&with_good).unwrap();
        assert_eq!(finds(&set, None, Algorithm::ES256), "key");
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn other_texts_are_no_set() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            "<html>",
            "{\"keys\":[",
        ] {
            let read = KeySet::parse(text.as_bytes()).map(|_| ());
            assert_eq!(read, Err(BadKeySet::NoSet), "{text}");
        }
        assert_eq!(set(&[]).map(|_| ()), Err(BadKeySet::NoKey));
        let many = vec![ec(""); MAX_KEYS + 1];
        assert_eq!(set(&many).map(|_| ()), Err(BadKeySet::TooMany));
    }
}
