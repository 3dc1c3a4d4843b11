//! Who was turned away at the door of the admin API, in the journal: so often that somebody notices, and no more.
//!
//! A page on the internet cannot read what the admin listener answers, but it can make a browser beside it ask for any number
//! of answers: one entry for each would fill the disk. What is not written is counted with the next entry.

use std::sync::{Mutex, PoisonError};

use crate::{
    domain::time::Timestamp,
    flow::journal::{self, Event},
};

/// How many are written one by one in each minute.
const A_MINUTE: u64 = 20;
const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);

/// What was turned away lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    since: Timestamp,
    written: u64,
    unwritten: u64,
}

impl Refusals {
    /// One more, for this reason.
    pub(super) fn note(&self, reason: &'static str, now: Timestamp) {
        let entry = journal::note(Event::OperatorRefused).reason(reason);
        match self.due(now) {
            None => {}
            Some(1) => entry.write(),
            Some(count) => entry.count(count).write(),
        }
    }

    /// Whether an entry is due, and how many it stands for.
    fn due(&self, now: Timestamp) -> Option<u64> {
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that went back begins a new minute too.
        if now.since(lately.since) >= MINUTE || now < lately.since {
            (lately.since, lately.written) = (now, 0);
        }
        if lately.written >= A_MINUTE {
            lately.unwritten = lately.unwritten.saturating_add(1);
            return None;
        }
        lately.written += 1;
        Some(std::mem::take(&mut lately.unwritten).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_a_flood_of_wrong_tokens_fills_no_journal() {
        let (refusals, begun) = (Refusals::default(), Timestamp::from_millis(1_000_000_000));
        let written: Vec<u64> = (0..100_000).filter_map(|_| refusals.due(begun)).collect();
        assert_eq!(written, [1; 20]);
        let later = begun.after(MINUTE);
        assert_eq!(refusals.due(later), Some(100_000 - 20 + 1), "none is lost");
        assert_eq!(refusals.due(later), Some(1));
        assert_eq!(refusals.due(begun), Some(1), "the clock went back");
    }
}
