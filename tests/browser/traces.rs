//! What the test of leaks looks at afterwards (`tests/leaks.rs`): the log of every gateway here at level trace, and the
//! secrets that were under way.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use mcp_deputy::observe::log::{Form, subscriber};

/// Logged on purpose: the log is written, and read at this level.
const PLANTED: &str = "planted-by-the-browser-tests-7f2c";

/// Everything but the browser driver, whose commands name the pages that the test itself opens.
const FILTER: &str = "trace,thirtyfour=off";

/// Begins to log, once in this process.
pub(crate) fn begin() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let file = Arc::new(File::create(place("test-logs").join("browser.log")).unwrap());
        let subscriber = subscriber(Some(FILTER), Form::Json, file).unwrap();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::trace!("{PLANTED}");
        note([PLANTED.to_owned()]);
    });
}

/// Writes down what must not be in a log.
pub(crate) fn note(secrets: impl IntoIterator<Item = String>) {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap();
    known.extend(secrets);
    let lines: String = known.iter().flat_map(|secret| [secret.as_str(), "\n"]).collect();
    fs::write(place("test-secrets").join("browser.txt"), lines).unwrap();
}

fn place(name: &str) -> PathBuf {
    let base = env::var_os("MCP_DEPUTY_TEST_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let folder = base.join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
