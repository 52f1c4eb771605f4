//! Tests from outside: real processes, a real S3 and STS. One file for each behaviour, on one harness.
//!
//! They need what `scripts/install-tools` installs, and fail without it: a test never skips.

#[macro_use]
mod harness;
mod denying;
mod expiring;
mod isolation;
mod issuing;
mod keys;
mod multipart;
mod recording;
mod store;
mod tampering;
