//! Who asks.
//!
//! Every request passes here first and leaves with a [`Caller`]. For now a caller is whoever can connect, which is why presignd
//! listens on loopback unless it is told otherwise.

use crate::names::TenantId;

/// Whoever asked for a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever can connect.
    Anyone,
    /// Somebody who did not say, or not believably: known only so that the refusal can be recorded.
    Unknown,
}

impl Caller {
    /// The name in records, spans and role session names.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Caller::Anyone => "anyone",
            Caller::Unknown => "unknown",
        }
    }

    /// Whether the caller may ask for URLs of this tenant.
    #[must_use]
    pub fn may_use(&self, _tenant: &TenantId) -> bool {
        match self {
            Caller::Anyone => true,
            Caller::Unknown => false,
        }
    }
}

/// The caller could not be identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the caller could not be identified")]
pub struct Unauthenticated;

/// Finds out who asks.
pub trait Authenticator: Send + Sync + std::fmt::Debug {
    /// The caller of a request with these headers.
    ///
    /// # Errors
    /// If the request does not say who asks, or not believably.
    fn authenticate(&self, headers: &http::HeaderMap) -> Result<Caller, Unauthenticated>;
}

/// Takes every connection for [`Caller::Anyone`].
#[derive(Debug, Clone, Copy)]
pub struct AnyoneAuthenticator;

impl Authenticator for AnyoneAuthenticator {
    fn authenticate(&self, _headers: &http::HeaderMap) -> Result<Caller, Unauthenticated> {
        Ok(Caller::Anyone)
    }
}
