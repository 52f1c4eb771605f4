//! presignd signs S3 requests for many tenants.
pub mod sign;
#[cfg(feature = "dev")]
pub mod dev;
