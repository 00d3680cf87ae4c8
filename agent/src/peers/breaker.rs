//! Peers that do not answer are left alone for a while, so that each read does not wait for them anew.

use std::{collections::BTreeMap, time::Duration};

use aquifer_store::Monotonic;
use parking_lot::Mutex;

/// Peers remembered; agents that are gone leave their entry behind.
const PEERS_MAX: usize = 4096;

/// A right to ask a peer; [`Breakers::failed`] and [`Breakers::succeeded`] say what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    round: u32,
}

#[derive(Clone, Copy, Debug)]
struct Breaker {
    /// Failures one after the other, those of one moment counted once.
    round: u32,
    pause: Duration,
    open_until: Monotonic,
}

/// One circuit breaker per peer that failed lately.
#[derive(Debug)]
pub(super) struct Breakers {
    by_peer: Mutex<BTreeMap<String, Breaker>>,
    pause_min: Duration,
    pause_max: Duration,
}

impl Breakers {
    pub(super) fn new(pause_min: Duration, pause_max: Duration) -> Self {
        Self {
            by_peer: Mutex::default(),
            pause_min,
            pause_max,
        }
    }

    /// None = the peer is not to be asked now. After a pause one request finds out how it is.
    pub(super) fn admit(&self, peer: &str, now: Monotonic) -> Option<Ticket> {
        match self.by_peer.lock().get_mut(peer) {
            None => Some(Ticket { round: 0 }),
            Some(breaker) if now < breaker.open_until => None,
            Some(breaker) => {
                breaker.open_until = now.plus(breaker.pause);
                Some(Ticket {
                    round: breaker.round,
                })
            }
        }
    }

    pub(super) fn succeeded(&self, peer: &str) {
        self.by_peer.lock().remove(peer);
    }

    /// The pause doubles with each failure. Of requests that were under way together the first one
    /// counts.
    pub(super) fn failed(&self, peer: &str, ticket: Ticket, now: Monotonic) {
        let mut by_peer = self.by_peer.lock();
        let before = by_peer.get(peer).copied();
        if before.map_or(0, |breaker| breaker.round) != ticket.round {
            return;
        }
        let pause = before.map_or(self.pause_min, |breaker| {
            breaker.pause.saturating_mul(2).min(self.pause_max)
        });
        open(&mut by_peer, peer, ticket.round, pause, now);
    }

    /// It sent what is wrong: the longest pause at once.
    pub(super) fn distrust(&self, peer: &str, now: Monotonic) {
        let mut by_peer = self.by_peer.lock();
        let round = by_peer.get(peer).map_or(0, |breaker| breaker.round);
        open(&mut by_peer, peer, round, self.pause_max, now);
    }
}

fn open(
    by_peer: &mut BTreeMap<String, Breaker>,
    peer: &str,
    round: u32,
    pause: Duration,
    now: Monotonic,
) {
    if by_peer.len() >= PEERS_MAX && !by_peer.contains_key(peer) {
        by_peer.clear();
    }
    let breaker = Breaker {
        round: round.wrapping_add(1).max(1),
        pause,
        open_until: now.plus(pause),
    };
    by_peer.insert(peer.to_owned(), breaker);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn breakers() -> Breakers {
        Breakers::new(Duration::from_millis(100), Duration::from_millis(300))
    }

    #[test]
    fn a_failure_pauses_a_peer_and_nobody_else() {
        let breakers = breakers();
        let ticket = breakers.admit("a", at(0)).unwrap();
        breakers.failed("a", ticket, at(10));
        assert!(breakers.admit("a", at(109)).is_none());
        assert!(breakers.admit("b", at(20)).is_some());
        assert!(breakers.admit("a", at(110)).is_some(), "one finds out");
        assert!(breakers.admit("a", at(111)).is_none(), "and no other");
        breakers.succeeded("a");
        assert!(breakers.admit("a", at(112)).is_some());
    }

    #[test]
    fn failures_of_one_moment_count_once_and_later_ones_double_the_pause() {
        let breakers = breakers();
        let tickets = [0; 20].map(|_| breakers.admit("a", at(0)).unwrap());
        for ticket in tickets {
            breakers.failed("a", ticket, at(50));
        }
        assert!(breakers.admit("a", at(149)).is_none());
        let mut now = 150;
        for pause in [200, 300, 300] {
            let ticket = breakers.admit("a", at(now)).unwrap();
            breakers.failed("a", ticket, at(now));
            assert!(breakers.admit("a", at(now + pause - 1)).is_none());
            now += pause;
        }
    }

    #[test]
    fn wrong_bytes_pause_a_peer_for_the_longest() {
        let breakers = breakers();
        breakers.distrust("a", at(0));
        assert!(breakers.admit("a", at(299)).is_none());
        assert!(breakers.admit("a", at(300)).is_some());
    }
}
