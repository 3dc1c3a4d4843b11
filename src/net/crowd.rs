//! How many connections one address has, so that one address does not have them all.
//!
//! Each address may have so many, and never more than an eighth of the places that are still free ([`AT_LEAST`] while more
//! than an eighth of all places is): so however many somebody opens, others find a place; and of several who want
//! everything, each gets less than the one before. IPv6 counts by /64; and since one customer may have 256 or 65,536 of
//! those, the /56 and the /48 around it count too, with twice and four times as much. Proxies that the operator trusts
//! stand for many people and are not counted.
//!
//! One too many is closed at once, without a word: before TLS and HTTP there is none. Used by `listen` only.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::Instant;

/// What an address may have although it is more than its share, while there is more than a reserve.
const AT_LEAST: usize = 8;
/// Which part of the free places an address may have.
const SHARE: usize = 8;
/// How often refusals are written of.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// The networks of IPv6 that count, and how many times as much as an address each may have.
const NETWORKS: [(u8, usize); 3] = [(64, 1), (56, 2), (48, 4)];

/// Who has how many connections. Only those that have one are in it.
#[derive(Debug)]
pub(super) struct Crowd {
    per_address: usize,
    places: usize,
    trusted: Vec<IpNet>,
    open: Mutex<HashMap<Network, usize>>,
    noted: Mutex<(Option<Instant>, u64)>,
}

impl Crowd {
    /// `places` there are in all.
    pub(super) fn new(per_address: usize, places: usize, trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { per_address, places, trusted, open: Mutex::default(), noted: Mutex::default() })
    }

    /// A seat for one more connection of `peer`, where `free` places are left in all.
    pub(super) fn seat(self: &Arc<Self>, peer: IpAddr, free: usize) -> Option<Seat> {
        let peer = peer.to_canonical();
        if self.trusted.iter().any(|net| net.contains(&peer)) {
            return Some(Seat { taken: None });
        }
        let networks = networks(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |(network, times): &(Network, usize)| {
            open.get(network).is_some_and(|held| *held >= self.most(*times, free))
        };
        if networks.iter().any(is_full) {
            drop(open);
            self.note(peer);
            return None;
        }
        for (network, _) in &networks {
            *open.entry(*network).or_default() += 1;
        }
        let networks = networks.into_iter().map(|(network, _)| network).collect();
        Some(Seat { taken: Some((Arc::clone(self), networks)) })
    }

    /// How many a network may have that has so many times the share of an address. At least one.
    fn most(&self, times: usize, free: usize) -> usize {
        let at_least = if free.saturating_mul(SHARE) > self.places { AT_LEAST } else { 1 };
        let share = (free / SHARE).max(at_least).saturating_mul(times);
        self.per_address.saturating_mul(times).min(share)
    }

    fn note(&self, whose: IpAddr) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.1 += 1;
        if noted.0.is_none_or(|last| last.elapsed() >= NOTED_EVERY) {
            tracing::warn!(
                reason = "connections_of_address",
                address = %whose,
                count = noted.1,
                "connections were closed: their address has too many (is it a proxy that trusted_proxies should name?)"
            );
            *noted = (Some(Instant::now()), 0);
        }
    }
}

/// An address of IPv4, or the first so many bits of one of IPv6.
type Network = (IpAddr, u8);

/// What counts for this address, and how many times as much as an address each may have.
fn networks(address: IpAddr) -> Vec<(Network, usize)> {
    match address {
        IpAddr::V4(_) => vec![((address, 32), 1)],
        IpAddr::V6(address) => {
            let cut = |bits: u8| address.to_bits() & (u128::MAX << (128 - u32::from(bits)));
            let network = |(bits, times)| ((IpAddr::V6(Ipv6Addr::from_bits(cut(bits))), bits), times);
            NETWORKS.into_iter().map(network).collect()
        }
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    taken: Option<(Arc<Crowd>, Vec<Network>)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((crowd, networks)) = &self.taken else { return };
        let mut open = crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        for network in networks {
            if let Some(held) = open.get_mut(network) {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    open.remove(network);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_does_not_take_the_places_of_others() {
        let crowd = Crowd::new(3, 100, vec!["10.0.0.0/8".parse().unwrap()]);
        let mut seats: Vec<_> = (0..3).map(|_| crowd.seat(ip("192.0.2.1"), 100).unwrap()).collect();
        assert!(crowd.seat(ip("192.0.2.1"), 100).is_none());
        assert!(crowd.seat(ip("::ffff:192.0.2.1"), 100).is_none(), "the same in other words");
        assert!(crowd.seat(ip("192.0.2.2"), 100).is_some());
        seats.pop();
        assert!(crowd.seat(ip("192.0.2.1"), 100).is_some(), "a closed one counts no more");
        let sites: Vec<_> = (0..3).map(|n| crowd.seat(ip(&format!("2001:db8::{n}")), 100).unwrap()).collect();
        assert!(crowd.seat(ip("2001:db8::4"), 100).is_none(), "the same /64");
        assert!(crowd.seat(ip("2001:db8:0:1::4"), 100).is_some());
        let proxied: Vec<_> = (0..9).map(|_| crowd.seat(ip("10.1.2.3"), 100).unwrap()).collect();
        drop(seats);
        drop((sites, proxied));
        assert!(crowd.open.lock().unwrap().is_empty(), "whoever has none is forgotten");
    }

    #[test]
    fn where_few_places_are_left_each_gets_less() {
        let crowd = Crowd::new(1000, 1000, Vec::new());
        let mut seats = Vec::new();
        let mut free = 1000;
        for who in 1..=20 {
            while free > 0
                && let Some(seat) = crowd.seat(ip(&format!("192.0.2.{who}")), free)
            {
                seats.push(seat);
                free -= 1;
            }
        }
        assert!(free > 0, "twenty who want everything leave nothing");
        assert!(crowd.seat(ip("198.51.100.1"), free).is_some());
    }

    #[test]
    fn one_customer_of_ipv6_does_not_take_all_connections() {
        for (address, most) in [
            // A /56 has 256 of what counts as an address; a /48 has 65,536.
            (&(|n: u32| format!("2001:db8:0:{:x}::1", n % 256)) as &dyn Fn(u32) -> String, 2000),
            (&|n| format!("2001:db8:0:{:x}::1", n % 65_536), 4000),
        ] {
            let crowd = Crowd::new(1000, 10_000, Vec::new());
            let mut seats = Vec::new();
            for n in 0..70_000 {
                if let Some(seat) = crowd.seat(ip(&address(n)), 10_000 - seats.len()) {
                    seats.push(seat);
                }
            }
            assert!((most / 2..=most).contains(&seats.len()), "{}", seats.len());
            let free = 10_000 - seats.len();
            assert!(crowd.seat(ip("2001:db8:1::1"), free).is_some(), "a neighbour");
            drop(seats);
            assert!(crowd.open.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn the_last_places_are_not_given_away_by_eights() {
        let crowd = Crowd::new(1000, 1000, Vec::new());
        let held: Vec<_> = (0..8).filter_map(|_| crowd.seat(ip("192.0.2.1"), 16)).collect();
        assert_eq!(held.len(), 2, "an eighth of what is free");
        let crowd = Crowd::new(1000, 60, Vec::new());
        let held: Vec<_> = (0..20).filter_map(|_| crowd.seat(ip("192.0.2.1"), 40)).collect();
        assert_eq!(held.len(), 8, "a small gateway with room");
    }
}
