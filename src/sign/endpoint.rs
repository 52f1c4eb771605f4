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
    /// The region of the credential scope, such as `eu-west-1`.
    pub region: String,
    /// The service of the credential scope: `s3`, `s3express` or `s3-object-lambda`.
    pub service: String,
}
