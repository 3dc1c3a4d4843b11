//! A future that waits beside another one in the same task, for something rare.
//!
//! A task is polled as a whole: whoever waits for a rare word in the task of a busy connection is polled several times for
//! each of its requests, in vain, and each time looks behind a few locks. [`Beside`] has a bell of its own, and polls only
//! when that was rung.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    task::{Context, Poll, Wake, Waker},
};

/// A future beside another one.
#[derive(Debug)]
pub struct Beside<F: ?Sized> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    /// What rings in the task.
    hung: Option<Waker>,
}

#[derive(Debug)]
struct Bell {
    was_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future> Beside<F> {
    /// This future, in a box of its own.
    pub fn new(future: F) -> Self {
        Self::of(Box::pin(future))
    }
}

impl<F: Future + ?Sized> Beside<F> {
    /// A future that is in a box already.
    pub fn of(future: Pin<Box<F>>) -> Self {
        let bell = Bell { was_rung: AtomicBool::new(true), task: Mutex::default() };
        Self { future, bell: Arc::new(bell), hung: None }
    }

    /// As of a future, and nearly for nothing while nothing has happened.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.hung.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.hung = Some(context.waker().clone());
            self.bell.hang(context.waker().clone());
        }
        // Most often it was not: to look is cheaper than to take.
        if !self.bell.was_rung.load(Acquire) || !self.bell.was_rung.swap(false, AcqRel) {
            return Poll::Pending;
        }
        let bell = Waker::from(Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&bell))
    }
}

impl Bell {
    fn hang(&self, waker: Waker) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.was_rung.store(true, Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, time::Duration};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_when_it_was_rung_and_not_before() {
        let (notify, polls) = (Notify::new(), Cell::new(0));
        let mut notified = std::pin::pin!(notify.notified());
        let mut beside = Beside::new(poll_fn(|context| {
            polls.set(polls.get() + 1);
            notified.as_mut().poll(context)
        }));
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut seen = 0;
        poll_fn(|context| {
            while ticks.poll_tick(context).is_ready() {
                seen += 1;
                if seen == 10 {
                    notify.notify_one();
                }
            }
            beside.poll(context)
        })
        .await;
        assert_eq!((seen, polls.get()), (10, 2), "once to wait, once when it came");
    }

    #[tokio::test]
    async fn another_task_is_told_as_well() {
        let notify = Arc::new(Notify::new());
        let waited = Arc::clone(&notify);
        let mut beside = Beside::new(async move { waited.notified().await });
        let mut unwoken = Context::from_waker(Waker::noop());
        assert!(beside.poll(&mut unwoken).is_pending());
        let moved = tokio::spawn(async move { poll_fn(|context| beside.poll(context)).await });
        tokio::task::yield_now().await;
        notify.notify_one();
        tokio::time::timeout(Duration::from_secs(5), moved).await.expect("nobody was told").unwrap();
    }
}
