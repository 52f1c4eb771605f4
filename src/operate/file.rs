//! Orders in a file of this replica's own: a small JSON document, replaced as a whole.
//!
//! Invariant: whenever the process or the machine stops, the file holds all orders as they were before a change or after it. A file that
//! cannot be read is never taken for one without orders.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Asking, Change, Order, OrderStore, Orders, OrdersAway};
use crate::names::TenantId;

/// The file's name.
const NAME: &str = "orders.json";
/// The file that is about to replace it.
const NEW: &str = ".orders.json.new";
/// How the file is written, so that a later presignd knows what it reads.
const VERSION: u32 = 1;

/// Keeps orders in a folder.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<Order>,
    #[serde(default)]
    suspended: BTreeMap<String, Order>,
}

impl FileStore {
    /// In this folder, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            name: folder.join(NAME).display().to_string(),
        })
    }
}

impl OrderStore for FileStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Asking<'_, Result<Option<Orders>, OrdersAway>> {
        let path = self.folder.join(NAME);
        Box::pin(async move {
            let text = off_the_runtime(move || match fs::read_to_string(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                read => read.map(Some),
            });
            match text.await {
                // Nobody forgets but who removes it.
                Ok(None) => Ok(Some(Orders::default())),
                Ok(Some(text)) => parse(&text).map(Some).map_err(|why| self.away(&why)),
                Err(error) => Err(self.away(&error)),
            }
        })
    }

    fn keep<'a>(
        &'a self,
        _change: &'a Change,
        after: &'a Orders,
    ) -> Asking<'a, Result<(), OrdersAway>> {
        Box::pin(self.write(after))
    }

    /// The folder is this replica's own.
    fn news(&self) -> Asking<'_, ()> {
        Box::pin(std::future::pending())
    }
}

impl FileStore {
    /// Has the file hold these orders, and no others.
    pub(super) async fn write(&self, orders: &Orders) -> Result<(), OrdersAway> {
        let text = text(orders).map_err(|error| self.away(&error))?;
        let folder = self.folder.clone();
        let written = off_the_runtime(move || replace(&folder, &text)).await;
        written.map_err(|error| self.away(&error))
    }

    fn away(&self, why: &dyn std::fmt::Display) -> OrdersAway {
        OrdersAway(format!("{}: {why}", self.name))
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Puts a file in the place of the one before: all of it, or nothing.
fn replace(folder: &Path, text: &str) -> io::Result<()> {
    let new = folder.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(NAME))?;
    // The name is the folder's, and outlasts the machine once the folder does.
    File::open(folder)?.sync_all()
}

fn text(orders: &Orders) -> serde_json::Result<String> {
    let suspended = orders.suspended.iter();
    let document = Document {
        version: VERSION,
        frozen: orders.frozen.clone(),
        suspended: suspended
            .map(|(tenant, order)| (tenant.to_string(), order.clone()))
            .collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn parse(text: &str) -> Result<Orders, String> {
    let broken = |why: &dyn std::fmt::Display| {
        format!("this is no file of orders ({why}): mend it, or remove it to have none stand")
    };
    let document: Document = serde_json::from_str(text).map_err(|error| broken(&error))?;
    if document.version != VERSION {
        return Err(broken(&format!(
            "of version {}, where this presignd knows {VERSION}",
            document.version
        )));
    }
    let suspended = document.suspended.into_iter().map(|(id, order)| {
        let tenant = TenantId::parse(&id).map_err(|error| broken(&format!("{id:?}: {error}")))?;
        Ok((tenant, order))
    });
    Ok(Orders {
        frozen: document.frozen,
        suspended: suspended.collect::<Result<_, String>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn order(reason: &str) -> Order {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
        Order::new(reason, "spiffe://a/on-call", now)
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made");
        let store = FileStore::open(&folder).unwrap();
        let mut orders = Orders::default();
        assert_eq!(store.read().await, Ok(Some(Orders::default())));
        let acme = TenantId::parse("acme").unwrap();
        for change in [
            Change::Suspend(acme.clone(), order("a \"leak\"\n\u{202e}")),
            Change::Freeze(order("fire")),
            Change::Resume(acme),
            Change::Unfreeze,
        ] {
            orders.apply(&change);
            store.keep(&change, &orders).await.unwrap();
            let again = FileStore::open(&folder).unwrap();
            assert_eq!(again.read().await, Ok(Some(orders.clone())));
            assert!(!folder.join(NEW).exists());
        }
    }

    #[tokio::test]
    async fn what_is_no_file_of_orders_is_never_taken_for_one_without_any() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let order = r#"{"reason":"r","ordered_by":"b","ordered_at":"2026-01-02T03:04:05Z"}"#;
        for text in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"version":2,"suspended":{}}"#,
            r#"{"version":1,"suspend":{}}"#,
            r#"{"version":1,"suspended":{"acme":{"reason":"r"}}}"#,
            &format!(r#"{{"version":1,"suspended":{{"../acme":{order}}}}}"#),
            &format!(r#"{{"version":1,"suspended":{{}},"frozen":{order}"#),
        ] {
            fs::write(folder.path().join(NAME), text).unwrap();
            let OrdersAway(why) = store.read().await.unwrap_err();
            assert!(
                why.contains("orders.json: this is no file of orders"),
                "{why}"
            );
        }
        let good = format!(r#"{{"version":1,"suspended":{{"acme":{order}}}}}"#);
        fs::write(folder.path().join(NAME), good).unwrap();
        assert_eq!(store.read().await.unwrap().unwrap().suspended.len(), 1);
        // A folder in its place.
        fs::remove_file(folder.path().join(NAME)).unwrap();
        fs::create_dir(folder.path().join(NAME)).unwrap();
        assert!(store.read().await.is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_written_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let mut orders = Orders::default();
        let freeze = Change::Freeze(order("fire"));
        orders.apply(&freeze);
        store.keep(&freeze, &orders).await.unwrap();
        // As a full disk would: the new file cannot be made.
        fs::create_dir(folder.path().join(NEW)).unwrap();
        let away = store.keep(&Change::Unfreeze, &Orders::default()).await;
        assert!(away.is_err());
        assert_eq!(store.read().await, Ok(Some(orders)));
    }
}
