//! How many assertions of one client are used up in a minute.
//!
//! Each costs two durable writes and a record for some minutes. Whoever gets here has signed with the client's own key, so
//! nobody can use this up for another; the number is far above what the people of the busiest app need, since all
//! installations of an app that is a metadata document are one client. Which clients are counted is bounded: where there are
//! too many, the least used are forgotten, which only ever forgives.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;

use super::journal::{self, Event};
use crate::domain::time::Timestamp;

/// How many in a minute.
pub(super) const MOST: u32 = 6000;
/// Clients that are counted.
const CLIENTS: usize = 4096;
const MINUTE: Duration = Duration::from_mins(1);

/// The count of each client.
#[derive(Debug)]
pub(super) struct Accepted(Cache<String, Arc<Mutex<Count>>>);

/// Of the minute that began at `since`.
#[derive(Debug, Default)]
struct Count {
    since: Timestamp,
    used: u32,
}

impl Default for Accepted {
    fn default() -> Self {
        Self(Cache::new(CLIENTS))
    }
}

impl Accepted {
    /// Counts one. An error: it is one too many; after so long there may be more.
    pub(super) fn take(&self, client_id: &str, now: Timestamp) -> Result<(), Duration> {
        let count = self.0.get_or_insert_with(client_id, || Ok::<_, ()>(Arc::default())).unwrap_or_default();
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        if count.since.after(MINUTE).has_passed(now) {
            *count = Count { since: now, used: 0 };
        }
        count.used = count.used.saturating_add(1);
        if count.used <= MOST {
            return Ok(());
        }
        if count.used == MOST + 1 {
            journal::note(Event::Limited).client(client_id).reason("assertions").write();
        }
        Err(count.since.after(MINUTE).since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_and_more_a_minute_later() {
        let (accepted, now) = (Accepted::default(), Timestamp::from_millis(1_800_000_000_000));
        for _ in 0..MOST {
            accepted.take("c", now).unwrap();
        }
        let later = now.after(Duration::from_secs(20));
        assert_eq!(accepted.take("c", later), Err(Duration::from_secs(40)));
        accepted.take("d", later).unwrap();
        accepted.take("c", now.after(MINUTE)).unwrap();
    }
}
