//! How something is that presignd needs from others, as it was found the last time. For operators to look at: nothing is decided by it.

use std::fmt::Debug;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sessions, and the time.
    Sts,
    /// Somebody who takes the spans.
    Otlp,
    /// Something that keeps orders.
    Orders,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// It did its part the last time.
    Working,
    /// It did not.
    Failing,
    /// There is none.
    NotConfigured,
}

/// Something that is needed, and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// What it is.
    pub kind: Kind,
    /// Which one; empty where there is only one.
    pub name: String,
    /// How it is.
    pub state: State,
    /// That, in a sentence.
    pub detail: String,
}

/// Knows how something is, without asking it.
pub trait Depends: Send + Sync + Debug {
    /// How it is now: several, where there are several of a kind.
    fn found(&self) -> Vec<Dependency>;
}

/// How something is, as whoever deals with it notes. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Noted(Arc<Mutex<Dependency>>);

impl Noted {
    /// Of something of which nothing is known yet.
    #[must_use]
    pub fn new(kind: Kind, name: &str) -> Self {
        Self(Arc::new(Mutex::new(Dependency {
            kind,
            name: name.to_owned(),
            state: State::Unknown,
            detail: String::new(),
        })))
    }

    /// Notes how it is, and gives back how it was.
    pub fn note(&self, state: State, detail: &str) -> State {
        let mut noted = self.noted();
        detail.clone_into(&mut noted.detail);
        mem::replace(&mut noted.state, state)
    }

    fn noted(&self) -> MutexGuard<'_, Dependency> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Depends for Noted {
    fn found(&self) -> Vec<Dependency> {
        vec![self.noted().clone()]
    }
}

/// As it is, for good.
impl Depends for Dependency {
    fn found(&self) -> Vec<Dependency> {
        vec![self.clone()]
    }
}
