//! HTTP/1.1 from the client's side, no more than a load generator needs.

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::door::Stream;
use crate::{Failure, tell};

/// A kept connection. What was read and not yet taken lies in `buffer[begin..end]`.
pub(super) struct Wire {
    stream: Stream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    Known(usize),
    Chunked,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; 16 * 1024], begin: 0, end: 0 }
    }

    /// How TLS began; `None` without it.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.handshake_kind(),
        }
    }

    /// For one of very many connections, on which little comes.
    pub(super) fn small(&mut self) {
        self.buffer = vec![0; 1024];
    }

    pub(super) async fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(request).await?,
            Stream::Tls(stream) => stream.write_all(request).await?,
        }
        Ok(())
    }

    /// Reads the head of an answer, which must be 200.
    pub(super) async fn head(&mut self) -> Result<Length, Failure> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(size) = head.parse(&self.buffer[self.begin..self.end])? {
                let status = head.code.unwrap_or_default();
                if status != 200 {
                    return Err(format!("the answer is {status}").into());
                }
                let length = length(head.headers)?;
                self.begin += size;
                return Ok(length);
            }
            self.more().await?;
        }
    }

    /// Reads and takes `size` bytes of the body.
    pub(super) async fn take(&mut self, size: usize) -> Result<&[u8], Failure> {
        while self.end - self.begin < size {
            if self.buffer.len() - self.begin < size {
                self.buffer.copy_within(self.begin..self.end, 0);
                (self.begin, self.end) = (0, self.end - self.begin);
                self.buffer.resize(size.max(self.buffer.len()), 0);
            }
            self.more().await?;
        }
        let taken = self.begin..self.begin + size;
        self.begin = taken.end;
        if self.begin == self.end && taken.start != 0 {
            // The next answer begins at the front; what is returned still lies where it was.
            (self.begin, self.end) = (0, 0);
        }
        Ok(&self.buffer[taken])
    }

    /// Reads the size of the next chunk; zero is the end of the body, whose trailing line is read as well.
    pub(super) async fn chunk(&mut self) -> Result<usize, Failure> {
        loop {
            let rest = &self.buffer[self.begin..self.end];
            if let Ok(httparse::Status::Complete((head, size))) = httparse::parse_chunk_size(rest) {
                self.begin += head;
                let size = usize::try_from(size)?;
                if size == 0 {
                    self.line().await?;
                }
                return Ok(size);
            }
            self.more().await?;
        }
    }

    /// Takes the line break behind a chunk.
    pub(super) async fn line(&mut self) -> Result<(), Failure> {
        if self.take(2).await? == b"\r\n" { Ok(()) } else { Err("a chunk does not end".into()) }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        if self.end == self.buffer.len() {
            if self.begin > 0 {
                self.buffer.copy_within(self.begin..self.end, 0);
                (self.begin, self.end) = (0, self.end - self.begin);
            } else {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let space = &mut self.buffer[self.end..];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(space).await?,
            Stream::Tls(stream) => stream.read(space).await?,
        };
        match read {
            0 => Err("the connection was closed in the middle".into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

fn length(headers: &[httparse::Header<'_>]) -> Result<Length, Failure> {
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            return Ok(Length::Known(std::str::from_utf8(header.value)?.parse()?));
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Length::Chunked);
        }
    }
    Err("the body has no end".into())
}

/// Opens a stream that stays idle.
pub(super) fn listening(credential: &str) -> Vec<u8> {
    format!(
        "GET /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {credential}\r\naccept: text/event-stream\r\n\
         mcp-protocol-version: 2025-11-25\r\nuser-agent: mcp-deputy-bench/1\r\n{}: idle\r\n\r\n",
        tell::HOST,
        tell::KIND,
    )
    .into_bytes()
}

/// A request with the headers that MCP clients send.
pub(crate) fn request(kind: Option<&str>, credential: &str) -> Vec<u8> {
    let kind = kind.map(|kind| format!("{}: {kind}\r\n", tell::KIND)).unwrap_or_default();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {credential}\r\n\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
         mcp-protocol-version: 2025-11-25\r\nuser-agent: mcp-deputy-bench/1\r\n{kind}content-length: {}\r\n\r\n{}",
        tell::HOST,
        tell::CALL.len(),
        tell::CALL,
    )
    .into_bytes()
}
