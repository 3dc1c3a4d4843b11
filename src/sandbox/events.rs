//! What an actor of the sandbox saw, in order.
//!
//! Tests and the replay read these logs instead of guessing from outside: "the third party saw one authorization
//! request" is a count, not an assumption. Whoever defines an event type keeps secrets out of it: lengths, names and
//! public identifiers only, so that a log can be printed or shown on a page as it is.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// Older events are dropped: a sandbox may run for days.
const KEPT: usize = 4096;

/// An append-only log that can be waited on. Holds the latest 4096 events.
#[derive(Debug)]
pub struct EventLog<E> {
    events: Mutex<VecDeque<E>>,
    recorded: watch::Sender<u64>,
}

impl<E: Clone> EventLog<E> {
    /// An empty log.
    pub fn new() -> Self {
        Self { events: Mutex::new(VecDeque::new()), recorded: watch::Sender::new(0) }
    }

    /// Appends one event and wakes whoever waits.
    pub fn record(&self, event: E) {
        {
            let mut events = self.lock();
            if events.len() == KEPT {
                events.pop_front();
            }
            events.push_back(event);
        }
        self.recorded.send_modify(|count| *count += 1);
    }

    /// All events, oldest first.
    pub fn all(&self) -> Vec<E> {
        self.lock().iter().cloned().collect()
    }

    /// How many events satisfy `wanted`.
    pub fn count(&self, wanted: impl Fn(&E) -> bool) -> usize {
        self.lock().iter().filter(|event| wanted(event)).count()
    }

    /// Forgets everything: the next scene starts with an empty stage.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits until an event satisfies `wanted` and returns it; `None` after `limit`.
    pub async fn wait_for(&self, wanted: impl Fn(&E) -> bool, limit: Duration) -> Option<E> {
        let mut recorded = self.recorded.subscribe();
        let found = async {
            loop {
                recorded.borrow_and_update();
                if let Some(event) = self.lock().iter().find(|event| wanted(event)).cloned() {
                    return Some(event);
                }
                recorded.changed().await.ok()?;
            }
        };
        tokio::time::timeout(limit, found).await.ok().flatten()
    }

    /// A number that changes with every event, for pages that follow a log.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.recorded.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<E>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> Default for EventLog<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{EventLog, KEPT};

    #[tokio::test]
    async fn a_waiter_is_woken_by_the_event_that_it_wants() {
        let log = Arc::new(EventLog::new());
        let writer = Arc::clone(&log);
        let task = tokio::spawn(async move {
            writer.record(1);
            tokio::task::yield_now().await;
            writer.record(2);
        });
        assert_eq!(log.wait_for(|n| *n == 2, Duration::from_secs(5)).await, Some(2));
        assert_eq!(log.wait_for(|n| *n == 3, Duration::from_millis(10)).await, None);
        task.await.unwrap();
        assert_eq!(log.all(), [1, 2]);
    }

    #[test]
    fn the_log_keeps_the_latest_events_only() {
        let log = EventLog::new();
        for n in 0..=KEPT {
            log.record(n);
        }
        assert_eq!(log.all().len(), KEPT);
        assert_eq!(log.count(|n| *n == 0), 0);
    }
}
