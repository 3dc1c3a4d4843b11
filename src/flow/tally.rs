//! How much somebody has open at this moment, so that one person, or one grant, cannot have all there is.
//!
//! A tally hangs on the session of an access token, so that a request finds it without looking for it, and is shared by all
//! workers. What it counts and how much is too much is said by whoever takes of it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{
            AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// What somebody has open, by kind.
#[derive(Debug, Default)]
pub struct Tally {
    open: [AtomicU32; 3],
    /// How often something of theirs was ended early. It stands here since whoever looks at one looks at the other as well,
    /// and for most requests it is the first look in a long time: one way to the memory less.
    ends: AtomicU32,
}

/// What is counted, each kind apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Requests that are being answered.
    Requests,
    /// Event streams that stay open, and requests whose answer may become one.
    OpenStreams,
    /// Event streams that end by themselves, and requests whose answer may become one.
    Streams,
}

impl Tally {
    /// One more, where there are fewer than `most`.
    pub fn take(self: &Arc<Self>, kind: Kind, most: u32) -> Option<Taken> {
        let more = |held: u32| (held < most).then(|| held.saturating_add(1));
        self.of(kind).fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Taken { of: Arc::clone(self), kind })
    }

    /// Something of theirs was ended. To be called after that.
    pub(super) fn note_end(&self) {
        self.ends.fetch_add(1, Release);
    }

    /// How often something was. While that is what it was when one looked closely, nothing has ended since.
    #[inline]
    pub(super) fn ends(&self) -> u32 {
        self.ends.load(Acquire)
    }

    /// Whether anything is open.
    pub fn is_in_use(&self) -> bool {
        self.open.iter().any(|held| held.load(Relaxed) > 0)
    }

    fn of(&self, kind: Kind) -> &AtomicU32 {
        let [requests, open_streams, streams] = &self.open;
        match kind {
            Kind::Requests => requests,
            Kind::OpenStreams => open_streams,
            Kind::Streams => streams,
        }
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    of: Arc<Tally>,
    kind: Kind,
}

impl Drop for Taken {
    fn drop(&mut self) {
        // It was counted, so it is there.
        self.of.of(self.kind).fetch_sub(1, Relaxed);
    }
}

/// The tallies of the people whose tokens are in use in this process.
#[derive(Debug, Default)]
pub(super) struct People(Mutex<HashMap<String, Weak<Tally>>>);

impl People {
    /// The one tally of a person.
    pub(super) fn tally(&self, subject: &str) -> Arc<Tally> {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = people.get(subject).and_then(Weak::upgrade) {
            return tally;
        }
        if people.len() >= 1024 && people.len().is_power_of_two() {
            people.retain(|_, tally| tally.strong_count() > 0);
        }
        let tally = Arc::new(Tally::default());
        people.insert(subject.to_owned(), Arc::downgrade(&tally));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_holds_another_does_not_lack() {
        let people = People::default();
        let ada = people.tally("ada");
        let held: Vec<_> = (0..3).map(|_| ada.take(Kind::Requests, 3).unwrap()).collect();
        assert!(people.tally("ada").take(Kind::Requests, 3).is_none(), "the same person");
        assert!(people.tally("ada").take(Kind::Streams, 3).is_some(), "another kind");
        assert!(people.tally("grace").take(Kind::Requests, 3).is_some());
        drop(ada);
        assert!(people.tally("ada").take(Kind::Requests, 3).is_none(), "what is held is counted by itself");
        drop(held);
        assert!(people.tally("ada").take(Kind::Requests, 3).is_some());
    }

    #[test]
    fn whoever_holds_nothing_is_forgotten() {
        let people = People::default();
        for number in 0..5000 {
            people.tally(&number.to_string());
        }
        assert!(people.0.lock().unwrap().len() <= 2048);
    }
}
