//! What limits tell about one request: where they stand, for the caller, and what shadows noted, for the record.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Short;
use super::charging::{Limits, Outcomes, Refused, TenantLimits};
use super::limit::Limit;
use crate::metrics::{self, LIMITS_REFUSED};

/// What limits told about one request.
#[derive(Debug, Clone, Default)]
pub struct Told(OnceLock<Said>);

#[derive(Debug, Clone)]
struct Said {
    policy: Bytes,
    left: String,
    shadows: SmallVec<[Arc<str>; 1]>,
}

impl Told {
    /// The response metadata `ratelimit-policy` and `ratelimit`, if any limit of the tenant counted.
    #[must_use]
    pub fn metadata(self) -> Option<(Bytes, String)> {
        let said = self.0.into_inner()?;
        (!said.left.is_empty()).then_some((said.policy, said.left))
    }

    /// The limits that would have refused, were they not mere shadows.
    #[must_use]
    pub fn shadows(&self) -> &[Arc<str>] {
        self.0.get().map_or(&[], |said| &said.shadows)
    }
}

/// Tells where the tenant's limits stand.
pub(super) fn tell(told: &Told, of: &TenantLimits, limits: Limits<'_>, outcomes: &Outcomes) {
    let mut left = String::with_capacity(32 * outcomes.len());
    let mut shadows = SmallVec::new();
    for (place, level, short) in outcomes {
        let limit = limits.get(*place);
        if short.is_some() {
            LIMITS_REFUSED.count(metrics::SHADOW);
            shadows.push(Arc::clone(&limit.terms().name));
        }
        if !limits.is_service(*place) {
            note(&mut left, limit, level.left, level.reset);
        }
    }
    // One request is charged once.
    let _ = told.0.set(Said {
        policy: of.policy.clone(),
        left,
        shadows,
    });
}

/// Tells which limit of the tenant's has no room.
pub(super) fn tell_refused(told: &Told, of: &TenantLimits, limits: Limits<'_>, refused: &Refused) {
    let mut left = String::new();
    if let Some(Short::Until(wait)) = refused.why
        && !limits.is_service(refused.place)
    {
        note(&mut left, limits.get(refused.place), 0, wait);
    }
    let _ = told.0.set(Said {
        policy: of.policy.clone(),
        left,
        shadows: SmallVec::new(),
    });
}

fn note(text: &mut String, limit: &Limit, left: u64, reset: Duration) {
    let mut number = itoa::Buffer::new();
    if !text.is_empty() {
        text.push_str(", ");
    }
    text.push('"');
    text.push_str(&limit.terms().name);
    text.push_str("\";r=");
    text.push_str(number.format(left));
    text.push_str(";t=");
    text.push_str(number.format(whole_seconds(reset)));
}

/// Enough of them.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
