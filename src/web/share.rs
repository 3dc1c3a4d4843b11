//! Shares: how much of something that is there at the same time one address may hold.
//!
//! A rate says nothing about what stays open. (What a person or a grant has open is counted with its session:
//! `flow::tally`.)

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

/// Parts of the table, so that workers seldom wait for each other.
const PARTS: usize = 64;

/// Who holds how many. Only holders are in it.
#[derive(Debug)]
pub(super) struct Shares {
    parts: [Mutex<HashMap<u64, u32>>; PARTS],
    hasher: RandomState,
}

impl Shares {
    pub(super) fn new() -> Arc<Self> {
        let parts = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { parts, hasher: RandomState::new() })
    }

    /// One more for `whose`, who may hold `most`.
    pub(super) fn take(self: &Arc<Self>, whose: impl Hash, most: u32) -> Option<Share> {
        let whose = self.hasher.hash_one(whose);
        let mut part = self.part(whose).lock().unwrap_or_else(PoisonError::into_inner);
        let held = part.entry(whose).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(Share { shares: Arc::clone(self), whose })
    }

    fn part(&self, whose: u64) -> &Mutex<HashMap<u64, u32>> {
        let index = usize::try_from(whose % PARTS as u64).unwrap_or_default();
        let [first, ..] = &self.parts;
        self.parts.get(index).unwrap_or(first)
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    whose: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut part = self.shares.part(self.whose).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = part.get_mut(&self.whose) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                part.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_does_not_lack() {
        let shares = Shares::new();
        let held: Vec<_> = (0..3).map(|_| shares.take("ada", 3).unwrap()).collect();
        assert!(shares.take("ada", 3).is_none());
        assert!(shares.take("grace", 3).is_some());
        drop(held);
        assert!(shares.take("ada", 3).is_some());
        let kept = shares.parts.iter().map(|part| part.lock().unwrap().len()).sum::<usize>();
        assert_eq!(kept, 0, "whoever holds nothing is forgotten");
    }
}
