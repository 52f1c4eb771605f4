//! Tests from outside: real processes, a real S3 and STS. One file for each behaviour, on one harness.
//!
//! They need what `scripts/install-tools` installs, and fail without it: a test never skips.

mod audit_output;
mod command_line;
mod conformance;
mod draining;
mod grpcurl;
mod harness;
mod issuing;
mod sandbox;
mod store;
mod tracing_output;
