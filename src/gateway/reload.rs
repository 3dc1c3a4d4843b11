//! Another configuration, without a restart: all of it or nothing.
//!
//! **The order.** First everything that can fail: keys that need a restart, the adapters, the pages, the mounts, the
//! certificate, the log levels, and the records of configured clients, which only add to what the store knows. Where one of
//! them fails, nothing has changed, and the reason is said. Then what cannot fail: the new parts hold, every worker makes
//! its new share, and what is in use is looked at again. A request goes to its end with the parts that it began with; the
//! next one on the same connection meets the new ones.
//!
//! [`watch`] reads the configuration again at SIGHUP, and when its files changed and then stayed the same for a moment: a
//! file that is just being written may be valid in the middle, and say less than is meant.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    catalog,
    discovery::discovered,
    documents, policy,
    run::{Handle, Parts, Running, pem_files, settled, unmade},
    third_parties,
    traces::Traces,
};
use crate::{
    config::{self, ConfigError, Mark, Settings},
    domain::time::Timestamp,
    flow::{
        Reconfigured,
        count::Count,
        fault::{Fault, chain},
        journal::{self, Event},
    },
    net::tls::Certificates,
    observe::log::{self, LogError},
    web::{Site, traffic::WorkerTraffic},
};

/// How often the files of the configuration are looked at. A change takes effect after the second look that finds the same.
const LOOK: Duration = Duration::from_secs(2);
/// How long workers may take to make their new shares.
const PATIENCE: Duration = Duration::from_secs(10);
/// In how many rounds of the sweeper after a reload what is in use is looked at again.
const LOOK_AGAIN: u32 = 2;

/// Why a configuration was not taken. Nothing has changed then.
#[derive(Debug, Error)]
pub enum NotReloaded {
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
    /// It changes what is fixed for the life of a process.
    #[error(
        "{0} has changed, which takes effect at a restart only; nothing of the new configuration was taken"
    )]
    NeedsRestart(&'static str),
    /// The log levels are none.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Something that it needs cannot be had.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl NotReloaded {
    /// A stable name for the journal.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Wrong(_) | Self::Log(_) => "configuration_wrong",
            Self::NeedsRestart(_) => "needs_restart",
            Self::Fault(_) => "configuration_unusable",
        }
    }
}

/// What became of configurations that were read again.
#[derive(Debug, Default)]
pub(super) struct ReloadTally {
    pub(super) applied: Count,
    pub(super) refused: Count,
    /// When the configuration in use was taken, in seconds.
    applied_at: AtomicU64,
    refused_at: AtomicU64,
    /// Whether the last one was refused.
    is_refused: AtomicBool,
}

impl ReloadTally {
    /// The configuration of the start was taken at this moment.
    pub(super) fn since(started: Timestamp) -> Self {
        Self { applied_at: AtomicU64::new(started.as_secs()), ..Self::default() }
    }

    fn note(&self, was_applied: bool, now: Timestamp) {
        let (count, at) =
            if was_applied { (&self.applied, &self.applied_at) } else { (&self.refused, &self.refused_at) };
        count.add(1);
        at.store(now.as_secs(), Relaxed);
        self.is_refused.store(!was_applied, Relaxed);
    }

    /// Whether the configuration that was read last is the one that holds.
    pub(super) fn went_well(&self) -> bool {
        !self.is_refused.load(Relaxed)
    }

    /// When the configuration in use was taken, and when one was refused (zero: never), in seconds.
    pub(super) fn times(&self) -> (u64, u64) {
        (self.applied_at.load(Relaxed), self.refused_at.load(Relaxed))
    }
}

impl Handle {
    /// Takes this configuration in place of the one that holds; or says why not, in the log and in the journal too, and then
    /// nothing has changed.
    pub async fn reload(
        &self,
        read: impl FnOnce() -> Result<Settings, ConfigError>,
    ) -> Result<(), NotReloaded> {
        let running = &self.0;
        let _turn = running.reloading.lock().await;
        let outcome = match read() {
            Ok(settings) => running.take(settings).await,
            Err(error) => Err(error.into()),
        };
        let now = running.surroundings.clock.now();
        running.tallies.reloads.note(outcome.is_ok(), now);
        match &outcome {
            Ok(ended) => {
                tracing::info!(ended, "the configuration was read again and holds now");
                journal::note(Event::ConfigurationReloaded).write();
            }
            Err(error) => {
                tracing::error!(
                    reason = error.reason(),
                    error = chain(error),
                    "the new configuration was not taken; the one before holds"
                );
                journal::note(Event::ConfigurationRefused).reason(error.reason()).write();
            }
        }
        outcome.map(drop)
    }
}

impl Running {
    /// Takes a configuration; returns how many grants in use have ended for it.
    async fn take(self: &Arc<Self>, settings: Settings) -> Result<usize, NotReloaded> {
        let before = self.parts();
        if let Some(key) = config::needs_restart(&before.settings, &settings) {
            return Err(NotReloaded::NeedsRestart(key));
        }
        log::judge(&settings.log)?;
        let settings = discovered(settings, &self.surroundings).await?;
        let proxy = &settings.registration.egress_proxy;
        let new_documents = (*proxy != before.settings.registration.egress_proxy)
            .then(|| documents(&settings, &self.surroundings))
            .transpose()?;
        let flows = before.flows.reconfigured(Reconfigured {
            third_parties: third_parties(&settings, &self.surroundings, &self.tallies)?,
            documents: new_documents,
            catalog: catalog(&settings),
            policy: policy(&settings),
        });
        let site = Site::renewed(&before.site, self.site_parts(&settings, &flows)?).map_err(unmade)?;
        self.mounts(&settings, &WorkerTraffic::default())?;
        let traces = Traces::prepare(&settings, &self.surroundings)?;
        let certificate = self.certificate.get().zip(pem_files(&settings));
        let pair = match &certificate {
            Some((_, files)) => Some(
                Certificates::pair(files).map_err(|error| Fault::caused("use the TLS certificate", error))?,
            ),
            None => None,
        };
        // Only adds to what the store knows, so whoever still works under the old configuration is not disturbed.
        settled(flows.put_configured().await)?;

        // From here on nothing fails.
        let limits = self.limits(&settings);
        // It was judged above.
        let _ = log::change(&settings.log);
        if let (Some((certificate, files)), Some(pair)) = (certificate, pair) {
            certificate.shown.show(pair);
            if pem_files(&before.settings).as_ref() != Some(&files) {
                certificate.watch(files);
            }
        }
        drop(before);
        self.traces.take(traces);
        self.hold(Parts { settings, flows: Arc::clone(&flows), site });
        if tokio::time::timeout(PATIENCE, self.renewer.renew(limits)).await.is_err() {
            tracing::error!(reason = "workers_slow", "a worker has not taken the new configuration yet");
        }
        self.look_again.store(LOOK_AGAIN, Relaxed);
        if let Err(fault) = settled(flows.take_out_unconfigured().await) {
            tracing::error!(
                error = chain(&fault),
                "a client that left the configuration could not be ended; tried again"
            );
        }
        Ok(flows.look_again().await)
    }

    /// In the rounds of the sweeper that follow a reload: what began under the old configuration, and was seen by nobody then.
    pub(super) async fn look_again_after_a_reload(&self) {
        let one_less = |left: u32| left.checked_sub(1);
        if self.look_again.fetch_update(Relaxed, Relaxed, one_less).is_err() {
            return;
        }
        let flows = Arc::clone(&self.parts().flows);
        if let Err(fault) = settled(flows.take_out_unconfigured().await) {
            tracing::error!(error = chain(&fault), "a client that left the configuration could not be ended");
        }
        flows.look_again().await;
    }
}

/// Where the configuration is from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file that the command line names, or else the default one, where it was there. A process that began with a file never goes on
    /// without one: what it said, and the environment does not, would be gone, rules of `[access]` among it.
    pub path: Option<PathBuf>,
    /// What its files held, marked before they were read for the start: what changed since then is a change.
    pub mark: Mark,
}

impl Origin {
    /// To be made before the configuration is read.
    pub fn of(path: Option<PathBuf>) -> Self {
        let default = PathBuf::from(config::DEFAULT_FILE);
        let path = path.or_else(|| default.exists().then_some(default));
        Self { mark: config::mark(path.as_deref()), path }
    }
}

/// SIGHUP, from the moment at which this is made. Before that it ends the process, as signals do by themselves.
#[derive(Debug)]
pub struct Hangups(Option<Signal>);

impl Hangups {
    /// To be made before anything that takes a while: whoever restarts a service may tell it to read its configuration in the same second.
    pub fn awaited() -> Self {
        Self(
            signal(SignalKind::hangup())
                .inspect_err(|error| {
                    tracing::warn!(%error, "SIGHUP cannot be waited for; the files of the configuration are watched all the same");
                })
                .ok(),
        )
    }

    /// Waits for the next one, or for one that came since.
    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Reads the configuration again at SIGHUP and when its files changed, until `stop`. `read` reads it.
pub async fn watch(
    gateway: Handle,
    origin: Origin,
    mut hangups: Hangups,
    read: impl Fn() -> Result<Settings, ConfigError> + Send,
    stop: CancellationToken,
) {
    let mark = || config::mark(origin.path.as_deref());
    // Of what was taken or refused last, and of what the last look found.
    let mut known = origin.mark;
    let mut seen = known;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hangups.next() => tracing::info!(trigger = "SIGHUP", "reading the configuration again"),
            () = tokio::time::sleep(LOOK) => {
                let now = mark();
                let has_settled = now == seen;
                seen = now;
                if !has_settled || now == known {
                    continue;
                }
                tracing::info!(trigger = "changed files", "reading the configuration again");
            }
        }
        // Before it is read: what changes in between is read again.
        known = mark();
        seen = known;
        // What became of it is said by the gateway.
        let _ = gateway.reload(&read).await;
    }
}
