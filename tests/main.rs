//! Tests from outside: real processes, a real S3 and STS. One file for each behaviour, on one harness.
//!
//! They need what `scripts/install-tools` installs, and fail without it: a test never skips.

mod aliases;
mod audit_output;
mod authentication;
mod aws_documents;
mod batch;
mod bounds;
mod command_line;
mod conformance;
mod content;
mod contract;
mod denying;
mod draining;
mod endpoints;
mod expiring;
mod explaining;
mod forms;
mod grpcurl;
mod harness;
mod isolation;
mod issuing;
mod keys;
mod layers;
mod limits;
mod live_check;
mod multipart;
mod operating;
mod page;
mod payload;
mod placement;
mod presign_command;
mod recording;
mod records;
mod reloading;
mod sandbox;
mod scoping;
mod serving;
mod store;
mod streaming;
mod sts;
mod tampering;
mod tenant_ids;
mod tls;
mod tracing_output;
mod uploads;
