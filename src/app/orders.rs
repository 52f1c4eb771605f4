//! Turns the settings about state into what keeps the orders.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::operate::file::FileStore;
use crate::operate::redis::RedisStore;
use crate::operate::{Keeper, StandingOrders};
use crate::redis::Connection;

/// How long a start waits for a shared store to say what stands.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is asked meanwhile.
const EVERY: Duration = Duration::from_millis(20);

/// The orders, and who keeps them, if anybody does.
pub(super) struct Kept {
    pub(super) orders: StandingOrders,
    pub(super) keeper: Option<Keeper>,
}

/// The orders that stand: in the shared store if there is one, with a copy in the folder if there is one too, or else in the folder.
///
/// # Errors
/// If there may be orders in the folder that cannot be read: nothing is signed then, rather than what an operator has stopped.
pub(super) async fn kept(
    folder: Option<&Path>,
    redis: Option<Arc<Connection>>,
) -> anyhow::Result<Kept> {
    let unreadable = "what operators have ordered cannot be read";
    let file = match folder {
        Some(folder) => Some(open(folder).await?),
        None => None,
    };
    let (orders, keeper) = match (redis, file) {
        (Some(redis), copy) => {
            let (orders, mut keeper) = StandingOrders::kept(Arc::new(RedisStore::new(redis)));
            if let Some(copy) = copy {
                keeper = keeper.with_copy(copy).await.context(unreadable)?;
            }
            // While it does not answer, what was known last stands; the keeper goes on to ask.
            let _ = tokio::time::timeout(PATIENCE, answered(&mut keeper)).await;
            (orders, keeper)
        }
        (None, Some(file)) => {
            let (orders, mut keeper) = StandingOrders::kept(Arc::new(file));
            keeper.look().await.context(unreadable)?;
            (orders, keeper)
        }
        (None, None) => {
            return Ok(Kept {
                orders: StandingOrders::default(),
                keeper: None,
            });
        }
    };
    Ok(Kept {
        orders,
        keeper: Some(keeper),
    })
}

async fn answered(keeper: &mut Keeper) {
    while keeper.look().await.is_err() {
        tokio::time::sleep(EVERY).await;
    }
}

async fn open(folder: &Path) -> anyhow::Result<FileStore> {
    let folder = folder.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        let opened = FileStore::open(&folder);
        opened.with_context(|| format!("state.dir: {} cannot be made", folder.display()))
    });
    opening.await?
}
