//! What all requests of a process share: who is followed, where journeys go on, and the queue of spans that are over.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    Step,
    budget::{Budget, Ratio},
    journeys::Journeys,
    record::{Finished, TraceTally},
    span::{Entered, Span},
};

/// How many finished spans wait at most. More are counted and forgotten.
pub const QUEUE: usize = 4096;
/// How many are sent at once.
pub const BATCH: usize = 512;

/// What the operator says about who is followed.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// How large a part of all requests, from 0 to 1.
    pub ratio: f64,
    /// How many in a second at most: of those whose sender has access, and as many of the others.
    pub per_second: u32,
    /// Whether a client that has access may ask for it.
    pub follows_clients: bool,
}

/// Fills with random bytes; `false`: there are none.
pub type Chance = dyn Fn(&mut [u8]) -> bool + Send + Sync;

/// Time and chance.
pub struct Sources {
    /// The time since the Unix epoch.
    pub now: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Chance.
    pub chance: Box<Chance>,
}

/// What all requests of a process share. Follows nothing until it is told to.
pub struct Hub {
    sources: Sources,
    is_on: AtomicBool,
    follows_clients: AtomicBool,
    ratio: Ratio,
    admitted: Budget,
    others: Budget,
    pub(super) journeys: Journeys,
    over: Mutex<VecDeque<Finished>>,
    batch_is_there: Notify,
    tally: Arc<TraceTally>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// A hub that counts there.
    pub fn new(sources: Sources, tally: Arc<TraceTally>) -> Arc<Self> {
        Arc::new(Self {
            sources,
            is_on: AtomicBool::default(),
            follows_clients: AtomicBool::default(),
            ratio: Ratio::default(),
            admitted: Budget::default(),
            others: Budget::default(),
            journeys: Journeys::default(),
            over: Mutex::default(),
            batch_is_there: Notify::new(),
            tally,
        })
    }

    /// From now on, requests are followed like this; `None`: not at all.
    pub fn follow(&self, sampling: Option<Sampling>) {
        if let Some(sampling) = sampling {
            self.ratio.set(sampling.ratio);
            self.admitted.set(sampling.per_second);
            self.others.set(sampling.per_second);
            self.follows_clients.store(sampling.follows_clients, Relaxed);
        }
        self.is_on.store(sampling.is_some(), Release);
    }

    /// What requests are followed with.
    pub fn tracer(self: &Arc<Self>) -> Tracer {
        Tracer(Some(Arc::clone(self)))
    }

    /// What happened to spans.
    pub fn tally(&self) -> &TraceTally {
        &self.tally
    }

    /// Waits until there are enough to be sent at once.
    pub async fn batch_is_there(&self) {
        self.batch_is_there.notified().await;
    }

    /// The spans that have waited longest, as many as are sent at once.
    pub fn batch(&self) -> Vec<Finished> {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let some = over.len().min(BATCH);
        over.drain(..some).collect()
    }

    pub(super) fn push(&self, finished: Finished) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if over.len() >= QUEUE {
            self.tally.dropped.fetch_add(1, Relaxed);
            return;
        }
        over.push_back(finished);
        if over.len() == BATCH {
            self.batch_is_there.notify_one();
        }
    }

    pub(super) fn now(&self) -> Duration {
        (self.sources.now)()
    }

    /// Random bytes; never all zero, since an id may not be.
    pub(super) fn draw<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let drawn = (self.sources.chance)(&mut bytes);
        Some(bytes).filter(|bytes| drawn && *bytes != [0; N])
    }

    /// Whether one more may be followed whose sender has access, or not.
    pub(super) fn may_follow(&self, has_access: bool) -> bool {
        let budget = if has_access { &self.admitted } else { &self.others };
        budget.take(self.now())
    }

    pub(super) fn follows_clients(&self) -> bool {
        self.follows_clients.load(Relaxed)
    }
}

/// What requests are followed with. The default follows nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Hub>>);

impl Tracer {
    /// A request begins, for this step, with this random id, by a method and on a path that are known by name.
    pub fn enters(&self, step: Step, id: [u8; 6], method: &'static str, route: &str) -> Entered {
        let Some(hub) = self.0.as_ref().filter(|hub| hub.is_on.load(Acquire)) else {
            return Entered::default();
        };
        // An operator's call has no id: all of them, where there is anything.
        let is_wanted = hub.ratio.holds(id);
        let begins = match step {
            Step::Nothing => false,
            // A journey that is followed may go on here, which only what it brings can tell.
            Step::Of(_) => true,
            Step::Proxied => is_wanted || hub.follows_clients(),
            Step::Operator => is_wanted,
        };
        if begins {
            Entered(Span::begin(hub, step, id, method, route, is_wanted))
        } else {
            Entered::default()
        }
    }
}
