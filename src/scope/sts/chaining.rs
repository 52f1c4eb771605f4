//! Role chaining: STS gives at most an hour where presignd's own credentials are the session of a role.
//!
//! STS alone knows, and says so when it is asked for more. That is remembered for as long as presignd runs, so that the longer session is
//! asked for once and not with every call.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::scope::{AssumeRoleCall, StsEndpoint};

/// The longest session by role chaining, in seconds.
pub(super) const CHAINED: u32 = 3600;

/// Roles that gave a short session only.
#[derive(Debug, Default)]
pub(super) struct Chaining(Mutex<HashSet<(StsEndpoint, String)>>);

impl Chaining {
    /// For how long to ask.
    pub(super) fn duration(&self, call: &AssumeRoleCall) -> u32 {
        if call.duration <= CHAINED {
            return call.duration;
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&key(call)) {
            CHAINED
        } else {
            call.duration
        }
    }

    /// STS has said that this role is chained.
    pub(super) fn note(&self, call: &AssumeRoleCall) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(key(call)) {
            tracing::warn!(
                role = call.role_arn,
                duration = call.duration,
                "presignd's own credentials are the session of a role, so STS gives sessions of {CHAINED} s at most: set a shorter \
                 duration, or use web_identity"
            );
        }
    }
}

fn key(call: &AssumeRoleCall) -> (StsEndpoint, String) {
    (call.endpoint.clone(), call.role_arn.clone())
}
