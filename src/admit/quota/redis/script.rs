//! Asks the script, and reads its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::redis::Cmd;
use smallvec::SmallVec;

use super::super::Charge;
use super::super::arithmetic::{Bound, Used};
use super::key::{self, Name};
use crate::redis::{Connection, NoAnswer};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Charge,
    Refund,
    Levels,
}

/// One count of a call.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// With its window.
    pub(super) name: Name,
    pub(super) bound: Bound,
    /// What is wanted of the room.
    pub(super) cost: u64,
    /// So much more of it, if there is that much.
    pub(super) extra: u64,
    pub(super) shadow: bool,
}

impl Line {
    /// What a charge wants, and so many units more.
    pub(super) fn of(prefix: &str, charge: &Charge<'_>, bound: Bound, extra: u64) -> Self {
        let name = key::name(prefix, &charge.key);
        Self {
            extra: bound.cost(extra),
            shadow: charge.shadow,
            ..Self::returning(name, bound, charge.amount)
        }
    }

    /// So many units of a count, which is named without its window.
    pub(super) fn returning(mut name: Name, bound: Bound, units: u64) -> Self {
        key::with_window(&mut name, &bound);
        Self {
            name,
            bound,
            cost: bound.cost(units),
            extra: 0,
            shadow: false,
        }
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Everything was done.
    Done {
        now: u64,
        counts: SmallVec<[Count; 4]>,
    },
    /// Nothing was: one count has no room.
    Refused { now: u64, index: usize, used: u64 },
}

/// Where one count stands after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) used: Used,
    /// Whether the extra was taken too.
    pub(super) extra: bool,
    /// Whether a shadow would have refused.
    pub(super) shadowed: bool,
}

/// The script, as servers know it.
#[derive(Debug)]
pub(super) struct Script {
    script: ::redis::Script,
    /// Added to the server's time, in microseconds: only tests set it.
    offset: Arc<AtomicI64>,
}

const SOURCE: &str = include_str!("script.lua");

impl Script {
    pub(super) fn new(offset: Arc<AtomicI64>) -> Self {
        Self {
            script: ::redis::Script::new(SOURCE),
            offset,
        }
    }

    /// The server's time, and what came of it; `None` if it is not the time of these windows.
    pub(super) async fn run(
        &self,
        redis: &Connection,
        action: Action,
        lines: &[Line],
    ) -> Result<(u64, Option<Answer>), NoAnswer> {
        let mut answer: Result<Vec<i64>, _> = redis.ask(&self.command(action, lines)).await;
        if answer.as_ref().is_err_and(is_unknown) {
            answer = redis.ask(&self.whole(action, lines)).await;
        }
        read(&answer?, lines.len())
    }

    /// The command, to servers that know the script.
    pub(super) fn command(&self, action: Action, lines: &[Line]) -> Cmd {
        self.named("EVALSHA", self.script.get_hash(), action, lines)
    }

    /// The command with the script itself, to servers that do not.
    pub(super) fn whole(&self, action: Action, lines: &[Line]) -> Cmd {
        self.named("EVAL", SOURCE, action, lines)
    }

    fn named(&self, name: &str, script: &str, action: Action, lines: &[Line]) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(script).arg(lines.len());
        for line in lines {
            command.arg(&line.name[..]);
        }
        command.arg(match action {
            Action::Charge => "charge",
            Action::Refund => "refund",
            Action::Levels => "levels",
        });
        command.arg(self.offset.load(Ordering::Relaxed));
        for line in lines {
            match line.bound.window {
                None => command.arg(0 - line.bound.drain.cast_signed()).arg(0),
                Some((start, end)) => command.arg(start).arg(end),
            };
            command.arg(line.cost).arg(line.bound.room);
            command.arg(line.extra).arg(u8::from(line.shadow));
        }
        command
    }
}

/// Whether the server does not know the script: it was started since, or is another master.
pub(super) fn is_unknown(error: &NoAnswer) -> bool {
    matches!(error, NoAnswer::Error { code: Some(code), .. } if code == "NOSCRIPT")
}

/// What the script said of so many counts.
pub(super) fn read(answer: &[i64], counts: usize) -> Result<(u64, Option<Answer>), NoAnswer> {
    sense(answer, counts).ok_or_else(|| NoAnswer::Error {
        code: None,
        message: "the script's answer makes no sense".to_owned(),
    })
}

/// `None`: it makes no sense.
fn sense(answer: &[i64], counts: usize) -> Option<(u64, Option<Answer>)> {
    let [now, what, rest @ ..] = answer else {
        return None;
    };
    let now = u64::try_from(*now).ok()?;
    match (*what, rest) {
        (-1, []) => Some((now, None)),
        (0, rest) if rest.len() == 2 * counts => {
            let each = rest.chunks_exact(2).map(|pair| {
                let [used, flag @ 0..=2] = *pair else {
                    return None;
                };
                let used = u64::try_from(used).ok()?;
                Some(Count {
                    used: Used { used, at: now },
                    extra: flag == 1,
                    shadowed: flag == 2,
                })
            });
            let counts = each.collect::<Option<_>>()?;
            Some((now, Some(Answer::Done { now, counts })))
        }
        (place, &[used]) => {
            let index = usize::try_from(place).ok()?.checked_sub(1)?;
            let used = u64::try_from(used).ok()?;
            let refused = Answer::Refused { now, index, used };
            (index < counts).then_some((now, Some(refused)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_make_no_sense_are_none() {
        assert_eq!(sense(&[7, -1], 2), Some((7, None)));
        let refused = Answer::Refused {
            now: 7,
            index: 1,
            used: 9,
        };
        assert_eq!(sense(&[7, 2, 9], 2), Some((7, Some(refused))));
        for (answer, counts) in [
            (&[][..], 0),
            (&[7], 0),
            (&[-7, -1], 1),
            (&[7, 0, 1], 1),
            (&[7, 0, 1, 3], 1),
            (&[7, 0, -1, 0], 1),
            (&[7, 0, 1, 0], 2),
            (&[7, 3, 1], 2),
            (&[7, -2, 1], 2),
            (&[7, 1], 2),
        ] {
            assert_eq!(sense(answer, counts), None, "{answer:?}");
        }
    }
}
