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

use super::{
    direct::Direct,
    own::{Line, Lines, unwoken},
};
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
    Own(Incoming, Option<Box<Line>>, Arc<Lines>),
    /// The same, read without hyper.
    Direct(Option<Direct>, Arc<Lines>),
    /// One that others use too. What it holds counts as open there.
    Shared { incoming: Incoming, _open: Arc<()> },
}

impl Answer {
    pub(super) fn own(incoming: Incoming, line: Box<Line>, lines: Arc<Lines>) -> Self {
        Self { from: Source::Own(incoming, Some(line), lines), first: None, ended: None }
    }

    pub(super) fn shared(incoming: Incoming, open: Arc<()>) -> Self {
        Self { from: Source::Shared { incoming, _open: open }, first: None, ended: None }
    }

    /// Reads the rest without hyper, where that can be; to be called when nothing more is here.
    pub(super) fn go_on_directly(&mut self, is_kept: bool) {
        if self.ended.is_some() {
            return;
        }
        let Source::Own(_, line, lines) = &mut self.from else { return };
        let Some(running) = line.take() else { return };
        match running.directly(self.first.as_deref().unwrap_or_default(), is_kept) {
            Ok(direct) => self.from = Source::Direct(Some(direct), Arc::clone(lines)),
            Err(running) => *line = Some(running),
        }
    }

    /// Takes what is here already, without waiting for anything.
    pub(super) async fn look_ahead(&mut self) {
        poll_fn(|context| {
            match (self.poll_together(context), &mut self.from) {
                (Poll::Ready(first), _) => self.first = first,
                (Poll::Pending, Source::Own(_, Some(line), _)) => line.streams(),
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
            // What is read directly is together.
            Poll::Ready(Some(first))
                if first.len() < TOGETHER / 4 && !matches!(self.from, Source::Direct(..)) =>
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
            Source::Direct(..) => return self.poll_direct(context),
            Source::Own(incoming, ..) | Source::Shared { incoming, .. } if incoming.is_end_stream() => None,
            Source::Own(incoming, line, _) => ready!(poll_run(incoming, line, context)),
            Source::Shared { incoming, .. } => ready!(poll_data(incoming, context)),
        };
        let is_end = data.is_none() || self.incoming().is_some_and(HttpBody::is_end_stream);
        if is_end {
            self.ended = Some(Ok(()));
            self.give_back();
        }
        Poll::Ready(match data {
            Some(Err(error)) => {
                self.ended = Some(Err(error));
                None
            }
            Some(Ok(frame)) => frame.into_data().ok(),
            None => None,
        })
    }

    fn poll_direct(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Source::Direct(Some(direct), _) = &mut self.from else { return Poll::Ready(None) };
        let data = ready!(direct.poll_data(context));
        if direct.is_done() {
            self.ended = Some(Ok(()));
            self.give_back();
        }
        Poll::Ready(match data {
            Ok(data) => Some(data).filter(|data| !data.is_empty()),
            Err(error) => {
                self.ended = Some(Err(error));
                None
            }
        })
    }

    fn incoming(&self) -> Option<&Incoming> {
        match &self.from {
            Source::Own(incoming, ..) | Source::Shared { incoming, .. } => Some(incoming),
            Source::Direct(..) => None,
        }
    }

    fn give_back(&mut self) {
        match &mut self.from {
            Source::Own(_, line, lines) => {
                if let Some(line) = line.take() {
                    lines.park(line);
                }
            }
            Source::Direct(direct, lines) => {
                if let Some(direct) = direct.take() {
                    lines.take_back(direct);
                }
            }
            Source::Shared { .. } => {}
        }
    }
}

/// The next data, for which the connection is run.
fn poll_run(
    incoming: &mut Incoming,
    line: &mut Option<Box<Line>>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let polled = poll_data(incoming, &mut unwoken());
    match line {
        Some(running) if polled.is_pending() => {
            if running.run(context).is_ready() {
                *line = None;
            }
            poll_data(incoming, &mut unwoken())
        }
        _ => polled,
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
        let rest = self.incoming().map_or_else(SizeHint::default, HttpBody::size_hint);
        sum(&first, &rest)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::net::{
        backend::{Backend, BackendSettings, Waiting},
        body::full,
    };

    /// What comes of an answer that begins so. With it the other end, which keeps it open.
    async fn answered(with: &str) -> (Answer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
        let connect_timeout = Duration::from_secs(5);
        let settings = BackendSettings { upstream, http2: false, tls: None, connect_timeout };
        let backend = Backend::new(settings).unwrap();
        let mut request = Request::post("/mcp").body(full("{}")).unwrap();
        let ended = CancellationToken::new();
        let waiting = Waiting { at_most: Duration::from_secs(5), ended: &ended };
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
            stream.write_all(with.as_bytes()).await.unwrap();
            stream
        };
        let (answer, stream) = tokio::join!(backend.send(&mut request, waiting), answering);
        (answer.unwrap().into_body(), stream)
    }

    #[tokio::test]
    async fn only_an_event_stream_that_has_begun_is_read_without_hyper() {
        const EVENTS: &str =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        const JSON: &str =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let event = "8\r\ndata: a\n\r\n";
        for (with, is_direct) in [
            (EVENTS.to_owned(), true),
            (format!("{EVENTS}{event}"), true),
            (format!("{EVENTS}{event}{event}"), true),
            // In the middle of a chunk: how far hyper has read is not known for sure.
            (format!("{EVENTS}{event}8\r\nda"), false),
            (format!("{EVENTS}{event}0\r\n\r\n"), false),
            (format!("{JSON}{event}"), false),
        ] {
            let (answer, _stream) = answered(&with).await;
            assert_eq!(matches!(answer.from, Source::Direct(..)), is_direct, "{with}");
        }
    }
}
