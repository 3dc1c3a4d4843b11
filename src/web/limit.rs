//! A limit: so many in a span of time, for each address, client or token. A bucket that fills with use and drains with
//! time; whoever has a full one waits.
//!
//! **Bounded, and no lever against others.** A table of fixed size keeps the buckets, in small sets that are chosen by a
//! keyed hash, so that nobody can aim at somebody else's. Where a set is full of buckets in use, the least used one makes
//! room: to be thrown out is to be forgiven, so a crowd can never lock anybody out, and the busiest are forgiven last.
//! Somebody with a whole /48 of IPv6 could still be many new addresses; so in a full set new IPv6 addresses share the
//! bucket of their /48, which holds [`SITE`] times as much.
//!
//! Takes the time as a value and knows nothing of requests: which limits there are, and for whom, is said in `limits`.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::address::Address;
use crate::domain::time::Timestamp;

/// Sets of buckets in a table.
const SETS: usize = 2048;
/// Buckets in a set. Together 16,384, some 400 KiB when all are in use.
const WAYS: usize = 8;
/// How many addresses' worth a whole site (/48) has, where its addresses are counted together.
const SITE: u64 = 16;
/// What one use takes of a bucket.
const ONE: u64 = 1000;

/// A limit. See the module.
#[derive(Debug)]
pub(super) struct Limit {
    amount: u32,
    span: Duration,
    sets: Mutex<Vec<Vec<Bucket>>>,
    hasher: RandomState,
    /// Until when a bucket may be full, in milliseconds: until then at least, [`Limit::over`] looks.
    full_until: AtomicU64,
}

/// What somebody has used up, in thousandths, at a moment; it drains from then on.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    whose: u64,
    used: u64,
    at: Timestamp,
}

impl Limit {
    /// `amount` in `span`, all of them at once if need be; at least one.
    pub(super) fn new(amount: u32, span: Duration) -> Self {
        let sets = Mutex::new(vec![Vec::new(); SETS]);
        Self { amount: amount.max(1), span, sets, hasher: RandomState::new(), full_until: AtomicU64::new(0) }
    }

    /// `amount` in a minute.
    pub(super) fn per_minute(amount: u32) -> Self {
        Self::new(amount, Duration::from_mins(1))
    }

    /// How many there may be.
    pub(super) fn amount(&self) -> u32 {
        self.amount
    }

    /// Uses up one of what `address` has; with `of`, of what it has in that matter (a client, a token). Where there is
    /// nothing left: how long until there is.
    pub(super) fn take(&self, address: Address, of: &str, now: Timestamp) -> Result<(), Duration> {
        let mut sets = self.locked();
        let (whose, cost) = self.bucket_of(&sets, address, of, now);
        let used = self.used(&sets, whose, now) + cost;
        if let Some(wait) = self.wait(used) {
            return Err(wait);
        }
        self.put(&mut sets, Bucket { whose, used, at: now }, now);
        if self.wait(used + cost).is_some() {
            self.full_until.fetch_max(now.after(self.span).as_millis(), Relaxed);
        }
        Ok(())
    }

    /// Gives one of them back that was taken for nothing. Where it was forgotten meanwhile, there is nothing to give.
    pub(super) fn give_back(&self, address: Address, of: &str, now: Timestamp) {
        let mut sets = self.locked();
        let (whose, cost) = self.bucket_of(&sets, address, of, now);
        let used = self.used(&sets, whose, now);
        if used > 0 {
            self.put(&mut sets, Bucket { whose, used: used.saturating_sub(cost), at: now }, now);
        }
    }

    /// How long until `address` has something left; `None` where it has. Uses nothing up, and costs nothing while nobody
    /// has used up what they have.
    pub(super) fn over(&self, address: Address, of: &str, now: Timestamp) -> Option<Duration> {
        if now.as_millis() > self.full_until.load(Relaxed) {
            return None;
        }
        let sets = self.locked();
        let (whose, cost) = self.bucket_of(&sets, address, of, now);
        self.wait(self.used(&sets, whose, now) + cost)
    }

    /// How many of what `address` has are used up.
    pub(super) fn count(&self, address: Address, of: &str, now: Timestamp) -> u64 {
        let sets = self.locked();
        let (whose, cost) = self.bucket_of(&sets, address, of, now);
        self.used(&sets, whose, now).div_ceil(cost)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Vec<Bucket>>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket that counts, and what one use takes of it.
    fn bucket_of(&self, sets: &[Vec<Bucket>], address: Address, of: &str, now: Timestamp) -> (u64, u64) {
        let own = self.hasher.hash_one((address, of));
        let set = set_of(sets, own);
        let is_known = set.iter().any(|bucket| bucket.whose == own);
        let is_crowded = set.len() >= WAYS && set.iter().all(|bucket| self.left(*bucket, now) > 0);
        match address.around() {
            Some(site) if is_crowded && !is_known => (self.hasher.hash_one((site, of, "site")), ONE / SITE),
            _ => (own, ONE),
        }
    }

    fn used(&self, sets: &[Vec<Bucket>], whose: u64, now: Timestamp) -> u64 {
        let bucket = set_of(sets, whose).iter().find(|bucket| bucket.whose == whose);
        bucket.map_or(0, |bucket| self.left(*bucket, now))
    }

    /// Puts the bucket where it is already, or where there is room, or in the place of the least used one.
    fn put(&self, sets: &mut [Vec<Bucket>], new: Bucket, now: Timestamp) {
        let Some(set) = sets.get_mut(index(new.whose)) else { return };
        if let Some(known) = set.iter_mut().find(|bucket| bucket.whose == new.whose) {
            *known = new;
        } else if set.len() < WAYS {
            set.push(new);
        } else if let Some(least) = set.iter_mut().min_by_key(|bucket| self.left(**bucket, now)) {
            *least = new;
        }
    }

    /// What is still used up of a bucket at `now`.
    fn left(&self, bucket: Bucket, now: Timestamp) -> u64 {
        let passed = now.since(bucket.at).as_millis();
        let drained = passed.saturating_mul(self.full().into()) / self.span.as_millis().max(1);
        bucket.used.saturating_sub(u64::try_from(drained).unwrap_or(u64::MAX))
    }

    /// What a bucket holds; as much drains in the span.
    fn full(&self) -> u64 {
        u64::from(self.amount) * ONE
    }

    /// How long until a bucket with so much in it is not too full.
    fn wait(&self, used: u64) -> Option<Duration> {
        let missing = used.checked_sub(self.full()).filter(|missing| *missing > 0)?;
        let millis = (u128::from(missing) * self.span.as_millis()).div_ceil(self.full().into());
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

fn index(whose: u64) -> usize {
    usize::try_from(whose % SETS as u64).unwrap_or_default()
}

fn set_of(sets: &[Vec<Bucket>], whose: u64) -> &[Bucket] {
    sets.get(index(whose)).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::address::address, *};

    const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let limit = Limit::per_minute(30);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for used in 0..30 {
            assert_eq!(limit.count(one, "", NOON), used);
            assert_eq!(limit.take(one, "", NOON), Ok(()));
        }
        assert_eq!(limit.take(one, "", NOON), Err(Duration::from_secs(2)));
        assert_eq!(limit.over(one, "", NOON), Some(Duration::from_secs(2)));
        assert_eq!(limit.take(one, "another client", NOON), Ok(()));
        assert_eq!(limit.over(other, "", NOON), None);
        assert_eq!(limit.take(other, "", NOON), Ok(()));
        let later = NOON.after(Duration::from_secs(2));
        assert_eq!(limit.take(one, "", later), Ok(()));
        assert!(limit.take(one, "", later).is_err());
    }

    #[test]
    fn a_crowd_fills_no_memory_and_locks_nobody_out() {
        let limit = Limit::per_minute(2);
        let busy = address("192.0.2.1");
        while limit.take(busy, "", NOON).is_ok() {}
        for number in 0..200_000_u32 {
            let _ = limit.take(address(&std::net::Ipv4Addr::from_bits(number).to_string()), "", NOON);
        }
        let kept = limit.locked().iter().map(Vec::len).sum::<usize>();
        assert!(kept <= SETS * WAYS, "{kept}");
        assert_eq!(limit.take(address("198.51.100.7"), "", NOON), Ok(()), "a newcomer is let in");
        assert!(limit.take(busy, "", NOON).is_err(), "a crowd of others forgives the busiest");
    }

    #[test]
    fn in_a_crowd_a_site_of_ipv6_counts_as_one() {
        let limit = Limit::per_minute(2);
        let mut passed = 0_u32;
        for number in 0..65_536_u32 {
            let one = address(&format!("2001:db8:1:{number:x}::1"));
            while limit.take(one, "", NOON).is_ok() {
                passed += 1;
            }
        }
        // Each bucket that the table has, once; and what the site has.
        let most = u32::try_from(SETS * WAYS).unwrap() * 2 + 2 * 17;
        assert!(passed <= most, "{passed} passed, {most} may");
        assert_eq!(limit.take(address("2001:db8:2::1"), "", NOON), Ok(()), "another site is let in");
        assert_eq!(limit.take(address("192.0.2.1"), "", NOON), Ok(()), "and every IPv4 address");
    }
}
