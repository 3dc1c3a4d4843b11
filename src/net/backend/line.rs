//! One connection of HTTP/1.1, and on it one request and its answer.
//!
//! A request is written in one piece with a body that is small and here; else the body follows as it comes. Meanwhile the
//! answer is read, which may come before the request has gone out whole.
//!
//! **No memory while nothing comes.** What is read lands on the stack, and only what came is kept; a body that fills that
//! at once is read in large pieces from then on. So an event stream that is silent for days costs its socket and little else.
//!
//! **Only what is beyond doubt goes on.** A connection serves another request when this one was written whole before it was
//! answered, its answer had an end of its own, and not a byte came behind that. Whoever drops a [`Line`] before closes it.

use std::{
    fmt, io,
    mem::{self, MaybeUninit},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::rt::{Read, ReadBuf, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;

use super::{
    BackendError, Body,
    chunks::{self, Chunks},
    connector::Stream,
    head::{self, Framing, Reading},
    waiting::{Ticks, Wait},
};
use crate::net::body::BodyError;

/// How much is read at once as long as little comes, in bytes.
const LITTLE: usize = 16 * 1024 - 256;
/// How much is read at once when much comes, in bytes.
const MUCH: usize = 128 * 1024;
/// How long a body may be that is copied behind its head, in bytes.
const COPIED: usize = 16 * 1024;
/// From which length on a chunk's data is passed on where it lies, in bytes.
const LARGE: usize = 4096;

/// A connection.
pub(super) struct Line<Inner = Stream> {
    stream: Inner,
    /// What of the request is to be written next.
    out: Bytes,
    /// What of the request comes after that.
    body: Option<Sending>,
    is_flushed: bool,
    /// What was read and nobody has taken.
    came: Bytes,
    answer: Rest,
    /// Whether much came at once the last time.
    is_much: bool,
    is_kept: bool,
    ticks: Ticks,
}

/// A body on its way to the MCP server.
struct Sending {
    body: Body,
    /// What is missing of a body whose length was said; `None` where it goes in chunks.
    left: Option<u64>,
}

/// What is still to come of an answer.
#[derive(Clone, Copy, Debug)]
enum Rest {
    Nothing,
    /// All of it.
    Whole,
    Sized(u64),
    Chunked(Chunks),
    UntilClose,
}

/// Why a request did not go out whole.
enum Unsent {
    /// The client's part of it ended early.
    Request(BodyError),
    /// The MCP server takes no more of it.
    Refused,
}

impl<Inner> fmt::Debug for Line<Inner> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl<Inner: Read + Write + Unpin> Line<Inner> {
    /// One on which nothing was sent yet.
    pub(super) fn new(stream: Inner) -> Box<Self> {
        Box::new(Self {
            stream,
            out: Bytes::new(),
            body: None,
            is_flushed: true,
            came: Bytes::new(),
            answer: Rest::Nothing,
            is_much: false,
            is_kept: true,
            ticks: Ticks::default(),
        })
    }

    /// Whether the next request can be sent here: nothing of the last one is left.
    pub(super) fn is_free(&self) -> bool {
        self.is_kept && self.is_done() && self.is_sent() && self.came.is_empty()
    }

    /// Whether the MCP server has closed it in the meantime, or says what nobody has asked for.
    pub(super) fn is_over(&mut self) -> bool {
        let mut space = [MaybeUninit::uninit(); 1];
        let mut read = ReadBuf::uninit(&mut space);
        let stream = &mut self.stream;
        let look = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_read(context, read.unfilled()));
        // A task that has done much in its turn would be told that nothing is there, whatever is.
        pin!(tokio::task::unconstrained(look)).poll(&mut unwoken()).is_ready()
    }

    /// Whether the answer's body has ended.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.answer, Rest::Nothing)
    }

    fn is_sent(&self) -> bool {
        self.out.is_empty() && self.body.is_none() && self.is_flushed
    }

    /// The answer takes its time: its head is here, so there is nothing to wait for at most so long.
    pub(super) fn streams(&mut self) {
        self.ticks = Ticks::default();
    }

    /// How long the rest of the answer's body is, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.answer {
            Rest::Nothing => Some(0),
            Rest::Sized(left) => Some(left),
            Rest::Whole | Rest::Chunked(_) | Rest::UntilClose => None,
        }
    }

    /// Sends a request and waits for the head of the answer. What every request begins with is in `opening`
    /// ([`head::opening`]). The request is taken; what is left in its place means nothing.
    pub(super) async fn send(
        &mut self,
        request: &mut Request<Body>,
        opening: &[u8],
        mut wait: Wait<'_>,
    ) -> Result<Response<()>, BackendError> {
        self.begin(request, opening);
        let method = request.method().clone();
        // Its memory is used again for the headers of the answer.
        let mut reading = Reading::new(mem::take(request.headers_mut()));
        std::future::poll_fn(|context| match self.poll_head(&method, &mut reading, context) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => wait.poll(&mut self.ticks, context).map(Err),
        })
        .await
    }

    fn begin(&mut self, request: &mut Request<Body>, opening: &[u8]) {
        let mut body = mem::take(request.body_mut());
        let length = body.size_hint().exact();
        let framing = length.map_or(Framing::Chunked, Framing::Sized);
        let whole = body.take_small(COPIED);
        let mut out = Vec::with_capacity(1024 + whole.as_ref().map_or(0, Bytes::len));
        self.is_kept &= head::write(&mut out, request.method(), opening, request.headers(), framing);
        match whole {
            Some(whole) => out.extend_from_slice(&whole),
            None => self.body = Some(Sending { body, left: length }),
        }
        self.out = out.into();
        self.is_flushed = false;
        self.answer = Rest::Whole;
    }

    fn poll_head(
        &mut self,
        method: &Method,
        reading: &mut Reading,
        context: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, BackendError>> {
        if let Poll::Ready(Err(Unsent::Request(error))) = self.poll_send(context) {
            return Poll::Ready(Err(BackendError::Request(error)));
        }
        loop {
            match ready!(self.poll_come(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(BackendError::Broken)),
                Ok(_) => {}
            }
            match head::read(&mut self.came, method, reading) {
                Ok(None) => {}
                Err(head::Malformed) => return Poll::Ready(Err(BackendError::Broken)),
                Ok(Some(head)) => {
                    // Of a server that has not waited for the whole request it is not known how it reads the rest.
                    self.is_kept &= head.is_kept && self.is_sent();
                    self.answer = match head.framing {
                        Framing::Sized(0) => Rest::Nothing,
                        Framing::Sized(length) => Rest::Sized(length),
                        Framing::Chunked => Rest::Chunked(Chunks::new()),
                        Framing::UntilClose => Rest::UntilClose,
                    };
                    return Poll::Ready(Ok(head.answer));
                }
            }
        }
    }

    /// The next data of the answer; empty at its end.
    pub(super) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, BodyError>> {
        if !self.is_sent()
            && let Poll::Ready(Err(Unsent::Request(error))) = self.poll_send(context)
        {
            return Poll::Ready(Err(error));
        }
        while !self.is_done() {
            let data = self.take().map_err(|_| BodyError::Broken)?;
            if !data.is_empty() {
                return Poll::Ready(Ok(data));
            }
            if self.is_done() {
                break;
            }
            if let (Rest::Chunked(chunks), false) = (self.answer, self.is_much) {
                // Events, most often: each is copied once.
                let took = self.poll_little(context, |line, read| {
                    let (data, rest) = line.unchunk(chunks, read, Bytes::copy_from_slice).ok()?;
                    if !rest.is_empty() {
                        line.came = Bytes::copy_from_slice(rest);
                    }
                    (!read.is_empty()).then_some(data)
                });
                match ready!(took) {
                    Ok(Some(data)) if data.is_empty() => continue,
                    Ok(Some(data)) => return Poll::Ready(Ok(data)),
                    Ok(None) | Err(_) => return Poll::Ready(Err(BodyError::Broken)),
                }
            }
            match ready!(self.poll_come(context)) {
                Ok(0) if matches!(self.answer, Rest::UntilClose) => self.answer = Rest::Nothing,
                Ok(0) | Err(_) => return Poll::Ready(Err(BodyError::Broken)),
                Ok(_) => {}
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    /// What has come of the body.
    fn take(&mut self) -> Result<Bytes, chunks::Malformed> {
        match &mut self.answer {
            Rest::Nothing | Rest::Whole => Ok(Bytes::new()),
            Rest::UntilClose => Ok(mem::take(&mut self.came)),
            Rest::Sized(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.came.len());
                let data = self.came.split_to(here);
                *left -= here as u64;
                if *left == 0 {
                    self.answer = Rest::Nothing;
                }
                Ok(data)
            }
            Rest::Chunked(chunks) => {
                let (chunks, came) = (*chunks, mem::take(&mut self.came));
                let (data, rest) = self.unchunk(chunks, &came, |piece| came.slice_ref(piece))?;
                if !rest.is_empty() {
                    self.came = came.slice_ref(rest);
                }
                Ok(data)
            }
        }
    }

    /// The data of what came in chunks, and what is to be looked at later. A large piece is made with `own`.
    fn unchunk<'a>(
        &mut self,
        mut chunks: Chunks,
        mut came: &'a [u8],
        own: impl FnOnce(&'a [u8]) -> Bytes,
    ) -> Result<(Bytes, &'a [u8]), chunks::Malformed> {
        let piece = chunks.piece(&mut came)?;
        let data = if piece.len() >= LARGE { own(piece) } else { together(&mut chunks, piece, &mut came)? };
        self.answer = if chunks.is_done() {
            // Nobody looks into those, so whether they are what they should be is not known.
            self.is_kept &= !chunks.has_trailers();
            Rest::Nothing
        } else {
            Rest::Chunked(chunks)
        };
        Ok((data, came))
    }

    /// Reads once, behind what came before; 0 at the end.
    fn poll_come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_much && self.came.is_empty() {
            let mut much = BytesMut::with_capacity(MUCH);
            let mut stream = TokioIo::new(&mut self.stream);
            let length = ready!(pin!(stream.read_buf(&mut much)).poll(context))?;
            self.is_much = length > LITTLE;
            self.came = much.freeze();
            return Poll::Ready(Ok(length));
        }
        self.poll_little(context, |line, read| {
            line.came = if line.came.is_empty() {
                Bytes::copy_from_slice(read)
            } else {
                [&line.came, read].concat().into()
            };
            read.len()
        })
    }

    /// Reads little once, and takes it from where it lies; nothing at the end.
    fn poll_little<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut Self, &[u8]) -> T,
    ) -> Poll<io::Result<T>> {
        let mut space = [const { MaybeUninit::uninit() }; LITTLE];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(context, read.unfilled()))?;
        let read = read.filled();
        self.is_much = read.len() == LITTLE;
        Poll::Ready(Ok(take(self, read)))
    }

    /// Writes what there is of the request; ready when all of it has gone out, or no more of it will. Where the MCP server takes
    /// no more of it, it may still have answered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let sent = ready!(self.poll_write(context));
        if sent.is_err() {
            self.is_kept = false;
            (self.out, self.body, self.is_flushed) = (Bytes::new(), None, true);
        }
        Poll::Ready(sent)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            while !self.out.is_empty() {
                match ready!(Pin::new(&mut self.stream).poll_write(context, &self.out)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Unsent::Refused)),
                    Ok(length) => self.out.advance(length),
                }
            }
            // What was written is given back at once: while the answer is awaited, others write into the same memory.
            self.out = Bytes::new();
            let next = match &mut self.body {
                None => Poll::Ready(None),
                Some(sending) => sending.poll_next(context),
            };
            match next {
                Poll::Ready(Some(next)) => {
                    self.out = next.map_err(Unsent::Request)?;
                    self.is_flushed = false;
                }
                Poll::Ready(None) | Poll::Pending => {
                    if next.is_ready() {
                        self.body = None;
                    }
                    if !self.is_flushed {
                        ready!(Pin::new(&mut self.stream).poll_flush(context))
                            .map_err(|_| Unsent::Refused)?;
                        self.is_flushed = true;
                    }
                    return if next.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
    }
}

impl Sending {
    /// The next bytes to be written; `None` after the last ones.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?;
            let data = frame.map(|frame| frame.into_data().unwrap_or_default());
            return Poll::Ready(match (data, &mut self.left) {
                (Some(data), _) if data.is_empty() => continue,
                (Some(data), Some(left)) => {
                    // More than was said would be taken for the next request.
                    let after = left.checked_sub(data.len() as u64).ok_or(BodyError::Broken);
                    Some(after.map(|after| {
                        *left = after;
                        data
                    }))
                }
                (Some(data), None) => {
                    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
                    chunk.extend_from_slice(&data);
                    chunk.extend_from_slice(b"\r\n");
                    Some(Ok(chunk.into()))
                }
                (None, Some(0)) => None,
                (None, Some(_)) => Some(Err(BodyError::Broken)),
                (None, None) => {
                    self.left = Some(0);
                    Some(Ok(Bytes::from_static(b"0\r\n\r\n")))
                }
            });
        }
    }
}

/// The data of small chunks, together. Most often it is one, by itself.
fn together(chunks: &mut Chunks, first: &[u8], rest: &mut &[u8]) -> Result<Bytes, chunks::Malformed> {
    let second = chunks.piece(rest)?;
    if second.is_empty() {
        return Ok(Bytes::copy_from_slice(first));
    }
    // All of them together are no more than what came.
    let mut data = Vec::with_capacity(first.len() + second.len() + rest.len());
    data.extend_from_slice(first);
    data.extend_from_slice(second);
    *rest = chunks.take(rest, &mut data)?;
    Ok(data.into())
}

/// For a look that nobody waits for.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests;
