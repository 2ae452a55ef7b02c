//! Peers of the server, by address.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The address of a peer, or the network that shares its bounds.
///
/// An IPv6 host can usually choose any address of its /64 network, so that network is one peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Peer(IpAddr);

/// The prefix of an IPv6 address that identifies a network.
const IPV6_PREFIX: u128 = !0 << 64;

impl Peer {
    /// Returns the peer of an address. IPv4 addresses that are mapped to IPv6 count as IPv4.
    #[must_use]
    pub fn from_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_PREFIX)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The peer of requests that arrived without a connection, as in tests.
impl Default for Peer {
    fn default() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_addresses_by_host_or_network() {
        for (address, peer) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(Peer::from_address(address.parse().unwrap()).to_string(), peer, "{address}");
        }
    }
}
