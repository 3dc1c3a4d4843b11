//! How the load generator gets in: over TCP, over TLS, or over TLS with HTTP/2.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use clap::ValueEnum;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::wire::Wire;
use crate::{Failure, serve::OnThisThread, tell};

/// What stands between TCP and the requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Front {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS: what else would be connections are streams of one.
    Http2,
}

impl Front {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Http2 => "http2",
        }
    }
}

/// The way to a target.
#[derive(Clone)]
pub(super) struct Door {
    target: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Whether handshakes must be resumed ones, or must not be.
    resumed: Option<bool>,
}

impl Door {
    /// `certificate`: whom to believe with TLS. `resumed`: `Some(true)` has handshakes resume, `Some(false)` has none do so.
    pub(super) fn new(
        target: SocketAddr,
        front: Front,
        certificate: Option<&Path>,
        resumed: Option<bool>,
    ) -> Result<Self, Failure> {
        if front == Front::Plain {
            return Ok(Self { target, tls: None, resumed });
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(certificate.ok_or("whom to believe?")?)?)?)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols =
            vec![if front == Front::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        if resumed == Some(false) {
            config.resumption = Resumption::disabled();
        }
        let tls = (TlsConnector::from(Arc::new(config)), ServerName::try_from(tell::HOST)?);
        Ok(Self { target, tls: Some(tls), resumed })
    }

    /// The same way for somebody else, who has no sessions to resume yet.
    pub(super) fn anew(&self) -> Self {
        let mut door = self.clone();
        if let (Some((connector, _)), Some(true)) = (&mut door.tls, self.resumed) {
            let mut config = ClientConfig::clone(connector.config());
            config.resumption = Resumption::in_memory_sessions(1);
            *connector = TlsConnector::from(Arc::new(config));
        }
        door
    }

    /// Opens a connection. `from`: an address of this machine.
    pub(super) async fn wire(&self, from: Option<Ipv4Addr>) -> Result<Wire, Failure> {
        let stream = self.tcp(from).await?;
        Ok(match &self.tls {
            None => Wire::new(Stream::Plain(stream)),
            Some(_) => Wire::new(Stream::Tls(Box::new(self.tls(stream).await?))),
        })
    }

    /// Opens a connection of HTTP/2, which runs on this thread.
    pub(super) async fn http2(&self) -> Result<Streams, Failure> {
        let stream = self.tls(self.tcp(None).await?).await?;
        let (sender, connection) = handshake(OnThisThread, TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(Streams(sender))
    }

    async fn tcp(&self, from: Option<Ipv4Addr>) -> Result<TcpStream, Failure> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind((from, 0).into())?;
        }
        let stream = socket.connect(self.target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn tls(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let (connector, name) = self.tls.as_ref().ok_or("there is no TLS")?;
        Ok(connector.connect(name.clone(), stream).await?)
    }

    /// Fails where a handshake that should resume did not, or the other way round.
    pub(super) fn judge(&self, wire: &Wire) -> Result<(), Failure> {
        match (self.resumed, wire.handshake()) {
            (Some(true), Some(HandshakeKind::Resumed)) | (None, _) => Ok(()),
            (Some(false), Some(kind)) if kind != HandshakeKind::Resumed => Ok(()),
            (_, kind) => Err(format!("the handshake is {kind:?}").into()),
        }
    }
}

/// What a [`Wire`] reads and writes.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Streams of a connection of HTTP/2.
#[derive(Clone)]
pub(super) struct Streams(SendRequest<Full<Bytes>>);

impl Streams {
    /// Sends a call; the body of the answer, which must be 200.
    pub(super) async fn call(&mut self, credential: &str) -> Result<Bytes, Failure> {
        let request = Request::post(format!("https://{}/mcp", tell::HOST))
            .header("authorization", format!("Bearer {credential}"))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2025-11-25")
            .header("user-agent", "mcp-deputy-bench/1")
            .body(Full::new(Bytes::from_static(tell::CALL.as_bytes())))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        if response.status() != 200 {
            return Err(format!("the answer is {}", response.status()).into());
        }
        Ok(response.into_body().collect().await?.to_bytes())
    }
}
