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

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use self::lease::{Leases, Returned};
use self::script::{Action, Answer, Line, Script};
use super::arithmetic::Bound;
use super::{Asking, Charge, Charged, CountsAway, Level, SharedCounts, Short};
use crate::clock::SharedClock;
use crate::redis::{Connection, NoAnswer};

/// Into a window's life a refund counts for nothing so long: what it gives back may have been taken of the one before.
const YOUNG_WINDOW: u64 = 60_000_000;
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
        shared
            .leases
            .take(shared.redis.prefix(), charges, shared.now())
            .map(Charged::Made)
    }

    fn charge<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, Charged> {
        Box::pin(self.shared.charge(charges))
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>]) -> Asking<'a, ()> {
        Box::pin(self.shared.refund(charges))
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

    async fn charge(&self, charges: &[Charge<'_>]) -> Result<Charged, CountsAway> {
        let (service, tenant) = parts(charges);
        let mut levels: SmallVec<[_; 4]> = smallvec::smallvec![None; charges.len()];
        let mut taken: SmallVec<[Charge<'_>; 4]> = SmallVec::new();
        if !service.is_empty() {
            let wanted: SmallVec<[Charge<'_>; 4]> = service.iter().map(|&i| charges[i]).collect();
            let at_hand = self.leases.take(self.redis.prefix(), &wanted, self.now());
            let made = match at_hand {
                Some(made) => made,
                None => match self.charge_slot(&wanted).await? {
                    Charged::Made(made) => made,
                    Charged::Refused { index, short } => {
                        let index = service[index];
                        return Ok(Charged::Refused { index, short });
                    }
                },
            };
            for ((&place, charge), made) in service.iter().zip(&wanted).zip(made) {
                levels[place] = Some(made);
                if made.1.is_none() {
                    taken.push(*charge);
                }
            }
        }
        if !tenant.is_empty() {
            let wanted: SmallVec<[Charge<'_>; 4]> = tenant.iter().map(|&i| charges[i]).collect();
            let answer = self.charge_slot(&wanted).await;
            if !matches!(answer, Ok(Charged::Made(_))) {
                // None is made. What cannot be given back stays used.
                let _ = self.refund(&taken).await;
            }
            match answer? {
                Charged::Made(made) => {
                    for (&place, made) in tenant.iter().zip(made) {
                        levels[place] = Some(made);
                    }
                }
                Charged::Refused { index, short } => {
                    let index = tenant[index];
                    return Ok(Charged::Refused { index, short });
                }
            }
        }
        Ok(Charged::Made(levels.into_iter().flatten().collect()))
    }

    /// Makes charges that share a slot.
    async fn charge_slot(&self, charges: &[Charge<'_>]) -> Result<Charged, CountsAway> {
        let asked = self.leases.asking(self.redis.prefix(), charges, self.now());
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
                asked.answered(&bounds, &counts);
                let each = bounds.iter().zip(charges).zip(&counts);
                let made: Made = each
                    .map(|((bound, charge), count)| {
                        let short = count.shadowed.then(|| {
                            let cost = bound.cost(charge.amount);
                            bound
                                .short(count.used.used, cost, now)
                                .unwrap_or(Short::Never)
                        });
                        (bound.level(count.used.used, now), short)
                    })
                    .collect();
                Ok(Charged::Made(made))
            }
        }
    }

    async fn refund(&self, charges: &[Charge<'_>]) -> Result<(), CountsAway> {
        let now = self.now();
        let mut left: SmallVec<[Charge<'_>; 4]> = SmallVec::new();
        for charge in charges {
            let window = Bound::of(charge.measure, now).window;
            let young = window.is_some_and(|(start, _)| now < start + YOUNG_WINDOW);
            if !young && !self.leases.put_back(self.redis.prefix(), charge, now) {
                left.push(*charge);
            }
        }
        let (service, tenant) = parts(&left);
        for places in [service, tenant] {
            if !places.is_empty() {
                let some: SmallVec<[Charge<'_>; 4]> = places.iter().map(|&i| left[i]).collect();
                self.run(Action::Refund, &some, &[]).await?;
            }
        }
        Ok(())
    }

    async fn levels(&self, charges: &[Charge<'_>]) -> Result<Vec<Level>, CountsAway> {
        let (service, tenant) = parts(charges);
        let mut levels = vec![None; charges.len()];
        for places in [service, tenant] {
            if places.is_empty() {
                continue;
            }
            let some: SmallVec<[Charge<'_>; 4]> = places.iter().map(|&i| charges[i]).collect();
            let (bounds, answer) = self.run(Action::Levels, &some, &[]).await?;
            if let Answer::Done { now, counts } = answer {
                for ((&place, bound), count) in places.iter().zip(&bounds).zip(&counts) {
                    let mut level = bound.level(count.used.used, now);
                    // What is held here is there as well.
                    level.left += self.leases.held(self.redis.prefix(), &charges[place], now);
                    levels[place] = Some(level);
                }
            }
        }
        Ok(levels.into_iter().flatten().collect())
    }

    /// Runs the script over counts of one slot: at once, or one by one while the slot moves to another server.
    async fn run(
        &self,
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
        &self,
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
            let lines = bounds.iter().zip(charges).enumerate();
            let lines: SmallVec<[Line<'_>; 4]> = lines
                .map(|(index, (bound, charge))| Line {
                    charge,
                    bound: *bound,
                    extra: extras.get(index).copied().unwrap_or(0),
                })
                .collect();
            let before = micros(self.clock.monotonic());
            let answer = self.script.run(&self.redis, action, &lines).await;
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

    /// Gives back what is held and nobody asks for.
    async fn give_back(&self, returned: Returned) {
        let answer = self.script.give_back(&self.redis, &returned).await;
        if let Err(error) = answer {
            tracing::debug!("what was leased is lost: {error}");
        }
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
            let idle = futures_util::stream::iter(idle);
            let given = idle.for_each_concurrent(TOGETHER, |idle| shared.give_back(idle));
            given.await;
        }
    }
}

/// The places of the service's charges, and of the tenant's.
fn parts(charges: &[Charge<'_>]) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 4]>) {
    (0..charges.len()).partition(|&index| charges[index].key.tenant.is_none())
}

fn away(error: &NoAnswer) -> CountsAway {
    CountsAway(error.to_string())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
