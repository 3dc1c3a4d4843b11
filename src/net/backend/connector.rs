//! How the connection to an MCP server comes to be: look-up, TCP and TLS within one deadline.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::PROBE;

/// A connection, with TLS or without.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without.
    Plain(TokioIo<TcpStream>),
    /// With it. In a box, since its state is large, and plain connections pay for what stands here.
    Tls(Box<MaybeHttpsStream<TokioIo<TcpStream>>>),
}

/// Does the same with whichever it is.
macro_rules! with {
    ($stream:expr, $inner:ident => $what:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => {
                let $inner = Pin::new($inner);
                $what
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $what
            }
        }
    };
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        with!(self, stream => stream.poll_read(context, buffer))
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with!(self, stream => stream.poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with!(self, stream => stream.poll_write_vectored(context, slices))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(stream) => stream.connected(),
            Self::Tls(stream) => stream.connected(),
        }
    }
}

#[derive(Clone, Copy, Debug, Error)]
pub(super) enum ConnectError {
    #[error("no connection in time")]
    Slow,
    #[error("TLS failed")]
    Tls,
    #[error("no connection")]
    Unreachable,
}

/// Connects within one deadline for look-up, TCP and TLS together.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<HttpsConnector<HttpConnector>>,
    deadline: Duration,
}

impl Connector {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>, http2: bool, deadline: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE));
        let tls = tls.map(|config| {
            let builder = HttpsConnectorBuilder::new().with_tls_config((*config).clone()).https_or_http();
            if http2 {
                builder.enable_http2().wrap_connector(tcp.clone())
            } else {
                builder.enable_http1().wrap_connector(tcp.clone())
            }
        });
        Self { tcp, tls, deadline }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut tcp, tls, deadline) = (self.tcp.clone(), self.tls.clone(), self.deadline);
        Box::pin(async move {
            let connecting = async {
                match tls {
                    // The socket's errors have a type of their own; what is a plain I/O error here is the handshake's.
                    Some(mut tls) => match tls.call(uri).await {
                        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
                        Err(error) if error.is::<io::Error>() => Err(ConnectError::Tls),
                        Err(_) => Err(ConnectError::Unreachable),
                    },
                    None => match tcp.call(uri).await {
                        Ok(stream) => Ok(Stream::Plain(stream)),
                        Err(_) => Err(ConnectError::Unreachable),
                    },
                }
            };
            timeout(deadline, connecting).await.map_err(|_| ConnectError::Slow)?
        })
    }
}
