//! What an answer began with, byte for byte.
//!
//! hyper says neither where in what it has read a body began, nor how far it has read that. Whoever wants to go on in its
//! place (`direct`) must know. So the socket keeps a copy of the beginning of an answer, where that comes in a few short
//! reads and could be that of a chunked body: such a read ends with a line. Most answers have a length and do not.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

use crate::net::gathered::Gathered;

/// How long what is kept may be, in bytes: as much as hyper reads at first.
const LONGEST: usize = 8 * 1024;

/// Nothing is kept.
const DEAF: u8 = 0;
/// A request is on its way, and nothing has come yet.
const WAITS: u8 = 1;
/// What came is kept.
const HEARS: u8 = 2;

/// Shared by a socket and by whoever sends requests on it. They are in one task, which takes turns with itself.
#[derive(Debug, Default)]
pub(super) struct Heard {
    state: AtomicU8,
    bytes: Mutex<Vec<u8>>,
}

impl Heard {
    /// From here on, as a request is about to be sent.
    pub(super) fn begin(&self) {
        self.stop();
        self.state.store(WAITS, Relaxed);
    }

    /// All that came since then, if it was kept. Nothing is kept any more.
    pub(super) fn stop(&self) -> Option<Vec<u8>> {
        let was = self.state.load(Relaxed);
        if was != DEAF {
            self.state.store(DEAF, Relaxed);
        }
        (was == HEARS).then(|| mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn is_deaf(&self) -> bool {
        self.state.load(Relaxed) == DEAF
    }

    fn comes(&self, read: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = match self.state.load(Relaxed) {
            WAITS => read.ends_with(b"\r\n"),
            _ => !read.is_empty(),
        };
        if goes_on && bytes.len() + read.len() < LONGEST {
            bytes.extend_from_slice(read);
            self.state.store(HEARS, Relaxed);
        } else {
            *bytes = Vec::new();
            self.state.store(DEAF, Relaxed);
        }
    }
}

/// A connection whose small writes leave in one piece, and which keeps what an answer began with.
#[derive(Debug)]
pub(super) struct Wire<Inner> {
    inner: Gathered<Inner>,
    pub(super) heard: Arc<Heard>,
}

impl<Inner> Wire<Inner> {
    pub(super) fn new(inner: Inner) -> Self {
        Self { inner: Gathered(inner), heard: Arc::default() }
    }

    /// What was to be written and was not, or not whole, hyper still has: nobody can go on in its place.
    fn wrote(&self, written: &Poll<io::Result<usize>>, wanted: usize) {
        if !matches!(written, Poll::Ready(Ok(length)) if *length == wanted) {
            self.heard.stop();
        }
    }
}

impl<Inner: Read + Unpin> Read for Wire<Inner> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let inner = Pin::new(&mut this.inner);
        if this.heard.is_deaf() {
            return inner.poll_read(context, buffer);
        }
        let mut space = [const { MaybeUninit::uninit() }; LONGEST];
        let room = space.len().min(buffer.remaining());
        let mut read = ReadBuf::uninit(space.get_mut(..room).unwrap_or_default());
        ready!(inner.poll_read(context, read.unfilled()))?;
        this.heard.comes(read.filled());
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<Inner: Write + Unpin> Write for Wire<Inner> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&written, bytes.len());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(&written, slices.iter().map(|slice| slice.len()).sum());
        written
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What is kept of an answer that comes in these pieces. All of it is read, whatever is kept.
    async fn kept_of(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let (near, mut far) = duplex(1 << 20);
        let wire = Wire::new(TokioIo::new(near));
        let heard = Arc::clone(&wire.heard);
        let mut near = TokioIo::new(wire);
        heard.begin();
        for piece in pieces {
            far.write_all(piece).await.unwrap();
            let mut read = vec![0; piece.len()];
            near.read_exact(&mut read).await.unwrap();
            assert_eq!(read, *piece);
        }
        heard.stop()
    }

    #[tokio::test]
    async fn the_beginning_of_an_answer_is_kept_where_it_is_short_and_ends_with_a_line() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".as_slice();
        assert_eq!(kept_of(&[head]).await.as_deref(), Some(head));
        assert_eq!(kept_of(&[head, b"1\r\na"]).await, Some([head, b"1\r\na"].concat()));
        assert_eq!(kept_of(&[]).await, None, "nothing came");
        assert_eq!(kept_of(&[b"HTTP/1.1 200 OK\r\n\r\n{}"]).await, None, "not a line");
        assert_eq!(kept_of(&[head, &[b'a'; LONGEST]]).await, None, "too long");
        assert_eq!(kept_of(&[&b"\r\n".repeat(LONGEST)]).await, None, "too long at once");
    }

    #[tokio::test]
    async fn each_request_begins_anew_and_one_that_is_stuck_keeps_nothing() {
        let (near, mut far) = duplex(8);
        let wire = Wire::new(TokioIo::new(near));
        let heard = Arc::clone(&wire.heard);
        let mut near = TokioIo::new(wire);
        for line in [b"one\r\n", b"two\r\n"] {
            heard.begin();
            far.write_all(line).await.unwrap();
            near.read_exact(&mut [0; 5]).await.unwrap();
        }
        assert_eq!(heard.stop().as_deref(), Some(&b"two\r\n"[..]));
        assert_eq!(heard.stop(), None);

        heard.begin();
        let written = poll_fn(|context| {
            let slices = [IoSlice::new(b"six by"), IoSlice::new(b"tes more")];
            Pin::new(near.inner_mut()).poll_write_vectored(context, &slices)
        });
        assert_eq!(written.await.unwrap(), 8);
        far.write_all(b"no\r\n").await.unwrap();
        near.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(heard.stop(), None, "hyper has the rest of a request");
    }
}
