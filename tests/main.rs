//! Tests from outside: real processes, a real S3 and STS. One file for each behaviour, on one harness.
//!
//! They need what `scripts/install-tools` installs, and fail without it: a test never skips.

mod batch;
mod contract;
mod harness;
mod issuing;
mod limits;
mod records;
mod serving;
mod store;
mod sts;
