//! What operators ask of presignd, on record.
//!
//! Invariant: whatever an operator is shown or has changed leaves a record, and so does what they are refused. An order stands by then: what
//! has to stop does not wait for records.

use std::borrow::Cow;

use uuid::Uuid;

use super::{Arrival, Presigner, record};
use crate::names::TenantId;
use crate::refusal::Refusal;

/// What an operation is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The tenant, if it is about one.
    pub tenant: Option<&'a TenantId>,
    /// Why it is wanted.
    pub reason: &'a str,
}

/// What was done, and what the record says of that beyond its being done.
#[derive(Debug)]
pub struct Done<T> {
    /// What is answered.
    pub answer: T,
    /// What the record says.
    pub detail: Option<Cow<'static, str>>,
}

impl<T> From<T> for Done<T> {
    fn from(answer: T) -> Self {
        Self {
            answer,
            detail: None,
        }
    }
}

impl Presigner {
    /// Records what came of an operation, and gives it back.
    ///
    /// # Errors
    /// Why it was not done, or that there is no record.
    pub async fn note_operation<T>(
        &self,
        arrival: &Arrival,
        issuance_id: Uuid,
        about: About<'_>,
        result: Result<Done<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let now = self.clock.now();
        let noted = match &result {
            Ok(done) => Ok(done.detail.as_deref()),
            Err(refusal) => Err(refusal),
        };
        {
            let record = record::of_operation(now, arrival, issuance_id, about, noted);
            self.recorder.record(&record, &arrival.trace).await?;
        }
        result.map(|done| done.answer)
    }
}
