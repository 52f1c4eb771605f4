//! What windows have counted, kept through restarts: an embedded store with a thread of its own.
//!
//! A count is kept ahead of what is used of it, in blocks, so that requests hardly ever wait for the disk. Invariants: what the store
//! holds is never less than what was used, whenever the process ends; after an orderly end it is exactly that; what has ended long ago is
//! neither there nor in memory.

mod pruning;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::oneshot;

use self::pruning::Pruning;

/// By the count's name: the first second of its day or month, and how much.
const COUNTS: TableDefinition<'static, &str, (i64, u64)> = TableDefinition::new("counts");
/// The file in the folder.
const FILE: &str = "counts.redb";
/// For how long a count is kept that nobody asks for, in seconds: longer than any month.
const KEPT: i64 = 40 * 24 * 3600;

/// The store.
pub struct Ledger {
    rows: Arc<Rows>,
    /// `None`: closed.
    writer: Mutex<Option<Writer>>,
    counts: Mutex<Vec<Weak<dyn Counted>>>,
}

/// What is kept, or about to be.
type Rows = Mutex<HashMap<Box<str>, (i64, u64)>>;

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
        let rows = Arc::new(Mutex::new(rows));
        let pruning = Pruning::new(Arc::clone(&rows), now);
        let (sender, entries) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("counts".to_owned())
            .spawn(move || write(&database, &entries, pruning))
            .map_err(redb::Error::Io)?;
        Ok(Self {
            rows,
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

/// Keeps what comes, all that has come in one transaction, until nobody can send any more. Between two of them, and while nothing comes,
/// some of what has ended is pruned, if there is any.
fn write(database: &Database, entries: &Receiver<Entry>, mut pruning: Pruning) {
    loop {
        pruning.some(database);
        let first = match entries.try_recv() {
            Err(TryRecvError::Empty) if pruning.is_due() => continue,
            Err(TryRecvError::Empty) => entries.recv().ok(),
            first => first.ok(),
        };
        let Some(first) = first else { return };
        let mut entries: Vec<Entry> = std::iter::once(first).chain(entries.try_iter()).collect();
        let written = write_all(database, &entries);
        if let Err(error) = &written {
            tracing::error!("counts could not be kept, so what they count is refused: {error}");
        }
        for entry in entries.drain(..) {
            pruning.seen(entry.begins);
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_781_092_800;
    const DAY: i64 = 24 * 3600;

    fn keep(ledger: &Ledger, name: &str, begins: i64) {
        let (tell, told) = waiting();
        ledger.keep(name, begins, 7, tell);
        assert_eq!(told.blocking_recv(), Ok(true));
    }

    /// Waits until so many are kept in memory.
    fn holds(ledger: &Ledger, expected: usize) {
        for _ in 0..3000 {
            if locked(&ledger.rows).len() == expected {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{} are held", locked(&ledger.rows).len());
    }

    #[test]
    fn what_has_ended_is_pruned_while_it_runs_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), NOON).unwrap();
        // More than are looked at together.
        let old = i32::try_from(3 * pruning::TOGETHER).unwrap();
        let last = (0..old).map(|number| {
            let (tell, told) = waiting();
            ledger.keep(&format!("old-{number}"), NOON, 7, tell);
            told
        });
        for told in last.collect::<Vec<_>>() {
            assert_eq!(told.blocking_recv(), Ok(true));
        }
        keep(&ledger, "goes-on", NOON);
        keep(&ledger, "this-month", NOON + 20 * DAY);
        keep(&ledger, "today", NOON + KEPT - 1);
        keep(&ledger, "goes-on", NOON + KEPT - 1);
        // Not yet: it may be a month's, of which this is the last day.
        assert_eq!(ledger.known("old-0"), Some((NOON, 7)));
        keep(&ledger, "today", NOON + KEPT + DAY);
        holds(&ledger, 3);
        assert_eq!(ledger.known("old-0"), None);
        assert_eq!(ledger.known("goes-on"), Some((NOON + KEPT - 1, 7)));
        // What is pruned can be kept again.
        keep(&ledger, "old-1", NOON + KEPT + DAY);
        ledger.close();
        drop(ledger);
        // To whoever opens it as if no time had passed, the store itself shows what is in it.
        let again = Ledger::open(folder.path(), NOON).unwrap();
        let mut names: Vec<_> = locked(&again.rows).keys().cloned().collect();
        names.sort_unstable();
        let left = ["goes-on", "old-1", "this-month", "today"].map(Box::from);
        assert_eq!(names, left);
    }
}
