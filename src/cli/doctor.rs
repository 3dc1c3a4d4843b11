//! `doctor`: what is wrong, and what to do about it.
//!
//! Everything is looked at at once, as a stranger, as the gateway and as its operator would see it, and within ten seconds.
//! Each thing that is looked at is one finding ([`finding`]); a finding is a sentence of ours, never somebody else's words, and
//! never a secret. Changes nothing: no file, no record; what it leaves at third parties is a line in their log.

mod call;
mod certificate;
mod clock;
mod finding;
mod gateway;
mod provider;
mod public;
mod report;
mod server;
mod store;

use std::{io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use self::finding::{Check, Finding, Level};
use super::{EX_USAGE, failed, reach::Where};
use crate::{
    config::{DEFAULT_FILE, Settings},
    net::{
        client::{Client, Limits},
        connect::{self, TrustRoots},
    },
};

/// For everything. What is not known by then is not looked at.
const PATIENCE: Duration = Duration::from_millis(9500);

/// What to look at, and how to say it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 no fault (there may be warnings, and what could not be looked at); 1 there is a fault; 64 the command \
                  line or the configuration is wrong. It takes ten seconds at most and changes nothing."
)]
pub(super) struct Doctor {
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// What every look needs.
struct World {
    settings: Settings,
    /// The file that they are from.
    file: Option<PathBuf>,
    /// As the gateway calls third parties, with less patience.
    client: Client,
    tls: Arc<ClientConfig>,
}

/// Looks, and says what it found.
pub(super) fn run(doctor: &Doctor) -> ExitCode {
    let settings = match super::load(doctor.place.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            if doctor.json {
                let finding = Finding::of(&finding::CONFIGURATION_WRONG, "").because(error.to_string());
                let _ = report::json(&mut io::stdout().lock(), &[finding]);
                return ExitCode::from(EX_USAGE);
            }
            return super::wrong(&error);
        }
    };
    let world = match World::new(settings, doctor.place.config.clone()) {
        Ok(world) => Arc::new(world),
        Err(error) => return failed(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let findings = runtime.block_on(look(&doctor.place, &world));
    // A name that is still being looked up is waited for by nobody.
    runtime.shutdown_background();
    let written = if doctor.json {
        report::json(&mut io::stdout().lock(), &findings)
    } else {
        report::print(&findings)
    };
    // Where this cannot be printed there is nobody left to tell.
    let _ = written;
    if findings.iter().any(|finding| finding.level == Level::Fault) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl World {
    fn new(settings: Settings, config: Option<PathBuf>) -> Result<Self, connect::TrustError> {
        let roots = TrustRoots::Platform;
        let limits = Limits {
            connect: Duration::from_millis(2500),
            overall: Duration::from_secs(4),
            ..Limits::default()
        };
        let default = PathBuf::from(DEFAULT_FILE);
        Ok(Self {
            client: Client::trusted_within(&roots, limits)?,
            tls: Arc::new(connect::tls(&roots)?),
            file: config.or_else(|| default.exists().then_some(default)),
            settings,
        })
    }
}

/// Everything at once; what belongs together in one task.
async fn look(place: &Where, world: &Arc<World>) -> Vec<Finding> {
    let until = Instant::now() + PATIENCE;
    let mut looks = JoinSet::new();
    let mut waiting: Vec<(Check, String)> = Vec::new();
    for provider in &world.settings.providers {
        let (provider, world) = (provider.clone(), Arc::clone(world));
        let name = format!("provider.{}", provider.name);
        waiting.push((Check::ProviderEndpoints, name.clone()));
        looks.spawn(async move { (name, provider::look(provider, &world).await) });
    }
    for server in &world.settings.servers {
        let (server, tls) = (server.clone(), Arc::clone(&world.tls));
        let name = server.path.clone();
        waiting.push((Check::McpServer, name.clone()));
        looks.spawn(async move { (name, server::look(&server, &tls).await) });
    }
    let (known, mut findings) = gateway::look(place, &world.settings).await;
    findings.push(gateway::open_files(&known, &world.settings));
    let in_use = gateway::keys_in_file(&known).await;
    let (user, visited) = (known.user, Arc::clone(world));
    waiting.push((Check::PublicUrl, PUBLIC.to_owned()));
    looks.spawn(async move { (PUBLIC.to_owned(), public::look(&visited, &known).await) });
    let kept = Arc::clone(world);
    waiting.push((Check::Store, STORE.to_owned()));
    looks.spawn_blocking(move || {
        let mut found = store::configuration(&kept.settings, kept.file.as_deref());
        found.extend(store::look(&kept.settings, kept.file.as_deref(), user, &in_use));
        (STORE.to_owned(), found)
    });
    while let Ok(Some(looked)) = timeout_at(until, looks.join_next()).await {
        if let Ok((name, found)) = looked {
            waiting.retain(|(_, waiting)| *waiting != name);
            findings.extend(found);
        }
    }
    findings
        .extend(waiting.into_iter().map(|(check, name)| Finding::skipped(check, name, "it took too long")));
    findings.sort_by_key(|finding| finding.check);
    findings
}

const PUBLIC: &str = "public_url";
const STORE: &str = "store";
