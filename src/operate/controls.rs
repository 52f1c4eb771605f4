//! What operators reach of a running presignd, beside the orders.

use std::time::Duration;

use tokio::sync::watch;

use super::configuration::{Configuration, NotReloadable, Reloaded, Reloads};
use super::dependency::{Dependency, Depends};

/// What operators reach.
#[derive(Debug, Default)]
pub struct Controls {
    /// Where the configuration is read anew; `None`: nowhere.
    pub reloads: Option<Reloads>,
    /// What presignd needs from others.
    pub dependencies: Vec<Box<dyn Depends>>,
    /// Whether it answers requests; `None`: always.
    pub ready: Option<watch::Receiver<bool>>,
    /// When it started, by the monotonic clock.
    pub started: Duration,
}

impl Controls {
    /// Has the configuration read now.
    ///
    /// # Errors
    /// If there is none to read.
    pub async fn reload(&self) -> Result<Reloaded, NotReloadable> {
        match &self.reloads {
            Some(reloads) => reloads.reload().await,
            None => Err(NotReloadable),
        }
    }

    /// What is known of the configuration, if it can be read anew.
    #[must_use]
    pub fn configuration(&self) -> Option<Configuration> {
        self.reloads.as_ref().map(Reloads::state)
    }

    /// How everything is that presignd needs.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        let all = self.dependencies.iter();
        all.flat_map(|depends| depends.found()).collect()
    }

    /// Whether presignd answers requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.as_ref().is_none_or(|ready| *ready.borrow())
    }
}
