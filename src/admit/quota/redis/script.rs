//! Asks the script, and reads its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::redis::Cmd;
use smallvec::SmallVec;

use super::super::Charge;
use super::super::arithmetic::{Bound, Used};
use super::key;
use super::lease::Returned;
use crate::redis::{Connection, NoAnswer};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Charge,
    Refund,
    Levels,
}

/// One count of a call.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) charge: &'a Charge<'a>,
    pub(super) bound: Bound,
    /// So many units more, if there is room.
    pub(super) extra: u64,
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
        lines: &[Line<'_>],
    ) -> Result<(u64, Option<Answer>), NoAnswer> {
        let names = lines.iter().map(|line| {
            let mut name = key::name(redis.prefix(), &line.charge.key);
            key::with_window(&mut name, &line.bound);
            name
        });
        let numbers = lines.iter().map(|line| Numbers {
            bound: line.bound,
            cost: line.bound.cost(line.charge.amount),
            extra: line.bound.cost(line.extra),
            shadow: line.charge.shadow,
        });
        let numbers: SmallVec<[Numbers; 4]> = numbers.collect();
        let names: SmallVec<[key::Name; 4]> = names.collect();
        let answer = self.send(redis, action, &names, &numbers).await?;
        read(&answer, lines.len()).ok_or_else(|| NoAnswer::Error {
            code: None,
            message: "the script's answer makes no sense".to_owned(),
        })
    }

    /// Gives back what was leased of one count.
    pub(super) async fn give_back(
        &self,
        redis: &Connection,
        returned: &Returned,
    ) -> Result<(), NoAnswer> {
        let mut name = key::Name::from_slice(&returned.name);
        key::with_window(&mut name, &returned.bound);
        let numbers = Numbers {
            bound: returned.bound,
            cost: returned.bound.cost(returned.units),
            extra: 0,
            shadow: false,
        };
        self.send(redis, Action::Refund, &[name], &[numbers])
            .await
            .map(drop)
    }

    async fn send(
        &self,
        redis: &Connection,
        action: Action,
        names: &[key::Name],
        numbers: &[Numbers],
    ) -> Result<Vec<i64>, NoAnswer> {
        let offset = self.offset.load(Ordering::Relaxed);
        let command = |name: &str, script: &str| -> Cmd {
            let mut command = ::redis::cmd(name);
            command.arg(script).arg(names.len());
            for name in names {
                command.arg(&name[..]);
            }
            command.arg(match action {
                Action::Charge => "charge",
                Action::Refund => "refund",
                Action::Levels => "levels",
            });
            command.arg(offset);
            for numbers in numbers {
                match numbers.bound.window {
                    None => command.arg(0 - numbers.bound.drain.cast_signed()).arg(0),
                    Some((start, end)) => command.arg(start).arg(end),
                };
                command.arg(numbers.cost).arg(numbers.bound.room);
                command.arg(numbers.extra).arg(u8::from(numbers.shadow));
            }
            command
        };
        let known = command("EVALSHA", self.script.get_hash());
        match redis.ask(&known).await {
            // A server that was started since, or another master.
            Err(NoAnswer::Error { code, .. }) if code.as_deref() == Some("NOSCRIPT") => {
                redis.ask(&command("EVAL", SOURCE)).await
            }
            answer => answer,
        }
    }
}

/// What the script is told of one count.
struct Numbers {
    bound: Bound,
    cost: u64,
    extra: u64,
    shadow: bool,
}

/// `None`: it makes no sense.
fn read(answer: &[i64], counts: usize) -> Option<(u64, Option<Answer>)> {
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
        assert_eq!(read(&[7, -1], 2), Some((7, None)));
        let refused = Answer::Refused {
            now: 7,
            index: 1,
            used: 9,
        };
        assert_eq!(read(&[7, 2, 9], 2), Some((7, Some(refused))));
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
            assert_eq!(read(answer, counts), None, "{answer:?}");
        }
    }
}
