//! One HTTP/1.1 request on a connection of its own: what `doctor` needs beside the answer is the own end of the connection,
//! the certificate that was shown, and a stream that need not end.
//!
//! Everything is bounded: look-up, connection, TLS, answer, and the size of what is read. No redirect is followed, no proxy of
//! the environment is used.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};

/// For each of: look-up, TCP, TLS.
const CONNECT: Duration = Duration::from_millis(2500);
/// For everything, to the answer's end.
const OVERALL: Duration = Duration::from_secs(4);
/// How much of a body is read.
const MOST: usize = 128 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The name is unknown.
    Unresolved,
    /// Nobody listens, or the way is cut.
    Unreachable,
    /// The certificate is refused.
    Certificate(Box<CertificateError>),
    /// Something else is wrong with TLS.
    Tls,
    /// No HTTP came back.
    Broken,
    /// Not in time.
    Slow,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Vec<u8>>,
    /// Our own end of the connection.
    pub(super) local: SocketAddr,
    /// What was shown, the own certificate first. Empty without TLS.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Sends a request to `url`. Reads the body to its end, or until `is_enough`.
pub(super) async fn call(
    tls: &Arc<ClientConfig>,
    url: &Url,
    request: http::request::Builder,
    body: &str,
    is_enough: impl Fn(&[u8]) -> bool,
) -> Result<Answer, Trouble> {
    let calling = Box::pin(whole_call(tls, url, request, body, is_enough));
    timeout(OVERALL, calling).await.unwrap_or(Err(Trouble::Slow))
}

async fn whole_call(
    tls: &Arc<ClientConfig>,
    url: &Url,
    request: http::request::Builder,
    body: &str,
    is_enough: impl Fn(&[u8]) -> bool,
) -> Result<Answer, Trouble> {
    let tcp = connect(url).await?;
    let local = tcp.local_addr().map_err(|_| Trouble::Broken)?;
    let mut chain = Vec::new();
    let stream: Box<dyn Stream> = if url.scheme() == "https" {
        let stream = handshake(tls, url, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        chain.extend(shown.iter().map(|certificate| certificate.clone().into_owned()));
        Box::new(stream)
    } else {
        Box::new(tcp)
    };
    let response = exchange(stream, url, request, body, is_enough).await?;
    Ok(Answer { response, local, chain })
}

async fn connect(url: &Url) -> Result<TcpStream, Trouble> {
    let port = url.port_or_known_default().ok_or(Trouble::Unreachable)?;
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => match timeout(CONNECT, tokio::net::lookup_host((name, port))).await {
            Ok(Ok(found)) => found.collect(),
            _ => return Err(Trouble::Unresolved),
        },
        None => Vec::new(),
    };
    if addresses.is_empty() {
        return Err(Trouble::Unresolved);
    }
    match timeout(CONNECT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(stream)) => Ok(stream),
        _ => Err(Trouble::Unreachable),
    }
}

async fn handshake(
    tls: &Arc<ClientConfig>,
    url: &Url,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Trouble> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|_| Trouble::Tls)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
    match timeout(CONNECT, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Trouble::Slow),
    }
}

fn refused(error: &io::Error) -> Trouble {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => Trouble::Certificate(Box::new(why.clone())),
        _ => Trouble::Tls,
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    url: &Url,
    request: http::request::Builder,
    body: &str,
    is_enough: impl Fn(&[u8]) -> bool,
) -> Result<Response<Vec<u8>>, Trouble> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Trouble::Broken)?;
    // What goes wrong with it is told to whoever waits for an answer.
    let driving = tokio::spawn(async move { connection.await.unwrap_or_default() });
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let host = HeaderValue::try_from(host).map_err(|_| Trouble::Broken)?;
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request: Request<Full<Bytes>> = request
        .uri(target)
        .header(HOST, host)
        .header("user-agent", "mcp-deputy-doctor")
        .body(Full::from(body.to_owned()))
        .map_err(|_| Trouble::Broken)?;
    let response = sender.send_request(request).await.map_err(|_| Trouble::Broken)?;
    let (head, mut incoming) = response.into_parts();
    let mut read = Vec::new();
    while !is_enough(&read) && read.len() < MOST {
        match incoming.frame().await {
            Some(Ok(frame)) => read.extend(frame.data_ref().map(|data| data.to_vec()).unwrap_or_default()),
            Some(Err(_)) => return Err(Trouble::Broken),
            None => break,
        }
    }
    driving.abort();
    Ok(Response::from_parts(head, read))
}

/// Reads to the end.
pub(super) fn whole(_: &[u8]) -> bool {
    false
}
