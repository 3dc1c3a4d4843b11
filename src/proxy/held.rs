//! How much of requests is held in memory, over all that are being read or sent whole.
//!
//! Bodies pass as they come almost everywhere; where a policy has to read them they are held, and then somebody who sends
//! many large ones slowly could fill the memory. So each byte that is held is counted, for everybody together and for each
//! person: nobody's share is large enough to leave nothing to the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bodies of this many times the largest size may be held for one person.
const OF_ONE: u64 = 4;
/// And for all together.
const OF_ALL: u64 = 32;

/// What is held in this process.
#[derive(Debug)]
pub struct Held {
    of_one: u64,
    of_all: u64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u64,
    of: HashMap<String, u64>,
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    held: Arc<Held>,
    whose: String,
    bytes: u64,
}

/// There is no room; later there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRoom;

impl Held {
    /// Room for bodies of at most `largest` bytes each.
    pub fn for_bodies_of(largest: u64) -> Arc<Self> {
        let (of_one, of_all) = (largest.saturating_mul(OF_ONE), largest.saturating_mul(OF_ALL));
        Arc::new(Self { of_one, of_all, counts: Mutex::default() })
    }

    /// Nothing yet, for this person.
    pub fn hold(self: &Arc<Self>, whose: &str) -> Hold {
        Hold { held: Arc::clone(self), whose: whose.to_owned(), bytes: 0 }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Takes room for `bytes` more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        let mut counts = self.held.counts();
        let all = counts.all.saturating_add(bytes);
        let own = counts.of.get(&self.whose).copied().unwrap_or_default().saturating_add(bytes);
        if all > self.held.of_all || own > self.held.of_one {
            return Err(NoRoom);
        }
        counts.all = all;
        counts.of.insert(self.whose.clone(), own);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut counts = self.held.counts();
        counts.all = counts.all.saturating_sub(self.bytes);
        let left = counts.of.get(&self.whose).copied().unwrap_or_default().saturating_sub(self.bytes);
        if left == 0 {
            counts.of.remove(&self.whose);
        } else {
            counts.of.insert(self.whose.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_cannot_take_the_room_of_all() {
        let held = Held::for_bodies_of(10);
        let mut ada: Vec<Hold> = (0..4).map(|_| held.hold("ada")).collect();
        for share in &mut ada {
            assert_eq!((share.grow(4), share.grow(6)), (Ok(()), Ok(())));
        }
        assert_eq!(held.hold("ada").grow(1), Err(NoRoom));
        let mut grace = held.hold("grace");
        assert_eq!(grace.grow(10), Ok(()));
        ada.pop();
        let mut again = held.hold("ada");
        assert_eq!((again.grow(10), again.grow(1)), (Ok(()), Err(NoRoom)));
    }

    #[test]
    fn all_together_have_their_bound_and_what_is_let_go_is_free() {
        let held = Held::for_bodies_of(10);
        let mut shares = Vec::new();
        for person in 0..32 {
            let mut share = held.hold(&person.to_string());
            assert_eq!(share.grow(10), Ok(()));
            shares.push(share);
        }
        assert_eq!(held.hold("late").grow(1), Err(NoRoom));
        drop(shares);
        assert_eq!(held.hold("late").grow(10), Ok(()));
        let counts = held.counts();
        assert_eq!((counts.all, counts.of.len()), (0, 0));
    }
}
