//! How much of requests is held in memory, over all that are being read or sent whole.
//!
//! Bodies pass as they come almost everywhere; where a policy has to read them they are held, and then somebody who sends
//! many large ones slowly could fill the memory. So each byte that is held is counted, for everybody together and for each
//! person. One person may have an eighth of what the others leave: however many accounts somebody has, each further one
//! gets less, and nothing is ever used up. Small bodies, which almost all are, have room of their own, so that large ones
//! do not stand in their way.
//!
//! Reading a large one takes a processor for a while; how many are read at the same time is bounded here too.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of this many times the largest size may be held for all together.
const OF_ALL: u64 = 32;
/// Which part of what others leave may be held for one person.
const SHARE: u64 = 8;
/// The largest body that counts as a small one, in bytes; where the largest of all is small, a sixteenth of that.
const SMALL: u64 = 64 * 1024;
/// Small bodies of the largest size that may be held for all together.
const SMALL_ONES: u64 = 1024;

/// What is held in this process.
#[derive(Debug)]
pub struct Held {
    small_size: u64,
    small: Room,
    large: Room,
    desks: Arc<Semaphore>,
}

/// Room for so many bytes, and who has how much of it.
#[derive(Debug)]
struct Room {
    bytes: u64,
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
        let small_size = SMALL.min(largest / 16);
        // Half of the processors, so that the other half serves meanwhile.
        let desks = thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        Arc::new(Self {
            small_size,
            small: Room::of(small_size.saturating_mul(SMALL_ONES)),
            large: Room::of(largest.saturating_mul(OF_ALL)),
            desks: Arc::new(Semaphore::new(desks)),
        })
    }

    /// Nothing yet, for this person.
    pub fn hold(self: &Arc<Self>, whose: &str) -> Hold {
        Hold { held: Arc::clone(self), whose: whose.to_owned(), bytes: 0 }
    }

    /// Leave to read one large body, when it is its turn. `None` never comes: nothing closes the desks.
    pub async fn desk(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.desks).acquire_owned().await.ok()
    }

    /// The room that a body of so many bytes is held in.
    fn room(&self, bytes: u64) -> &Room {
        if bytes <= self.small_size { &self.small } else { &self.large }
    }
}

impl Room {
    fn of(bytes: u64) -> Self {
        Self { bytes, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, whose: &str, bytes: u64) -> Result<(), NoRoom> {
        let mut counts = self.counts();
        let own = counts.of.get(whose).copied().unwrap_or_default();
        let left_by_others = self.bytes.saturating_sub(counts.all.saturating_sub(own));
        let wanted = own.saturating_add(bytes);
        if wanted > left_by_others / SHARE {
            return Err(NoRoom);
        }
        counts.all = counts.all.saturating_add(bytes);
        counts.of.insert(whose.to_owned(), wanted);
        Ok(())
    }

    fn give_back(&self, whose: &str, bytes: u64) {
        let mut counts = self.counts();
        counts.all = counts.all.saturating_sub(bytes);
        let left = counts.of.get(whose).copied().unwrap_or_default().saturating_sub(bytes);
        if left == 0 {
            counts.of.remove(whose);
        } else {
            counts.of.insert(whose.to_owned(), left);
        }
    }
}

impl Hold {
    /// Takes room for `bytes` more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        let wanted = self.bytes.saturating_add(bytes);
        let (from, to) = (self.held.room(self.bytes), self.held.room(wanted));
        if std::ptr::eq(from, to) {
            to.take(&self.whose, bytes)?;
        } else {
            // It is no small one any more.
            to.take(&self.whose, wanted)?;
            from.give_back(&self.whose, self.bytes);
        }
        self.bytes = wanted;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.held.room(self.bytes).give_back(&self.whose, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: u64 = 16 * 1024 * 1024;

    /// Holds bodies of this size for somebody until there is no room.
    fn fill(held: &Arc<Held>, whose: &str, size: u64) -> Vec<Hold> {
        let next = || {
            let mut one = held.hold(whose);
            one.grow(size).map(|()| one).ok()
        };
        std::iter::repeat_with(next).map_while(|one| one).collect()
    }

    #[test]
    fn one_person_cannot_take_the_room_of_all() {
        let held = Held::for_bodies_of(LARGEST);
        let mut ada = fill(&held, "ada", LARGEST);
        assert_eq!(ada.len(), 4);
        let mut grace = held.hold("grace");
        assert_eq!((grace.grow(LARGEST / 2), grace.grow(LARGEST / 2)), (Ok(()), Ok(())));
        drop(grace);
        ada.pop();
        assert_eq!(held.hold("ada").grow(LARGEST), Ok(()), "what was let go is free");
    }

    #[test]
    fn many_accounts_leave_room_for_somebody_else() {
        let held = Held::for_bodies_of(LARGEST);
        let mut shares = Vec::new();
        for account in 0..20 {
            for size in [LARGEST, LARGEST / 4, LARGEST / 16, SMALL + 1] {
                shares.extend(fill(&held, &account.to_string(), size));
            }
        }
        assert_eq!(held.hold("late").grow(SMALL * 2), Ok(()), "a body that is not small");
        for account in 0..20 {
            shares.extend(fill(&held, &account.to_string(), SMALL));
        }
        assert_eq!(held.hold("late").grow(SMALL), Ok(()), "a small body");
        drop(shares);
        for room in [&held.small, &held.large] {
            let counts = room.counts();
            assert_eq!((counts.all, counts.of.len()), (0, 0), "what is let go is free");
        }
    }

    #[test]
    fn large_bodies_do_not_stand_in_the_way_of_small_ones() {
        let held = Held::for_bodies_of(LARGEST);
        let large = fill(&held, "ada", SMALL + 1);
        assert_eq!(held.hold("ada").grow(SMALL + 1), Err(NoRoom));
        let mut small = held.hold("ada");
        assert_eq!((small.grow(SMALL), small.grow(1)), (Ok(()), Err(NoRoom)));
        drop(large);
        assert_eq!(small.grow(1), Ok(()), "it moves");
        assert_eq!((held.small.counts().all, held.large.counts().all), (0, SMALL + 1));
    }
}
