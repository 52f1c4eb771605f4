//! What is wrong with a command, field by field, in words for whoever sent it.

use std::borrow::Cow;
use std::fmt;

/// A rule that a field breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field in the command message, such as `key` or `metadata["a"]`.
    pub field: Cow<'static, str>,
    /// The rule, and what to do. Never holds the value of a sensitive field.
    pub description: Cow<'static, str>,
}

/// Every rule that a command breaks; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violations(pub Vec<Violation>);

/// How many violations are told one by one. Each stands in an answer's trailers thrice, and some clients take 8 KiB of those.
pub(super) const MAX_VIOLATIONS: usize = 8;

impl Violations {
    /// These violations, of fields in the message that this field holds.
    #[must_use]
    pub fn below(mut self, field: &str) -> Self {
        for violation in &mut self.0 {
            violation.field = format!("{field}.{}", violation.field).into();
        }
        self
    }

    /// These violations, or the first of them and how many there are more: what is refused goes into the answer, the log and the
    /// record, and a caller must not make these any length.
    pub(in crate::sign) fn bounded(mut violations: Vec<Violation>) -> Self {
        let more = violations.len().saturating_sub(MAX_VIOLATIONS);
        if more > 0 {
            violations.truncate(MAX_VIOLATIONS);
            violations.push(Violation {
                field: "*".into(),
                description: format!("{more} more fields break a rule").into(),
            });
        }
        Self(violations)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{}: {}",
                violation.field, violation.description
            )?;
        }
        Ok(())
    }
}
