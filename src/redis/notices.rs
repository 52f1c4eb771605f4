//! Hears when another replica says that something changed.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Client, RedisResult};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use super::dial::{Address, CONNECTING, Dial, Manner};

/// The pause before another attempt to listen.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may be quiet before the connection is made anew: one that was cut says nothing either.
const QUIET: Duration = Duration::from_secs(30);

/// Servers where messages that are published anywhere arrive.
pub(super) enum Posts {
    Dial(Arc<Dial>),
    /// Any of these.
    Any(Manner, Vec<Address>),
}

impl Posts {
    async fn post(&self, turn: usize) -> RedisResult<Client> {
        match self {
            Self::Dial(dial) => dial.client().await,
            Self::Any(manner, servers) => {
                let server = servers.get(turn % servers.len().max(1));
                manner.client(server.ok_or_else(super::no_server)?)
            }
        }
    }
}

/// Where it is said.
pub(super) fn channel(prefix: &str) -> String {
    format!("{prefix}:changed")
}

/// Listens until it is dropped.
pub(super) async fn listen(posts: Posts, prefix: String, noticed: watch::Sender<u64>) {
    let channel = channel(&prefix);
    for turn in 0.. {
        let subscribed = timeout(CONNECTING * 3, async {
            let server = posts.post(turn).await?;
            let mut listening = server.get_async_pubsub().await?;
            listening.subscribe(&channel).await?;
            Ok::<_, ::redis::RedisError>(listening)
        });
        if let Ok(Ok(mut listening)) = subscribed.await {
            // What was said before is not heard any more.
            noticed.send_modify(|count| *count += 1);
            let mut messages = listening.on_message();
            while let Ok(Some(_)) = timeout(QUIET, messages.next()).await {
                noticed.send_modify(|count| *count += 1);
            }
        }
        tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
    }
}
