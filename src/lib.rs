//! presignd signs S3 requests for many tenants.
#[cfg(feature = "dev")]
pub mod dev;
pub mod sign;
