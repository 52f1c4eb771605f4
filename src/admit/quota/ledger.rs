//! What windows have counted, kept through restarts: an embedded store with a thread of its own.
//!
//! A count is kept ahead of what is used of it, in blocks, so that requests hardly ever wait for the disk. Invariant: what the store
//! holds is never less than what was used, whenever the process ends; after an orderly end it is exactly that.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::oneshot;

/// By the count's name: the first second of its day or month, and how much.
const COUNTS: TableDefinition<'static, &str, (i64, u64)> = TableDefinition::new("counts");
/// The file in the folder.
const FILE: &str = "counts.redb";
/// For how long a count is kept that nobody asks for, in seconds: longer than any month.
const KEPT: i64 = 40 * 24 * 3600;

/// The store.
pub struct Ledger {
    rows: Mutex<HashMap<Box<str>, (i64, u64)>>,
    /// `None`: closed.
    writer: Mutex<Option<Writer>>,
    counts: Mutex<Vec<Weak<dyn Counted>>>,
}

struct Writer {
    sender: Sender<Entry>,
    thread: JoinHandle<()>,
}

/// Something that can tell what it has counted.
pub(super) trait Counted: Send + Sync {
    /// Its name, the day or month, and how much.
    fn counted(&self) -> (Box<str>, i64, u64);
}

/// Something to keep, and whom to tell.
struct Entry {
    name: Box<str>,
    begins: i64,
    amount: u64,
    kept: Box<dyn FnOnce(bool) + Send>,
}

impl Ledger {
    /// Opens the store in this folder, which is made if it is not there. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// If it cannot be opened: another presignd has it, say.
    pub fn open(folder: &Path, now: i64) -> Result<Self, redb::Error> {
        std::fs::create_dir_all(folder).map_err(redb::Error::Io)?;
        let database = Database::create(folder.join(FILE))?;
        let mut rows = HashMap::new();
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(COUNTS)?;
            table.retain(|_, (begins, _)| begins > now - KEPT)?;
        }
        transaction.commit()?;
        for row in database.begin_read()?.open_table(COUNTS)?.iter()? {
            let (name, count) = row?;
            rows.insert(name.value().into(), count.value());
        }
        let (sender, entries) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("counts".to_owned())
            .spawn(move || write(&database, &entries))
            .map_err(redb::Error::Io)?;
        Ok(Self {
            rows: Mutex::new(rows),
            writer: Mutex::new(Some(Writer { sender, thread })),
            counts: Mutex::default(),
        })
    }

    /// What is kept of a count.
    pub(super) fn known(&self, name: &str) -> Option<(i64, u64)> {
        locked(&self.rows).get(name).copied()
    }

    /// Has this count told at an orderly end.
    pub(super) fn register(&self, count: Weak<dyn Counted>) {
        let mut counts = locked(&self.counts);
        // Now and then, those that are gone.
        if counts.len().is_power_of_two() {
            counts.retain(|count| count.strong_count() > 0);
        }
        counts.push(count);
    }

    /// Keeps so much, and tells whether that worked: on another thread, later.
    pub(super) fn keep(
        &self,
        name: &str,
        begins: i64,
        amount: u64,
        kept: impl FnOnce(bool) + Send + 'static,
    ) {
        locked(&self.rows).insert(name.into(), (begins, amount));
        let entry = Entry {
            name: name.into(),
            begins,
            amount,
            kept: Box::new(kept),
        };
        let sent = match &*locked(&self.writer) {
            Some(writer) => writer.sender.send(entry).map_err(|unsent| unsent.0),
            None => Err(entry),
        };
        if let Err(entry) = sent {
            (entry.kept)(false);
        }
    }

    /// Writes what was counted exactly, and takes no more. Blocks for a moment.
    pub fn close(&self) {
        let counts: Vec<_> = locked(&self.counts).drain(..).collect();
        let last = counts.iter().filter_map(Weak::upgrade);
        for (name, begins, amount) in last.map(|count| count.counted()) {
            self.keep(&name, begins, amount, |_| ());
        }
        let writer = locked(&self.writer).take();
        if let Some(Writer { sender, thread }) = writer {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!("the thread that keeps counts panicked");
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a lock holds is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until something is kept; `false`: it could not be.
pub(super) fn waiting() -> (impl FnOnce(bool) + Send + 'static, oneshot::Receiver<bool>) {
    let (sender, receiver) = oneshot::channel();
    let kept = move |kept| {
        // Whoever waited may have gone.
        let _ = sender.send(kept);
    };
    (kept, receiver)
}

/// Keeps what comes, all that has come in one transaction, until nobody can send any more.
fn write(database: &Database, entries: &Receiver<Entry>) {
    while let Ok(first) = entries.recv() {
        let mut entries: Vec<Entry> = std::iter::once(first).chain(entries.try_iter()).collect();
        let written = write_all(database, &entries);
        if let Err(error) = &written {
            tracing::error!("counts could not be kept, so what they count is refused: {error}");
        }
        for entry in entries.drain(..) {
            (entry.kept)(written.is_ok());
        }
    }
}

fn write_all(database: &Database, entries: &[Entry]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(COUNTS)?;
        for entry in entries {
            table.insert(&*entry.name, (entry.begins, entry.amount))?;
        }
    }
    transaction.commit()?;
    Ok(())
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}
