//! Places for answers that are open as streams.
//!
//! **Taken before the MCP server sees anything**, since only its answer shows whether it is a stream: a call that were
//! refused after it was done would be done twice by whoever tries again. Given back as soon as the answer turns out to be
//! an ordinary one.
//!
//! Two rules keep the places from those who want them all. One person may have an eighth of what is free ([`AT_LEAST`]
//! while more than an eighth of all places is), so that each further account gets less than the one before. And streams
//! that stay open for as long as their client likes leave an eighth of the places to requests that end by themselves.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::traffic::ServerTraffic;
use crate::flow::tally::{Kind, Taken, Tally};

/// Which part of what is free one person may have; and which part is no place for streams that stay open.
const SHARE: usize = 8;
/// What a person may have while not even an eighth of that is free, but an eighth of all places.
const AT_LEAST: usize = 8;

/// All places.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    all: usize,
    free: Arc<Semaphore>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Taken,
    /// Where it is counted as an open stream.
    counted: Option<Arc<ServerTraffic>>,
}

impl Place {
    /// This place, which is one of a stream: counted there until it is given back.
    pub(super) fn of_stream(mut self, traffic: &Arc<ServerTraffic>) -> Self {
        traffic.stream_begins();
        self.counted = Some(Arc::clone(traffic));
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(traffic) = &self.counted {
            traffic.stream_ends();
        }
    }
}

impl Streams {
    /// So many places.
    pub(super) fn new(all: usize) -> Self {
        let all = all.min(Semaphore::MAX_PERMITS);
        Self { all, free: Arc::new(Semaphore::new(all)) }
    }

    /// A place for the answer to a request of this person.
    pub(super) fn take(&self, person: &Arc<Tally>, stays_open: bool) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        // With the one that was just taken.
        let free = self.free.available_permits() + 1;
        let kept = if stays_open { self.kept() } else { 0 };
        let free = free.checked_sub(kept).filter(|free| *free > 0)?;
        let at_least = if free * SHARE > self.all { AT_LEAST } else { 1 };
        let most = u32::try_from((free / SHARE).max(at_least)).unwrap_or(u32::MAX);
        let kind = if stays_open { Kind::OpenStreams } else { Kind::Streams };
        let share = person.take(kind, most)?;
        Some(Place { _permit: permit, _share: share, counted: None })
    }

    /// Places that streams which stay open do not get.
    fn kept(&self) -> usize {
        (self.all / SHARE).max(1).min(self.all.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_accounts_do_not_take_all_streams() {
        let streams = Streams::new(5000);
        let mut held = Vec::new();
        for _ in 0..40 {
            let account = Arc::default();
            for _ in 0..256 {
                held.extend(streams.take(&account, true));
            }
        }
        assert!(held.len() > 4000, "{}", held.len());
        assert!(streams.take(&Arc::default(), true).is_some(), "a stream of somebody else");
        let somebody = Arc::default();
        for _ in 0..8 {
            held.push(streams.take(&somebody, false).expect("a call of somebody else"));
        }
    }

    #[test]
    fn streams_that_stay_open_leave_places_to_calls() {
        let streams = Streams::new(80);
        let mut held: Vec<Place> = (0..1000).filter_map(|_| streams.take(&Arc::default(), true)).collect();
        assert_eq!(held.len(), 70);
        let calls: Vec<Place> = (0..1000).filter_map(|_| streams.take(&Arc::default(), false)).collect();
        assert_eq!(calls.len(), 10);
        held.pop();
        assert!(streams.take(&Arc::default(), true).is_none(), "what is free then is for calls");
        drop(calls);
        assert!(streams.take(&Arc::default(), true).is_some());
    }

    #[test]
    fn a_place_is_given_back() {
        let streams = Streams::new(1);
        let (ada, grace) = (Arc::default(), Arc::default());
        let place = streams.take(&ada, true).unwrap();
        assert!(streams.take(&ada, true).is_none() && streams.take(&grace, false).is_none());
        drop(place);
        assert!(streams.take(&grace, true).is_some());
    }
}
