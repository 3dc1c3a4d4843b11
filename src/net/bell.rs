//! A waker that stands between a task and what is polled in it, so that a part of the task can have one of its own.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Wake, Waker},
};

thread_local! {
    /// Its address is a thread's own, and cheaper to know than a thread's id.
    static HERE: u8 = const { 0 };
}

fn here() -> usize {
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// What rings in a task. Was rung from the beginning: what has never been polled does not know what it waits for.
#[derive(Debug)]
pub(crate) struct Bell {
    was_rung: AtomicBool,
    is_held: AtomicBool,
    held: Mutex<Held>,
    task: Mutex<Option<Waker>>,
}

/// While somebody holds it.
#[derive(Debug, Default)]
struct Held {
    /// A thread, by [`here`].
    by: Option<usize>,
    was_rung: bool,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            was_rung: AtomicBool::new(true),
            is_held: AtomicBool::new(false),
            held: Mutex::default(),
            task: Mutex::default(),
        })
    }

    /// Whether it was rung since somebody asked.
    pub(crate) fn was_rung(&self) -> bool {
        // Most often it was not: to look is cheaper than to take.
        self.was_rung.load(Acquire) && self.was_rung.swap(false, AcqRel)
    }

    /// Does `work` in which it may be rung for nothing, and says with the result whether it was. Only what this thread rings
    /// meanwhile is meant; others are heard as ever.
    pub(crate) fn hold<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> (T, bool) {
        *lock(&self.held) = Held { by: Some(here()), was_rung: false };
        self.is_held.store(true, Relaxed);
        let holding = Holding(self);
        let done = work();
        std::mem::forget(holding);
        (done, self.let_go())
    }

    /// Nobody holds it any more. Whether it was rung meanwhile.
    fn let_go(&self) -> bool {
        self.is_held.store(false, Relaxed);
        std::mem::take(&mut *lock(&self.held)).was_rung
    }

    /// Whether whoever holds it is told, instead of the task. `is_held` is enough to know that nobody on this thread does.
    fn is_for_the_holder(&self) -> bool {
        if !self.is_held.load(Relaxed) {
            return false;
        }
        let mut held = lock(&self.held);
        let is_ours = held.by == Some(here());
        held.was_rung |= is_ours;
        is_ours
    }
}

/// Lets go of a bell where the work panics: that costs a request, and must not make its connection deaf.
struct Holding<'a>(&'a Arc<Bell>);

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        if self.0.let_go() {
            self.0.wake_by_ref();
        }
    }
}

/// A bell as it hangs in a task.
#[derive(Debug)]
pub(crate) struct Hung {
    bell: Waker,
    /// What it rings in.
    task: Option<Waker>,
}

impl Hung {
    pub(crate) fn new(bell: &Arc<Bell>) -> Self {
        Self { bell: Waker::from(Arc::clone(bell)), task: None }
    }

    /// A context with this bell, which rings in the task of `context`.
    pub(crate) fn within(&mut self, bell: &Bell, context: &Context<'_>) -> Context<'_> {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            self.task = Some(context.waker().clone());
            *lock(&bell.task) = Some(context.waker().clone());
        }
        Context::from_waker(&self.bell)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_for_the_holder() {
            return;
        }
        self.was_rung.store(true, Release);
        if let Some(task) = &*lock(&self.task) {
            task.wake_by_ref();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn it_rings_in_the_task_that_it_hangs_in_last() {
        let (one, other) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let bell = Bell::new();
        let mut hung = Hung::new(&bell);
        assert!(bell.was_rung() && !bell.was_rung());
        for task in [&one, &one, &other] {
            let waker = Waker::from(Arc::clone(task));
            hung.within(&bell, &Context::from_waker(&waker)).waker().wake_by_ref();
            assert!(bell.was_rung());
        }
        assert_eq!((one.0.load(Relaxed), other.0.load(Relaxed)), (2, 1));
    }

    #[test]
    fn while_it_is_held_only_this_thread_is_not_heard() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let bell = Bell::new();
        let mut hung = Hung::new(&bell);
        let rings = hung.within(&bell, &Context::from_waker(&waker)).waker().clone();
        assert_eq!(bell.hold(|| 7), (7, false));
        assert_eq!(bell.hold(|| rings.wake_by_ref()), ((), true));
        assert_eq!(task.0.load(Relaxed), 0);
        let (_, was_rung) = bell.hold(|| thread::scope(|scope| scope.spawn(|| rings.wake_by_ref()).join()));
        assert_eq!((task.0.load(Relaxed), was_rung), (1, false), "somebody else means it");
        rings.wake_by_ref();
        assert_eq!(task.0.load(Relaxed), 2);
    }

    #[test]
    fn attack_a_panic_while_it_is_held() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let bell = Bell::new();
        let rings = Hung::new(&bell).within(&bell, &Context::from_waker(&waker)).waker().clone();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bell.hold(|| {
                rings.wake_by_ref();
                panic!("of a handler")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(task.0.load(Relaxed), 1, "what was rung before is told");
        rings.wake_by_ref();
        assert_eq!(task.0.load(Relaxed), 2, "the connection would never hear anything again");
    }
}
