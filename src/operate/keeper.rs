//! Who keeps the orders: one task, so that changes and news of them come one after the other.
//!
//! Invariant: a change counts only once the store has it; and what the store says replaces what is in force, unless it says nothing or
//! has forgotten.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::dependency::{Kind, Noted, State};
use super::file::FileStore;
use super::{Asked, Change, Ordered, Orders, StandingOrders};

/// What keeps the orders did not answer, or not with sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what keeps the orders does not do so: {0}")]
pub struct OrdersAway(pub String);

/// What a store is still to say.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where orders outlast the process. Implementations bound how long they wait.
pub trait OrderStore: Send + Sync + Debug {
    /// What it is, in a word, for operators.
    fn name(&self) -> &str;

    /// All orders. `None`: the store has never kept any, or has forgotten them.
    fn read(&self) -> Asking<'_, Result<Option<Orders>, OrdersAway>>;

    /// Keeps a change, after which all orders are these.
    fn keep<'a>(
        &'a self,
        change: &'a Change,
        after: &'a Orders,
    ) -> Asking<'a, Result<(), OrdersAway>>;

    /// Ends when somebody else may have changed them.
    fn news(&self) -> Asking<'_, ()>;
}

/// Keeps the orders, while it runs.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn OrderStore>,
    /// What was known last, for a start while the store is away.
    copy: Option<FileStore>,
    known: Orders,
    orders: StandingOrders,
    asked: mpsc::Receiver<Asked>,
    state: Noted,
}

impl Keeper {
    pub(super) fn new(
        store: Arc<dyn OrderStore>,
        orders: StandingOrders,
        asked: mpsc::Receiver<Asked>,
    ) -> Self {
        Self {
            state: Noted::new(Kind::Orders, store.name()),
            store,
            copy: None,
            known: Orders::default(),
            orders,
            asked,
        }
    }

    /// How the store is, from now on.
    #[must_use]
    pub fn state(&self) -> Noted {
        self.state.clone()
    }

    /// With a copy of what was known last, which stands until the store says otherwise.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn with_copy(mut self, copy: FileStore) -> Result<Self, OrdersAway> {
        self.take(copy.read().await?.unwrap_or_default()).await;
        self.copy = Some(copy);
        Ok(self)
    }

    /// Takes what the store says now.
    ///
    /// # Errors
    /// If it says nothing: what is known goes on to stand.
    pub async fn look(&mut self) -> Result<(), OrdersAway> {
        let read = self.read().await;
        self.note(read.as_ref().map(drop).map_err(Clone::clone));
        self.take(read?).await;
        Ok(())
    }

    /// Keeps changes, and hears of those of others. Never ends.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                asked = self.asked.recv() => match asked {
                    Some(Asked { change, answer }) => {
                        let ordered = self.carry_out(&change).await;
                        // Whoever asked may have gone; the order stands.
                        let _ = answer.send(ordered);
                    }
                    None => std::future::pending().await,
                },
                // It was told of, if it failed.
                () = self.store.news() => drop(self.look().await),
            }
        }
    }

    /// What the store says. If it has forgotten all, as one without persistence does, what is known here is kept anew.
    async fn read(&self) -> Result<Orders, OrdersAway> {
        if let Some(orders) = self.store.read().await? {
            return Ok(orders);
        }
        if !self.known.is_empty() {
            tracing::warn!(
                "what keeps the orders has forgotten them: those that are known are kept anew"
            );
        }
        for change in self.known.as_changes() {
            self.store.keep(&change, &self.known).await?;
        }
        Ok(self.known.clone())
    }

    async fn carry_out(&mut self, change: &Change) -> Result<Ordered, OrdersAway> {
        let kept = async {
            let mut orders = self.read().await?;
            let ordered = orders.apply(change);
            if ordered.is_news() {
                self.store.keep(change, &orders).await?;
            }
            Ok((orders, ordered))
        }
        .await;
        self.note(kept.as_ref().map(drop).map_err(Clone::clone));
        let (orders, ordered) = kept?;
        self.take(orders).await;
        Ok(ordered)
    }

    async fn take(&mut self, orders: Orders) {
        if orders != self.known {
            self.orders.put_in_force(&orders);
            if let Some(copy) = &self.copy
                && let Err(error) = copy.write(&orders).await
            {
                tracing::error!("{error}: a restart while the shared store is away would not know");
            }
            let (frozen, suspended) = (orders.frozen.is_some(), orders.suspended.len());
            tracing::warn!(frozen, suspended, "other orders stand from now on");
        }
        self.known = orders;
    }

    fn note(&self, done: Result<(), OrdersAway>) {
        match done {
            Ok(()) => {
                if self.state.note(State::Working, "answers") == State::Failing {
                    tracing::info!("what keeps the orders answers again");
                }
            }
            Err(error) => {
                if self.state.note(State::Failing, &error.0) != State::Failing {
                    tracing::error!("{error}: the orders that are known go on to stand");
                }
            }
        }
    }
}
