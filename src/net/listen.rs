//! Listening sockets: bind, accept, never more connections than allowed.
//!
//! A port has one owner: `SO_REUSEPORT` is not set, so a second gateway on the same port fails when it binds. A
//! connection takes its place under the cap *before* it is accepted and keeps it until it is closed; beyond the cap new
//! ones wait in the kernel's queue. Accepting survives what a single connection or a moment without file descriptors
//! can do to it.
//!
//! Used by `serve` only.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::crowd::{Crowd, Seat};

/// How long accepting rests when the system has no file descriptor or memory left.
const REST: Duration = Duration::from_millis(100);

/// What connections may cost. See [`Limits::default`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of a listener at the same time.
    pub connections: usize,
    /// Of these, those of one address; less where few are left. See `crowd`.
    pub connections_per_address: usize,
    /// Proxies: their connections do not count by address.
    pub trusted: Vec<IpNet>,
    /// From the first to the last byte of a request's head on HTTP/1.1; from a new connection to its first request.
    pub header_read: Duration,
    /// From the accepted connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// How long at least a connection is kept for the next request (twice that at most). Longer than what reverse
    /// proxies in front of us keep theirs, or they send requests to connections that are just being closed.
    pub keep_alive: Duration,
    /// How long a client may refuse to take a byte before its connection is closed.
    pub write_stall: Duration,
    /// The largest head of a request, in bytes: line and headers (HTTP/1.1), header list (HTTP/2).
    pub head: u32,
    /// Streams of one HTTP/2 connection at the same time.
    pub streams: u32,
    /// What is counted at the listener.
    pub door: Arc<Door>,
}

/// What is counted at a listener.
#[derive(Debug, Default)]
pub struct Door {
    accepted: AtomicU64,
    ended: AtomicU64,
    turned_away: AtomicU64,
    /// In the order of [`Handshake::FAILURES`].
    handshakes: [AtomicU64; Handshake::FAILURES.len()],
}

/// Why a TLS handshake came to nothing. Most are scanners'.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handshake {
    /// The other side went away in the middle.
    Gone,
    /// No version, cipher suite or protocol that both speak.
    NothingInCommon,
    /// What came is no TLS: plain HTTP, most often.
    NotTls,
    /// The other side refused, and said so: it does not trust the certificate, most often.
    Refused,
    /// It took too long.
    Slow,
    /// Something else.
    Unusual,
}

impl Handshake {
    /// All of them.
    pub const FAILURES: [Self; 6] =
        [Self::Gone, Self::NothingInCommon, Self::NotTls, Self::Refused, Self::Slow, Self::Unusual];

    /// A stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "client_gone",
            Self::NothingInCommon => "nothing_in_common",
            Self::NotTls => "not_tls",
            Self::Refused => "client_refused",
            Self::Slow => "slow",
            Self::Unusual => "unusual",
        }
    }

    /// What an error of the handshake means.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Gone;
        };
        match error {
            rustls::Error::AlertReceived(_) => Self::Refused,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                Self::NothingInCommon
            }
            _ => Self::Unusual,
        }
    }
}

impl Door {
    /// Connections that were let in so far; those of them that are open; those that were closed at once because their
    /// address has too many.
    pub fn counts(&self) -> (u64, u64, u64) {
        // In this order: nothing ends that was not accepted before.
        let ended = self.ended.load(Relaxed);
        let accepted = self.accepted.load(Relaxed);
        (accepted, accepted.saturating_sub(ended), self.turned_away.load(Relaxed))
    }

    /// Handshakes that came to nothing, by reason.
    pub fn handshakes(&self) -> impl Iterator<Item = (Handshake, u64)> {
        Handshake::FAILURES.into_iter().zip(&self.handshakes).map(|(why, count)| (why, count.load(Relaxed)))
    }

    /// A handshake came to nothing.
    pub fn handshake_failed(&self, why: Handshake) {
        if let Some(count) = self.handshakes.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn lets_in(self: &Arc<Self>) -> Visitor {
        self.accepted.fetch_add(1, Relaxed);
        Visitor(Arc::clone(self))
    }
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
pub struct Visitor(Arc<Door>);

impl Drop for Visitor {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 16_384,
            trusted: Vec::new(),
            header_read: Duration::from_secs(20),
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write_stall: Duration::from_mins(1),
            head: 64 * 1024,
            streams: 100,
            door: Arc::default(),
        }
    }
}

/// A bound listening socket, and TLS where it ends here.
#[derive(Debug)]
pub struct Endpoint {
    /// Bound, listening, non-blocking.
    pub listener: std::net::TcpListener,
    /// `None`: plain.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Endpoint {
    /// Binds `address` and listens. Fails when somebody else listens there, another gateway included.
    pub fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, tls })
    }

    /// The address that was really bound (a port of 0 is resolved).
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// An accepted connection that belongs to no runtime yet.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub stream: std::net::TcpStream,
    /// Its other end.
    pub peer: SocketAddr,
    /// Its place under the cap.
    pub place: OwnedSemaphorePermit,
    /// Its seat among those of its address.
    pub seat: Seat,
    /// That it is there.
    pub visitor: Visitor,
}

/// Accepts until `stop`, at most as many connections at a time as `limits` say, and hands each to `deal`. The socket
/// closes at the end.
pub async fn accept(
    listener: std::net::TcpListener,
    limits: &Limits,
    stop: CancellationToken,
    mut deal: impl FnMut(Accepted),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
    let crowd = Crowd::new(limits.connections_per_address, limits.connections, limits.trusted.clone());
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await.and_then(|(stream, peer)| Ok((detach(stream)?, peer))) {
                Ok((stream, peer)) => {
                    // Without a seat it is closed here.
                    if let Some(seat) = crowd.seat(peer.ip(), places.available_permits()) {
                        deal(Accepted { stream, peer, place, seat, visitor: limits.door.lets_in() });
                    } else {
                        limits.door.turned_away.fetch_add(1, Relaxed);
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(reason = "accept_failed", %error, "cannot accept connections");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
    Ok(())
}

/// Takes the socket off the accepting runtime: the worker that serves it registers it with its own.
fn detach(stream: tokio::net::TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_port_has_one_owner() {
        let first = Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
        let error = Endpoint::bind(first.address().unwrap(), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn no_more_connections_than_allowed() {
        let endpoint = Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), None).unwrap();
        let address = endpoint.address().unwrap();
        let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let deal = move |one| sender.send(one).unwrap();
        let limits = Limits { connections: 1, ..Limits::default() };
        let door = Arc::clone(&limits.door);
        let stopping = stop.clone();
        let accepting = tokio::spawn(async move { accept(endpoint.listener, &limits, stopping, deal).await });
        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let Accepted { place, visitor, .. } = accepted.recv().await.unwrap();
        assert_eq!(door.counts(), (1, 1, 0));
        drop(visitor);
        assert_eq!(door.counts(), (1, 0, 0));
        let wait = Duration::from_millis(50);
        assert!(tokio::time::timeout(wait, accepted.recv()).await.is_err(), "one too many");
        drop(place);
        accepted.recv().await.unwrap();
        stop.cancel();
        accepting.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "still listening");
    }
}
