//! The URLs of an upload's parts, which differ in their number alone.
//!
//! The number comes late: what stands before it in the URL and in the canonical request, the session token among it, is written and
//! hashed once for all parts. Invariant: each URL is the one that [`presign`](super::presign) makes of the command with that number.

use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::canonical::{write_after_query, write_up_to_query};
use super::command::BoundCommand;
use super::credentials::Credentials;
use super::endpoint::SigningEndpoint;
use super::hex::hex;
use super::sink::Sink as _;
use super::url::{PresignedUrl, SIGNATURE};
use super::{Signer, with_draft};

/// The query parameter with a part's number.
pub const PART_NUMBER: &str = "partNumber";

/// The URLs of parts with these numbers, in their order. The command is an `UploadPart` of any of them.
pub fn presign_parts(
    command: &BoundCommand<'_>,
    endpoint: &SigningEndpoint,
    credentials: &Credentials,
    signed_at: SystemTime,
    expires_in: u32,
    numbers: &[u32],
) -> Vec<PresignedUrl> {
    with_draft(
        command,
        endpoint,
        credentials,
        signed_at,
        expires_in,
        |draft| {
            let query = draft.url.query();
            let (before, after) = around_number(query);
            let mut begun = Sha256::new();
            write_up_to_query(&mut begun, draft.method, draft.url.path());
            begun.put(before);
            let mut rest = after.to_owned();
            write_after_query(&mut rest, &draft.host, draft.headers);
            let head = draft.url.up_to_query();

            let url = |number: &u32| {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(*number);
                let mut sha256 = begun.clone();
                sha256.put(digits);
                sha256.put(&rest);
                let hash = hex(&sha256.finalize().into());
                let signed = |signature: &str| {
                    // Concatenated in one allocation.
                    let pieces = [head, before, digits, after, SIGNATURE, signature];
                    PresignedUrl::new(pieces.concat())
                };
                match draft.signer {
                    Signer::Symmetric(key) => signed(&key.sign(draft.time, &hash)),
                    Signer::Asymmetric(key) => signed(&key.sign(draft.scope, draft.time, &hash)),
                }
            };
            numbers.iter().map(url).collect()
        },
    )
}

/// What stands before the number's value in a query, and what stands after it.
fn around_number(query: &str) -> (&str, &str) {
    // Values are encoded, so that a name with its `=` stands nowhere else; and the signature's parameters come before it.
    let name = query.find("&partNumber=");
    debug_assert!(name.is_some(), "an UploadPart has a number");
    let start = name.map_or(query.len(), |at| at + "&partNumber=".len());
    let (before, value) = query.split_at(start);
    let end = value.find('&').unwrap_or(value.len());
    (before, value.split_at(end).1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::s3::UploadPart;
    use crate::sign::bind::BindAny as _;
    use crate::sign::samples::endpoint;
    use crate::sign::{Algorithm, presign};

    const ORIGIN: &str = "https://files.s3.eu-west-1.amazonaws.com";

    fn everywhere() -> SigningEndpoint {
        SigningEndpoint {
            algorithm: Algorithm::EcdsaP256Sha256,
            region: "*".to_owned(),
            ..endpoint("https://m.accesspoint.s3-global.amazonaws.com", "")
        }
    }

    fn part(key: &str, upload_id: &str, number: i32, length: Option<i64>) -> UploadPart {
        UploadPart {
            bucket: Some("files".to_owned()),
            key: Some(key.to_owned()),
            upload_id: Some(upload_id.to_owned()),
            part_number: Some(number),
            content_length: length,
            request_payer: length.map(|_| "requester".to_owned()),
            ..UploadPart::default()
        }
    }

    #[test]
    fn each_is_the_url_of_its_own_command() {
        let numbers = [1, 2, 9, 10, 99, 100, 1000, 9999, 10_000, 3];
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_473_001);
        for token in [None, Some("to/ken+".repeat(100).into())] {
            let secret = "secret".to_owned().into();
            let credentials = Credentials::new("ASIAX".to_owned(), secret, token, None);
            for key in ["k", "a key&partNumber=7?", "é/&partNumber=/x"] {
                for upload_id in ["2~abc", "a&partNumber=9&b=", "x".repeat(200).as_str()] {
                    for length in [None, Some(5 << 20)] {
                        let any = part(key, upload_id, 77, length);
                        let any = any.to_bound().unwrap();
                        let places = [
                            endpoint(ORIGIN, ""),
                            endpoint(ORIGIN, "/files"),
                            everywhere(),
                        ];
                        for endpoint in places {
                            let urls =
                                presign_parts(&any, &endpoint, &credentials, at, 900, &numbers);
                            assert_eq!(urls.len(), numbers.len());
                            for (number, url) in numbers.iter().zip(urls) {
                                let own =
                                    part(key, upload_id, i32::try_from(*number).unwrap(), length);
                                let own = own.to_bound().unwrap();
                                let own = presign(&own, &endpoint, &credentials, at, 900);
                                assert_eq!(url.as_str(), own.as_str());
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_url_costs_one_allocation() {
        let credentials =
            Credentials::new("ASIAX".to_owned(), "secret".to_owned().into(), None, None);
        let any = part("k", "u", 1, None);
        let any = any.to_bound().unwrap();
        let endpoint = endpoint(ORIGIN, "");
        let allocations = |count: u32| {
            let numbers: Vec<u32> = (1..=count).collect();
            let at = SystemTime::UNIX_EPOCH;
            // The signing key is derived before it is counted.
            drop(presign_parts(&any, &endpoint, &credentials, at, 900, &[1]));
            let counted = allocation_counter::measure(|| {
                drop(presign_parts(
                    &any,
                    &endpoint,
                    &credentials,
                    at,
                    900,
                    &numbers,
                ));
            });
            counted.count_total
        };
        assert_eq!(allocations(1000) - allocations(500), 500);
    }
}
