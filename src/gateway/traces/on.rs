//! What takes finished spans to the collector, one batch after the other, in a task of its own on the control runtime.
//!
//! **Nobody waits for it.** A batch that the collector does not take in time is counted and forgotten; nothing is sent twice. While
//! it is slow or gone, at most one batch is on its way and [`trace::QUEUE`] spans wait. What went wrong is a
//! line of fixed text, at most once a minute.
//!
//! The collector may change when the configuration is read again; the queue and what is being followed go on.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::export::Exporter;
use crate::{
    config::Settings,
    domain::time::Timestamp,
    flow::{fault::Fault, ports::Clock},
    gateway::Surroundings,
    observe::trace::{self, BATCH, Finished, Hub, Sampling, Sources, TraceTally, Tracer},
    upstream::Told,
};

/// How long a span waits at most before it is sent.
const SOON: Duration = Duration::from_secs(2);
/// How often it is said that the collector takes nothing.
const QUIET: Duration = Duration::from_mins(1);
/// How long the last spans may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// Traces of this process.
pub(in crate::gateway) struct Traces(Arc<Sending>);

/// Where traces go under a configuration; `None`: nowhere.
pub(in crate::gateway) struct Prepared(Option<(Arc<Exporter>, Sampling)>);

struct Sending {
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    to: Mutex<Option<Arc<Exporter>>>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Follows what this configuration says. Nothing is sent before [`Traces::begin`].
    pub(in crate::gateway) fn new(
        settings: &Settings,
        surroundings: &Surroundings,
        tally: &Arc<TraceTally>,
    ) -> Result<Self, Fault> {
        let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
        let sources = Sources {
            now: Box::new(move || clock.exactly()),
            chance: Box::new(move |out| entropy.fill(out).is_ok()),
        };
        let traces = Self(Arc::new(Sending {
            hub: Hub::new(sources, Arc::clone(tally)),
            clock: Arc::clone(&surroundings.clock),
            to: Mutex::default(),
            stop: CancellationToken::new(),
            task: Mutex::default(),
        }));
        traces.take(Self::prepare(settings, surroundings)?);
        Ok(traces)
    }

    /// What requests are followed with.
    pub(in crate::gateway) fn tracer(&self) -> Tracer {
        self.0.hub.tracer()
    }

    /// Everything about a configuration that can fail.
    pub(in crate::gateway) fn prepare(
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Result<Prepared, Fault> {
        let Some(exporter) = Exporter::new(&settings.tracing, &surroundings.roots)? else {
            return Ok(Prepared(None));
        };
        let sampling = Sampling {
            ratio: settings.tracing.sample_ratio,
            per_second: settings.tracing.max_per_second,
            follows_clients: settings.tracing.follow_clients,
        };
        Ok(Prepared(Some((Arc::new(exporter), sampling))))
    }

    /// From now on this holds.
    pub(in crate::gateway) fn take(&self, prepared: Prepared) {
        let (to, sampling) = prepared.0.unzip();
        *self.0.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.0.hub.follow(sampling);
    }

    /// Begins to send, on the runtime of the caller.
    pub(in crate::gateway) fn begin(&self) {
        let task = tokio::spawn(Arc::clone(&self.0).work());
        *self.0.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Sends what is left and ends, in bounded time.
    pub(in crate::gateway) async fn end(&self) {
        self.0.hub.follow(None);
        self.0.stop.cancel();
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(FAREWELL, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(reason = "traces_unsent", "the collector did not take the last spans in time");
        }
    }

    /// What is told of calls to third parties: each is a span of the request that it is made for.
    pub(in crate::gateway) const CALLED: Option<Told> = Some(called);
}

fn called(provider: &str, call: &'static str, took: Duration, reason: &'static str) {
    let name = match call {
        "identify" => "third party: identify",
        "redeem" => "third party: redeem",
        "refresh" => "third party: refresh",
        "revoke" => "third party: revoke",
        _ => "third party",
    };
    trace::current().called(name, provider, took, reason);
}

/// What was said about the collector.
#[derive(Default)]
struct Said {
    /// When it was said that it takes nothing, while that is so.
    failing: Option<Timestamp>,
    dropped: u64,
}

impl Sending {
    async fn work(self: Arc<Self>) {
        let mut said = Said::default();
        loop {
            let is_over = tokio::select! {
                () = self.stop.cancelled() => true,
                () = self.hub.batch_is_there() => false,
                () = tokio::time::sleep(SOON) => false,
            };
            loop {
                let batch = self.hub.batch();
                let is_last = batch.len() < BATCH;
                // While the collector takes nothing, the rest waits for the next turn.
                if batch.is_empty() || !self.send(batch, &mut said).await || is_last {
                    break;
                }
            }
            if is_over {
                return;
            }
        }
    }

    /// Whether it was taken.
    async fn send(&self, batch: Vec<Finished>, said: &mut Said) -> bool {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (spans, tally) = (u64::try_from(batch.len()).unwrap_or_default(), self.hub.tally());
        let Some(to) = to else {
            tally.failed.fetch_add(spans, Relaxed);
            return true;
        };
        let was_taken = to.export(batch).await;
        let now = self.clock.now();
        if was_taken {
            tally.exported.fetch_add(spans, Relaxed);
            if said.failing.take().is_some() {
                tracing::info!("the collector takes traces again");
            }
        } else {
            tally.failed.fetch_add(spans, Relaxed);
            if said.failing.is_none_or(|last| now.since(last) >= QUIET) {
                said.failing = Some(now);
                let dropped = tally.dropped.load(Relaxed);
                let since = dropped - std::mem::replace(&mut said.dropped, dropped);
                tracing::warn!(
                    reason = "traces_not_taken",
                    spans,
                    dropped = since,
                    "the collector does not take traces: look at [tracing] and at the collector"
                );
            }
        }
        was_taken
    }
}
