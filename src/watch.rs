//! Hearing of changed files: at once where the system tells, and every so often besides.
//!
//! Folders are watched, not files: files are replaced by renaming, and in Kubernetes a link beside them is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// How often somebody should look even if nothing was heard: network file systems tell nothing.
const POLL: Duration = Duration::from_secs(30);
/// How long files are left alone after a change: those that belong together are replaced together, though not at once.
const SETTLE: Duration = Duration::from_millis(200);

/// Hears of whatever happens in some folders, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches these folders; `what` is in them.
    #[must_use]
    pub fn on(folders: &BTreeSet<PathBuf>, what: &str) -> Self {
        let changed = Arc::new(Notify::new());
        let watching = watcher(&changed).and_then(|mut watcher| {
            for folder in folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        let watcher = watching.inspect_err(|error| {
            tracing::warn!("changes of {what} are noticed within {POLL:?}, not at once: {error}");
        });
        Self {
            changed,
            _watcher: watcher.ok(),
        }
    }

    /// Ends when it is time to look.
    pub async fn due(&self) {
        let heard = tokio::time::timeout(POLL, self.changed.notified()).await;
        if heard.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }
}

fn watcher(changed: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event as well, and this process reads them.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })
}

/// The folder that a file is in.
#[must_use]
pub fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
