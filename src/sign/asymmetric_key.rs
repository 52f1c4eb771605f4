//! The key of Signature Version 4A, which is good for every region at once: ECDSA over the curve P-256.
//!
//! A credential has one, whatever the day and place, so [`Credentials`](super::Credentials) keep it. Signatures are deterministic (RFC
//! 6979): the core has no randomness. Invariant: the private key is a number from 1 to the curve's order less 1.
//!
//! Source: NIST SP 800-108, "KDF in counter mode", and FIPS 186-5, A.2.2, as the AWS Common Runtime applies them.

use std::fmt;

use arrayvec::ArrayString;
use hmac::Mac;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{DerSignature, SigningKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credential_scope::CredentialScope;
use super::endpoint::Algorithm;
use super::hex::{Hex, push_hex};
use super::signing_key::keyed;
use super::signing_time::SigningTime;

/// The order of P-256 less 2, big-endian. NIST SP 800-186, 3.2.1.3.
const ORDER_LESS_2: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];

/// The longest signature in DER, in hexadecimal digits.
pub(super) const SIGNATURE_LENGTH: usize = 2 * 72;

/// A private key.
pub(super) struct AsymmetricKey(SigningKey);

impl AsymmetricKey {
    pub(super) fn derive(access_key_id: &str, secret_access_key: &SecretString) -> Self {
        let secret = Zeroizing::new(["AWS4A", secret_access_key.expose_secret()].concat());
        let key = (1..=254).find_map(|counter| {
            let mut scalar = candidate(secret.as_bytes(), access_key_id, counter);
            if *scalar > ORDER_LESS_2 {
                return None;
            }
            add_1(&mut scalar);
            SigningKey::from_slice(&*scalar).ok()
        });
        Self(key.expect("of 254 candidates, all but one in 2^32 fit"))
    }

    /// The signature of a canonical request with this hash.
    pub(super) fn sign(
        &self,
        scope: &CredentialScope,
        time: SigningTime,
        canonical_request_hash: &Hex,
    ) -> ArrayString<SIGNATURE_LENGTH> {
        let mut sha256 = Sha256::new();
        scope.write_string_to_sign(&mut sha256, time, canonical_request_hash);
        let signature: Result<DerSignature, _> = self.0.sign_prehash(&sha256.finalize());
        let signature = signature.expect("a hash of 32 bytes can be signed");
        let mut digits = ArrayString::new();
        push_hex(&mut digits, signature.as_bytes());
        digits
    }

    /// The point that verifies its signatures, as SEC 1 writes it without compression.
    #[cfg(test)]
    pub(super) fn public_key(&self) -> Vec<u8> {
        let point = self.0.verifying_key().to_sec1_point(false);
        point.as_bytes().to_vec()
    }
}

impl fmt::Debug for AsymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsymmetricKey(..)")
    }
}

/// What may become the private key: 256 bits of the one block that the derivation takes.
fn candidate(secret: &[u8], access_key_id: &str, counter: u8) -> Zeroizing<[u8; 32]> {
    let mut mac = keyed(secret);
    let label = Algorithm::EcdsaP256Sha256.name();
    let parts: [&[u8]; 6] = [
        &1_u32.to_be_bytes(),
        label.as_bytes(),
        &[0],
        access_key_id.as_bytes(),
        &[counter],
        &256_u32.to_be_bytes(),
    ];
    for part in parts {
        Mac::update(&mut mac, part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// Adds 1 to a big-endian number that is not the largest.
fn add_1(number: &mut [u8; 32]) {
    for byte in number.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry() {
        let mut number = [0xff; 32];
        number[0] = 0;
        add_1(&mut number);
        let mut expected = [0; 32];
        expected[0] = 1;
        assert_eq!(number, expected);
        add_1(&mut number);
        expected[31] = 1;
        assert_eq!(number, expected);
    }
}
