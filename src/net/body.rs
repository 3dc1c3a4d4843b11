//! The one type of body that this crate sends, towards clients and towards MCP servers.
//!
//! A body is either whole already ([`full`], [`empty`]) or a stream whose frames pass as they come ([`Body::stream`]).
//! It can hold things that must live exactly as long as the answer does ([`Body::hold`]): a connection counts its open
//! answers that way.
//!
//! Must never collect a stream: whoever needs a whole body bounds and collects it himself, and says so.

use std::{
    any::Any,
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake as _, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::{bell::Bell, patience::Activity, streams::Progress};

/// Why a body ended before its end. Never carries a part of it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BodyError {
    /// The other side broke off.
    #[error("the body broke off")]
    Broken,
    /// Whoever made it may no longer be served; what was sent must not be taken for the whole.
    #[error("the body was cut off")]
    Cut,
    /// Nothing came for too long.
    #[error("the body stalled")]
    Stalled,
    /// It is longer than allowed.
    #[error("the body is too large")]
    TooLarge,
}

/// A body. Its frames are data only. Trailers end here, in both directions and on purpose: they arrive after headers were
/// cleaned, and a server that merges them into its headers would read what we had removed.
#[derive(Default)]
pub struct Body {
    /// What comes before the rest.
    first: Option<Bytes>,
    kind: Kind,
    /// Let go together with it. Two places, since what serves a request and its connection both hold one thing.
    held: [Option<Arc<dyn Any + Send + Sync>>; 2],
    /// Told once its end was reached.
    ended: Option<Arc<Activity>>,
    /// Told what was given of it.
    watched: Option<Arc<Progress>>,
}

#[derive(Default)]
enum Kind {
    #[default]
    Done,
    Incoming(Incoming),
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
    Whole(Bytes),
}

impl Body {
    /// A body whose frames come as `stream` gives them.
    pub fn stream(stream: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self { kind: Kind::Stream(Box::pin(stream)), ..Self::default() }
    }

    /// This body, and `thing` let go together with it.
    #[must_use]
    pub fn hold(self, thing: Arc<dyn Any + Send + Sync>) -> Self {
        let held: [Option<Arc<dyn Any + Send + Sync>>; 2] = match self.held {
            [None, other] => [Some(thing), other],
            [one, None] => [one, Some(thing)],
            [one, other] => [Some(Arc::new((one, other)) as Arc<_>), Some(thing)],
        };
        Self { held, ..self }
    }

    /// Waits for its first piece, so that it is at hand. Whoever sends it on can then send it together with what comes
    /// before it, and knows the length of a body that is no longer than that.
    pub async fn begin(&mut self) -> Result<(), BodyError> {
        poll_fn(|context| self.poll_begin(context)).await
    }

    /// The same, as far as it is here already. An error is told once.
    #[inline]
    pub fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.first.is_some() || self.is_here() {
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut *self).poll_frame(context)) {
            Some(frame) => {
                let first = frame?.into_data().unwrap_or_default();
                if self.is_end_stream() {
                    self.kind = Kind::Whole(first);
                } else {
                    self.first = Some(first);
                }
            }
            None => self.kind = Kind::Done,
        }
        Poll::Ready(Ok(()))
    }

    /// Whether nothing of it has to be waited for.
    pub fn is_here(&self) -> bool {
        matches!(self.kind, Kind::Done | Kind::Whole(_))
    }

    /// Takes all of it, where it is here and at most so many bytes long.
    pub(crate) fn take_small(&mut self, at_most: usize) -> Option<Bytes> {
        let whole = match &mut self.kind {
            Kind::Done if self.first.is_none() => Bytes::new(),
            Kind::Whole(bytes) if self.first.is_none() && bytes.len() <= at_most => mem::take(bytes),
            _ => return None,
        };
        self.kind = Kind::Done;
        if let Some(ended) = &self.ended {
            ended.body_is_read();
        }
        Some(whole)
    }

    /// This body, which tells `progress` when it is read.
    #[must_use]
    pub(crate) fn watched(self, progress: Arc<Progress>) -> Self {
        Self { watched: Some(progress), ..self }
    }

    /// This body; `activity` is told as soon as somebody has read it to its end.
    #[must_use]
    pub(crate) fn telling(self, activity: Arc<Activity>) -> Self {
        Self { ended: Some(activity), ..self }
    }
}

/// A body that is here already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    Body { kind: if bytes.is_empty() { Kind::Done } else { Kind::Whole(bytes) }, ..Body::default() }
}

/// No body.
pub fn empty() -> Body {
    Body::default()
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Self { kind, ended, .. } = &mut *self;
        let frame = match kind {
            Kind::Done => Poll::Ready(None),
            Kind::Incoming(incoming) => match ended.as_ref().and_then(|activity| activity.bell_of_one()) {
                Some(bell) => poll_quietly(incoming, bell, context),
                None => poll_data(incoming, context),
            },
            Kind::Stream(stream) => stream.as_mut().poll_frame(context),
            Kind::Whole(bytes) => {
                let bytes = mem::take(bytes);
                *kind = Kind::Done;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        };
        if let Some(ended) = &self.ended
            && (matches!(frame, Poll::Ready(None)) || self.is_end_stream())
        {
            ended.body_is_read();
        }
        if let Some(progress) = &self.watched {
            match &frame {
                Poll::Pending => progress.awaits(),
                Poll::Ready(Some(Ok(frame))) => progress.gives(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(_) => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        if self.first.is_some() {
            return false;
        }
        match &self.kind {
            Kind::Done => true,
            Kind::Incoming(incoming) => incoming.is_end_stream(),
            Kind::Stream(stream) => stream.is_end_stream(),
            Kind::Whole(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.kind {
            Kind::Done => SizeHint::with_exact(0),
            Kind::Incoming(incoming) => incoming.size_hint(),
            Kind::Stream(stream) => stream.size_hint(),
            Kind::Whole(bytes) => exactly(bytes),
        };
        self.first.as_ref().map_or(rest, |first| sum(&exactly(first), &rest))
    }
}

fn exactly(bytes: &Bytes) -> SizeHint {
    SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// What is known about the length of one body behind another.
pub(crate) fn sum(one: &SizeHint, other: &SizeHint) -> SizeHint {
    let mut sum = SizeHint::new();
    if let (Some(one), Some(other)) = (one.upper(), other.upper())
        && let Some(upper) = one.checked_add(other)
    {
        sum.set_upper(upper);
    }
    sum.set_lower(one.lower().saturating_add(other.lower()));
    sum
}

/// The next data of what a socket brings; trailers are passed over.
pub(crate) fn poll_data(
    incoming: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    loop {
        match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Broken))),
            Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            Some(Ok(_)) => {}
        }
    }
}

/// The same on a connection of HTTP/1.1 that is run with this bell. Whoever takes something wakes hyper's connection, since
/// more could be read now: after the last piece that is for nothing, and costs each request one more way through everything.
fn poll_quietly(
    incoming: &mut Incoming,
    bell: &Arc<Bell>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let (polled, was_rung) = bell.hold(|| poll_data(incoming, context));
    if was_rung && !incoming.is_end_stream() {
        bell.wake_by_ref();
    }
    polled
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body(…)")
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        full(bytes)
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self { kind: Kind::Incoming(incoming), ..Self::default() }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        full(text)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_whole_body_comes_once() {
        let body = full("hello");
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        assert!(empty().is_end_stream());
        assert!(full("").is_end_stream());
    }

    #[test]
    fn what_is_held_goes_with_the_body() {
        let thing: Arc<dyn Any + Send + Sync> = Arc::new(());
        let body = full("x").hold(thing.clone()).hold(thing.clone()).hold(thing.clone()).hold(thing.clone());
        assert_eq!(Arc::strong_count(&thing), 5);
        drop(body);
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
