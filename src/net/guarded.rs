//! Calls to URLs that strangers choose: one GET over https, to the public Internet only.
//!
//! The guard sits where it cannot be walked around: **every address that a name leads to is judged, and the socket is
//! opened to a judged address**, not to the name, so a second answer of the name service changes nothing. Addresses
//! written into the URL take the same way. One special address among the answers refuses them all. TLS and `Host` use
//! the name from the URL.
//!
//! What every caller may rely on: https only; nothing but a GET without credentials is sent; a redirect is an answer and
//! never followed; the body is read only where the status is 200, up to a limit; deadlines for connecting and overall;
//! every call has a connection of its own; no proxy from the environment. The number of calls and of name look-ups under
//! way is bounded, in all, for one host and for one site, so that nobody turns us against somebody else.
//!
//! **Lanes.** What strangers name and what known clients name have room apart ([`Lane`]). A look-up of the operating system
//! cannot be cancelled, so it takes up its room, its host's and its site's until it really ends, long after nobody waits
//! for it: whoever owns a zone that never answers fills the share of that zone, and nobody else's.
//!
//! With an explicit egress proxy the connection is a tunnel through it (HTTP CONNECT), and the *proxy* judges what names
//! lead to: only it knows. Addresses in URLs are judged here all the same.
//!
//! Must never put any part of an answer into an error.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT},
};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{client::Resumption, pki_types::ServerName};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use super::{
    address::is_public,
    connect::{TrustError, TrustRoots, tls},
};

/// Calls under way at once to one host, in each lane.
const MAX_CALLS_TO_A_HOST: usize = 8;
/// Addresses of a name that are tried.
const MAX_TRIES: usize = 4;
/// The longest answer of the egress proxy to CONNECT, in bytes.
const MAX_PROXY_HEAD: usize = 8 * 1024;

/// What a name leads to.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Where names are looked up. What it answers is judged afterwards, so nothing depends on its honesty.
pub trait Names: Send + Sync {
    /// The addresses of a host.
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a>;
}

/// The name service of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl Names for SystemNames {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Who is called for. Neither can use up what the other has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lane {
    /// Strangers.
    Strangers,
    /// Clients that people use.
    Known,
}

/// What a lane has.
struct Room {
    /// Calls under way at once.
    calls: Semaphore,
    /// Name look-ups under way at once.
    look_ups: Arc<Semaphore>,
    /// Calls and look-ups under way at once to the hosts of one site.
    of_a_site: usize,
    /// Calls and look-ups under way, by host and by site.
    under_way: Arc<Mutex<HashMap<Whose, usize>>>,
}

/// What calls are counted for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Whose {
    Host(String),
    Site(String),
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the call to a connection that is ready: look-up, TCP, TLS.
    pub connect: Duration,
    /// From the call to the last byte of the answer, connecting included.
    pub overall: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), overall: Duration::from_secs(5) }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty unless the status is 200.
    pub body: Vec<u8>,
}

/// Why a call has no answer. Carries no part of an answer.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FetchError {
    /// An address that strangers may not send us to.
    #[error("the address is not public")]
    Address,
    /// The connection ended early, or what came over it was not HTTP.
    #[error("the connection broke")]
    Broken,
    /// Too many calls are under way.
    #[error("too many calls are under way")]
    Busy,
    /// Nobody listens there.
    #[error("the host cannot be reached")]
    Connect,
    /// The name leads nowhere.
    #[error("the name is unknown")]
    Name,
    /// The egress proxy did not open a tunnel.
    #[error("the egress proxy did not open a tunnel")]
    Proxy,
    /// The deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls,
    /// The answer is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// Not an https URL with a host.
    #[error("not a URL that is called")]
    Url,
}

/// The guarded client.
pub struct Guarded {
    names: Arc<dyn Names>,
    tls: TlsConnector,
    proxy: Option<String>,
    deadlines: Deadlines,
    strangers: Room,
    known: Room,
}

impl Guarded {
    /// A client that believes these roots. `proxy`: host and port of an egress proxy.
    pub fn new(
        roots: &TrustRoots,
        names: Arc<dyn Names>,
        proxy: Option<String>,
        deadlines: Deadlines,
    ) -> Result<Self, TrustError> {
        let mut config = tls(roots)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            names,
            tls: TlsConnector::from(Arc::new(config)),
            proxy,
            deadlines,
            strangers: Room::new(24, 24, 6),
            known: Room::new(48, 64, 16),
        })
    }

    /// Gets a URL for somebody of this lane. `loopback`: its host is this computer by its own name, and the caller allows that; then only this
    /// computer is connected to. `most`: the largest body, in bytes.
    pub async fn get(
        &self,
        url: &str,
        lane: Lane,
        loopback: bool,
        most: usize,
    ) -> Result<Fetched, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::Url)?;
        if url.scheme() != "https" {
            return Err(FetchError::Url);
        }
        let host = url.host().ok_or(FetchError::Url)?;
        let room = match lane {
            Lane::Strangers => &self.strangers,
            Lane::Known => &self.known,
        };
        let slot = room.slot(&host)?;
        let call = async {
            let _permit = room.calls.acquire().await.map_err(|_| FetchError::Busy)?;
            let connecting =
                timeout(self.deadlines.connect, self.connect(&url, &host, loopback, room, &slot));
            let stream = connecting.await.map_err(|_| FetchError::Timeout)??;
            exchange(stream, &url, most).await
        };
        timeout(self.deadlines.overall, Box::pin(call)).await.map_err(|_| FetchError::Timeout)?
    }

    async fn connect(
        &self,
        url: &Url,
        host: &Host<&str>,
        loopback: bool,
        room: &Room,
        slot: &Arc<Slot>,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let port = url.port_or_known_default().ok_or(FetchError::Url)?;
        let allowed = |ip: IpAddr| if loopback { is_loopback(ip) } else { is_public(ip) };
        let literal = match host {
            Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Host::Domain(_) => None,
        };
        if literal.is_some_and(|ip| !allowed(ip)) {
            return Err(FetchError::Address);
        }
        let stream = match (&self.proxy, literal, host) {
            (Some(proxy), _, _) if !loopback => tunnel(proxy, &format!("{host}:{port}")).await?,
            (_, Some(ip), _) => open(&[SocketAddr::new(ip, port)], allowed).await?,
            (_, None, Host::Domain(name)) => {
                let addresses = self.look_up(name, port, room, slot).await?;
                if !addresses.iter().all(|address| allowed(address.ip())) {
                    return Err(FetchError::Address);
                }
                open(&addresses, allowed).await?
            }
            _ => return Err(FetchError::Url),
        };
        let name = match (literal, host) {
            (Some(ip), _) => ServerName::from(ip),
            (None, host) => ServerName::try_from(host.to_string()).map_err(|_| FetchError::Url)?,
        };
        self.tls.connect(name, stream).await.map_err(|_| FetchError::Tls)
    }

    /// Looks a name up in a task that goes on when nobody waits any more, since the operating system's look-up does so too
    /// and must be counted for as long as it lasts: among all of its lane, for its host and for its site.
    async fn look_up(
        &self,
        name: &str,
        port: u16,
        room: &Room,
        slot: &Arc<Slot>,
    ) -> Result<Vec<SocketAddr>, FetchError> {
        let permit = Arc::clone(&room.look_ups).acquire_owned().await.map_err(|_| FetchError::Busy)?;
        let slot = Arc::clone(slot);
        let (names, name) = (Arc::clone(&self.names), name.to_owned());
        let look_up = tokio::spawn(async move {
            let found = names.look_up(&name, port).await;
            drop((permit, slot));
            found
        });
        let found = look_up.await.map_err(|_| FetchError::Name)?.map_err(|_| FetchError::Name)?;
        if found.is_empty() { Err(FetchError::Name) } else { Ok(found) }
    }
}

impl Room {
    fn new(calls: usize, look_ups: usize, of_a_site: usize) -> Self {
        let look_ups = Arc::new(Semaphore::new(look_ups));
        Self { calls: Semaphore::new(calls), look_ups, of_a_site, under_way: Arc::default() }
    }

    /// Counts a call to a host, and to its site.
    fn slot(&self, host: &Host<&str>) -> Result<Arc<Slot>, FetchError> {
        let whose = [Whose::Host(host.to_string()), Whose::Site(site_of(host))];
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |whose: &Whose| {
            let most = if matches!(whose, Whose::Host(_)) { MAX_CALLS_TO_A_HOST } else { self.of_a_site };
            under_way.get(whose).is_some_and(|count| *count >= most)
        };
        if whose.iter().any(is_full) {
            return Err(FetchError::Busy);
        }
        for whose in &whose {
            *under_way.entry(whose.clone()).or_default() += 1;
        }
        Ok(Arc::new(Slot { under_way: Arc::clone(&self.under_way), whose }))
    }
}

/// A call that is under way, or a look-up that goes on although its call has ended.
struct Slot {
    under_way: Arc<Mutex<HashMap<Whose, usize>>>,
    whose: [Whose; 2],
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for whose in &self.whose {
            if let Some(count) = under_way.get_mut(whose) {
                *count -= 1;
                if *count == 0 {
                    under_way.remove(whose);
                }
            }
        }
    }
}

/// What one owner has, near enough: the last two labels of a name, three where the second looks like a registry's
/// (`co.uk`). Nothing is trusted by it; it only says what is counted together.
fn site_of(host: &Host<&str>) -> String {
    let Host::Domain(name) = host else { return host.to_string() };
    let mut labels = name.trim_end_matches('.').rsplit('.');
    let (Some(top), Some(second)) = (labels.next(), labels.next()) else { return (*name).to_owned() };
    match labels.next() {
        Some(third) if top.len() == 2 && second.len() <= 3 => format!("{third}.{second}.{top}"),
        _ => format!("{second}.{top}"),
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        // Not the mapped form: nobody who means this computer writes it.
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

/// Opens a socket to the first of the judged addresses that answers, and looks where it really ended.
async fn open(addresses: &[SocketAddr], allowed: impl Fn(IpAddr) -> bool) -> Result<TcpStream, FetchError> {
    for address in addresses.iter().take(MAX_TRIES) {
        let Ok(stream) = TcpStream::connect(address).await else { continue };
        let peer = stream.peer_addr().map_err(|_| FetchError::Connect)?;
        return if allowed(peer.ip()) { Ok(stream) } else { Err(FetchError::Address) };
    }
    Err(FetchError::Connect)
}

/// Has the egress proxy open a tunnel (RFC 9110 section 9.3.6).
async fn tunnel(proxy: &str, target: &str) -> Result<TcpStream, FetchError> {
    let mut stream = TcpStream::connect(proxy).await.map_err(|_| FetchError::Proxy)?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|_| FetchError::Proxy)?;
    // Byte by byte, so that nothing behind the head is taken away from TLS.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_HEAD {
            return Err(FetchError::Proxy);
        }
        head.push(stream.read_u8().await.map_err(|_| FetchError::Proxy)?);
    }
    let opened = head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200");
    if opened { Ok(stream) } else { Err(FetchError::Proxy) }
}

/// One request, one answer, and the connection is closed.
async fn exchange(stream: TlsStream<TcpStream>, url: &Url, most: usize) -> Result<Fetched, FetchError> {
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.port().map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |port| format!("{}:{port}", url.host_str().unwrap_or_default()),
    );
    let request = Request::get(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("mcp-deputy/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(32 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| FetchError::Broken)?;
    let mut answer = pin!(async {
        let (head, body) = sender.send_request(request).await.map_err(|_| FetchError::Broken)?.into_parts();
        let body = if head.status == StatusCode::OK {
            match Limited::new(body, most).collect().await {
                Ok(body) => body.to_bytes().into(),
                Err(error) if error.is::<LengthLimitError>() => return Err(FetchError::TooLarge),
                Err(_) => return Err(FetchError::Broken),
            }
        } else {
            Vec::new()
        };
        Ok(Fetched { status: head.status, headers: head.headers, body })
    });
    let mut connection = pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // The other side may close behind its answer: what it said before that is here.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests;
