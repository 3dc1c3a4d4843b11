//! How long a request waits for its answer.
//!
//! Most answers are there within milliseconds. So nothing is set up for those that are not, and no clock is asked: one that
//! belongs to the connection ticks five times a second, and only then somebody looks whether the request may still be served
//! at all, and whether it took too long since the first such look. So both are noticed up to a fifth of a second late.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::BackendError;

/// How often somebody looks.
const LOOK: Duration = Duration::from_millis(200);

/// What ends the wait for the head of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// It takes longer than this. Noticed within a fifth of a second.
    pub at_most: Duration,
    /// The request may not be served any longer. Noticed within a fifth of a second.
    pub ended: &'a CancellationToken,
}

/// The clock of a connection.
#[derive(Debug, Default)]
pub(super) struct Ticks(Option<Pin<Box<Sleep>>>);

/// One request's wait.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waiting: Waiting<'a>,
    /// Known from the first look on.
    until: Option<Instant>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(waiting: Waiting<'a>) -> Self {
        Self { waiting, until: None }
    }

    /// To be called while there is no answer. Ready when there is no point in waiting any longer.
    pub(super) fn poll(&mut self, ticks: &mut Ticks, context: &mut Context<'_>) -> Poll<BackendError> {
        let Waiting { at_most, ended } = self.waiting;
        let tick = ticks.0.get_or_insert_with(|| Box::pin(sleep(LOOK.min(at_most))));
        loop {
            // It may have ticked long ago, for another request.
            ready!(tick.as_mut().poll(context));
            if ended.is_cancelled() {
                return Poll::Ready(BackendError::Ended);
            }
            let now = Instant::now();
            let until = *self.until.get_or_insert(now + at_most);
            if now >= until {
                return Poll::Ready(BackendError::TimedOut);
            }
            tick.as_mut().reset(until.min(now + LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_request_has_its_own_time_on_a_clock_that_goes_on() {
        let ended = CancellationToken::new();
        let (at_most, mut ticks) = (Duration::from_secs(3), Ticks::default());
        for pause in [0, 150, 1000] {
            sleep(Duration::from_millis(pause)).await;
            let (begun, mut wait) = (Instant::now(), Wait::new(Waiting { at_most, ended: &ended }));
            assert_eq!(poll_fn(|context| wait.poll(&mut ticks, context)).await, BackendError::TimedOut);
            let took = begun.elapsed();
            assert!(took >= at_most && took <= at_most + LOOK, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_noticed_within_a_look() {
        let (ended, mut ticks) = (CancellationToken::new(), Ticks::default());
        let waiting = Waiting { at_most: Duration::from_mins(1), ended: &ended };
        let mut wait = Wait::new(waiting);
        let cancelled_at = async {
            sleep(Duration::from_millis(500)).await;
            ended.cancel();
            Instant::now()
        };
        let waited = poll_fn(|context| wait.poll(&mut ticks, context));
        let (error, cancelled_at) = tokio::join!(waited, cancelled_at);
        assert_eq!(error, BackendError::Ended);
        assert!(cancelled_at.elapsed() <= LOOK);
    }
}
