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
use super::script::Count;
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
}

/// What goes back to Redis.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) name: Box<[u8]>,
    pub(super) bound: Bound,
    pub(super) units: u64,
}

impl Lease {
    /// The units that can be used now.
    fn usable(&self, now: u64) -> u64 {
        match self.seen {
            Some((bound, _)) if bound.window.is_none_or(|(_, end)| now < end) => self.units,
            _ => 0,
        }
    }

    /// Where the count stands, as far as is known here.
    fn level(&self, now: u64) -> Option<Level> {
        let (bound, used) = self.seen?;
        let mut level = bound.level(bound.drained(used, now).used, now);
        level.left = (level.left + self.units).min(bound.units());
        Some(level)
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
            let name = key::name(prefix, &charge.key);
            let lease = shard?.get(&name[..])?;
            if lease.usable(now) < charge.amount || lease.seen.is_none() {
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
        };
        let mut leases = self.lock(shard);
        for charge in charges {
            let name = key::name(prefix, &charge.key);
            let block = block(&Bound::of(charge.measure, now), self.share(&charge.key));
            let mut extra = 0;
            if block > 0 {
                if let Some(lease) = leases.get_mut(&name[..]) {
                    if lease.asked == 0 {
                        extra = block.saturating_sub(lease.usable(now));
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

    /// Takes a refund in, if there is room for it in a lease.
    pub(super) fn put_back(&self, prefix: &str, charge: &Charge<'_>, now: u64) -> bool {
        let share = self.share(&charge.key);
        let bound = Bound::of(charge.measure, now);
        let name = key::name(prefix, &charge.key);
        let mut leases = self.lock(self.shard_of(&charge.key));
        let Some(lease) = leases.get_mut(&name[..]) else {
            return false;
        };
        let fits = lease.seen.is_some_and(|(seen, _)| seen == bound)
            && (lease.units + lease.asked).saturating_add(charge.amount) <= block(&bound, share);
        if fits {
            lease.units += charge.amount;
        }
        fits
    }

    /// What is held of a count.
    pub(super) fn held(&self, prefix: &str, charge: &Charge<'_>, now: u64) -> u64 {
        let name = key::name(prefix, &charge.key);
        let leases = self.lock(self.shard_of(&charge.key));
        leases.get(&name[..]).map_or(0, |lease| lease.usable(now))
    }

    /// Ends leases that nobody has asked for during their life and that can be returned, and says what goes back.
    pub(super) fn idle(
        &self,
        shard: usize,
        now: u64,
        can_return: &impl Fn(&[u8]) -> bool,
    ) -> Vec<Returned> {
        let life = u64::try_from(self.leasing.life.as_micros()).unwrap_or(u64::MAX);
        let mut returned = Vec::new();
        self.lock(shard).retain(|name, lease| {
            let keep =
                lease.asked > 0 || now.saturating_sub(lease.visited) < life || !can_return(name);
            let units = lease.usable(now);
            if let (false, true, Some((bound, _))) = (keep, units > 0, lease.seen) {
                returned.push(Returned {
                    name: name.clone(),
                    bound,
                    units,
                });
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
    /// Takes in what was given: the bounds of the charges, and their counts.
    pub(super) fn answered(&self, bounds: &[Bound], counts: &[Count]) {
        let mut leases = self.leases.lock(self.shard);
        let given = self
            .names
            .iter()
            .zip(&self.extras)
            .zip(bounds.iter().zip(counts));
        for ((name, extra), (bound, count)) in given {
            let Some(lease) = leases.get_mut(&name[..]) else {
                continue;
            };
            // What is left of another window is not of this one.
            if lease
                .seen
                .is_some_and(|(seen, _)| seen.window != bound.window)
            {
                lease.units = 0;
            }
            lease.seen = Some((*bound, count.used));
            if count.extra {
                lease.units += extra;
            }
        }
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
