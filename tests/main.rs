//! Tests from outside: real processes, a real S3 and STS. One file for each behaviour, on one harness.
//!
//! They need what `scripts/install-tools` installs, and fail without it: a test never skips.

mod conformance;
mod harness;
mod issuing;
mod layers;
mod store;
