//! What one address may cost: a token bucket each for registrations and for failed token requests.
//!
//! Limits are generous, since hosted clients share a few addresses, and hitting one is always 429 with `Retry-After`.
//! The address is the peer of the connection, unless that is a proxy which the operator trusts: then the last address in
//! `X-Forwarded-For` that is not such a proxy too. IPv6 addresses count by /64, which is what one customer has.
//!
//! The map is bounded: when more addresses than it holds are busy at once, it starts anew.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use ipnet::IpNet;

use crate::domain::time::Timestamp;

/// The most addresses that are remembered by one limit.
const MAX_ADDRESSES: usize = 16_384;

/// A limit: so many per minute and address, all of them at once if need be.
#[derive(Debug)]
pub struct Limit {
    per_minute: u32,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// What an address has used up, in thousandths; it drains with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    used: u64,
    at: Timestamp,
}

impl Limit {
    /// A limit of `per_minute`, at least one.
    pub fn per_minute(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), buckets: Mutex::default() }
    }

    /// Uses up one of what `address` has.
    pub fn take(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let full = u64::from(self.per_minute) * 1000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let used = buckets.get(&address).map_or(0, |bucket| self.left(*bucket, now));
        if used + 1000 > full {
            let missing = used + 1000 - full;
            return Err(Duration::from_millis((missing * 60).div_ceil(u64::from(self.per_minute))));
        }
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| self.left(*bucket, now) > 0);
            if buckets.len() >= MAX_ADDRESSES {
                buckets.clear();
            }
        }
        buckets.insert(address, Bucket { used: used + 1000, at: now });
        Ok(())
    }

    /// What is still used up of a bucket at `now`.
    fn left(&self, bucket: Bucket, now: Timestamp) -> u64 {
        let millis = u64::try_from(now.since(bucket.at).as_millis()).unwrap_or(u64::MAX);
        bucket.used.saturating_sub(millis.saturating_mul(u64::from(self.per_minute)) / 60)
    }
}

/// The address that a request counts against.
pub fn address(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
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
    match nearest {
        IpAddr::V4(_) => nearest,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let limit = Limit::per_minute(30);
        for _ in 0..30 {
            assert_eq!(limit.take(ip("192.0.2.1"), NOON), Ok(()));
        }
        assert_eq!(limit.take(ip("192.0.2.1"), NOON), Err(Duration::from_secs(2)));
        assert_eq!(limit.take(ip("192.0.2.2"), NOON), Ok(()));
        let later = NOON.after(Duration::from_secs(2));
        assert_eq!(limit.take(ip("192.0.2.1"), later), Ok(()));
        assert!(limit.take(ip("192.0.2.1"), later).is_err());
    }

    #[test]
    fn the_map_is_bounded() {
        let limit = Limit::per_minute(1);
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 10 {
            let _ = limit.take(IpAddr::from(number.to_be_bytes()), NOON);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
    }

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
            assert_eq!(
                address(peer.parse().unwrap(), &headers, &trusted),
                ip(expected),
                "{peer} {forwarded}"
            );
        }
    }
}
