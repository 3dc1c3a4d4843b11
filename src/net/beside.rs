//! A future that waits beside another one in the same task, for something rare.
//!
//! A task is polled as a whole: whoever waits for a rare word in the task of a busy connection is polled several times for
//! each of its requests, in vain, and each time looks behind a few locks. [`Beside`] has a bell of its own, and polls only
//! when that was rung.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::bell::{Bell, Hung};

/// A future beside another one.
#[derive(Debug)]
pub struct Beside<F: ?Sized> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    hung: Hung,
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
        let bell = Bell::new();
        Self { future, hung: Hung::new(&bell), bell }
    }

    /// As of a future, and nearly for nothing while nothing has happened.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut context = self.hung.within(&self.bell, context);
        if self.bell.was_rung() { self.future.as_mut().poll(&mut context) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, task::Waker, time::Duration};

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
