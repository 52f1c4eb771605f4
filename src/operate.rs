//! What operators have ordered: tenants that are suspended, a service that is frozen.
//!
//! Orders stand until they are ended: a [`Keeper`] puts them where they outlast the process and reach every replica, and only then do
//! they count. Invariant: what an order stops is stopped by what this replica knows, whether or not what keeps the orders answers;
//! orders that cannot be read change nothing.

pub mod configuration;
mod controls;
pub mod dependency;
pub mod file;
mod keeper;
mod orders;
pub mod redis;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};

pub use self::controls::Controls;
pub use self::keeper::{Asking, Keeper, OrderStore, OrdersAway};
pub use self::orders::{Change, Order, Ordered, Orders};
use crate::names::TenantId;

/// How many changes may wait to be kept.
const WAITING: usize = 64;

/// Nothing is signed, by an operator's order. Why is not told: it is for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    /// For this tenant.
    #[error(
        "the tenant is suspended by its operators: nothing is signed for it until they resume it"
    )]
    Suspended,
    /// For anybody.
    #[error("the service is frozen by its operators: nothing is signed until they unfreeze it")]
    Frozen,
}

/// An order was not kept, so that it does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// There is nothing to keep it.
    #[error(
        "nothing keeps orders over a restart: set `state.dir`, or `state.redis` for several replicas, in the configuration"
    )]
    NoStore,
    /// What keeps orders did not take it.
    #[error(transparent)]
    Away(#[from] OrdersAway),
}

/// The orders that stand, for whoever signs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StandingOrders {
    /// `None`: none stands, as nearly always.
    in_force: Arc<ArcSwapOption<Orders>>,
    changes: Option<mpsc::Sender<Asked>>,
}

/// A change on its way to the keeper.
#[derive(Debug)]
struct Asked {
    change: Change,
    answer: oneshot::Sender<Result<Ordered, OrdersAway>>,
}

impl StandingOrders {
    /// Orders that are kept there, none of which is known until the keeper looks; and who keeps them.
    #[must_use]
    pub fn kept(store: Arc<dyn OrderStore>) -> (Self, Keeper) {
        let (changes, asked) = mpsc::channel(WAITING);
        let orders = Self {
            in_force: Arc::default(),
            changes: Some(changes),
        };
        let keeper = Keeper::new(store, orders.clone(), asked);
        (orders, keeper)
    }

    /// Whether anything may be signed for a tenant. Without orders this is one load.
    ///
    /// # Errors
    /// What stands against it.
    pub fn allow(&self, tenant: &TenantId) -> Result<(), Halted> {
        match &*self.in_force.load() {
            None => Ok(()),
            Some(orders) => orders.allow(tenant),
        }
    }

    /// All that stand.
    #[must_use]
    pub fn standing(&self) -> Arc<Orders> {
        self.in_force.load_full().unwrap_or_default()
    }

    /// Has a change kept, and then counts it.
    ///
    /// # Errors
    /// If it could not be kept: nothing has changed then, as far as this replica knows.
    pub async fn order(&self, change: Change) -> Result<Ordered, NotKept> {
        let changes = self.changes.as_ref().ok_or(NotKept::NoStore)?;
        let (answer, answered) = oneshot::channel();
        let gone = || OrdersAway("presignd is stopping".to_owned());
        let asked = changes.send(Asked { change, answer }).await;
        asked.map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }

    fn put_in_force(&self, orders: &Orders) {
        let some = (!orders.is_empty()).then(|| Arc::new(orders.clone()));
        self.in_force.store(some);
    }
}
