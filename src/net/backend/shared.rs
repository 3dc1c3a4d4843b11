//! HTTP/2 to an MCP server: many requests at a time on a few connections.
//!
//! A pool of hyper-util's keeps one connection for all requests, and a server takes so many at a time on it (100 or more,
//! RFC 9113 section 6.5.2): a person with that many open streams would keep everybody else waiting. So there are several
//! pools, and each gets at most [`STREAMS`] requests at a time, until the last byte of their answers.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};

use tokio::time::timeout;

use super::{Answer, BackendError, Body, Connector, IDLE, PROBE, Waiting, classify};

/// How many requests there are at the same time on one connection: fewer than servers take, and together they wait for less
/// than the window of the connection.
pub const STREAMS: usize = 64;

/// The connections.
#[derive(Debug)]
pub(super) struct Lines {
    builder: legacy::Builder,
    connector: Connector,
    pools: Mutex<Vec<Pool>>,
}

impl Lines {
    pub(super) fn new(connector: Connector) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .set_host(false)
            .http2_only(true)
            .http2_keep_alive_interval(PROBE)
            // A stream that its client reads slowly stops after one window and leaves the connection to the others.
            .http2_initial_stream_window_size(128 * 1024)
            .http2_initial_connection_window_size(16 * 1024 * 1024)
            .http2_max_header_list_size(64 * 1024);
        let pools = Mutex::new(vec![Pool::new(builder.build(connector.clone()))]);
        Self { builder, connector, pools }
    }

    pub(super) async fn send(
        &self,
        request: &mut Request<Body>,
        waiting: Waiting<'_>,
    ) -> Result<Response<Answer>, BackendError> {
        let Pool { client, open } = self.pool();
        let sending = timeout(waiting.at_most, client.request(mem::take(request)));
        let Some(answer) = waiting.ended.run_until_cancelled(sending).await else {
            return Err(BackendError::Ended);
        };
        let answer = answer.map_err(|_| BackendError::TimedOut)?.map_err(|error| classify(&error))?;
        Ok(answer.map(|incoming| Answer::shared(incoming, open)))
    }

    /// The pool for one more request: the first one that is not full; what is unused at the end goes.
    fn pool(&self) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = pools.iter().position(|pool| pool.open() < STREAMS) {
            let pool = pools.get(index).cloned();
            let used = pools.iter().rposition(|pool| pool.open() > 0).unwrap_or_default();
            pools.truncate(used.max(index) + 1);
            if let Some(pool) = pool {
                return pool;
            }
        }
        let pool = Pool::new(self.builder.build(self.connector.clone()));
        pools.push(pool.clone());
        pool
    }
}

/// Connections, and who counts as open on them: every clone of `open` but our own.
#[derive(Clone, Debug)]
struct Pool {
    client: legacy::Client<Connector, Body>,
    open: Arc<()>,
}

impl Pool {
    fn new(client: legacy::Client<Connector, Body>) -> Self {
        Self { client, open: Arc::new(()) }
    }

    fn open(&self) -> usize {
        Arc::strong_count(&self.open).saturating_sub(1)
    }
}
