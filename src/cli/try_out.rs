//! `sandbox`: everything on this computer, and the attack replayed.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{
    failed,
    serve::{control_runtime, log_filter, raise_open_files, stop_on_signal},
    wrong,
};
use crate::{observe::log, sandbox};

/// Runs it until it is told to stop, or plays the attack.
pub(super) fn try_out(options: &sandbox::command::Options) -> ExitCode {
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
