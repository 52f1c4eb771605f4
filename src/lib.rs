//! presignd signs S3 requests for many tenants.
pub mod config;
pub mod sign;
