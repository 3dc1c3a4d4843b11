//! How the connection to an MCP server comes to be: look-up, TCP and TLS within one deadline.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::PROBE;

/// A connection, with TLS or without.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

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
                    Some(mut tls) => tls.call(uri).await.map_err(|error| {
                        if error.is::<io::Error>() { ConnectError::Tls } else { ConnectError::Unreachable }
                    }),
                    None => match tcp.call(uri).await {
                        Ok(stream) => Ok(MaybeHttpsStream::Http(stream)),
                        Err(_) => Err(ConnectError::Unreachable),
                    },
                }
            };
            timeout(deadline, connecting).await.map_err(|_| ConnectError::Slow)?
        })
    }
}
