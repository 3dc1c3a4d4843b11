//! Whom a request counts against: the address that it came from.
//!
//! That is the peer of the connection, unless the peer is a proxy which the operator trusts: then the last address in
//! `X-Forwarded-For` that is not such a proxy too. IPv6 addresses count by /64, which is what one customer has.
//!
//! Must never believe a header of a peer that is not trusted: whoever could choose the address could choose whom to lock
//! out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// An address that requests count against: IPv4, or the /64 of IPv6.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Address(IpAddr);

impl Address {
    /// The address that a request from `peer` with these headers counts against.
    pub(super) fn of(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let peer = peer.ip().to_canonical();
        let mut nearest = peer;
        if is_trusted(&peer) {
            let values = headers.get_all("x-forwarded-for").iter();
            let listed: Vec<&str> =
                values.flat_map(|value| value.to_str().unwrap_or_default().split(',')).collect();
            for hop in listed.into_iter().rev() {
                // What does not parse was not written by a proxy that we trust.
                let Some(hop) = parse(hop.trim()) else { break };
                nearest = hop;
                if !is_trusted(&hop) {
                    break;
                }
            }
        }
        Self::new(nearest)
    }

    fn new(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => prefix(address, 4),
        })
    }

    /// The network around it that limits fall back to when they are crowded: the /48 of IPv6, which is what one site has.
    pub(super) fn around(self) -> Option<Self> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(Self(prefix(address, 3))),
        }
    }

    /// Nobody's: for what counts together, whoever it comes from.
    pub(super) const fn anybody() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// The address itself, for the journal.
    pub(super) fn ip(self) -> IpAddr {
        self.0
    }
}

/// The first so many groups of an IPv6 address.
fn prefix(address: Ipv6Addr, groups: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> (16 * groups))))
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
pub(super) fn address(text: &str) -> Address {
    Address::new(text.parse().unwrap())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("192.0.2.1:1", "203.0.113.9", "192.0.2.1"),
            ("10.0.0.1:1", "203.0.113.9", "203.0.113.9"),
            ("10.0.0.1:1", "198.51.100.7, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1:1", "203.0.113.9, 10.2.3.4", "203.0.113.9"),
            ("10.0.0.1:1", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1:1", "[2001:db8:1:2:3::4]:80", "2001:db8:1:2::"),
            ("10.0.0.1:1", "2001:db8:1:2:ffff::4", "2001:db8:1:2::"),
            ("10.0.0.1:1", "unknown", "10.0.0.1"),
            ("10.0.0.1:1", "203.0.113.9, unknown", "10.0.0.1"),
            ("10.0.0.1:1", "", "10.0.0.1"),
            ("[::ffff:10.0.0.1]:1", "203.0.113.9", "203.0.113.9"),
            ("[2001:db8::5]:1", "203.0.113.9", "2001:db8::"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
            if forwarded.is_empty() {
                headers.clear();
            } else {
                headers.append("x-forwarded-for", HeaderValue::from_static(forwarded));
            }
            let counted = Address::of(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(counted.ip(), expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
    }

    #[test]
    fn a_site_of_ipv6_is_a_48() {
        assert_eq!(address("2001:db8:1:2:3::4").ip(), "2001:db8:1:2::".parse::<IpAddr>().unwrap());
        assert_eq!(address("2001:db8:1:2:3::4").around(), address("2001:db8:1::").around());
        assert_ne!(address("2001:db8:1:2:3::4").around(), address("2001:db8:2::").around());
        assert_eq!(address("192.0.2.1").around(), None);
    }
}
