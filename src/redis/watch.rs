//! Whether anybody is there: asked from time to time and whenever there is doubt, and dialled anew until somebody is.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::ConnectionLike as _;

use super::dial::{self, Lane};
use super::{Shared, said};
use crate::metrics;

/// Between two looks at a store that is there.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look, and a dial, may take: nobody waits for them.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first wait between two dials, which doubles up to the last.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(1);

/// Watches until nobody has the store any more.
pub(super) async fn watch(shared: Weak<Shared>) {
    let mut wait = FIRST;
    let mut said_away = false;
    let mut looks = 0_usize;
    loop {
        let Some(store) = shared.upgrade() else {
            return;
        };
        let lanes = store.lanes.load_full();
        if let Some(lanes) = lanes {
            let doubt = Arc::clone(&store.doubt);
            drop(store);
            let doubted = tokio::time::timeout(LOOK, doubt.notified()).await.is_ok();
            let Some(store) = shared.upgrade() else {
                return;
            };
            looks = looks.wrapping_add(1);
            if !doubted {
                // It held for a while.
                wait = FIRST;
            }
            if let Some(lane) = lanes.get(looks % lanes.len().max(1))
                && let Err(why) = look(lane.clone()).await
            {
                store.leave(Some(&lanes), &why);
            }
            continue;
        }
        let dialled = tokio::time::timeout(PATIENCE, arrive(&store)).await;
        let dialled = dialled.unwrap_or_else(|_| Err("no connection in time".to_owned()));
        match dialled {
            Ok(lanes) => {
                store.lanes.store(Some(Arc::new(lanes)));
                metrics::COUNTS_SWITCHES.count(metrics::BACK);
                tracing::info!("the shared store is there");
                said_away = true;
            }
            Err(why) if !said_away => {
                said_away = true;
                metrics::COUNTS_SWITCHES.count(metrics::AWAY);
                tracing::warn!("the shared store is away: {why}");
            }
            Err(why) => tracing::debug!("the shared store is still away: {why}"),
        }
        drop(store);
        if shared
            .upgrade()
            .is_some_and(|store| store.lanes.load().is_none())
        {
            tokio::time::sleep(jittered(wait)).await;
        }
        wait = (wait * 2).min(LAST);
    }
}

/// Connections on which somebody answers.
async fn arrive(store: &Shared) -> Result<Vec<Lane>, String> {
    let lanes = dial::dial(&store.options).await;
    let lanes = lanes.map_err(|error| said(&error))?;
    for lane in &lanes {
        look(lane.clone()).await?;
    }
    Ok(lanes)
}

async fn look(mut lane: Lane) -> Result<(), String> {
    let ping = redis::cmd("PING");
    match tokio::time::timeout(LOOK, lane.req_packed_command(&ping)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err(format!("no answer within {LOOK:?}")),
    }
}

/// From half to all of it, so that replicas do not come back in step.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}
