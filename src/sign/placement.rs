//! Which headers may travel in the query instead, for clients that can send none.
//!
//! Invariant: only what S3 is known to read there, and what may be overlooked. A store that does not look for it in the query does as if it
//! had not been asked, so nothing moves that protects: no condition, no encryption, no lock, no permission, no expected owner, no checksum.
//!
//! Sources: the S3 user guide, "Downloading objects from Requester Pays buckets", for signed URLs; the rules by which the SDKs for Go
//! (`RequiredSignedHeaders`) and for JavaScript (`moveHeadersToQuery`) move headers of every URL that they presign.

use super::bind::{Violation, Violations};
use super::command::{BoundCommand, Header};
use crate::proto::v1::HeaderPlacement;

/// The headers that may move, and why each may.
const MAY_MOVE: [&str; 3] = [
    // S3's documentation puts it into signed URLs. Overlooked, the request is refused.
    "x-amz-request-payer",
    // The SDKs for Go and JavaScript have it in the URL of every download. Overlooked, the answer has no checksum.
    "x-amz-checksum-mode",
    // The SDK for JavaScript moves it, and S3 keeps it. Overlooked, the object has no metadata.
    METADATA,
];
const METADATA: &str = "x-amz-meta-";

impl BoundCommand<'_> {
    /// Puts headers where this `HeaderPlacement` says.
    ///
    /// # Errors
    /// One that presignd does not know, by its path in `presignd.v1.Command`.
    pub fn place_headers(&mut self, placement: i32) -> Result<(), Violations> {
        self.headers_in_query = match HeaderPlacement::try_from(placement) {
            Ok(HeaderPlacement::Unspecified | HeaderPlacement::Headers) => false,
            Ok(HeaderPlacement::Query) => true,
            Err(_) => {
                return Err(Violations(vec![Violation {
                    field: "options.header_placement".into(),
                    description: "is neither HEADERS nor QUERY".into(),
                }]));
            }
        };
        Ok(())
    }

    /// The headers that the client sends.
    pub(super) fn sent_headers(&self) -> impl Iterator<Item = &Header<'_>> {
        self.headers.iter().filter(|header| !self.moves(header))
    }

    /// The headers that travel in the query.
    pub(super) fn moved_headers(&self) -> impl Iterator<Item = &Header<'_>> {
        let headers = if self.headers_in_query {
            &self.headers[..]
        } else {
            &[]
        };
        headers.iter().filter(|header| self.moves(header))
    }

    fn moves(&self, header: &Header<'_>) -> bool {
        self.headers_in_query && MAY_MOVE.contains(&header.name)
    }
}
