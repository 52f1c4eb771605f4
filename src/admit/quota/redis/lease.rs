//! What this replica has taken of counts ahead of requests, so that most of them wait for nobody.
//!
//! Invariants: of a count no more than a block is held and asked for together; what is held was taken in Redis before; of a window that
//! has ended nothing is held. A tenant's leases are behind one lock, held for as long as a subtraction takes, and never across an await.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use super::super::arithmetic::{Bound, Used};
use super::super::{Charge, CountKey, Level};
use super::key::{self, Name};
use super::script::{Count, Line};
use super::{Leasing, Made};

/// Parts that are locked apart: the last is the service's.
pub(super) const SHARDS: usize = TENANTS + 1;
const TENANTS: usize = 64;
/// What is leased of the service's limits where nothing else is.
const SERVICE_SHARE: u16 = 10;

/// All that is held.
#[derive(Debug)]
pub(super) struct Leases {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    leasing: Leasing,
}

type Shard = HashMap<Box<[u8]>, Lease>;

/// What is held of one count.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// Units that are held.
    units: u64,
    /// Units that are asked for now.
    asked: u64,
    /// What the count allows, and how it stood in Redis when that was last heard. `None`: not yet.
    seen: Option<(Bound, Used)>,
    /// When somebody last asked for it.
    visited: u64,
}

/// What was asked for besides charges. It is not waited for any more when this is dropped, as when the request is.
#[derive(Debug)]
pub(super) struct Asked<'l> {
    leases: &'l Leases,
    shard: usize,
    names: SmallVec<[Name; 4]>,
    /// In units, for each charge.
    pub(super) extras: SmallVec<[u64; 4]>,
    /// What was held under limits that have been changed since, and is to go back first.
    pub(super) outdated: SmallVec<[Line; 1]>,
}

impl Lease {
    /// The units that are held now.
    fn held(&self, now: u64) -> u64 {
        match self.seen {
            Some((bound, _)) if !bound.is_over(now) => self.units,
            _ => 0,
        }
    }

    /// The units that are held of a count that has this bound now.
    fn held_of(&self, bound: &Bound) -> u64 {
        match self.seen {
            Some((seen, _)) if seen.counts_as(bound) => self.units,
            _ => 0,
        }
    }

    /// Where the count stands, as far as is known here.
    fn level(&self, now: u64) -> Option<Level> {
        let (bound, used) = self.seen?;
        let used = bound.drained(used, now).used;
        Some(bound.level_holding(used, self.units, now))
    }
}

impl Leases {
    pub(super) fn new(leasing: Leasing) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            leasing,
        }
    }

    /// Makes charges from what is held, all or none. `None`: that is not enough.
    pub(super) fn take(&self, prefix: &str, charges: &[Charge<'_>], now: u64) -> Option<Made> {
        let mut names: SmallVec<[Name; 4]> = SmallVec::new();
        // The service's is locked last, so that nobody waits for one who waits for them.
        let first = charges.iter().find(|charge| charge.key.tenant.is_some());
        let mut tenant = first.map(|charge| self.lock(self.shard_of(&charge.key)));
        let own = charges.iter().any(|charge| charge.key.tenant.is_none());
        let mut service = own.then(|| self.lock(TENANTS));
        for charge in charges {
            let shard = match charge.key.tenant {
                Some(_) => tenant.as_deref(),
                None => service.as_deref(),
            };
            let name = key::of_lease(prefix, charge);
            let lease = shard?.get(&name[..])?;
            let known = lease
                .seen
                .is_some_and(|(seen, _)| seen.is_still(charge.measure));
            if !known || lease.held(now) < charge.amount {
                return None;
            }
            names.push(name);
        }
        let mut levels = SmallVec::new();
        for (charge, name) in charges.iter().zip(&names) {
            let shard = match charge.key.tenant {
                Some(_) => tenant.as_deref_mut(),
                None => service.as_deref_mut(),
            };
            let lease = shard?.get_mut(&name[..])?;
            lease.units -= charge.amount;
            lease.visited = now;
            levels.push((lease.level(now)?, None));
        }
        Some(levels)
    }

    /// How much more to ask for than these charges of one slot: for what was asked for a while ago too, so that who asks once leaves
    /// nothing lying here.
    pub(super) fn asking(&self, prefix: &str, charges: &[Charge<'_>], now: u64) -> Asked<'_> {
        let shard = charges
            .first()
            .map_or(0, |charge| self.shard_of(&charge.key));
        let mut asked = Asked {
            leases: self,
            shard,
            names: SmallVec::new(),
            extras: SmallVec::new(),
            outdated: SmallVec::new(),
        };
        let mut leases = self.lock(shard);
        for charge in charges {
            let name = key::of_lease(prefix, charge);
            let block = block(&Bound::of(charge.measure, now), self.share(&charge.key));
            let mut extra = 0;
            if block > 0 {
                if let Some(lease) = leases.get_mut(&name[..]) {
                    if let Some((seen, _)) = lease
                        .seen
                        .filter(|(seen, _)| !seen.is_still(charge.measure))
                    {
                        if lease.held(now) > 0 {
                            let line = Line::returning(key::of_count(&name), seen, lease.units);
                            asked.outdated.push(line);
                        }
                        lease.units = 0;
                        lease.seen = None;
                    }
                    if lease.asked == 0 {
                        extra = block.saturating_sub(lease.held(now));
                        lease.asked = extra;
                    }
                    lease.visited = now;
                } else {
                    let lease = Lease {
                        units: 0,
                        asked: 0,
                        seen: None,
                        visited: now,
                    };
                    leases.insert(name.to_vec().into(), lease);
                }
            }
            asked.names.push(name);
            asked.extras.push(extra);
        }
        asked
    }

    /// Takes in a refund of what was charged under this bound, if there is room for it in a lease.
    pub(super) fn put_back(&self, prefix: &str, charge: &Charge<'_>, bound: &Bound) -> bool {
        let share = self.share(&charge.key);
        let name = key::of_lease(prefix, charge);
        let mut leases = self.lock(self.shard_of(&charge.key));
        let Some(lease) = leases.get_mut(&name[..]) else {
            return false;
        };
        let fits = lease.seen.is_some_and(|(seen, _)| seen == *bound)
            && (lease.units + lease.asked).saturating_add(charge.amount) <= block(bound, share);
        if fits {
            lease.units += charge.amount;
        }
        fits
    }

    /// What is held of a count that has this bound now.
    pub(super) fn held(&self, prefix: &str, charge: &Charge<'_>, bound: &Bound) -> u64 {
        let name = key::of_lease(prefix, charge);
        let leases = self.lock(self.shard_of(&charge.key));
        leases
            .get(&name[..])
            .map_or(0, |lease| lease.held_of(bound))
    }

    /// Ends leases that nobody has asked for during their life and that can be returned, and says what goes back.
    pub(super) fn idle(
        &self,
        shard: usize,
        now: u64,
        can_return: &impl Fn(&[u8]) -> bool,
    ) -> Vec<Line> {
        let life = u64::try_from(self.leasing.life.as_micros()).unwrap_or(u64::MAX);
        let mut returned = Vec::new();
        self.lock(shard).retain(|name, lease| {
            let keep =
                lease.asked > 0 || now.saturating_sub(lease.visited) < life || !can_return(name);
            let units = lease.held(now);
            if let (false, true, Some((bound, _))) = (keep, units > 0, lease.seen) {
                returned.push(Line::returning(key::of_count(name), bound, units));
            }
            keep
        });
        returned
    }

    fn share(&self, key: &CountKey<'_>) -> u16 {
        match key.tenant {
            None if self.leasing.share == 0 => SERVICE_SHARE,
            _ => self.leasing.share,
        }
    }

    fn shard_of(&self, key: &CountKey<'_>) -> usize {
        match key.tenant {
            None => TENANTS,
            #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
            Some(tenant) => self.hasher.hash_one(tenant.as_str()) as usize % TENANTS,
        }
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        // Nothing panics in there, and numbers are never half written.
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    /// Takes in what was given: the bounds of the charges, and their counts. Says what is held of each now.
    pub(super) fn answered(&self, bounds: &[Bound], counts: &[Count]) -> SmallVec<[u64; 4]> {
        let mut leases = self.leases.lock(self.shard);
        let given = self
            .names
            .iter()
            .zip(&self.extras)
            .zip(bounds.iter().zip(counts));
        let held = given.map(|((name, extra), (bound, count))| {
            let Some(lease) = leases.get_mut(&name[..]) else {
                return 0;
            };
            // What is left of another window is not of this one, nor is another interval's time this one's.
            lease.units = lease.held_of(bound);
            lease.seen = Some((*bound, count.used));
            if count.extra {
                lease.units += extra;
            }
            lease.units
        });
        held.collect()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut leases = self.leases.lock(self.shard);
        for (name, extra) in self.names.iter().zip(&self.extras) {
            if let Some(lease) = leases.get_mut(&name[..]) {
                lease.asked = lease.asked.saturating_sub(*extra);
            }
        }
    }
}

/// The most units that are held of a limit: a share in parts per thousand. A block of one would be used up by who fetches it.
fn block(bound: &Bound, share: u16) -> u64 {
    let units = u128::from(bound.units()) * u128::from(share) / 1000;
    u64::try_from(units).unwrap_or(u64::MAX)
}
