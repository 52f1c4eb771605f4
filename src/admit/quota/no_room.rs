//! Why a limit lets nothing through, and how it is named.

use std::sync::Arc;
use std::time::Duration;

/// A limit has no room, or could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// There is room later.
    #[error("the limit {:?} has no room for {asked}{}", limit.name, limit.of(*.window))]
    Later {
        /// Which.
        limit: Named,
        /// How much was asked.
        asked: u64,
        /// When there will be room, if nobody else takes it.
        retry_after: Duration,
        /// Whether it is a day's or a month's.
        window: bool,
    },
    /// There is never room for so much at once.
    #[error("the limit {:?} holds {most} at the most, and {asked} were asked at once", limit.name)]
    Never {
        /// Which.
        limit: Named,
        /// How much was asked.
        asked: u64,
        /// How much it holds.
        most: u64,
        /// Whether it is a day's or a month's.
        window: bool,
    },
    /// It counts bytes, and the request does not say how many.
    #[error(
        "the limit {:?} counts the bytes of uploads, and this one declares no size: set content_length, of an upload in parts size, \
         or of a form content_length_range",
        limit.name
    )]
    Undeclared {
        /// Which.
        limit: Named,
    },
    /// Its count cannot be reached.
    #[error("the count of the limit {:?} cannot be reached, so nothing was issued: try again later", limit.name)]
    Away {
        /// Which.
        limit: Named,
    },
}

/// A limit, as refusals name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: Arc<str>,
    /// And whose it is: `tenant:acme/limit:daily`.
    pub subject: Arc<str>,
    /// Whose count has no room: `service`, `tenant` or `caller`.
    pub scope: &'static str,
}

impl Named {
    fn of(&self, window: bool) -> &'static str {
        match (self.scope, window) {
            ("caller", false) => ", for this caller",
            ("caller", true) => " more of its day or month, for this caller",
            ("service", false) => ", for all tenants together",
            ("service", true) => " more of its day or month, for all tenants together",
            (_, false) => "",
            (_, true) => " more of its day or month",
        }
    }
}

impl NoRoom {
    /// The limit.
    #[must_use]
    pub fn limit(&self) -> &Named {
        match self {
            Self::Later { limit, .. }
            | Self::Never { limit, .. }
            | Self::Undeclared { limit }
            | Self::Away { limit } => limit,
        }
    }
}
