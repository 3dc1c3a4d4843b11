//! How the connection of a small outgoing call comes to be: the address, the socket, TLS, all within one deadline.
//!
//! hyper-util's own connect timeout covers neither the name look-up nor the TLS handshake, so [`Connector`] puts one
//! deadline around all of it, and says in three words what went wrong. Whom to trust is [`TrustRoots`]; the
//! cryptography is named here and never taken from a process-wide default.
//!
//! Must never ask the environment for a proxy, and must never accept a certificate that the roots do not vouch for.
//! Used by [`super::client`] only, for URLs that an operator wrote. URLs that strangers choose are for
//! [`super::guarded`], which judges each address that it is about to connect to.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

/// Whose certificates are believed on outgoing connections.
#[derive(Clone, Debug)]
pub enum TrustRoots {
    /// These only. An empty store believes nobody, which is right where everything is plain http on loopback.
    Only(Arc<RootCertStore>),
    /// Those of the operating system.
    Platform,
}

/// Why a TLS client could not be set up.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The operating system has no usable root certificate (a container image without `ca-certificates`).
    #[error("no trusted root certificate was found on this system")]
    NoRoots(#[source] io::Error),
    /// The TLS library refused its own defaults.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum ConnectError {
    #[error("TLS failed")]
    Tls,
    #[error("no connection in time")]
    Timeout,
    #[error("no connection")]
    Unreachable,
}

/// Connects to `http` and `https` addresses within a deadline.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    deadline: Duration,
}

impl Connector {
    /// A connector that gives up `deadline` after it was asked.
    pub(super) fn new(roots: &TrustRoots, deadline: Duration) -> Result<Self, TrustError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        Ok(Self { https, deadline })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(context).map_err(|_| ConnectError::Unreachable)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.https.call(uri);
        let deadline = self.deadline;
        Box::pin(async move {
            match timeout(deadline, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                // The socket's errors have a type of their own; what is a plain I/O error here is the handshake's.
                Ok(Err(error)) if error.is::<io::Error>() => Err(ConnectError::Tls),
                Ok(Err(_)) => Err(ConnectError::Unreachable),
                Err(_) => Err(ConnectError::Timeout),
            }
        })
    }
}

/// A TLS client that trusts these roots. Without ALPN: whoever connects says what it speaks.
pub fn tls(roots: &TrustRoots) -> Result<ClientConfig, TrustError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match roots {
        TrustRoots::Only(roots) => builder.with_root_certificates(Arc::clone(roots)),
        TrustRoots::Platform => builder.with_root_certificates(platform()?),
    };
    Ok(builder.with_no_client_auth())
}

/// The roots of the operating system. Reading a hundred certificates takes longer than everything else at a start, so it is
/// done once, for all clients.
fn platform() -> Result<Arc<RootCertStore>, TrustError> {
    static READ: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = READ.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    let (valid, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if valid == 0 {
        return Err(TrustError::NoRoots(io::ErrorKind::NotFound.into()));
    }
    Ok(Arc::clone(READ.get_or_init(|| Arc::new(roots))))
}
