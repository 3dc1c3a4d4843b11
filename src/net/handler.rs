//! What answers requests, and what it is told about the connection that they came on.
//!
//! A handler always answers: it has no way to fail. If it panics all the same, the connection answers 500 and goes on
//! ([`super::connection`]).
//!
//! **Exchange.** A worker's handler can give way to another one while connections are open ([`Handlers`]): requests that
//! begin after that go to the new one, on every connection; those under way, and their answers, go on with the old one.
//! A connection has the handler at hand and looks for each request at one number, which nobody writes in between. It keeps no
//! handler alive: a stream that is open for days must not keep an old one, with everything in it, for as long.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

use http::{Request, Response};
use tokio_util::sync::CancellationToken;

use super::body::Body;

/// Answers requests. Each worker has its own, made on that worker's runtime, so that what it owns (connections to MCP
/// servers, a share of the session cache) is never shared between threads.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away before the answer begins. The request is the handler's to take
    /// apart where it stands: to hand one from step to step costs more than much of what is done with it.
    fn handle(
        &self,
        request: &mut Request<Body>,
        connection: &ConnectionContext,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// A worker's handler, which another one may take the place of.
#[derive(Debug)]
pub struct Handlers<H: ?Sized> {
    /// Rises when there is another one.
    generation: AtomicU64,
    current: Mutex<Arc<H>>,
}

impl<H: ?Sized> Handlers<H> {
    /// With this one for a start.
    pub fn new(first: Arc<H>) -> Arc<Self> {
        Arc::new(Self { generation: AtomicU64::new(0), current: Mutex::new(first) })
    }

    /// From now on this one answers requests that begin.
    pub fn exchange(&self, next: Arc<H>) {
        let before = {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, next)
        };
        self.generation.fetch_add(1, Release);
        drop(before);
    }

    /// To be held by a connection.
    pub(crate) fn hold(self: &Arc<Self>) -> Held<H> {
        let (handlers, generation) = (Arc::clone(self), Cell::new(self.generation.load(Acquire)));
        Held { handlers, generation, current: RefCell::default() }
    }
}

/// A handler as one connection holds it.
pub(crate) struct Held<H: ?Sized> {
    handlers: Arc<Handlers<H>>,
    generation: Cell<u64>,
    current: RefCell<Option<Weak<H>>>,
}

impl<H: ?Sized> Held<H> {
    /// The one for a request that begins now.
    pub(crate) fn current(&self) -> Arc<H> {
        let generation = self.handlers.generation.load(Acquire);
        if generation == self.generation.get()
            && let Some(current) = self.current.borrow().as_ref().and_then(Weak::upgrade)
        {
            return current;
        }
        // In this order: what is read later is at least as new.
        self.generation.set(generation);
        let current = Arc::clone(&self.handlers.current.lock().unwrap_or_else(PoisonError::into_inner));
        self.current.replace(Some(Arc::downgrade(&current)));
        current
    }
}

/// What is known about a connection.
#[derive(Clone, Debug)]
pub struct ConnectionContext {
    /// Who is at the other end of the socket: a client, or a reverse proxy in front of us.
    pub peer: SocketAddr,
    /// Our own end.
    pub local: SocketAddr,
    /// Whether TLS ends here.
    pub tls: bool,
    /// The worker that owns the connection; `None`: the control runtime (admin listener).
    pub worker: Option<usize>,
    /// Cancelled when the gateway begins to drain. Streams end then.
    pub draining: CancellationToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_begin_after_an_exchange_go_to_the_next_handler() {
        let handlers = Handlers::new(Arc::new(1));
        let (old, other) = (handlers.hold(), handlers.hold());
        let under_way = old.current();
        handlers.exchange(Arc::new(2));
        assert_eq!((*under_way, *old.current(), *handlers.hold().current()), (1, 2, 2));
        handlers.exchange(Arc::new(3));
        assert_eq!((*other.current(), *old.current(), *old.current()), (3, 3, 3));
        drop(under_way);
        let third = old.current();
        handlers.exchange(Arc::new(4));
        assert_eq!(Arc::strong_count(&third), 1, "an unused connection keeps a handler that nobody needs");
        drop(third);
        assert_eq!((*old.current(), *other.current()), (4, 4));
    }
}
