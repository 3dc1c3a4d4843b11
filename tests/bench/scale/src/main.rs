//! How the permission journey and the store grow. `tests/bench/scale/run` builds this and runs everything; docs/permission-scale.md
//! says what came out and on which machine. Each part can be run by itself:
//!
//! ```text
//! mcp-deputy-scale rates FOLDER                     registrations, authorizations, redemptions, refreshes per second
//! mcp-deputy-scale seed FOLDER CLIENTS GRANTS       brings the store to these numbers, by the steps themselves
//! mcp-deputy-scale lookups FOLDER                   look-ups, listings by person, a round of the sweeper; memory, disk
//! mcp-deputy-scale flood FOLDER                     all unused clients are due at once: the sweeper's round, and who waits for it
//! mcp-deputy-scale start FOLDER BINARY              from exec to the first answers: after a clean stop, after kill -9
//! mcp-deputy-scale growth                           cost per request against servers, scopes, tools, grants, sessions
//! ```
//!
//! FOLDER holds a `proxy.toml` (made where it is missing) and the store. What is printed is Markdown.

mod configuration;
mod flood;
mod growth;
mod lookups;
mod memory;
mod rates;
mod seed;
mod start;
mod world;

use std::path::{Path, PathBuf};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["rates", folder] => in_runtime(rates::run(&prepared(folder))),
        ["seed", folder, clients, grants] => {
            in_runtime(seed::run(&prepared(folder), number(clients), number(grants)));
        }
        ["lookups", folder] => in_runtime(lookups::run(&prepared(folder))),
        ["flood", folder] => in_runtime(flood::run(&prepared(folder))),
        ["start", folder, binary] => start::run(&prepared(folder), Path::new(binary)),
        ["growth"] => in_runtime(growth::run()),
        _ => {
            eprintln!("see the documentation of tests/bench/scale/src/main.rs");
            std::process::exit(64);
        }
    }
}

fn prepared(folder: &str) -> PathBuf {
    configuration::prepare(Path::new(folder))
}

fn number(text: &str) -> u64 {
    text.replace('_', "").parse().expect("a number")
}

/// As the gateway does it: the steps have a runtime of their own.
fn in_runtime<F: Future<Output = ()>>(part: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(part);
}
