//! How long a request waits for its answer.
//!
//! Most answers are there within milliseconds. So nothing is set up for those that are not: a clock that belongs to the
//! connection ticks now and then, and only then somebody looks whether it took too long, or whether the request may still
//! be served at all. (To put a tick off costs nothing; to set and to cancel a timer for each request costs two locks.)

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::BackendError;

/// When somebody looks first, and how often later.
const FIRST: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(200);

/// What ends the wait for the head of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// It takes longer than this.
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
    until: Instant,
    ended: &'a CancellationToken,
}

impl<'a> Wait<'a> {
    pub(super) fn new(waiting: Waiting<'a>, ticks: &mut Ticks) -> Self {
        let now = Instant::now();
        let until = now + waiting.at_most;
        let first = until.min(now + FIRST);
        match &mut ticks.0 {
            Some(tick) => tick.as_mut().reset(first),
            none => *none = Some(Box::pin(sleep_until(first))),
        }
        Self { until, ended: waiting.ended }
    }

    /// To be called while there is no answer. Ready when there is no point in waiting any longer.
    pub(super) fn poll(&self, ticks: &mut Ticks, context: &mut Context<'_>) -> Poll<BackendError> {
        let Some(tick) = &mut ticks.0 else { return Poll::Pending };
        loop {
            ready!(tick.as_mut().poll(context));
            let now = Instant::now();
            if self.ended.is_cancelled() {
                return Poll::Ready(BackendError::Ended);
            }
            if now >= self.until {
                return Poll::Ready(BackendError::TimedOut);
            }
            tick.as_mut().reset(self.until.min(now + LATER));
        }
    }
}
