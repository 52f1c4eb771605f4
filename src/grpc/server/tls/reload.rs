//! Looking for changed files: at once where the system tells, and every so often besides.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::Tls;
use super::files::{Contents, Fingerprint, Pair};
use crate::clock::SharedClock;

/// How often the files are read even if nothing was heard: network file systems tell nothing.
const POLL: Duration = Duration::from_secs(30);
/// How long the files are left alone after a change: both are replaced together, though not at once.
const SETTLE: Duration = Duration::from_millis(200);

/// Looks at the files from time to time, and whenever they change.
pub(super) async fn reload(tls: &Tls, first: Contents, clock: &SharedClock) {
    let changed = Arc::new(Notify::new());
    // Watches until it is dropped.
    let _watcher = watch(tls, &changed);
    let mut seen = Seen::Held(first.fingerprint());
    if let Ok(pair) = tls.files.pair(&first) {
        warn(tls, &pair, clock);
    }
    drop(first);
    loop {
        // The first time as well: they may have changed before anybody watched.
        look(tls, &mut seen, clock).await;
        let heard = tokio::time::timeout(POLL, changed.notified()).await;
        if heard.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}

/// What the files held when they were last looked at.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Held(Fingerprint),
    /// They could not be read.
    Nothing(String),
}

async fn look(tls: &Tls, seen: &mut Seen, clock: &SharedClock) {
    let read = tls.files.read().await;
    let now = match &read {
        Ok(contents) => Seen::Held(contents.fingerprint()),
        Err(error) => Seen::Nothing(error.to_string()),
    };
    // What is known, good or bad, was told of.
    if now == *seen {
        return;
    }
    *seen = now;
    match read.and_then(|contents| tls.files.pair(&contents)) {
        Ok(pair) => {
            tracing::info!(valid_until = %pair.valid_until(), "a new certificate serves new connections");
            warn(tls, &pair, clock);
            tls.replace(pair);
        }
        Err(error) => tracing::error!("the last good certificate goes on serving: {error}"),
    }
}

fn warn(tls: &Tls, pair: &Pair, clock: &SharedClock) {
    if let Some(warning) = pair.warning(&tls.files.certificate, clock.now()) {
        tracing::warn!("{warning}");
    }
}

/// Tells of whatever happens in the files' folders: files are replaced by renaming, and in Kubernetes a link beside them is.
fn watch(tls: &Tls, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let created = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event as well, and this process reads them.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    });
    let watching = created.and_then(|mut watcher| {
        for folder in folders([&tls.files.certificate, &tls.files.key]) {
            watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watching
        .inspect_err(|error| {
            tracing::warn!(
                "changes of the certificate are noticed within {POLL:?}, not at once: {error}"
            );
        })
        .ok()
}

fn folders(files: [&PathBuf; 2]) -> BTreeSet<PathBuf> {
    let folder = |file: &PathBuf| match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    files.map(folder).into()
}
