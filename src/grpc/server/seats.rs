//! How many connections may be open: in all, and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The seats of a server.
#[derive(Debug)]
pub(super) struct Seats {
    max: usize,
    max_per_peer: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// A seat, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    peer: IpAddr,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// As many connections are open as may be.
    All,
    /// This peer has as many as one may.
    Peer,
}

impl Seats {
    pub(super) fn new(max: usize, max_per_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_peer,
            taken: Mutex::default(),
        })
    }

    /// A seat for a connection from this address.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Full> {
        // The same host, whichever way its address is written.
        let peer = peer.to_canonical();
        let mut taken = self.taken();
        if taken.all >= self.max {
            return Err(Full::All);
        }
        let of_peer = taken.by_peer.entry(peer).or_default();
        // A limit of none is not possible, so a peer that is refused has an entry already.
        if *of_peer >= self.max_per_peer {
            return Err(Full::Peer);
        }
        *of_peer += 1;
        taken.all += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            peer,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        if let Entry::Occupied(mut of_peer) = taken.by_peer.entry(self.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn seats_are_given_until_none_is_left_and_again_when_one_is() {
        let seats = Seats::new(3, 2);
        let first = seats.take(peer("10.0.0.1")).unwrap();
        let _second = seats.take(peer("::ffff:10.0.0.1")).unwrap();
        assert_eq!(seats.take(peer("10.0.0.1")).unwrap_err(), Full::Peer);
        let _third = seats.take(peer("10.0.0.2")).unwrap();
        assert_eq!(seats.take(peer("10.0.0.3")).unwrap_err(), Full::All);
        drop(first);
        let _fourth = seats.take(peer("10.0.0.1")).unwrap();
    }

    #[test]
    fn peers_that_have_gone_are_forgotten() {
        let seats = Seats::new(10, 10);
        let taken: Vec<Seat> = (0..4)
            .map(|n| seats.take(peer(&format!("10.0.0.{n}"))).unwrap())
            .collect();
        drop(taken);
        assert_eq!(seats.taken().all, 0);
        assert!(seats.taken().by_peer.is_empty());
    }
}
