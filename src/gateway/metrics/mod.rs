//! Everything that `/metrics` says: one place that knows all the tallies and writes them down.
//!
//! The numbers are kept where things happen: by each worker for itself (`web::traffic`), by the journal (`flow::journal`),
//! at the store, at the third parties, at the listener. They live as long as the process, whatever becomes of the
//! configuration, so that what is called a counter never falls. Here they are summed, only when somebody asks.

mod families;
mod process;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use families as all;

use super::{reload::ReloadTally, traces::Traces};

use crate::{
    domain::time::Timestamp,
    flow::{
        Flows,
        count::{Count, Measured},
        journal,
        keys::ResealingView,
    },
    net::{
        files::{self, Places},
        listen::Door,
    },
    observe::{
        exposition::{Exposition, Family, Samples, Seconds},
        trace::TraceTally,
    },
    store::tally::StoreTally,
    upstream::ThirdPartyTally,
    web::traffic::Traffic,
};

/// What is counted in this process, wherever it is counted.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) traffic: Traffic,
    pub(super) third_parties: Arc<ThirdPartyTally>,
    pub(super) store: Arc<StoreTally>,
    pub(super) door: Arc<Door>,
    pub(super) sweeper: SweeperTally,
    pub(super) reloads: ReloadTally,
    pub(super) traces: Arc<TraceTally>,
    /// When the process began to serve.
    pub(super) started: Timestamp,
}

/// What the sweeper did.
#[derive(Debug, Default)]
pub(super) struct SweeperTally {
    pub(super) seen: Count,
    pub(super) removed: Count,
    pub(super) failed: Count,
    rounds: Count,
    failed_rounds: Count,
    last: AtomicU64,
}

impl SweeperTally {
    /// A round ended.
    pub(super) fn round(&self, went_well: bool, now: Timestamp) {
        if went_well {
            self.rounds.add(1);
            self.last.store(now.as_secs(), Relaxed);
        } else {
            self.failed_rounds.add(1);
        }
    }
}

/// What else is shown, as it is at the moment.
pub(super) struct Moment<'a> {
    pub(super) flows: &'a Flows,
    pub(super) places: Places,
    /// Where the store is, if it is on a disk.
    pub(super) store: Option<PathBuf>,
    /// The file of the certificate that is shown, and until when that is good, in seconds since 1970.
    pub(super) certificate: Option<(String, u64)>,
    /// How far the store is sealed with the current key.
    pub(super) keys: ResealingView,
    /// In seconds since 1970.
    pub(super) now: Timestamp,
}

impl Tallies {
    /// Begins to count at this moment.
    pub(super) fn since(started: Timestamp) -> Self {
        let third_parties = Arc::new(ThirdPartyTally::telling(Traces::CALLED));
        Self { started, reloads: ReloadTally::since(started), third_parties, ..Self::default() }
    }

    /// The text of `/metrics`.
    pub(super) fn exposition(&self, moment: &Moment<'_>) -> String {
        let mut text = Exposition::default();
        text.family(&all::BUILD).sample(&[env!("CARGO_PKG_VERSION")], 1);
        self.requests(&mut text, moment);
        self.permissions(&mut text, moment.flows);
        self.control(&mut text, moment);
        self.process(&mut text);
        text.finish()
    }

    fn requests(&self, text: &mut Exposition, moment: &Moment<'_>) {
        let places = moment.places;
        let servers = self.traffic.servers();
        let mut samples = text.family(&all::MCP_REQUESTS);
        for (server, counts) in &servers {
            for (code, reason, count) in &counts.requests {
                samples.sample(&[server, code, reason], count);
            }
        }
        let mut samples = text.family(&all::MCP_TOOK);
        for (server, counts) in &servers {
            spread(&mut samples, &[server], &counts.took);
        }
        let mut of_server = |family: &'static Family, value: &dyn Fn(&_) -> u64| {
            let mut samples = text.family(family);
            for (server, counts) in &servers {
                samples.sample(&[server], value(counts));
            }
        };
        of_server(&all::MCP_UNDER_WAY, &|counts| counts.under_way);
        of_server(&all::STREAMS, &|counts| counts.streams_begun);
        of_server(&all::STREAMS_OPEN, &|counts| counts.streams_open);
        text.family(&all::STREAM_PLACES).sample(&[], places.streams);

        let (accepted, open, refused) = self.door.counts();
        text.family(&all::CONNECTIONS).sample(&[], accepted);
        text.family(&all::CONNECTIONS_OPEN).sample(&[], open);
        text.family(&all::CONNECTIONS_REFUSED).sample(&[], refused);
        text.family(&all::CONNECTION_PLACES).sample(&[], places.connections);
        let mut samples = text.family(&all::HANDSHAKES);
        for (why, count) in self.door.handshakes() {
            samples.sample(&[why.as_str()], count);
        }
        let mut samples = text.family(&all::CERTIFICATE);
        if let Some((file, end)) = &moment.certificate {
            samples.sample(&[file], i128::from(*end) - i128::from(moment.now.as_secs()));
        }
        let (hits, misses) = self.traffic.sessions();
        text.family(&all::SESSIONS).sample(&["hit"], hits).sample(&["miss"], misses);

        let endpoints = self.traffic.endpoints();
        let mut samples = text.family(&all::HTTP_REQUESTS);
        for (endpoint, counts) in &endpoints {
            for (code, count) in &counts.requests {
                samples.sample(&[endpoint, code], count);
            }
        }
        let mut samples = text.family(&all::HTTP_TOOK);
        for (endpoint, counts) in &endpoints {
            spread(&mut samples, &[endpoint], &counts.took);
        }
    }

    fn permissions(&self, text: &mut Exposition, flows: &Flows) {
        let mut samples = text.family(&all::EVENTS);
        for (event, reason, count) in journal::tally() {
            samples.sample(&[event, reason], count);
        }
        let calls = self.third_parties.so_far();
        let mut samples = text.family(&all::THIRD_PARTY_CALLS);
        for step in &calls {
            for (outcome, reason, count) in &step.outcomes {
                samples.sample(&[&step.provider, step.step, outcome, reason], count);
            }
        }
        let mut samples = text.family(&all::THIRD_PARTY_TOOK);
        for step in &calls {
            spread(&mut samples, &[&step.provider, step.step], &step.took);
        }
        let mut samples = text.family(&all::DOCUMENTS);
        for (outcome, reason, count) in flows.tally().documents.so_far() {
            samples.sample(&[outcome, reason], count);
        }
    }

    fn control(&self, text: &mut Exposition, moment: &Moment<'_>) {
        let store = &self.store;
        let mut samples = text.family(&all::STORE_TOOK);
        for (operation, took) in [("read", &store.reads), ("scan", &store.scans), ("write", &store.writes)] {
            spread(&mut samples, &[operation], &took.so_far());
        }
        spread(&mut text.family(&all::STORE_SYNCS), &[], &store.syncs.so_far());
        text.family(&all::STORE_SYNCED).sample(&[], store.synced_writes.so_far());
        spread(&mut text.family(&all::STORE_FOLDS), &[], &store.folds.so_far());
        text.family(&all::STORE_CONFLICTS).sample(&[], store.conflicts.so_far());
        text.family(&all::STORE_FAULTS).sample(&[], store.faults.so_far());
        text.family(&all::STORE_SIZE).sample(&[], moment.store.as_deref().map_or(0, size));
        text.family(&all::BACKED_UP_AT).sample(&[], moment.flows.tally().backed_up_at());
        let keys = &moment.keys;
        text.family(&all::SEALED).sample(&[], u8::from(keys.is_done()));
        // Some of what was counted goes by itself meanwhile.
        let left = keys.records.filter(|_| !keys.is_done()).unwrap_or_default().saturating_sub(keys.resealed);
        text.family(&all::RESEALED)
            .sample(&["resealed"], keys.resealed)
            .sample(&["left"], left)
            .sample(&["unreadable"], keys.unreadable);
        text.family(&all::STEPS).sample(&[], moment.flows.under_way());
        let sweeper = &self.sweeper;
        text.family(&all::SWEEPS)
            .sample(&["done"], sweeper.rounds.so_far())
            .sample(&["failed"], sweeper.failed_rounds.so_far());
        text.family(&all::SWEPT)
            .sample(&["seen"], sweeper.seen.so_far())
            .sample(&["removed"], sweeper.removed.so_far())
            .sample(&["failed"], sweeper.failed.so_far());
        text.family(&all::SWEPT_AT).sample(&[], sweeper.last.load(Relaxed));
        let reloads = &self.reloads;
        text.family(&all::RELOADS)
            .sample(&["applied"], reloads.applied.so_far())
            .sample(&["refused"], reloads.refused.so_far());
        text.family(&all::RELOADED).sample(&[], u8::from(reloads.went_well()));
        let (applied_at, refused_at) = reloads.times();
        text.family(&all::APPLIED_AT).sample(&[], applied_at);
        text.family(&all::REFUSED_AT).sample(&[], refused_at);
        let traces = &self.traces;
        text.family(&all::TRACE_SPANS)
            .sample(&["exported"], traces.exported.load(Relaxed))
            .sample(&["dropped"], traces.dropped.load(Relaxed))
            .sample(&["failed"], traces.failed.load(Relaxed));
    }

    fn process(&self, text: &mut Exposition) {
        let process = process::ask();
        text.family(&all::STARTED).sample(&[], Seconds(self.started.as_millis().saturating_mul(1000)));
        text.family(&all::CPU).sample(&[], Seconds(process.cpu));
        text.family(&all::RESIDENT).sample(&[], process.resident);
        text.family(&all::VIRTUAL).sample(&[], process.virtual_memory);
        text.family(&all::FILES).sample(&[], process.files);
        text.family(&all::MOST_FILES).sample(&[], files::limit());
    }
}

fn spread(samples: &mut Samples<'_>, labels: &[&str], took: &Measured) {
    samples.histogram(labels, took.up_to(), took.count(), took.sum());
}

/// The size of all files in a folder, in bytes.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}
