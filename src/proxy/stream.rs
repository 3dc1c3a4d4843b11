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
pub(super) struct Relay {
    inner: Option<Answer>,
    until: Until,
    /// When the token of an event stream expires, where that matters.
    deadline: Option<Instant>,
    /// What ends it from outside. `None` until the first time that there is nothing to relay: most answers are there at once
    /// and never wait. On its own, since it is rare, and looked at each time it would cost more than an event does.
    ending: Option<Beside<Ending>>,
    /// The pause of anything but an event stream.
    pause: Option<Pin<Box<Sleep>>>,
}

type Ending = dyn Future<Output = ()> + Send;

impl Relay {
    #[inline]
    pub(super) fn new(inner: Answer, until: Until) -> Self {
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

    /// Whether it has to end, although there is something to relay: one that always has something never comes to wait.
    fn is_over(&self) -> bool {
        self.until.ended().is_cancelled() || self.deadline.is_some_and(|end| end <= Instant::now())
    }
}

impl HttpBody for Relay {
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
        match Pin::new(inner).poll_frame(context) {
            // Looked at before each frame is given.
            Poll::Ready(_) if this.is_over() => return this.end(cut),
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
        if this.ending.get_or_insert_with(|| Beside::of(until.ending(deadline))).poll(context).is_ready() {
            return this.end(cut);
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
