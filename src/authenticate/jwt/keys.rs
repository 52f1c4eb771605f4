//! An issuer's keys, kept fresh in the background.
//!
//! They are fetched again from time to time, and when a token names a key that is not among them; the last good ones are kept where that
//! fails. Invariant: whatever tokens name, the issuer is asked at most once in [`MIN_INTERVAL`], and a request waits for an answer at most
//! [`PATIENCE`], and for none while the key is at hand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::fetch::Location;
use super::key_set::KeySet;
use crate::clock::SharedClock;

/// How old keys become.
const MAX_AGE: Duration = Duration::from_mins(5);
/// How soon after a failure they are tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often the issuer is asked at most.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// How often a file is looked at. Comparing is cheap, and how mounted files change cannot be watched everywhere.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// How often a file is looked at, at most.
const MIN_FILE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(3);

/// An issuer's keys.
#[derive(Debug)]
pub(super) struct Keys {
    held: watch::Receiver<Held>,
    wanted: Arc<Notify>,
    clock: SharedClock,
    min_interval: Duration,
    _fetching: AbortOnDropHandle<()>,
}

/// What is there.
#[derive(Debug, Clone, Default)]
struct Held {
    keys: Option<Arc<KeySet>>,
    /// How many fetches have ended.
    ended: u64,
    /// When the last fetch began, by the monotonic clock.
    began: Duration,
    /// Whether one is under way.
    under_way: bool,
}

impl Keys {
    /// Begins to fetch an issuer's keys, on the current runtime.
    pub(super) fn fetch(
        source: &Arc<str>,
        issuer: &str,
        location: Location,
        clock: SharedClock,
    ) -> Self {
        let began = clock.monotonic();
        let (sender, held) = watch::channel(Held {
            began,
            under_way: true,
            ..Held::default()
        });
        let wanted = Arc::new(Notify::new());
        let fetcher = Fetcher {
            source: Arc::clone(source),
            issuer: issuer.to_owned(),
            min_interval: if location.is_local() {
                MIN_FILE_INTERVAL
            } else {
                MIN_INTERVAL
            },
            location,
            held: sender,
            wanted: Arc::clone(&wanted),
            clock: Arc::clone(&clock),
        };
        Self {
            held,
            wanted,
            clock,
            min_interval: fetcher.min_interval,
            _fetching: AbortOnDropHandle::new(tokio::spawn(fetcher.run())),
        }
    }

    /// The keys at hand. `None`: there never were any.
    pub(super) fn now(&self) -> Option<Arc<KeySet>> {
        self.held.borrow().keys.clone()
    }

    /// The keys after the fetch that is under way, or after another one, if it is time for one: at once otherwise.
    pub(super) async fn newer(&self) -> Option<Arc<KeySet>> {
        let known = self.held.borrow().clone();
        if !known.under_way {
            if self.clock.monotonic() < known.began + self.min_interval {
                return known.keys;
            }
            self.wanted.notify_one();
        }
        let mut held = self.held.clone();
        let ended = held.wait_for(|held| held.ended > known.ended);
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(held)) => held.keys.clone(),
            // Too slow, or presignd is going down.
            Ok(Err(_)) | Err(_) => known.keys,
        }
    }
}

/// Whoever fetches.
struct Fetcher {
    source: Arc<str>,
    issuer: String,
    location: Location,
    held: watch::Sender<Held>,
    wanted: Arc<Notify>,
    clock: SharedClock,
    min_interval: Duration,
}

impl Fetcher {
    async fn run(self) {
        loop {
            let began = self.clock.monotonic();
            self.held.send_modify(|held| {
                held.began = began;
                held.under_way = true;
            });
            let good = self.fetch().await;
            let next = match (self.location.is_local(), good) {
                (true, _) => FILE_INTERVAL,
                (false, true) => MAX_AGE,
                (false, false) => RETRY,
            };
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = self.wanted_in_time(began) => {}
            }
        }
    }

    /// Ends when somebody wants newer keys, and it is time.
    async fn wanted_in_time(&self, began: Duration) {
        loop {
            self.wanted.notified().await;
            if self.clock.monotonic() >= began + self.min_interval {
                return;
            }
        }
    }

    /// Fetches once. Returns whether there are keys.
    async fn fetch(&self) -> bool {
        let fetched = self.location.fetch(&self.issuer).await;
        let issuer = &*self.source;
        let good = fetched.is_ok();
        match &fetched {
            Ok(keys) => tracing::debug!(issuer, keys = keys.len(), "the issuer's keys are fresh"),
            Err(error) if self.held.borrow().keys.is_some() => {
                tracing::warn!(
                    issuer,
                    "the issuer's keys are not renewed, and the last good ones are kept: {error}"
                );
            }
            Err(error) => {
                tracing::warn!(
                    issuer,
                    "there are no keys of the issuer, so none of its tokens is accepted: {error}"
                );
            }
        }
        self.held.send_modify(|held| {
            // The same keys again stay the same, and what was verified with them stays verified.
            match fetched {
                Ok(keys) if held.keys.as_deref() != Some(&keys) => held.keys = Some(Arc::new(keys)),
                _ => {}
            }
            held.ended += 1;
            held.under_way = false;
        });
        good
    }
}
