//! Ports for processes that are started later.

use tokio::net::TcpSocket;

/// A port of 127.0.0.1, chosen by the system, that nobody is given by chance as long as this is held: neither whoever
/// asks for any port, nor a connection that leaves from here. Whoever asks for this one may listen there.
///
/// A port that was merely free a moment ago is taken now and then where hundreds of tests connect at the same time.
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Bound, and not listening: with `SO_REUSEADDR` on both, Linux lets somebody else bind it as well, and listen.
    _kept: Option<TcpSocket>,
}

impl Port {
    pub(crate) fn keep() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let number = socket.local_addr().unwrap().port();
        // Elsewhere nobody could listen there.
        Self { number, _kept: cfg!(target_os = "linux").then_some(socket) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{Port, TcpSocket};

    /// Whether it could be the port of a connection that leaves from here.
    fn is_free(port: u16) -> bool {
        TcpSocket::new_v4().unwrap().bind(([127, 0, 0, 1], port).into()).is_ok()
    }

    #[test]
    fn it_is_for_whoever_asks_for_it() {
        let port = Port::keep();
        let address = ("127.0.0.1", port.number);
        // As a gateway that is started anew.
        for _ in 0..2 {
            assert!(TcpStream::connect(address).is_err(), "nobody listens");
            assert!(!cfg!(target_os = "linux") || !is_free(port.number), "it is kept");
            let listener = TcpListener::bind(address).unwrap();
            assert!(TcpListener::bind(address).is_err(), "one listens, and no other");
            drop((TcpStream::connect(address).unwrap(), listener.accept().unwrap()));
        }
    }
}
