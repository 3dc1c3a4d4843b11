//! Runtimes, listeners, drain.
//!
//! The *control* runtime (the caller's) accepts connections and answers the control listeners (health, metrics,
//! administration). *Workers* are threads with a current-thread runtime each: a connection is dealt to one of them and
//! never leaves it, and each has a handler of its own, made on its thread, so that connections to MCP servers and the
//! share of the session cache are never touched by two threads.
//!
//! **Drain.** When `stop` is cancelled: nothing more is accepted, streams are told to end, requests under way are
//! answered, and what is still open at the deadline is cut. The control listeners go on until the workers are done, so
//! that whoever watches readiness sees "draining" instead of nothing.
//!
//! **Exchange.** [`Renewer::renew`] has every worker make a new handler, on its own thread, which answers what begins from
//! then on; connections, requests under way and streams are not touched.
//!
//! Knows nothing of what is served. Called by the composition root.

use std::{io, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::net::{
    connection::{self, Answers},
    handler::{ConnectionContext, Handlers},
    listen::{Accepted, Endpoint, Limits, accept},
};

/// How long open connections of the control listeners may take when everything else has ended.
const CONTROL_DRAIN: Duration = Duration::from_secs(1);

/// Everything that is served, bound already.
#[derive(Debug)]
pub struct Server {
    /// Dealt to the workers.
    pub public: Endpoint,
    /// Answered on the control runtime, by one handler; it tells them apart by [`ConnectionContext::local`].
    pub control: Vec<Endpoint>,
    /// How many workers.
    pub workers: NonZeroUsize,
    /// For each listener.
    pub limits: Limits,
    /// From `stop` to the moment at which what is still open is cut.
    pub drain_deadline: Duration,
    /// What is to be exchanged while it serves.
    pub renewals: Renewals,
}

/// Has the workers of a server make new handlers.
#[derive(Clone, Debug)]
pub struct Renewer(mpsc::UnboundedSender<Renewal>);

/// Where a server hears of it.
#[derive(Debug)]
pub struct Renewals(mpsc::UnboundedReceiver<Renewal>);

/// A renewer, and the server's end of it.
pub fn renewals() -> (Renewer, Renewals) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Renewer(sender), Renewals(receiver))
}

/// New handlers, and limits for connections that come from now on.
#[derive(Clone, Debug)]
struct Renewal {
    limits: Arc<Limits>,
    /// Dropped by each worker when it is done.
    _done: mpsc::UnboundedSender<()>,
}

impl Renewer {
    /// Has every worker make a new handler; `limits` are for connections that come after that, apart from those that are kept
    /// where connections are accepted. Returns when all have done so, or the server has ended.
    pub async fn renew(&self, limits: Limits) {
        let (done, mut pending) = mpsc::unbounded_channel();
        // Where nobody hears of it nobody serves.
        let _ = self.0.send(Renewal { limits: Arc::new(limits), _done: done });
        let _ = pending.recv().await;
    }
}

/// What comes to a worker.
enum Dealt {
    Connection(Accepted),
    Renewal(Renewal),
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drained {
    /// Public connections that were still open at the deadline.
    pub cut: usize,
}

impl Drained {
    /// Whether every request was answered.
    pub fn is_graceful(self) -> bool {
        self.cut == 0
    }
}

impl Server {
    /// Serves until `stop` is cancelled and everything has drained. `make` makes the handler of a worker, on its thread
    /// and inside its runtime.
    ///
    /// Fails only when a thread or a runtime cannot be had.
    pub async fn run(
        self,
        make: Make,
        control: Arc<dyn Answers>,
        stop: CancellationToken,
    ) -> io::Result<Drained> {
        let limits = Arc::new(self.limits);
        let control_stop = CancellationToken::new();
        let mut controls = JoinSet::new();
        for endpoint in self.control {
            controls.spawn(serve_here(
                endpoint,
                Arc::clone(&control),
                Arc::clone(&limits),
                control_stop.clone(),
            ));
        }

        let mut team = Vec::with_capacity(self.workers.get());
        for index in 0..self.workers.get() {
            let worker = Worker {
                index,
                tls: self.public.tls.clone().map(TlsAcceptor::from),
                limits: Arc::clone(&limits),
                // A child of its own: a token is behind a lock, and this one is looked at for every request.
                draining: stop.child_token(),
                drain_deadline: self.drain_deadline,
            };
            team.push(worker.start(Arc::clone(&make))?);
        }
        let (desks, reports): (Vec<_>, Vec<_>) = team.into_iter().unzip();

        let mut round = 0_usize;
        let deal = |mut accepted: Accepted| {
            round = round.wrapping_add(1);
            // The next in turn; one that is gone (which must not happen) is passed over.
            for desk in desks.iter().cycle().skip(round % desks.len()).take(desks.len()) {
                match desk.send(Dealt::Connection(accepted)) {
                    Err(mpsc::error::SendError(Dealt::Connection(back))) => accepted = back,
                    _ => return,
                }
            }
            tracing::error!(reason = "workers_gone", "a connection could not be dealt");
        };
        let mut renewals = self.renewals;
        let renewing = async {
            while let Some(renewal) = renewals.0.recv().await {
                for desk in &desks {
                    // One that is gone has nothing to exchange.
                    let _ = desk.send(Dealt::Renewal(renewal.clone()));
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            accepted = accept(self.public.listener, &limits, stop.clone(), deal) => accepted?,
            () = renewing => {}
        }
        drop(renewals);
        drop(desks);

        let mut cut = 0;
        for report in reports {
            cut += report.await.map_err(|_| io::Error::other("a worker ended by itself"))?;
        }
        control_stop.cancel();
        while controls.join_next().await.is_some() {}
        Ok(Drained { cut })
    }
}

/// Makes the handler of a worker, which has this number.
pub type Make = Arc<dyn Fn(usize) -> Arc<dyn Answers> + Send + Sync>;

/// A worker that is not running yet.
struct Worker {
    index: usize,
    tls: Option<TlsAcceptor>,
    limits: Arc<Limits>,
    draining: CancellationToken,
    drain_deadline: Duration,
}

impl Worker {
    /// Starts the thread. Connections go in through the sender; the number of those that were cut comes out at the end.
    fn start(self, make: Make) -> io::Result<(mpsc::UnboundedSender<Dealt>, oneshot::Receiver<usize>)> {
        let (desk, dealt) = mpsc::unbounded_channel();
        let (report, reported) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name(format!("worker-{}", self.index)).spawn(move || {
            let cut = runtime.block_on(self.work(&make, dealt));
            // Not waiting for name look-ups that are still under way.
            runtime.shutdown_background();
            // Nobody listens any more when the server itself was dropped.
            report.send(cut).unwrap_or_default();
        })?;
        Ok((desk, reported))
    }

    async fn work(self, make: &Make, mut dealt: mpsc::UnboundedReceiver<Dealt>) -> usize {
        let handlers = Handlers::new(make(self.index));
        let open = TaskTracker::new();
        let mut limits = self.limits;
        while let Some(dealt) = dealt.recv().await {
            match dealt {
                Dealt::Connection(accepted) => {
                    let (handlers, draining) = (Arc::clone(&handlers), self.draining.clone());
                    let (tls, limits) = (self.tls.clone(), Arc::clone(&limits));
                    open.spawn(serve_one(accepted, tls, handlers, Some(self.index), draining, limits));
                }
                Dealt::Renewal(renewal) => {
                    handlers.exchange(make(self.index));
                    limits = renewal.limits;
                }
            }
        }
        open.close();
        // The desk closes with `stop`, so the deadline counts from there.
        if tokio::time::timeout(self.drain_deadline, open.wait()).await.is_ok() {
            return 0;
        }
        open.len()
    }
}

/// Serves a control listener on the current runtime until `stop`.
async fn serve_here(
    endpoint: Endpoint,
    handler: Arc<dyn Answers>,
    limits: Arc<Limits>,
    stop: CancellationToken,
) {
    let open = TaskTracker::new();
    let tls = endpoint.tls.map(TlsAcceptor::from);
    let handlers = Handlers::new(handler);
    let deal = |accepted| {
        let (handlers, draining, limits) = (Arc::clone(&handlers), stop.clone(), Arc::clone(&limits));
        open.spawn(serve_one(accepted, tls.clone(), handlers, None, draining, limits));
    };
    if let Err(error) = accept(endpoint.listener, &limits, stop.clone(), deal).await {
        tracing::error!(reason = "control_listener_failed", %error);
    }
    open.close();
    if tokio::time::timeout(CONTROL_DRAIN, open.wait()).await.is_err() {
        tracing::debug!(reason = "control_connections_cut", count = open.len());
    }
}

async fn serve_one(
    accepted: Accepted,
    tls: Option<TlsAcceptor>,
    handlers: Arc<Handlers<dyn Answers>>,
    worker: Option<usize>,
    draining: CancellationToken,
    limits: Arc<Limits>,
) {
    let Accepted { stream, peer, place, seat, visitor } = accepted;
    // Both fail only when the client is gone already or this process has no file descriptors.
    let Ok(local) = stream.local_addr() else { return };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let context = Arc::new(ConnectionContext { peer, local, tls: tls.is_some(), worker, draining });
    connection::serve(stream, tls, handlers, context, limits).await;
    drop((place, seat, visitor));
}

#[cfg(test)]
mod tests;
