//! What is counted for `/metrics`: numbers that only rise, and how long things took.
//!
//! Counting must cost the request path nothing. What a worker counts belongs to that worker and is written by its thread
//! alone, so [`Count::one_more`] and [`Spread::note`] are plain loads, adds and stores: no lock, no atomic addition, no
//! look-up. Whoever scrapes reads them from another thread and sums over the workers. What several threads write (the steps
//! on the control runtime) takes [`Count::add`] and [`Spread::note_shared`].
//!
//! Must never decide anything: nobody reads these numbers but the scrape.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::domain::time::Timestamp;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more, by the one thread that writes this number.
    pub fn one_more(&self) {
        self.more(1);
    }

    /// So many more, by the one thread that writes this number.
    pub fn more(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// So many more, by any thread.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// How many so far.
    pub fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The most bounds that a spread has.
const MOST: usize = 18;

/// Bounds for what may take from a part of a millisecond to minutes: requests, calls to third parties. In microseconds.
pub const SLOW: &[u64] = &[
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    120_000_000,
];

/// Bounds for what should take less than that: the store. In microseconds.
pub const FAST: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// How long things took: how many up to each bound, and all together.
#[derive(Debug)]
pub struct Spread {
    bounds: &'static [u64],
    /// One for each bound.
    within: [Count; MOST],
    /// Those beyond the last bound.
    beyond: Count,
    sum: Count,
}

impl Spread {
    /// With these bounds, in microseconds, ascending; at most 18.
    pub fn new(bounds: &'static [u64]) -> Self {
        let within = Default::default();
        Self { bounds, within, beyond: Count::default(), sum: Count::default() }
    }

    /// Notes something that took so many microseconds, by the one thread that writes this spread.
    pub fn note(&self, micros: u64) {
        self.place(micros).one_more();
        self.sum.more(micros);
    }

    /// The same, by any thread.
    pub fn note_shared(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.place(micros).add(1);
        self.sum.add(micros);
    }

    fn place(&self, micros: u64) -> &Count {
        let mut places = self.bounds.iter().zip(&self.within);
        places.find(|(bound, _)| micros <= **bound).map_or(&self.beyond, |(_, place)| place)
    }

    /// What was noted so far.
    pub fn so_far(&self) -> Measured {
        Measured {
            bounds: self.bounds,
            within: std::array::from_fn(|at| self.within.get(at).map_or(0, Count::so_far)),
            beyond: self.beyond.so_far(),
            sum: self.sum.so_far(),
        }
    }
}

/// What a [`Spread`] held at a moment, or several of them together.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    bounds: &'static [u64],
    within: [u64; MOST],
    beyond: u64,
    sum: u64,
}

impl Measured {
    /// Nothing yet, with these bounds.
    pub fn nothing(bounds: &'static [u64]) -> Self {
        Self { bounds, within: [0; MOST], beyond: 0, sum: 0 }
    }

    /// Both together. The bounds are the same.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (mine, others) in self.within.iter_mut().zip(other.within) {
            *mine += others;
        }
        self.beyond += other.beyond;
        self.sum += other.sum;
        self
    }

    /// For each bound, in microseconds: how many took no longer.
    pub fn up_to(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut all = 0;
        self.bounds.iter().zip(self.within).map(move |(bound, count)| {
            all += count;
            (*bound, all)
        })
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.within.iter().sum::<u64>() + self.beyond
    }

    /// How long all together, in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// What became of things, by outcome and reason: words of ours. For what is rare, by any thread.
#[derive(Debug, Default)]
pub struct Outcomes(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl Outcomes {
    /// Of these nothing has happened yet, and so is said.
    pub fn expecting(all: &[(&'static str, &'static str)]) -> Self {
        Self(Mutex::new(all.iter().map(|one| (*one, 0)).collect()))
    }

    /// One more.
    pub fn add(&self, outcome: &'static str, reason: &'static str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry((outcome, reason)).or_default();
        *count = count.wrapping_add(1);
    }

    /// Outcome, reason, how many so far.
    pub fn so_far(&self) -> Vec<(&'static str, &'static str, u64)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|((outcome, reason), count)| (*outcome, *reason, *count)).collect()
    }
}

/// What the steps count beside the journal.
#[derive(Debug)]
pub struct StepsTally {
    /// Fetches of metadata documents of clients: `taken`, `gone`, `refused` or `unavailable`, with the reason.
    pub documents: Outcomes,
    /// When a backup was last read to its end, in seconds; zero: never.
    backed_up_at: AtomicU64,
}

impl Default for StepsTally {
    fn default() -> Self {
        Self { documents: Outcomes::expecting(&[("taken", "")]), backed_up_at: AtomicU64::default() }
    }
}

impl StepsTally {
    /// A backup was read to its end.
    pub(super) fn backed_up(&self, now: Timestamp) {
        self.backed_up_at.fetch_max(now.as_secs(), Relaxed);
    }

    /// When that was last, in seconds; zero: never.
    pub fn backed_up_at(&self) -> u64 {
        self.backed_up_at.load(Relaxed)
    }
}

/// How often a worker found a token in its own memory, and how often it had to be read from the store.
#[derive(Debug, Default)]
pub struct SessionTally {
    /// Found, and still good.
    pub hits: Count,
    /// Not there, or too old.
    pub misses: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_one_bucket_and_in_all_above() {
        let spread = Spread::new(SLOW);
        for micros in [0, 1_000, 1_001, 40_000, 120_000_000, 120_000_001] {
            spread.note(micros);
        }
        spread.note_shared(Duration::from_millis(40));
        let read = spread.so_far();
        let up_to: Vec<_> = read.up_to().collect();
        assert_eq!(up_to.len(), SLOW.len());
        assert_eq!(up_to[0], (100, 1));
        assert_eq!(up_to[3], (1_000, 2));
        assert_eq!(up_to[4], (2_500, 3));
        assert_eq!(up_to[8], (50_000, 5));
        assert_eq!(up_to[17], (120_000_000, 6));
        assert_eq!(read.count(), 7);
        assert_eq!(read.sum(), 240_082_002);
        let twice = read.and(&read);
        assert_eq!((twice.count(), twice.sum()), (14, 480_164_004));
    }

    #[test]
    fn bounds_rise_and_have_a_place() {
        for bounds in [SLOW, FAST] {
            assert!(bounds.len() <= MOST && bounds.is_sorted());
        }
    }
}
