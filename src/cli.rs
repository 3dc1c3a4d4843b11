//! The command line: what may be typed, and what each command prints.
//!
//! Exit statuses: 0 all is well; 1 something failed while starting or running; 64 the command line or the configuration
//! is wrong (`EX_USAGE`), said in a sentence before any port is bound.

mod backup;
mod check;
mod completions;
mod configuration;
mod doctor;
#[cfg(test)]
mod documents;
mod health;
mod keys;
mod log;
mod operator;
mod reach;
mod restore;
mod serve;
mod table;
mod tell;
#[cfg(feature = "sandbox")]
mod try_out;

use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

#[cfg(feature = "sandbox")]
use crate::sandbox;
use crate::{
    config::{self, Settings},
    flow::fault,
    gateway::{MakeDesk, Origin},
};

/// The command line or the configuration is wrong.
const EX_USAGE: u8 = 64;

/// A gateway in front of MCP servers that talk to a third-party API: OAuth for any MCP client, one static client id at
/// the third party, and no confused deputy in between.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-deputy",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 all is well; 1 it failed (no gateway answers, there is no such thing, …); 64 the command line or \
                  the configuration is wrong."
)]
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
    /// The configuration: write the first one, print an example or a schema.
    #[command(subcommand)]
    Config(configuration::Configuration),
    /// See and revoke apps: those that people use, and with --all those that nobody ever approved.
    Clients {
        #[command(subcommand)]
        verb: operator::ClientVerb,
    },
    /// See and revoke what people approved for apps.
    Consents {
        #[command(subcommand)]
        verb: operator::Verb,
    },
    /// See and revoke what apps hold: one grant for each approval that became tokens.
    Grants {
        #[command(subcommand)]
        verb: operator::Verb,
    },
    /// The encryption keys: list them, make a new one, seal everything anew, drop old ones.
    Keys {
        #[command(subcommand)]
        verb: keys::Keys,
    },
    /// The levels of the log of the running gateway: show them, set others for a while.
    Log {
        #[command(subcommand)]
        verb: log::Log,
    },
    /// Put the apps that the running gateway knows into a file.
    Backup(backup::Backup),
    /// Begin an empty store with the apps of a backup.
    Restore(restore::Restore),
    /// Say whether the gateway is alive, or ready: for probes.
    Health(health::Health),
    /// Say what is wrong and what to do about it: the public URL, the proxy in front, providers, MCP servers, store, key.
    Doctor(doctor::Doctor),
    /// Print what a shell needs to complete this command line.
    Completions {
        /// For this shell
        shell: completions::Shell,
    },
    /// Try it on this computer: a simulated third party, a sample MCP server, the gateway, and the attack.
    ///
    /// Everything runs on loopback with nothing to configure. Prints the URL to give to an MCP client and the address of a
    /// page that shows the confused-deputy attack: how it succeeds against a naive proxy, and how it fails here.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::command::Options),
}

/// Reads the command line and does what it says. `make`: [`crate::gateway::desk`], of the crate that calls this.
pub fn run(make: MakeDesk) -> ExitCode {
    let arguments = match Arguments::try_parse_from(operator::with_ids_last(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            let status = if error.use_stderr() { EX_USAGE } else { 0 };
            // Where even this cannot be printed there is nobody left to tell.
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match arguments.command {
        Command::Serve { config } => {
            let origin = Origin::of(config);
            match load(origin.path.as_deref()) {
                Ok(settings) => serve::serve(make, settings, origin),
                Err(error) => wrong(&error),
            }
        }
        Command::Check { config } => check::check(config.as_deref()),
        Command::Config(command) => configuration::run(&command),
        Command::Clients { verb } => operator::run_clients(&verb),
        Command::Consents { verb } => operator::run(operator::What::Consents, &verb),
        Command::Grants { verb } => operator::run(operator::What::Grants, &verb),
        Command::Keys { verb } => keys::run(&verb),
        Command::Log { verb } => log::run(&verb),
        Command::Backup(backup) => backup::run(&backup),
        Command::Restore(restore) => restore::run(&restore),
        Command::Completions { shell } => completions::run(Arguments::command(), shell),
        Command::Health(health) => health::run(&health),
        Command::Doctor(doctor) => doctor::run(&doctor),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(options) => try_out::try_out(&options),
    }
}

/// The configuration, from the file and the environment.
fn load(path: Option<&Path>) -> Result<Settings, config::ConfigError> {
    config::load(path, &|name| std::env::var(name).ok())
}

/// The same, for a process that runs already.
fn load_again(path: Option<&Path>) -> Result<Settings, config::ConfigError> {
    config::load_again(path, &|name| std::env::var(name).ok())
}

/// Runs what asks the gateway something, to its end.
fn asked(work: impl Future<Output = Result<(), reach::Unreached>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ reach::Unreached::Wrong(_)) => wrong(&error),
        Err(error @ reach::Unreached::Failed(_)) => failed(&error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_fits_together_and_takes_ids_that_begin_with_a_hyphen() {
        Arguments::command().debug_assert();
        let parsed = |line: &[&str]| {
            let line = [&["mcp-deputy"], line].concat().into_iter().map(Into::into);
            let line = operator::with_ids_last(line);
            format!("{:?}", Arguments::try_parse_from(line).map_err(|error| error.to_string()))
        };
        let revoke = parsed(&["grants", "revoke", "-xPilWSEgOAZb", "AAAA", "--json"]);
        assert!(
            revoke.contains(r#"ids: ["AAAA", "-xPilWSEgOAZb"]"#) && revoke.contains("json: true"),
            "{revoke}"
        );
        let show = parsed(&["consents", "show", "-2EH6kFavi7.-mpZ9eF29TX", "--config", "x"]);
        assert!(show.contains(r#"id: "-2EH6kFavi7.-mpZ9eF29TX""#) && show.contains("config: Some"), "{show}");
        assert!(parsed(&["grants", "show", "-hPilWSEgOAZb"]).contains("-hPilWSEgOAZb"));
        assert!(parsed(&["grants", "show", "--", "--ilWSEgOAZb"]).contains("--ilWSEgOAZb"));
        for wrong in [
            &["grants", "revoke"][..],
            &["grants", "revoke", "--user", "ada", "AAAA"],
            &["grants", "reinstate", "AAAA"],
        ] {
            assert!(parsed(wrong).starts_with("Err"), "{wrong:?}");
        }
    }
}
