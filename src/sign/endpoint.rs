//! Where a request goes, as far as its signature is concerned.

/// Where a request goes and how it is signed there.
///
/// Invariant, kept by whoever makes one: `host` is what a client that is sent to `origin` puts into its `Host` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningEndpoint {
    /// Scheme and authority, without a path: `https://host[:port]`.
    pub origin: String,
    /// The `Host` header as clients send it: the scheme's default port is left out.
    pub host: String,
    /// The path before the key, already encoded, without a trailing slash: empty for virtual-hosted buckets, `/bucket` for path
    /// style, longer where the store is not served from the root.
    pub base_path: String,
    /// How requests are signed there.
    pub algorithm: Algorithm,
    /// The region of the credential scope, such as `eu-west-1`; with [`Algorithm::EcdsaP256Sha256`] the regions, such as `*`.
    pub region: String,
    /// The service of the credential scope: `s3`, `s3express`, `s3-object-lambda` or `s3-outposts`.
    pub service: String,
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Signature Version 4: for one region.
    HmacSha256,
    /// Signature Version 4A: for several.
    EcdsaP256Sha256,
}

impl Algorithm {
    /// The value of `X-Amz-Algorithm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "AWS4-HMAC-SHA256",
            Self::EcdsaP256Sha256 => "AWS4-ECDSA-P256-SHA256",
        }
    }
}
