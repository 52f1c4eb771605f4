//! Forgets counts of days and months that have ended long ago, a few at a time.
//!
//! Time passes for it as days begin: a store into which nothing is written does not grow. Invariant: one step holds up what is to be kept
//! by no more than [`TOGETHER`] rows, and the whole store is looked through no more often than once a day.

use std::ops::Bound;
use std::sync::Arc;

use redb::{Database, ReadableDatabase as _};

use super::{COUNTS, KEPT, Rows, locked};

/// How many rows are looked at in one step.
pub(super) const TOGETHER: usize = 1000;
/// How often everything is looked through, in seconds of days that begin.
const EVERY: i64 = 24 * 3600;

/// Where it is.
pub(super) struct Pruning {
    rows: Arc<Rows>,
    /// The latest day or month that has begun.
    latest: i64,
    /// When everything was last looked through.
    looked: i64,
    /// The last row that was looked at. `None`: nothing is looked through now.
    at: Option<Box<str>>,
}

impl Pruning {
    /// All was looked through now, in seconds since 1970.
    pub(super) fn new(rows: Arc<Rows>, now: i64) -> Self {
        Self {
            rows,
            latest: now,
            looked: now,
            at: None,
        }
    }

    /// A day or month has begun, or had before.
    pub(super) fn seen(&mut self, begins: i64) {
        self.latest = self.latest.max(begins);
    }

    /// Whether there is more to look at.
    pub(super) fn is_due(&self) -> bool {
        self.at.is_some() || self.latest.saturating_sub(self.looked) >= EVERY
    }

    /// Looks at some of the rows, if there is reason to.
    pub(super) fn some(&mut self, database: &Database) {
        if !self.is_due() {
            return;
        }
        let after = self.at.take().unwrap_or_else(|| {
            self.looked = self.latest;
            // No count has this name, and all come after it.
            "".into()
        });
        match self.step(database, &after) {
            Ok(next) => self.at = next,
            // Whatever is the matter keeps counts from being kept too, which is said there. Tomorrow again.
            Err(error) => tracing::debug!("ended counts could not be pruned: {error}"),
        }
    }

    /// Prunes among the rows after this one, and says how far it came; `None`: to the end.
    fn step(&self, database: &Database, after: &str) -> Result<Option<Box<str>>, redb::Error> {
        let mut ended: Vec<Box<str>> = Vec::new();
        let (mut looked, mut last) = (0, None);
        {
            let table = database.begin_read()?.open_table(COUNTS)?;
            let range = (Bound::Excluded(after), Bound::Unbounded);
            for row in table.range::<&str>(range)?.take(TOGETHER) {
                let (name, count) = row?;
                looked += 1;
                last = Some(name.value().into());
                if self.has_ended(count.value().0) {
                    ended.push(name.value().into());
                }
            }
        }
        if !ended.is_empty() {
            // Nobody else writes, so that these are still as they were looked at.
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(COUNTS)?;
                for name in &ended {
                    table.remove(&**name)?;
                }
            }
            transaction.commit()?;
            let mut rows = locked(&self.rows);
            for name in &ended {
                // It may be about to be kept anew.
                if rows
                    .get(name)
                    .is_some_and(|(begins, _)| self.has_ended(*begins))
                {
                    rows.remove(name);
                }
            }
        }
        Ok(last.filter(|_| looked == TOGETHER))
    }

    fn has_ended(&self, begins: i64) -> bool {
        begins <= self.looked - KEPT
    }
}
