//! What the tests stand on: a real store, a plain HTTP client, and the programs that a caller would use.

pub(crate) mod browser;
pub(crate) mod ceph;
pub(crate) mod certificates;
pub(crate) mod collector;
pub(crate) mod commands;
pub(crate) mod fake_s3;
pub(crate) mod form;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod issuer;
pub(crate) mod presignd;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod refusal;
pub(crate) mod relay;
pub(crate) mod session;
pub(crate) mod sts;
pub(crate) mod tools;
pub(crate) mod url;
pub(crate) mod valve;
