//! How many connections one address has, so that one address does not have them all.
//!
//! Each address may have so many, and never more than an eighth of the places that are still free (but always
//! [`AT_LEAST`]): so however many somebody opens, others find a place; and of several who want everything, each gets less
//! than the one before. IPv6 counts by /64. Proxies that the operator trusts stand for many people and are not counted.
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

/// What an address may have however few places are left.
const AT_LEAST: usize = 8;
/// Which part of the free places an address may have.
const SHARE: usize = 8;
/// How often refusals are written of.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Who has how many connections. Only those that have one are in it.
#[derive(Debug)]
pub(super) struct Crowd {
    per_address: usize,
    trusted: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
    noted: Mutex<(Option<Instant>, u64)>,
}

impl Crowd {
    pub(super) fn new(per_address: usize, trusted: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { per_address, trusted, open: Mutex::default(), noted: Mutex::default() })
    }

    /// A seat for one more connection of `peer`, where `free` places are left in all.
    pub(super) fn seat(self: &Arc<Self>, peer: IpAddr, free: usize) -> Option<Seat> {
        let peer = peer.to_canonical();
        if self.trusted.iter().any(|net| net.contains(&peer)) {
            return Some(Seat { taken: None });
        }
        let whose = network(peer);
        let most = self.per_address.min((free / SHARE).max(AT_LEAST));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.get(&whose).copied().unwrap_or_default();
        if held >= most {
            drop(open);
            self.note(whose);
            return None;
        }
        open.insert(whose, held + 1);
        Some(Seat { taken: Some((Arc::clone(self), whose)) })
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

/// An address, or the /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Option<(Arc<Crowd>, IpAddr)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((crowd, whose)) = &self.taken else { return };
        let mut open = crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = open.get_mut(whose) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                open.remove(whose);
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
        let crowd = Crowd::new(3, vec!["10.0.0.0/8".parse().unwrap()]);
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
        let crowd = Crowd::new(1000, Vec::new());
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
}
