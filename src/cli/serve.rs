//! `serve`: the gateway, from its configuration to its last answer. `sandbox` runs on the same runtime, with the same limits
//! and until the same signals.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{failed, load_again, wrong};
use crate::{
    config::{BrandingSettings, Settings},
    gateway::{self, Bound, Gateway, Hangups, MakeDesk, Origin, Surroundings},
    net::files::{self, Raised},
    observe::log,
};

/// Runs the gateway until a signal says that it is enough.
pub(super) fn serve(make: MakeDesk, settings: Settings, origin: Origin) -> ExitCode {
    // A mistake in what the operator wrote for people, said as any other of the configuration.
    if settings.branding != BrandingSettings::default()
        && let Err(error) = gateway::pages(&settings)
    {
        return wrong(&error);
    }
    if let Err(error) = log::begin(Some(&settings.log), log::Form::Json) {
        return wrong(&error);
    }
    raise_open_files();
    match control_runtime() {
        Ok(runtime) => runtime.block_on(serve_here(make, settings, origin)),
        Err(error) => failed(&error),
    }
}

async fn serve_here(make: MakeDesk, settings: Settings, origin: Origin) -> ExitCode {
    let hangups = Hangups::awaited();
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
    let path = origin.path.clone();
    let read = move || load_again(path.as_deref());
    tokio::spawn(gateway::watch(gateway.handle(), origin, hangups, read, stop.clone()));
    match gateway.run(make, bound, stop).await {
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
pub(super) fn control_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build()
}

/// As many open files as the system lets us have. Where it does not, the gateway lives with the limit as it is.
pub(super) fn raise_open_files() {
    match files::raise() {
        Ok(Raised { before, now }) => tracing::info!(before, now, "the limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// What the environment wants to see in the log.
#[cfg(feature = "sandbox")]
pub(super) fn log_filter() -> Option<String> {
    ["MCP_DEPUTY_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok())
}

/// SIGTERM and SIGINT drain; a second one of them ends the process at once, as signals do by themselves.
pub(super) async fn stop_on_signal(stop: CancellationToken) {
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
