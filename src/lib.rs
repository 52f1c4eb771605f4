//! presignd signs S3 requests for many tenants.
pub mod clock;
pub mod names;
pub mod proto;
pub mod sign;
pub mod authenticate;
pub mod admit;
