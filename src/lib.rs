//! presignd signs S3 requests for many tenants.
pub mod audit;
pub mod sign;
pub mod telemetry;
