//! What was charged, and nobody waits any more to hear so: it is given back.
//!
//! Who asks may give up while Redis is asked, or be given up by a timeout; the answer comes all the same. Invariants: what such an answer
//! says was taken goes back, once; no more than so many are waited for at a time, and none for longer than so; whoever waits to the end
//! pays nothing for it but room for what was sent.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::{Charge, CountsAway};
use super::script::{Action, Answer, Line, is_unknown, read};
use super::{Shared, away};
use crate::redis::{NoAnswer, Sent};

/// So many are waited for at a time: more is lost to whoever asked, as long as a day or a rate takes to forget it.
const MOST: usize = 1024;
/// And for so long.
const LONGEST: Duration = Duration::from_secs(10);
/// While Redis is away, how often it is looked for.
const LOOKS: Duration = Duration::from_millis(50);

/// How many more can be waited for.
#[derive(Debug)]
pub(super) struct Unheard(Arc<Semaphore>);

impl Default for Unheard {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Unheard {
    /// Does this for nobody, if there is room for it.
    fn spawn(&self, work: impl Future<Output = Result<(), CountsAway>> + Send + 'static) {
        let room = Arc::clone(&self.0).try_acquire_owned();
        // Outside of a runtime, or in one that shuts down, nothing goes on.
        let (Ok(room), Ok(runtime)) = (room, Handle::try_current()) else {
            tracing::debug!("what was charged for nobody stays so: there is no room to wait");
            return;
        };
        runtime.spawn(async move {
            let _room = room;
            match tokio::time::timeout(LONGEST, work).await {
                Ok(Ok(())) => {}
                Ok(Err(away)) => tracing::debug!("what was charged for nobody stays so: {away}"),
                Err(_) => tracing::debug!("what was charged for nobody stays so: no answer came"),
            }
        });
    }
}

/// A charge that Redis was asked to make.
pub(super) struct UnderWay<'a> {
    shared: &'a Arc<Shared>,
    lines: &'a [Line],
    /// Until it is answered.
    sent: Option<Sent>,
}

impl<'a> UnderWay<'a> {
    /// Has counts of one slot charged.
    pub(super) async fn charge(
        shared: &'a Arc<Shared>,
        lines: &'a [Line],
    ) -> Result<(u64, Option<Answer>), NoAnswer> {
        let mut under_way = Self {
            shared,
            lines,
            sent: None,
        };
        let script = &shared.script;
        let mut answer = under_way.ask(script.command(Action::Charge, lines)).await;
        if answer.as_ref().is_err_and(is_unknown) {
            answer = under_way.ask(script.whole(Action::Charge, lines)).await;
        }
        read(&answer?, lines.len())
    }

    async fn ask(&mut self, command: ::redis::Cmd) -> Result<Vec<i64>, NoAnswer> {
        let sent = self.sent.insert(self.shared.redis.send(command));
        let answer = self.shared.redis.answer(sent).await;
        if !matches!(answer, Err(NoAnswer::Late(_))) {
            self.sent = None;
        }
        answer
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Some(sent) = self.sent.take() else { return };
        let (shared, lines) = (Arc::clone(self.shared), self.lines.to_vec());
        self.shared.unheard.spawn(async move {
            let answer: Vec<i64> = sent.late().await.map_err(|error| away(&error))?;
            let read = read(&answer, lines.len()).map_err(|error| away(&error))?;
            let (_, Some(Answer::Done { counts, .. })) = read else {
                return Ok(());
            };
            let taken = lines.into_iter().zip(counts);
            let taken = taken.filter(|(_, count)| !count.shadowed);
            let taken: Vec<Line> = taken
                .map(|(line, count)| Line {
                    cost: line.cost + if count.extra { line.extra } else { 0 },
                    ..line
                })
                .collect();
            give_back(&shared, &taken).await
        });
    }
}

/// Charges of the service's, already made while the tenant's still are.
pub(super) struct Taken<'a> {
    shared: &'a Arc<Shared>,
    pub(super) charges: SmallVec<[Charge<'a>; 4]>,
    /// When the first was made.
    pub(super) at: u64,
}

impl<'a> Taken<'a> {
    pub(super) fn nothing(shared: &'a Arc<Shared>) -> Self {
        Self {
            shared,
            charges: SmallVec::new(),
            at: u64::MAX,
        }
    }

    /// They came to something. When.
    pub(super) fn keep(mut self) -> u64 {
        self.charges.clear();
        self.at
    }

    /// They came to nothing.
    pub(super) async fn give_back(&mut self) -> Result<(), CountsAway> {
        let charges = std::mem::take(&mut self.charges);
        let lines = self.shared.put_back(&charges, self.at);
        self.shared.give_back(&lines).await
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let lines = self.shared.put_back(&self.charges, self.at);
        if !lines.is_empty() {
            let shared = Arc::clone(self.shared);
            let work = async move { give_back(&shared, &lines).await };
            self.shared.unheard.spawn(work);
        }
    }
}

/// Gives back, as soon as there is somebody to take it. Asked once: what was not answered may have been done.
async fn give_back(shared: &Shared, lines: &[Line]) -> Result<(), CountsAway> {
    while !lines
        .iter()
        .all(|line| shared.redis.is_here_for(&line.name))
    {
        tokio::time::sleep(LOOKS).await;
    }
    shared.give_back(lines).await
}
