//! The body of an MCP server's answer, as it comes.
//!
//! **What is here already goes as one frame.** An MCP server that sends events as fast as it can has many of them in one read;
//! to pass each on by itself costs more than everything else together. So small frames that are there at this moment are put
//! together, up to [`TOGETHER`] bytes. Nothing ever waits for more to come.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{line::Line, own::Lines};
use crate::net::body::{BodyError, poll_data, sum};

/// How much is put together into one frame, in bytes.
const TOGETHER: usize = 16 * 1024;

/// A body on its way. Dropped before its end, it closes its connection (HTTP/1.1) or resets its stream (HTTP/2).
pub struct Answer {
    from: Source,
    /// What came together with the head.
    first: Option<Bytes>,
    /// How it ended, once it has. Told when everything before has been given.
    ended: Option<Result<(), BodyError>>,
}

/// Where it comes from.
enum Source {
    /// A connection of its own; `None` once that has ended or was given back.
    Own(Option<Box<Line>>, Arc<Lines>),
    /// One that others use too. What it holds counts as open there.
    Shared { incoming: Incoming, _open: Arc<()> },
}

impl Answer {
    pub(super) fn own(line: Box<Line>, lines: Arc<Lines>) -> Self {
        Self { from: Source::Own(Some(line), lines), first: None, ended: None }
    }

    pub(super) fn shared(incoming: Incoming, open: Arc<()>) -> Self {
        Self { from: Source::Shared { incoming, _open: open }, first: None, ended: None }
    }

    /// Takes what is here already, without waiting for anything.
    pub(super) async fn look_ahead(&mut self) {
        poll_fn(|context| {
            match (self.poll_together(context), &mut self.from) {
                (Poll::Ready(first), _) => self.first = first,
                (Poll::Pending, Source::Own(Some(line), _)) => line.streams(),
                (Poll::Pending, _) => {}
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The whole body, where it is here already.
    pub fn whole(&mut self) -> Option<Bytes> {
        matches!(self.ended, Some(Ok(()))).then(|| self.first.take().unwrap_or_default())
    }

    /// The next piece, and with it whatever else is here; `None` at the end, good or bad.
    fn poll_together(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let first = match self.poll_one(context) {
            // What comes over a connection of its own is together already.
            Poll::Ready(Some(first))
                if first.len() < TOGETHER / 4 && matches!(self.from, Source::Shared { .. }) =>
            {
                first
            }
            other => return other,
        };
        let mut together: Option<BytesMut> = None;
        let mut length = first.len();
        while length < TOGETHER {
            let Poll::Ready(Some(next)) = self.poll_one(context) else { break };
            let whole = together.get_or_insert_with(|| {
                let mut whole = BytesMut::with_capacity(TOGETHER);
                whole.extend_from_slice(&first);
                whole
            });
            whole.extend_from_slice(&next);
            length = whole.len();
        }
        Poll::Ready(Some(together.map_or(first, BytesMut::freeze)))
    }

    fn poll_one(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        let data = match &mut self.from {
            Source::Own(..) => return self.poll_own(context),
            Source::Shared { incoming, .. } if incoming.is_end_stream() => None,
            Source::Shared { incoming, .. } => ready!(poll_data(incoming, context)),
        };
        Poll::Ready(match data {
            Some(Err(error)) => {
                self.ended = Some(Err(error));
                None
            }
            Some(Ok(frame)) => {
                if matches!(&self.from, Source::Shared { incoming, .. } if incoming.is_end_stream()) {
                    self.ended = Some(Ok(()));
                }
                frame.into_data().ok()
            }
            None => {
                self.ended = Some(Ok(()));
                None
            }
        })
    }

    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Source::Own(place, lines) = &mut self.from else { return Poll::Ready(None) };
        let Some(line) = place else { return Poll::Ready(None) };
        let data = ready!(line.poll_data(context));
        if line.is_done()
            && let Some(line) = place.take()
        {
            self.ended = Some(Ok(()));
            lines.park(line);
        }
        Poll::Ready(match data {
            Ok(data) => Some(data).filter(|data| !data.is_empty()),
            Err(error) => {
                self.ended = Some(Err(error));
                None
            }
        })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(self.poll_together(context)),
        };
        Poll::Ready(match (data, self.ended) {
            (Some(data), _) => Some(Ok(Frame::data(data))),
            (None, Some(Err(error))) => {
                self.ended = Some(Ok(()));
                Some(Err(error))
            }
            (None, _) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && matches!(self.ended, Some(Ok(())))
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len);
        let first = SizeHint::with_exact(u64::try_from(first).unwrap_or(u64::MAX));
        let rest = match &self.from {
            Source::Own(line, _) => match line.as_ref().map_or(Some(0), |line| line.left()) {
                Some(left) => SizeHint::with_exact(left),
                None => SizeHint::default(),
            },
            Source::Shared { incoming, .. } => incoming.size_hint(),
        };
        sum(&first, &rest)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(…)")
    }
}
