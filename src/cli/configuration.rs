//! `mcp-deputy config`: the first `proxy.toml` from four answers, the annotated example, the schema.
//!
//! `init` asks for what its flags leave out, judges each answer at once, and writes at the end: first the secret, in a file
//! of its own that only its owner may read, then the configuration, which names that file. It overwrites nothing, and a
//! secret is neither an argument (others can list those) nor shown.
//!
//! Must never connect to anything. Called by the command line only.

mod init;
mod terminal;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Subcommand;

use self::{init::Init, terminal::Console};
use crate::config::{reference, schema};

/// What can be done about the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// Write the first proxy.toml: at most four questions, or none with everything given as flags.
    Init(Box<Init>),
    /// Print an annotated proxy.toml with every key.
    Example,
    /// Print a JSON Schema of proxy.toml, for editors.
    Schema,
}

/// Does it.
pub(super) fn run(command: &Configuration) -> ExitCode {
    let printed = match command {
        Configuration::Init(init) => return write_first(init),
        Configuration::Example => reference::example(),
        Configuration::Schema => schema::schema(),
    };
    // Where even this cannot be printed there is nobody left to tell.
    let _ = std::io::stdout().lock().write_all(printed.as_bytes());
    ExitCode::SUCCESS
}

fn write_first(init: &Init) -> ExitCode {
    let is_asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match init.run(&mut Console, is_asked) {
        Ok(told) => {
            let _ = std::io::stdout().lock().write_all(told.as_bytes());
            ExitCode::SUCCESS
        }
        Err(stopped) => {
            let _ = writeln!(std::io::stderr(), "mcp-deputy: {stopped}");
            ExitCode::from(super::EX_USAGE)
        }
    }
}
