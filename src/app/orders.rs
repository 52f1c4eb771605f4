//! Turns the settings about state into what keeps the orders.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config;
use crate::operate::file::FileStore;
use crate::operate::{Keeper, StandingOrders};

/// The orders, and who keeps them, if anybody does.
pub(super) struct Kept {
    pub(super) orders: StandingOrders,
    pub(super) keeper: Option<Keeper>,
}

/// The orders that stand.
///
/// # Errors
/// If there may be orders that cannot be read: nothing is signed then, rather than what an operator has stopped.
pub(super) async fn kept(state: &config::State) -> anyhow::Result<Kept> {
    let Some(folder) = &state.dir else {
        return Ok(Kept {
            orders: StandingOrders::default(),
            keeper: None,
        });
    };
    let folder = folder.clone();
    let store = tokio::task::spawn_blocking(move || {
        let opened = FileStore::open(&folder);
        opened.with_context(|| format!("state.dir: {} cannot be made", folder.display()))
    });
    let store = store.await??;
    let (orders, mut keeper) = StandingOrders::kept(Arc::new(store));
    let looked = keeper.look().await;
    looked.context("what operators have ordered cannot be read")?;
    Ok(Kept {
        orders,
        keeper: Some(keeper),
    })
}
