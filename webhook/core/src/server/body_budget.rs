//! The memory budget of bodies, shared fairly between peers.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use super::Peer;

/// Bounds of the bodies in memory.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bound of all bodies, in bytes.
    pub total: usize,
    /// Bound of the bodies of a peer, in bytes.
    pub per_peer: usize,
    /// Bytes beyond these bounds for the oldest body, which ensure that it completes: bodies that
    /// each hold a part would otherwise wait for each other.
    pub reserve: usize,
    /// Size of a small body. Most reviews are small.
    pub small: usize,
    /// Bytes beyond all of these for small bodies, so that they don't wait for large ones.
    pub small_reserve: usize,
    /// Bound of the number of bodies of a peer.
    pub count_per_peer: usize,
    /// Time from which a body that is still being read may be evicted for another.
    pub slow_after: Duration,
}

/// Identifies a body in the budget.
pub type BodyId = u64;

/// The memory budget of bodies.
///
/// A body takes from the budget as its bytes arrive, so that a client that declares a large body
/// and sends little holds little. Times are measured from any fixed moment.
#[derive(Debug)]
pub struct BodyBudget {
    limits: BodyLimits,
    /// Bodies by number, the oldest first.
    bodies: BTreeMap<BodyId, HeldBody>,
    next_id: BodyId,
    held: usize,
    peers: BTreeMap<Peer, PeerUse>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PeerUse {
    bytes: usize,
    bodies: usize,
}

#[derive(Debug)]
struct HeldBody {
    peer: Peer,
    started: Duration,
    bytes: usize,
    /// Cleared when all of it has arrived. A complete body waits for this process alone.
    reading: bool,
}

/// The decision on a new body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// The body is registered under this number.
    Opened(BodyId),
    /// This body of the same peer lost its place: try again.
    Evict(BodyId),
    /// The peer has too many recent bodies.
    Refuse,
}

/// The decision on more bytes of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reservation {
    /// The bytes are granted.
    Granted,
    /// This other body lost its place: try again.
    Evict(BodyId),
    /// Recent bodies use the budget: try again when one ends, or after this time.
    Wait(Duration),
    /// The body itself has lost its place.
    Lost,
}

impl BodyBudget {
    /// Creates an unused budget.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        let (bodies, peers) = (BTreeMap::new(), BTreeMap::new());
        Self { limits, bodies, next_id: 0, held: 0, peers }
    }

    /// Registers a body.
    ///
    /// If its peer has too many, the oldest that takes long to arrive loses its place.
    pub fn open(&mut self, peer: Peer, now: Duration) -> Opening {
        if self.peers.get(&peer).is_some_and(|used| used.bodies >= self.limits.count_per_peer) {
            return match self.slow_body(None, Some(peer), now) {
                Some(victim) => {
                    self.close(victim);
                    Opening::Evict(victim)
                }
                None => Opening::Refuse,
            };
        }
        let id = self.next_id;
        self.next_id += 1;
        self.peers.entry(peer).or_default().bodies += 1;
        self.bodies.insert(id, HeldBody { peer, started: now, bytes: 0, reading: true });
        Opening::Opened(id)
    }

    /// Reserves more bytes for a body.
    ///
    /// Over a bound, a body that takes long to arrive loses its place: one of the same peer, or
    /// one of the peer that holds the most if the total bound is reached.
    pub fn reserve(&mut self, id: BodyId, bytes: usize, now: Duration) -> Reservation {
        let Some(peer) = self.bodies.get(&id).map(|body| body.peer) else {
            return Reservation::Lost;
        };
        let is_small = self.bodies.get(&id).is_some_and(|it| it.bytes + bytes <= self.limits.small);
        let own = self.peers.get(&peer).map_or(0, |used| used.bytes);
        let (total, per_peer) = (self.limits.total, self.limits.per_peer);
        let exceeds = |used: usize, bound: usize, within: Option<Peer>| {
            let reserve = if is_small {
                self.limits.reserve + self.limits.small_reserve
            } else if self.is_oldest(id, within) {
                self.limits.reserve
            } else {
                0
            };
            used + bytes > bound + reserve
        };
        let crowded = if exceeds(own, per_peer, Some(peer)) {
            Some(Some(peer))
        } else if exceeds(self.held, total, None) {
            Some(None)
        } else {
            None
        };
        if let Some(within) = crowded {
            let Some(victim) = self.slow_body(Some(id), within, now) else {
                return Reservation::Wait(self.until_next_slow(id, within, now));
            };
            self.close(victim);
            return Reservation::Evict(victim);
        }
        if let Some(body) = self.bodies.get_mut(&id) {
            body.bytes += bytes;
        }
        self.held += bytes;
        self.peers.entry(peer).or_default().bytes += bytes;
        Reservation::Granted
    }

    /// Records that all of a body has arrived. Returns false if the body was evicted before.
    pub fn complete(&mut self, id: BodyId) -> bool {
        self.bodies.get_mut(&id).map(|body| body.reading = false).is_some()
    }

    /// Releases a body. Has no effect on an evicted one.
    pub fn close(&mut self, id: BodyId) {
        let Some(body) = self.bodies.remove(&id) else {
            return;
        };
        self.held -= body.bytes;
        if let Some(of_peer) = self.peers.get_mut(&body.peer) {
            of_peer.bytes -= body.bytes;
            of_peer.bodies -= 1;
            if of_peer.bodies == 0 {
                self.peers.remove(&body.peer);
            }
        }
    }

    /// Returns the bytes of all bodies.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns the bodies other than `id` that are being read, of one peer or of all.
    fn others(
        &self,
        id: Option<BodyId>,
        within: Option<Peer>,
    ) -> impl Iterator<Item = (BodyId, &HeldBody)> {
        self.bodies
            .iter()
            .map(|(other, body)| (*other, body))
            .filter(move |(other, _)| Some(*other) != id)
            .filter(move |(_, body)| body.reading && within.is_none_or(|peer| body.peer == peer))
    }

    /// Returns whether no older body is being read, of one peer or of all.
    fn is_oldest(&self, id: BodyId, within: Option<Peer>) -> bool {
        self.others(None, within).next().is_some_and(|(oldest, _)| oldest == id)
    }

    /// Returns the oldest body that takes long to arrive, of the peer that holds the most.
    fn slow_body(&self, id: Option<BodyId>, within: Option<Peer>, now: Duration) -> Option<BodyId> {
        let is_slow = |body: &HeldBody| now.saturating_sub(body.started) >= self.limits.slow_after;
        self.others(id, within)
            .filter(|(_, body)| is_slow(body))
            .max_by_key(|(other, body)| {
                let used = self.peers.get(&body.peer).map_or(0, |used| used.bytes);
                (used, Reverse(*other))
            })
            .map(|(other, _)| other)
    }

    /// Returns the time until another body counts as slow.
    fn until_next_slow(&self, id: BodyId, within: Option<Peer>, now: Duration) -> Duration {
        let slow_at =
            self.others(Some(id), within).map(|(_, body)| body.started + self.limits.slow_after);
        let waits = slow_at.map(|at| at.saturating_sub(now)).filter(|wait| !wait.is_zero());
        waits.min().unwrap_or(self.limits.slow_after)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        total: 100,
        per_peer: 60,
        reserve: 20,
        small: 2,
        small_reserve: 4,
        count_per_peer: 3,
        slow_after: Duration::from_secs(1),
    };

    fn peer(host: u8) -> Peer {
        Peer::from_address(Ipv4Addr::new(192, 0, 2, host).into())
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Bodies of (peer, time of start in milliseconds, bytes).
    type Held<'a> = &'a [(u8, u64, usize)];

    fn budget(bodies: Held<'_>) -> BodyBudget {
        let mut budget = BodyBudget::new(LIMITS);
        for (host, start, bytes) in bodies {
            let Opening::Opened(id) = budget.open(peer(*host), millis(*start)) else {
                panic!("refused");
            };
            assert_eq!(budget.reserve(id, *bytes, millis(*start)), Reservation::Granted);
        }
        budget
    }

    #[test]
    fn slow_bodies_lose_their_place() {
        use Reservation::{Evict, Granted, Wait};
        // All at 1.5 s: bodies that started before 0.5 s are slow.
        let cases: [(&str, Held<'_>, u8, usize, Reservation); 8] = [
            ("room", &[(1, 0, 50)], 1, 10, Granted),
            ("own slow body", &[(1, 0, 30), (1, 100, 30)], 1, 10, Evict(0)),
            ("own recent bodies", &[(1, 1000, 30), (1, 1400, 30)], 1, 10, Wait(millis(500))),
            (
                "the slow body of another peer stays",
                &[(2, 0, 40), (1, 1000, 60)],
                1,
                10,
                Wait(millis(500)),
            ),
            ("another peer at its bound", &[(1, 1400, 60)], 2, 40, Granted),
            ("total: largest peer loses", &[(1, 0, 50), (2, 0, 20), (3, 0, 30)], 4, 10, Evict(0)),
            (
                "total: next peer, if recent",
                &[(1, 1400, 50), (2, 0, 20), (3, 0, 30)],
                4,
                10,
                Evict(2),
            ),
            ("total: all recent", &[(1, 1400, 50), (2, 1200, 50)], 4, 10, Wait(millis(700))),
        ];
        for (name, bodies, host, bytes, expected) in cases {
            let mut budget = budget(bodies);
            let held = budget.held();
            let Opening::Opened(id) = budget.open(peer(host), millis(1500)) else {
                panic!("{name}");
            };
            assert_eq!(budget.reserve(id, bytes, millis(1500)), expected, "{name}");
            if let Evict(victim) = expected {
                assert_eq!(budget.reserve(victim, 1, millis(1500)), Reservation::Lost, "{name}");
                assert!(!budget.complete(victim), "{name}");
                assert_eq!(budget.reserve(id, bytes, millis(1500)), Granted, "{name}");
                budget.close(victim);
                assert!(budget.held() < held, "{name}");
            }
            for id in 0..10 {
                budget.close(id);
            }
            assert!(budget.held() == 0 && budget.peers.is_empty(), "{name}");
        }
    }

    #[test]
    fn complete_bodies_keep_their_place() {
        let mut budget = budget(&[(1, 0, 60)]);
        assert!(budget.complete(0));
        let Opening::Opened(id) = budget.open(peer(1), millis(5000)) else {
            panic!("refused");
        };
        assert_eq!(budget.reserve(id, 21, millis(5000)), Reservation::Wait(LIMITS.slow_after));
        budget.close(0);
        assert_eq!(budget.reserve(id, 21, millis(5000)), Reservation::Granted);
    }

    #[test]
    fn oldest_body_completes_beyond_the_bounds() {
        use Reservation::{Granted, Wait};
        let mut budget = budget(&[(1, 0, 30), (1, 0, 30), (2, 0, 40)]);
        let wait = Wait(LIMITS.slow_after);
        // The second body of each bound waits, also beside an older one of another peer.
        assert_eq!(budget.reserve(1, 20, millis(0)), wait);
        assert_eq!(budget.reserve(2, 20, millis(0)), wait);
        assert_eq!(budget.reserve(0, 20, millis(0)), Granted);
        assert_eq!(budget.reserve(0, 1, millis(0)), wait);
        // Small bodies don't wait, within a reserve of their own.
        let small = [(2, Granted), (2, Granted), (3, wait)].map(|(host, expected)| {
            let Opening::Opened(id) = budget.open(peer(host), millis(0)) else {
                panic!("refused");
            };
            (budget.reserve(id, 2, millis(0)), expected)
        });
        assert!(small.iter().all(|(found, expected)| found == expected), "{small:?}");
        assert!(budget.complete(0));
        budget.close(0);
        assert_eq!(budget.reserve(1, 20, millis(0)), Granted);
    }

    #[test]
    fn bounds_the_number_of_bodies_of_a_peer() {
        let mut budget = budget(&[(1, 0, 0), (1, 500, 0), (1, 500, 0)]);
        assert_eq!(budget.open(peer(1), millis(600)), Opening::Refuse);
        assert_eq!(budget.open(peer(2), millis(600)), Opening::Opened(3));
        assert_eq!(budget.open(peer(1), millis(1200)), Opening::Evict(0));
        assert_eq!(budget.open(peer(1), millis(1200)), Opening::Opened(4));
    }
}
