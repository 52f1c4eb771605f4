//! The credential scope: for which day, place and service a signature counts, and the texts that say so.
//!
//! Invariant: `X-Amz-Credential`, the string to sign and the region set always belong to the same day, region and service.

use super::encode::{Kept, encode};
use super::endpoint::{Algorithm, SigningEndpoint};
use super::hex::Hex;
use super::signing_time::{Day, SigningTime};
use super::sink::Sink;

/// The last part of every credential scope and of every key's derivation.
pub(super) const TERMINATOR: &str = "aws4_request";

/// What a signature says of when and where it counts.
#[derive(Debug)]
pub(super) struct CredentialScope {
    /// The query's `X-Amz-Algorithm`, `X-Amz-Credential` and `X-Amz-Date`, the last one as far as its `T`.
    pub(super) parameters: String,
    /// `&X-Amz-Region-Set=` and the regions; empty where the scope names the region.
    pub(super) region_set: String,
    /// `X-Amz-Credential`, not encoded.
    pub(super) credential: String,
    /// The string to sign up to the `T` of its time.
    string_to_sign: String,
    /// The line with the scope, such as `yyyymmdd/region/service/aws4_request`, between line feeds.
    line: String,
}

impl CredentialScope {
    pub(super) fn new(access_key_id: &str, day: Day, endpoint: &SigningEndpoint) -> Self {
        let (date, algorithm) = (day.date(), endpoint.algorithm.name());
        let SigningEndpoint {
            region, service, ..
        } = endpoint;
        let mut region_set = String::new();
        let scope = match endpoint.algorithm {
            Algorithm::HmacSha256 => format!("{date}/{region}/{service}/{TERMINATOR}"),
            Algorithm::EcdsaP256Sha256 => {
                region_set.push_str("&X-Amz-Region-Set=");
                encode(&mut region_set, region, Kept::Unreserved);
                format!("{date}/{service}/{TERMINATOR}")
            }
        };
        let mut parameters = format!("X-Amz-Algorithm={algorithm}&X-Amz-Credential=");
        for part in [access_key_id, "/", &scope] {
            encode(&mut parameters, part, Kept::Unreserved);
        }
        parameters.extend(["&X-Amz-Date=", &date, "T"]);
        Self {
            parameters,
            region_set,
            credential: format!("{access_key_id}/{scope}"),
            string_to_sign: format!("{algorithm}\n{date}T"),
            line: format!("\n{scope}\n"),
        }
    }

    /// The scope itself.
    pub(super) fn text(&self) -> &str {
        self.line.trim()
    }

    /// Writes the string to sign for a canonical request with this hash.
    pub(super) fn write_string_to_sign(
        &self,
        sink: &mut impl Sink,
        time: SigningTime,
        canonical_request_hash: &Hex,
    ) {
        sink.put(&self.string_to_sign);
        sink.put(&time.time_of_day());
        sink.put(&self.line);
        sink.put(canonical_request_hash);
    }
}
