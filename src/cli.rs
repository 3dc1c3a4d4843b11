//! The command line: what may be typed, and what each command prints.
//!
//! Exit statuses: 0 all is well; 1 something failed while starting or running; 64 the command line or the configuration
//! is wrong (`EX_USAGE`), said in a sentence before any port is bound.

use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "sandbox")]
use crate::sandbox;
use crate::{
    config::{self, Settings},
    flow::fault,
    gateway::{self, Bound, Gateway, Surroundings},
    net::files::{self, Raised},
    observe::log,
};

/// The command line or the configuration is wrong.
const EX_USAGE: u8 = 64;

/// A gateway in front of MCP servers that talk to a third-party API: OAuth for any MCP client, one static client id at
/// the third party, and no confused deputy in between.
#[derive(Debug, Parser)]
#[command(name = "mcp-deputy", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        /// The configuration. Without it: ./proxy.toml, or environment variables where there is none.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say whether the configuration is right, without running anything.
    Check {
        /// The configuration. Without it: ./proxy.toml, or environment variables where there is none.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Try it on this computer: a simulated third party, a sample MCP server, the gateway, and the attack.
    ///
    /// Everything runs on loopback with nothing to configure. Prints the URL to give to an MCP client and the address of a
    /// page that shows the confused-deputy attack: how it succeeds against a naive proxy, and how it fails here.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::command::Options),
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { EX_USAGE } else { 0 };
            // Where even this cannot be printed there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match arguments.command {
        Command::Serve { config } => match load(config.as_deref()) {
            Ok(settings) => serve(settings),
            Err(error) => wrong(&error),
        },
        Command::Check { config } => check(config.as_deref()),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => try_out(&options),
    }
}

/// The configuration, from the file and the environment.
fn load(path: Option<&Path>) -> Result<Settings, config::ConfigError> {
    config::load(path, &|name| std::env::var(name).ok())
}

fn check(path: Option<&Path>) -> ExitCode {
    let settings = match load(path) {
        Ok(settings) => settings,
        Err(error) => return wrong(&error),
    };
    let pages = match gateway::pages(&settings) {
        Ok(pages) => pages,
        Err(error) => return wrong(&error),
    };
    let pages = match pages.check() {
        Ok(pages) => pages,
        Err(error) => return wrong(&error),
    };
    if let Err(error) = Bound::certificate(&settings) {
        return wrong(&error);
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "The configuration is right; {pages} sample pages were rendered.");
    let _ = writeln!(out, "  issuer    {}", settings.public_url.as_str());
    for server in &settings.servers {
        let _ = writeln!(out, "  resource  {}  ->  {}", settings.resource(server), server.upstream_url);
    }
    for server in &settings.elsewhere {
        let _ = writeln!(out, "  resource  {}  (served elsewhere)", server.resource.as_str());
    }
    for provider in &settings.providers {
        let callback = settings.public_url.join(&format!("/callback/{}", provider.name));
        let _ = writeln!(out, "  callback  {callback}  (register this redirect URI at {})", provider.title);
    }
    ExitCode::SUCCESS
}

fn serve(settings: Settings) -> ExitCode {
    // A mistake in what the operator wrote for people, said as any other of the configuration.
    if settings.branding != config::BrandingSettings::default()
        && let Err(error) = gateway::pages(&settings)
    {
        return wrong(&error);
    }
    let filter = log_filter();
    if let Err(error) = log::begin(filter.as_deref(), log::Form::Json) {
        return wrong(&error);
    }
    raise_open_files();
    match control_runtime() {
        Ok(runtime) => runtime.block_on(serve_here(settings)),
        Err(error) => failed(&error),
    }
}

async fn serve_here(settings: Settings) -> ExitCode {
    let bound = match Bound::bind(&settings) {
        Ok(bound) => bound,
        Err(fault) => return failed(&fault),
    };
    let (address, admin) = (settings.listen, settings.admin_listen);
    let public_url = settings.public_url.as_str().to_owned();
    let gateway = match Gateway::new(settings, &Surroundings::default()).await {
        Ok(gateway) => gateway,
        Err(fault) => return failed(&fault),
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), public_url, %address, %admin, "serving");
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    match gateway.run(bound, stop).await {
        Ok(drained) if drained.is_graceful() => {
            tracing::info!("drained; every request was answered");
            ExitCode::SUCCESS
        }
        Ok(drained) => {
            tracing::warn!(cut = drained.cut, "the drain deadline was over; open connections were cut");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// The control runtime: the store, the permission journey and every call to the third party. Workers have their own.
fn control_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build()
}

/// As many open files as the system lets us have. Where it does not, the gateway lives with the limit as it is.
fn raise_open_files() {
    match files::raise() {
        Ok(Raised { before, now }) => tracing::info!(before, now, "the limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// What the environment wants to see in the log.
fn log_filter() -> Option<String> {
    ["MCP_DEPUTY_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok())
}

#[cfg(feature = "sandbox")]
fn try_out(options: &sandbox::command::Options) -> ExitCode {
    // That a store was made and a key beside it is no news here.
    let usual = if options.verbose { "info" } else { "warn,mcp_deputy::gateway=error" };
    let filter = log_filter().unwrap_or_else(|| usual.to_owned());
    if let Err(error) = log::begin(Some(&filter), log::Form::Plain) {
        return wrong(&error);
    }
    raise_open_files();
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let stop = CancellationToken::new();
    runtime.spawn(stop_on_signal(stop.clone()));
    let mut out = std::io::stdout();
    let played = sandbox::command::run(options, &mut out, stop.cancelled());
    match runtime.block_on(played) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&*error),
    }
}

/// SIGTERM and SIGINT drain; a second one of them ends the process at once, as signals do by themselves.
async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    let signal_name = tokio::select! {
        () = terminated => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    };
    tracing::info!(signal = signal_name, "draining");
    stop.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(1);
    }
}

/// The command line or the configuration is wrong: one sentence, and no port was bound.
fn wrong(error: &(dyn Error + 'static)) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "mcp-deputy: {}", fault::chain(error));
    ExitCode::from(EX_USAGE)
}

/// Something failed: on standard error and nowhere else, since a log may not be set up yet.
fn failed(error: &(dyn Error + 'static)) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "mcp-deputy: {}", fault::chain(error));
    ExitCode::FAILURE
}
