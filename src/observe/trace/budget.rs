//! Which requests are followed: one in so many, and never more than so many in a second.
//!
//! The ratio is held against the request's own random id, which nobody outside can choose; so nothing that a client sends
//! decides. The bound holds whatever the ratio is and whatever clients ask for, so that a flood costs neither the collector nor us.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// One more than the largest id.
const ALL: u64 = 1 << 48;

/// How large a part of all requests is followed.
#[derive(Debug, Default)]
pub struct Ratio(AtomicU64);

impl Ratio {
    /// From now on this part, from 0 to 1.
    pub fn set(&self, part: f64) {
        // Exact at both ends; what lies between is chance anyway.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a part of 2^48, which a double holds exactly"
        )]
        let below = (part.clamp(0.0, 1.0) * ALL as f64) as u64;
        self.0.store(below, Relaxed);
    }

    /// Whether the request with this random id is one of them.
    pub fn holds(&self, id: [u8; 6]) -> bool {
        let number = id.into_iter().fold(0, |number: u64, byte| number << 8 | u64::from(byte));
        number < self.0.load(Relaxed)
    }
}

/// So many in each second.
#[derive(Debug, Default)]
pub struct Budget {
    most: AtomicU32,
    /// The second, and how many there were in it.
    spent: Mutex<(u64, u32)>,
}

impl Budget {
    /// From now on so many.
    pub fn set(&self, most: u32) {
        self.most.store(most, Relaxed);
    }

    /// Takes one, at this moment since the epoch; `false`: this second has had as many as it may.
    pub fn take(&self, now: Duration) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now.as_secs();
        if spent.0 != second {
            *spent = (second, 0);
        }
        let is_left = spent.1 < self.most.load(Relaxed);
        spent.1 += u32::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_nothing_and_everything_is_everything() {
        let ratio = Ratio::default();
        for (part, least, largest) in
            [(0.0, false, false), (1.0, true, true), (0.5, true, false), (7.0, true, true)]
        {
            ratio.set(part);
            assert_eq!((ratio.holds([0; 6]), ratio.holds([0xff; 6])), (least, largest), "{part}");
        }
        ratio.set(0.25);
        assert!(ratio.holds([0x3f, 0xff, 0xff, 0xff, 0xff, 0xff]) && !ratio.holds([0x40, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn a_second_has_as_many_as_it_may_and_the_next_one_as_many_again() {
        let budget = Budget::default();
        assert!(!budget.take(Duration::from_secs(1)), "nothing is allowed until somebody says how many");
        budget.set(3);
        for second in [1, 2, 9] {
            let taken = (0..10)
                .filter(|tenth| budget.take(Duration::from_millis(second * 1000 + tenth * 100)))
                .count();
            assert_eq!(taken, 3, "{second}");
        }
    }
}
