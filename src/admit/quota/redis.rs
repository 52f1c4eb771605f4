//! Counts in Redis: every limit of a request in one script and one round trip, or from what this replica has leased.
//!
//! Time is the server's; this replica only keeps how far it is from its own clock, so as to name the windows of the calendar, and the
//! script checks the names. The service's own limits cannot share every tenant's slot: they are always leased, by a script of their
//! own, before the tenant's is asked. Invariant: whatever is issued was taken from a count in Redis before, so that over any stretch of
//! time a rate is exceeded by no more than what the replicas held at its start (a block each), and a window never.

mod key;
mod lease;
mod moving;
mod script;
mod unheard;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use self::lease::Leases;
use self::script::{Action, Answer, Line, Script};
use self::unheard::{Taken, UnderWay, Unheard};
use super::arithmetic::Bound;
use super::{Asking, Charge, Charged, CountsAway, Level, SharedCounts, Short};
use crate::clock::SharedClock;
use crate::redis::{Connection, NoAnswer};

/// How often it is tried to name the window in which the server is.
const ATTEMPTS: usize = 3;
/// How many leases are given back together.
const TOGETHER: usize = 64;

/// How much a replica may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leasing {
    /// The most that a replica holds of a limit, in parts per thousand. 0: nothing, except of the service's own limits, of which it
    /// then holds 10.
    pub share: u16,
    /// How long it holds what nobody asks for.
    pub life: Duration,
}

impl Default for Leasing {
    fn default() -> Self {
        Self {
            share: 10,
            life: Duration::from_secs(2),
        }
    }
}

/// The counts.
#[derive(Debug)]
pub struct RedisCounts {
    shared: Arc<Shared>,
    sweeping: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    redis: Arc<Connection>,
    script: Script,
    leases: Leases,
    clock: SharedClock,
    /// The server's time less this replica's, in microseconds.
    ahead: AtomicI64,
    unheard: Unheard,
}

/// What became of some of the charges.
type Made = SmallVec<[(Level, Option<Short>); 4]>;

/// What the script said of counts within these bounds.
type Ran = (SmallVec<[Bound; 4]>, Answer);

impl RedisCounts {
    /// Counts behind a connection. `offset` is added to the server's time, in microseconds: only tests set it, it is 0.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(
        redis: Arc<Connection>,
        leasing: Leasing,
        clock: SharedClock,
        offset: Arc<AtomicI64>,
    ) -> Self {
        // A guess, until the server has told its own.
        let wall = clock.now().duration_since(std::time::UNIX_EPOCH);
        let ahead = micros(wall.unwrap_or_default()) - micros(clock.monotonic());
        let shared = Arc::new(Shared {
            redis,
            script: Script::new(offset),
            leases: Leases::new(leasing),
            clock,
            ahead: AtomicI64::new(ahead),
            unheard: Unheard::default(),
        });
        let sweeping = tokio::spawn(sweep(Arc::clone(&shared), leasing.life));
        Self { shared, sweeping }
    }
}

impl Drop for RedisCounts {
    fn drop(&mut self) {
        self.sweeping.abort();
    }
}

impl SharedCounts for RedisCounts {
    fn charge_at_hand(&self, charges: &[Charge<'_>]) -> Option<Charged> {
        let shared = &self.shared;
        let at = shared.now();
        let counts = shared.leases.take(shared.redis.prefix(), charges, at)?;
        Some(Charged::Made { counts, at })
    }

    fn charge<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Charged> {
        Box::pin(self.shared.charge(charges))
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], at: u64) -> Asking<'a, ()> {
        Box::pin(self.shared.refund(charges, at))
    }

    fn levels<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Vec<Level>> {
        Box::pin(self.shared.levels(charges))
    }
}

impl Shared {
    /// The server's time, in microseconds since 1970, or a little later.
    fn now(&self) -> u64 {
        let now = micros(self.clock.monotonic()) + self.ahead.load(Ordering::Relaxed);
        u64::try_from(now).unwrap_or(0)
    }

    async fn charge(self: &Arc<Self>, charges: &[Charge<'_>]) -> Result<Charged, CountsAway> {
        let (service, tenant) = parts(charges);
        let mut counts: SmallVec<[_; 4]> = smallvec::smallvec![None; charges.len()];
        let mut taken = Taken::nothing(self);
        if !service.is_empty() {
            let wanted = some(charges, &service);
            let now = self.now();
            let at_hand = self.leases.take(self.redis.prefix(), &wanted, now);
            let (made, at) = match at_hand {
                Some(made) => (made, now),
                None => match self.charge_slot(&wanted).await? {
                    Charged::Made { counts, at } => (counts, at),
                    Charged::Refused { index, short } => {
                        let index = service[index];
                        return Ok(Charged::Refused { index, short });
                    }
                },
            };
            taken.at = at;
            for ((&place, charge), made) in service.iter().zip(&wanted).zip(made) {
                counts[place] = Some(made);
                if made.1.is_none() {
                    taken.charges.push(*charge);
                }
            }
        }
        if !tenant.is_empty() {
            let answer = self.charge_slot(&some(charges, &tenant)).await;
            if !matches!(answer, Ok(Charged::Made { .. })) {
                // None is made. What cannot be given back stays used.
                let _ = taken.give_back().await;
            }
            match answer? {
                Charged::Made { counts: made, at } => {
                    // Of the first: what began between the two is not what was charged then.
                    taken.at = taken.at.min(at);
                    for (&place, made) in tenant.iter().zip(made) {
                        counts[place] = Some(made);
                    }
                }
                Charged::Refused { index, short } => {
                    let index = tenant[index];
                    return Ok(Charged::Refused { index, short });
                }
            }
        }
        Ok(Charged::Made {
            counts: counts.into_iter().flatten().collect(),
            at: taken.keep(),
        })
    }

    /// Makes charges that share a slot.
    async fn charge_slot(self: &Arc<Self>, charges: &[Charge<'_>]) -> Result<Charged, CountsAway> {
        let asked = self.leases.asking(self.redis.prefix(), charges, self.now());
        if !asked.outdated.is_empty()
            && let Err(away) = self.give_back(&asked.outdated).await
        {
            tracing::debug!("what was leased is lost: {away}");
        }
        let (bounds, answer) = self.run(Action::Charge, charges, &asked.extras).await?;
        match answer {
            Answer::Refused { now, index, used } => {
                let (Some(bound), Some(charge)) = (bounds.get(index), charges.get(index)) else {
                    return Err(CountsAway(
                        "the script refused what nobody asked".to_owned(),
                    ));
                };
                let cost = bound.cost(charge.amount);
                let short = bound.short(used, cost, now).unwrap_or(Short::Never);
                Ok(Charged::Refused { index, short })
            }
            Answer::Done { now, counts } => {
                let held = asked.answered(&bounds, &counts);
                let each = bounds.iter().zip(charges).zip(counts.iter().zip(held));
                let made: Made = each
                    .map(|((bound, charge), (count, held))| {
                        let short = count.shadowed.then(|| {
                            let cost = bound.cost(charge.amount);
                            bound
                                .short(count.used.used, cost, now)
                                .unwrap_or(Short::Never)
                        });
                        (bound.level_holding(count.used.used, held, now), short)
                    })
                    .collect();
                Ok(Charged::Made {
                    counts: made,
                    at: now,
                })
            }
        }
    }

    async fn refund(&self, charges: &[Charge<'_>], at: u64) -> Result<(), CountsAway> {
        let (service, tenant) = parts(charges);
        for places in [service, tenant] {
            let lines = self.put_back(&some(charges, &places), at);
            self.give_back(&lines).await?;
        }
        Ok(())
    }

    /// Takes into leases what was charged at this time, and says what there is no room for in them. Of a window that has ended, nothing.
    fn put_back(&self, charges: &[Charge<'_>], at: u64) -> SmallVec<[Line; 4]> {
        let (now, prefix) = (self.now(), self.redis.prefix());
        let mut lines = SmallVec::new();
        for charge in charges {
            let bound = Bound::of(charge.measure, at);
            if !bound.is_over(now) && !self.leases.put_back(prefix, charge, &bound) {
                lines.push(Line::of(prefix, charge, bound, 0));
            }
        }
        lines
    }

    /// Gives back so much of counts of one slot, in windows that have not ended.
    async fn give_back(&self, lines: &[Line]) -> Result<(), CountsAway> {
        if lines.is_empty() {
            return Ok(());
        }
        let answer = self.script.run(&self.redis, Action::Refund, lines).await;
        let (_, done) = answer.map_err(|error| away(&error))?;
        if done.is_none() && lines.len() > 1 {
            // One of the windows has just ended: that keeps back nothing of the others.
            for line in lines {
                let line = std::slice::from_ref(line);
                let answer = self.script.run(&self.redis, Action::Refund, line).await;
                answer.map_err(|error| away(&error))?;
            }
        }
        Ok(())
    }

    async fn levels(self: &Arc<Self>, charges: &[Charge<'_>]) -> Result<Vec<Level>, CountsAway> {
        let (service, tenant) = parts(charges);
        let mut levels = vec![None; charges.len()];
        for places in [service, tenant] {
            if places.is_empty() {
                continue;
            }
            let asked = some(charges, &places);
            let (bounds, answer) = self.run(Action::Levels, &asked, &[]).await?;
            if let Answer::Done { now, counts } = answer {
                for ((&place, bound), count) in places.iter().zip(&bounds).zip(&counts) {
                    // What is held here is there as well.
                    let held = self
                        .leases
                        .held(self.redis.prefix(), &charges[place], bound);
                    levels[place] = Some(bound.level_holding(count.used.used, held, now));
                }
            }
        }
        Ok(levels.into_iter().flatten().collect())
    }

    /// Runs the script over counts of one slot: at once, or one by one while the slot moves to another server.
    async fn run(
        self: &Arc<Self>,
        action: Action,
        charges: &[Charge<'_>],
        extras: &[u64],
    ) -> Result<Ran, CountsAway> {
        let ran = match self.run_together(action, charges, extras).await {
            Err(NoAnswer::Error { code, .. })
                if charges.len() > 1 && code.as_deref() == Some("TRYAGAIN") =>
            {
                self.run_apart(action, charges, extras).await
            }
            ran => ran,
        };
        ran.map_err(|error| away(&error))
    }

    /// Runs the script over counts of one slot, in the windows of the server's time.
    async fn run_together(
        self: &Arc<Self>,
        action: Action,
        charges: &[Charge<'_>],
        extras: &[u64],
    ) -> Result<Ran, NoAnswer> {
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let bounds: SmallVec<[Bound; 4]> = charges
                .iter()
                .map(|charge| Bound::of(charge.measure, now))
                .collect();
            let each = bounds.iter().zip(charges).enumerate();
            let lines: SmallVec<[Line; 4]> = each
                .map(|(index, (bound, charge))| {
                    let extra = extras.get(index).copied().unwrap_or(0);
                    Line::of(self.redis.prefix(), charge, *bound, extra)
                })
                .collect();
            let before = micros(self.clock.monotonic());
            let answer = match action {
                Action::Charge => UnderWay::charge(self, &lines).await,
                _ => self.script.run(&self.redis, action, &lines).await,
            };
            let (server, answer) = answer?;
            // Of the moment before: it is the server's time or a little later, so that a window ends here no later than there.
            let ahead = i64::try_from(server).unwrap_or(i64::MAX) - before;
            self.ahead.store(ahead, Ordering::Relaxed);
            if let Some(answer) = answer {
                return Ok((bounds, answer));
            }
        }
        Err(NoAnswer::Error {
            code: None,
            message: "the server's clock does not stand still".to_owned(),
        })
    }
}

/// Gives leases back that nobody asks for, until it is dropped.
async fn sweep(shared: Arc<Shared>, life: Duration) {
    loop {
        tokio::time::sleep(life.max(Duration::from_millis(100))).await;
        // While nobody is there to take them back they can still be used here.
        let back = |name: &[u8]| shared.redis.is_here_for(name);
        for shard in 0..lease::SHARDS {
            let idle = shared.leases.idle(shard, shared.now(), &back);
            let given =
                futures_util::stream::iter(idle).for_each_concurrent(TOGETHER, async |idle| {
                    if let Err(away) = shared.give_back(&[idle]).await {
                        tracing::debug!("what was leased is lost: {away}");
                    }
                });
            given.await;
        }
    }
}

/// The places of the service's charges, and of the tenant's.
fn parts(charges: &[Charge<'_>]) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 4]>) {
    (0..charges.len()).partition(|&index| charges[index].key.tenant.is_none())
}

fn some<'a>(charges: &[Charge<'a>], places: &[usize]) -> SmallVec<[Charge<'a>; 4]> {
    places.iter().map(|&place| charges[place]).collect()
}

fn away(error: &NoAnswer) -> CountsAway {
    CountsAway(error.to_string())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
