//! The same numbers several times over, so that cores which count do not contend for them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How often. Threads beyond that share.
const SHARDS: usize = 16;

/// Numbers that are added up when they are read. They wrap, so that what goes up on one thread may go down on another.
#[derive(Debug)]
pub(super) struct Sharded<const N: usize>([Shard<N>; SHARDS]);

/// One thread's numbers, apart from others in memory.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Sharded<N> {
    pub(super) const fn new() -> Self {
        Self([const { Shard([const { AtomicU64::new(0) }; N]) }; SHARDS])
    }

    /// Adds to the number in this place, if there is one.
    pub(super) fn add(&self, place: usize, number: u64) {
        if let Some(count) = self.0[shard()].0.get(place) {
            count.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// The number in this place.
    pub(super) fn sum(&self, place: usize) -> u64 {
        let numbers = self.0.iter().filter_map(|shard| shard.0.get(place));
        numbers.fold(0, |sum, number| {
            sum.wrapping_add(number.load(Ordering::Relaxed))
        })
    }
}

/// Where this thread counts.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let known = SHARD.get();
    if known < SHARDS {
        return known;
    }
    let own = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.set(own);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_is_added_up() {
        static NUMBERS: Sharded<2> = Sharded::new();
        let threads: Vec<_> = (0..40)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..1000 {
                        NUMBERS.add(1, 3);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        NUMBERS.add(7, 1);
        assert_eq!((NUMBERS.sum(0), NUMBERS.sum(1)), (0, 120_000));
    }
}
