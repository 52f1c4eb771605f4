//! The configuration that serves, and reading it anew because somebody asks.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use crate::names::TenantId;
use crate::tenant::ById;

/// What is known of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// When the one that serves was read.
    pub loaded_at: SystemTime,
    /// What is wrong with the one that was found last; empty if it is the one that serves.
    pub mistakes: Vec<String>,
}

/// What came of a configuration that was read because somebody asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// What is wrong with it, so that the one before goes on; empty if it serves.
    pub mistakes: Vec<String>,
    /// What may be meant otherwise, and what needs a restart.
    pub warnings: Vec<String>,
    /// Which tenants are otherwise.
    pub tenants: Changes,
}

/// Which tenants are otherwise than before, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// There were not before.
    pub added: Vec<TenantId>,
    /// Were otherwise before.
    pub changed: Vec<TenantId>,
    /// There are no more.
    pub removed: Vec<TenantId>,
}

/// Asks for a configuration to be read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloads {
    ask: mpsc::Sender<oneshot::Sender<Reloaded>>,
    state: watch::Receiver<Configuration>,
}

/// There is nobody who would read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this presignd was not started from configuration files, or is stopping: there is nothing to read"
)]
pub struct NotReloadable;

impl Reloads {
    /// For whoever reads configurations: how to be asked.
    #[must_use]
    pub fn new(
        state: watch::Receiver<Configuration>,
    ) -> (Self, mpsc::Receiver<oneshot::Sender<Reloaded>>) {
        // Who asks while one is read waits.
        let (ask, asked) = mpsc::channel(1);
        (Self { ask, state }, asked)
    }

    /// What is known of the configuration now.
    #[must_use]
    pub fn state(&self) -> Configuration {
        self.state.borrow().clone()
    }

    /// Has the configuration read now.
    ///
    /// # Errors
    /// If nobody does that any more.
    pub async fn reload(&self) -> Result<Reloaded, NotReloadable> {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask.send(answer).await;
        asked.map_err(|_| NotReloadable)?;
        answered.await.map_err(|_| NotReloadable)
    }
}

impl Changes {
    /// From these tenants to those.
    #[must_use]
    pub fn between(before: &ById, after: &ById) -> Self {
        let mut changes = Self::default();
        for (id, tenant) in after {
            match before.get(id) {
                None => changes.added.push(id.clone()),
                Some(known) if !Arc::ptr_eq(known, tenant) => changes.changed.push(id.clone()),
                Some(_) => {}
            }
        }
        let removed = before.keys().filter(|id| !after.contains_key(*id));
        changes.removed.extend(removed.cloned());
        for ids in [
            &mut changes.added,
            &mut changes.changed,
            &mut changes.removed,
        ] {
            ids.sort_unstable();
        }
        changes
    }
}
