//! Admission of new connections to a bounded table, with the choice of the one to evict.

use std::{collections::BTreeMap, time::Duration};

use super::Peer;

/// Bounds of a table of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Bound of all connections.
    pub total: usize,
    /// Bound of the untrusted connections of a peer.
    pub per_peer: usize,
    /// Number of unfinished handshakes of a peer from which stalled ones are evicted.
    pub handshakes_per_peer: usize,
    /// Age from which a handshake counts as stalled.
    pub handshake_grace: Duration,
    /// Age of a request in flight from which its connection may be evicted.
    pub busy_grace: Duration,
}

/// The use of an open connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionState {
    /// The handshake is unfinished since this time.
    Handshake(Duration),
    /// No request is in flight since this time.
    Idle(Duration),
    /// The oldest request in flight has this age.
    Busy(Duration),
    /// The peer is the front proxy, whose watches stay open for long. Never evicted.
    Trusted,
}

/// A connection in the table.
#[derive(Clone, Copy, Debug)]
pub struct OpenConnection {
    /// Number of the connection in the table.
    pub id: u64,
    /// The peer of the connection.
    pub peer: Peer,
    /// The use of the connection.
    pub state: ConnectionState,
}

/// The decision on a new connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// The table has room.
    Accept,
    /// The connection takes the place of this one.
    Evict(u64),
    /// No connection can be evicted.
    Refuse,
}

impl ConnectionLimits {
    /// Decides on a new connection of a peer.
    ///
    /// A peer at its own bound loses a connection of its own. If the whole table is full, the peer
    /// with the most connections loses one.
    #[must_use]
    pub fn admit(&self, open: &[OpenConnection], peer: Peer) -> Admission {
        let own = || open.iter().filter(|it| it.peer == peer);
        let handshakes = || own().filter(|it| matches!(it.state, ConnectionState::Handshake(_)));
        if handshakes().count() >= self.handshakes_per_peer
            && let Some(stalled) = self.victim(handshakes())
            && self.rank(stalled.state).is_some_and(|(class, _)| class == Class::Idle)
        {
            return Admission::Evict(stalled.id);
        }
        if own().filter(|it| it.is_untrusted()).count() >= self.per_peer {
            return Admission::from_victim(self.victim(own()));
        }
        if open.len() < self.total {
            return Admission::Accept;
        }
        let mut by_peer: BTreeMap<Peer, Vec<&OpenConnection>> = BTreeMap::new();
        for connection in open.iter().filter(|it| it.is_untrusted()) {
            by_peer.entry(connection.peer).or_default().push(connection);
        }
        let victims = by_peer.values().filter_map(|all| {
            let victim = self.victim(all.iter().copied())?;
            Some((all.len(), victim))
        });
        let largest = victims.max_by_key(|(count, victim)| (*count, self.rank(victim.state)));
        Admission::from_victim(largest.map(|(_, victim)| victim))
    }

    /// Returns the connection to evict first.
    fn victim<'a>(
        &self,
        connections: impl Iterator<Item = &'a OpenConnection>,
    ) -> Option<&'a OpenConnection> {
        connections.filter(|it| self.rank(it.state).is_some()).max_by_key(|it| self.rank(it.state))
    }

    /// Returns the order of eviction, or `None` for a connection that is never evicted.
    fn rank(&self, state: ConnectionState) -> Option<(Class, Duration)> {
        Some(match state {
            ConnectionState::Idle(age) => (Class::Idle, age),
            ConnectionState::Handshake(age) if age >= self.handshake_grace => (Class::Idle, age),
            ConnectionState::Handshake(age) => (Class::Handshake, age),
            ConnectionState::Busy(age) if age >= self.busy_grace => (Class::Busy, age),
            ConnectionState::Busy(_) | ConnectionState::Trusted => return None,
        })
    }
}

/// Classes of connections, of which the last is evicted first. Within a class, the one that is in
/// its state for longest is evicted first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Class {
    /// A recent handshake, which an API server finishes in milliseconds.
    Handshake,
    /// A request that takes long.
    Busy,
    /// No request, or a stalled handshake.
    Idle,
}

impl Admission {
    fn from_victim(victim: Option<&OpenConnection>) -> Self {
        victim.map_or(Self::Refuse, |victim| Self::Evict(victim.id))
    }
}

impl OpenConnection {
    fn is_untrusted(&self) -> bool {
        self.state != ConnectionState::Trusted
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{
        Admission::{Accept, Evict, Refuse},
        ConnectionState::{Busy, Handshake, Idle, Trusted},
        *,
    };

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 6,
        per_peer: 4,
        handshakes_per_peer: 2,
        handshake_grace: Duration::from_secs(1),
        busy_grace: Duration::from_secs(1),
    };

    /// Connections as pairs of peer and state.
    type Open<'a> = &'a [(u8, ConnectionState)];

    fn peer(host: u8) -> Peer {
        Peer::from_address(Ipv4Addr::new(192, 0, 2, host).into())
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    // Table of cases.
    #[allow(clippy::too_many_lines)]
    fn admits_new_connections_and_evicts_idle_ones() {
        let recent = Duration::from_millis(10);
        let idle = |host: u8, seconds: u64| (host, Idle(secs(seconds)));
        let cases: [(&str, Open<'_>, u8, Admission); 17] = [
            ("empty", &[], 1, Accept),
            ("below the bounds", &[idle(1, 3), idle(1, 2), idle(1, 1)], 1, Accept),
            (
                "longest idle of the peer",
                &[idle(1, 1), idle(1, 9), idle(1, 5), idle(1, 2)],
                1,
                Evict(1),
            ),
            (
                "other peers are unaffected",
                &[idle(1, 1), idle(1, 9), idle(1, 5), idle(1, 2)],
                2,
                Accept,
            ),
            (
                "idle for a moment before busy for long",
                &[(1, Busy(secs(9))), (1, Idle(recent)), (1, Busy(secs(5))), (1, Busy(secs(2)))],
                1,
                Evict(1),
            ),
            (
                "oldest request if none is idle",
                &[(1, Busy(secs(2))), (1, Busy(secs(9))), (1, Busy(secs(5))), (1, Busy(recent))],
                1,
                Evict(1),
            ),
            (
                "requests of this moment are finished",
                &[(1, Busy(recent)), (1, Busy(recent)), (1, Busy(recent)), (1, Busy(recent))],
                1,
                Refuse,
            ),
            (
                "the front proxy counts towards no bound of its peer",
                &[(1, Trusted), (1, Trusted), (1, Trusted), (1, Trusted), idle(1, 1)],
                1,
                Accept,
            ),
            (
                "the front proxy is never evicted",
                &[
                    (1, Trusted),
                    (1, Trusted),
                    (1, Trusted),
                    (1, Trusted),
                    (1, Trusted),
                    (1, Trusted),
                ],
                1,
                Refuse,
            ),
            (
                "oldest handshake",
                &[(1, Handshake(secs(1))), (1, Handshake(secs(2))), idle(1, 9)],
                1,
                Evict(1),
            ),
            (
                "recent handshakes",
                &[(1, Handshake(recent)), (1, Handshake(recent)), idle(1, 9)],
                1,
                Accept,
            ),
            (
                "recent handshakes after anything else",
                &[(1, Handshake(recent)), (1, Handshake(recent)), (1, Busy(secs(2))), idle(1, 0)],
                1,
                Evict(3),
            ),
            (
                "oldest handshake if nothing else can be evicted",
                &[
                    (1, Handshake(recent)),
                    (1, Handshake(recent * 2)),
                    (1, Busy(recent)),
                    (1, Busy(recent)),
                ],
                1,
                Evict(1),
            ),
            (
                "handshakes of others",
                &[(1, Handshake(secs(1))), (1, Handshake(secs(2)))],
                2,
                Accept,
            ),
            (
                "full: the largest peer loses",
                &[idle(1, 1), idle(1, 2), idle(1, 3), idle(2, 9), idle(2, 8), (3, Trusted)],
                4,
                Evict(2),
            ),
            (
                "full of single connections: the longest idle",
                &[idle(1, 1), idle(2, 2), idle(3, 3), idle(4, 9), idle(5, 8), (6, Trusted)],
                7,
                Evict(3),
            ),
            (
                "full: the next peer, if the largest is busy",
                &[
                    (1, Busy(recent)),
                    (1, Busy(recent)),
                    (1, Busy(recent)),
                    idle(2, 1),
                    (3, Trusted),
                    (3, Trusted),
                ],
                4,
                Evict(3),
            ),
        ];
        for (name, connections, host, expected) in cases {
            let open: Vec<OpenConnection> = (0..)
                .zip(connections)
                .map(|(id, (host, state))| OpenConnection { id, peer: peer(*host), state: *state })
                .collect();
            assert_eq!(LIMITS.admit(&open, peer(host)), expected, "{name}");
        }
    }
}
