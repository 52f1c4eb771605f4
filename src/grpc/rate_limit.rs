//! Where a tenant's limits stand, as response metadata: `ratelimit-policy` and `ratelimit`.
//!
//! Source: <https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.html>.

use bytes::Bytes;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::admit::quota::Told;

/// Tells what limits told of a request, if any did.
pub(super) fn tell(metadata: &mut MetadataMap, told: Told) {
    let Some((policy, left)) = told.metadata() else {
        return;
    };
    // Names of limits and numbers are plain text.
    let value = |text: Bytes| MetadataValue::<Ascii>::try_from(text).ok();
    if let (Some(policy), Some(mut left)) = (value(policy), value(left.into())) {
        // Hardly ever the same again: nothing that HTTP/2's compression would do well to keep.
        left.set_sensitive(true);
        metadata.insert("ratelimit-policy", policy);
        metadata.insert("ratelimit", left);
    }
}
