//! Bodies on their way through: the client's to the MCP server (`Upload`), the MCP server's to the client (`Relay`).
//!
//! Frames pass as they come, byte for byte; nothing is collected, and a slow reader holds back the other side. Trailers
//! do not pass. Dropping a body closes its other side at once.
//!
//! **When an answer ends early.** An event stream ends when its grant ends, when its token expires, or at drain: cleanly,
//! as if the MCP server had ended it, since clients know how to go on from there, and a half event at the end is
//! ignored by them (HTML, server-sent events, section 9.2.6). Any other answer ends early only with its grant, or when
//! the MCP server pauses for too long: broken off, so that a part is never taken for the whole.

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::net::{
    backend::Answer,
    beside::Beside,
    body::{Body, BodyError},
    pace::Pace,
};

/// A client's body, bounded in size and in the time for which it may keep the MCP server waiting.
pub(super) struct Upload {
    inner: Body,
    left: u64,
    pace: Pace,
}

impl Upload {
    #[inline]
    pub(super) fn new(inner: Body, limit: u64, stall: Duration) -> Self {
        Self { inner, left: limit, pace: Pace::new(stall) }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            ready!(this.pace.waits(context));
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        this.pace.moves(0);
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            this.pace.moves(length);
            let Some(left) = this.left.checked_sub(length) else {
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            };
            this.left = left;
        }
        Poll::Ready(frame)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What ends an answer early, besides its own end.
#[derive(Debug)]
pub(super) enum Until {
    /// Of an event stream.
    Events {
        /// The grant or the token ends.
        ended: CancellationToken,
        /// The gateway drains.
        draining: CancellationToken,
        /// How long it may go on then.
        grace: Duration,
        /// How long the token is still valid, where that matters.
        expires_in: Option<Duration>,
    },
    /// Of anything else.
    Whole {
        /// The grant or the token ends.
        ended: CancellationToken,
        /// How long it may pause.
        stall: Duration,
    },
}

impl Until {
    #[inline]
    fn ended(&self) -> &CancellationToken {
        match self {
            Self::Events { ended, .. } | Self::Whole { ended, .. } => ended,
        }
    }
}

/// An MCP server's body.
pub(super) struct Relay<Inner = Answer> {
    inner: Option<Inner>,
    until: Until,
    /// When the token of an event stream expires, where that matters.
    deadline: Option<Instant>,
    /// What ends it from outside. `None` until the first time that there is nothing to relay: most answers are there at once
    /// and never wait. From then on it is heard in time, and nothing else is asked: a clock and a lock for each event cost more
    /// than this does.
    ending: Option<Beside<Ending>>,
    /// The pause of anything but an event stream.
    pause: Option<Pin<Box<Sleep>>>,
}

type Ending = dyn Future<Output = ()> + Send;

impl<Inner> Relay<Inner> {
    #[inline]
    pub(super) fn new(inner: Inner, until: Until) -> Self {
        let deadline = match &until {
            Until::Events { expires_in, .. } => expires_in.map(|left| Instant::now() + left),
            Until::Whole { .. } => None,
        };
        Self { inner: Some(inner), until, deadline, ending: None, pause: None }
    }

    /// Ends here, cleanly or not, and lets go of the MCP server at once.
    #[inline]
    fn end(&mut self, with: Option<BodyError>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.inner = None;
        self.ending = None;
        self.pause = None;
        Poll::Ready(with.map(Err))
    }

    /// Whether it has to end, while nobody waits for that yet: one that always has something to relay never comes to wait.
    fn is_over(&self) -> bool {
        self.until.ended().is_cancelled() || self.deadline.is_some_and(|end| end <= Instant::now())
    }
}

impl<Inner: HttpBody<Data = Bytes, Error = BodyError> + Unpin> HttpBody for Relay<Inner> {
    type Data = Bytes;
    type Error = BodyError;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let is_events = matches!(this.until, Until::Events { .. });
        let cut = (!is_events).then_some(BodyError::Cut);
        // Looked at before each frame is given.
        let ending = this.ending.as_mut().map(|ending| ending.poll(context));
        if ending.is_some_and(|ending| ending.is_ready()) {
            return this.end(cut);
        }
        let is_waiting = ending.is_some();
        match Pin::new(inner).poll_frame(context) {
            Poll::Ready(_) if !is_waiting && this.is_over() => return this.end(cut),
            Poll::Ready(Some(Ok(frame))) => {
                if let (Until::Whole { stall, .. }, Some(pause)) = (&this.until, &mut this.pause) {
                    pause.as_mut().reset(Instant::now() + *stall);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(error))) => return this.end(Some(error)),
            Poll::Ready(None) => return this.end(None),
            Poll::Pending => {}
        }
        let (until, deadline) = (&this.until, this.deadline);
        if !is_waiting {
            let ending = this.ending.insert(Beside::of(until.ending(deadline)));
            if ending.poll(context).is_ready() {
                return this.end(cut);
            }
        }
        if let Until::Whole { stall, .. } = until
            && this.pause.get_or_insert_with(|| Box::pin(sleep(*stall))).as_mut().poll(context).is_ready()
        {
            return this.end(Some(BodyError::Stalled));
        }
        Poll::Pending
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match (&self.inner, &self.until) {
            (Some(inner), Until::Whole { .. }) => inner.size_hint(),
            // May end early, so it promises nothing.
            (Some(_), Until::Events { .. }) => SizeHint::default(),
            (None, _) => SizeHint::with_exact(0),
        }
    }
}

impl Until {
    /// Ready when what is still on its way has to end: with the grant or the token, and an event stream at its `deadline`, or
    /// when it may not go on any longer after drain has begun.
    fn ending(&self, deadline: Option<Instant>) -> Pin<Box<Ending>> {
        match self {
            Self::Whole { ended, .. } => Box::pin(ended.clone().cancelled_owned()),
            Self::Events { ended, draining, grace, .. } => {
                let (ended, draining, grace) = (ended.clone(), draining.clone(), *grace);
                Box::pin(async move {
                    let drained = async {
                        draining.cancelled().await;
                        sleep(grace).await;
                    };
                    let expired = async {
                        match deadline {
                            Some(deadline) => sleep_until(deadline).await,
                            None => pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        () = ended.cancelled() => {}
                        () = expired => {}
                        () = drained => {}
                    }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;

    /// Always has something to relay, but for the frame of this number.
    struct Busy(Option<u32>);

    impl HttpBody for Busy {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0 = match self.0 {
                Some(0) => {
                    self.0 = None;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                before => before.map(|before| before - 1),
            };
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: x\n\n")))))
        }
    }

    type Next = Option<Result<Frame<Bytes>, BodyError>>;

    async fn next(relay: &mut Relay<Busy>) -> Next {
        poll_fn(|context| Pin::new(&mut *relay).poll_frame(context)).await
    }

    /// What a relay gives after `end`, when it has given a few frames and had to wait before the one of number `pause`.
    async fn after(pause: Option<u32>, until: Until, end: impl Future) -> Next {
        let mut relay = Relay::new(Busy(pause), until);
        for _ in 0..5 {
            assert!(matches!(next(&mut relay).await, Some(Ok(_))));
        }
        assert_eq!(relay.ending.is_some(), pause.is_some());
        end.await;
        let given = next(&mut relay).await;
        if !matches!(given, Some(Ok(_))) {
            assert!(next(&mut relay).await.is_none(), "over is over");
        }
        given
    }

    fn events(
        ended: &CancellationToken,
        draining: &CancellationToken,
        expires_in: Option<Duration>,
    ) -> Until {
        let (ended, draining) = (ended.clone(), draining.clone());
        Until::Events { ended, draining, grace: Duration::from_secs(5), expires_in }
    }

    /// The clock goes on, and with it whoever waits for it.
    async fn pass(time: Duration) {
        advance(time).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn attack_an_answer_that_never_rests_goes_on_for_nobody() {
        let never = CancellationToken::new();
        for pause in [None, Some(2)] {
            let ended = CancellationToken::new();
            let given = after(pause, events(&ended, &never, None), async { ended.cancel() }).await;
            assert!(given.is_none(), "{pause:?}: the grant has ended");

            let ended = CancellationToken::new();
            let until = Until::Whole { ended: ended.clone(), stall: Duration::from_mins(1) };
            let given = after(pause, until, async { ended.cancel() }).await;
            assert!(
                matches!(given, Some(Err(BodyError::Cut))),
                "{pause:?}: a part is not taken for the whole"
            );

            let left = Duration::from_secs(3);
            let until = || events(&never, &never, Some(left));
            let given = after(pause, until(), pass(Duration::from_millis(2990))).await;
            assert!(matches!(given, Some(Ok(_))), "{pause:?}: the token is still good");
            let given = after(pause, until(), pass(left + Duration::from_millis(10))).await;
            assert!(given.is_none(), "{pause:?}: the token has expired");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_goes_on_for_its_grace_when_the_gateway_drains() {
        let never = CancellationToken::new();
        for (time, goes_on) in [(4, true), (6, false)] {
            let draining = CancellationToken::new();
            draining.cancel();
            let until = events(&never, &draining, None);
            let given = after(Some(2), until, pass(Duration::from_secs(time))).await;
            assert_eq!(given.is_some(), goes_on, "after {time} s");
        }
    }
}
