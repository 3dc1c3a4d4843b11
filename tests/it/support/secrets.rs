//! What must not be in any log: every secret that a test sees is written down here, and everything that is logged, at
//! level trace, goes to a file beside it. `tests/leaks.rs` reads both.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    process,
    sync::{Arc, Mutex, OnceLock},
};

use mcp_deputy::observe::log::{Form, subscriber};

/// Shorter values would be found by chance.
const SHORTEST: usize = 12;

struct Files {
    log: Paper,
    secrets: Mutex<(File, HashSet<String>)>,
}

/// A log file that many threads write, whole lines at a time.
#[derive(Clone)]
struct Paper(Arc<Mutex<File>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where logs and secrets of the whole run are collected.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os("MCP_DEPUTY_TEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
}

/// A log file of its own, for a process that a test starts.
pub(crate) fn log_file(name: &str) -> File {
    files();
    File::create(folder().join("test-logs").join(format!("it-{}-{name}.log", process::id()))).unwrap()
}

/// Begins to log, once per process.
pub(crate) fn begin() {
    files();
}

/// Writes a secret down.
pub(crate) fn note(secret: &str) {
    if secret.len() < SHORTEST || secret.contains('\n') {
        return;
    }
    let mut known = files().secrets.lock().unwrap();
    if known.1.insert(secret.to_owned()) {
        writeln!(known.0, "{secret}").unwrap();
    }
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let (folder, name) = (folder(), format!("it-{}", process::id()));
        let create = |kind: &str, extension: &str| {
            fs::create_dir_all(folder.join(kind)).unwrap();
            File::create(folder.join(kind).join(format!("{name}.{extension}"))).unwrap()
        };
        let log = Paper(Arc::new(Mutex::new(create("test-logs", "log"))));
        let secrets = Mutex::new((create("test-secrets", "txt"), HashSet::new()));
        let pen = log.clone();
        let subscriber = subscriber(Some("trace"), Form::Json, move || pen.clone()).unwrap();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Files { log, secrets }
    })
}

/// The control: something that is logged on purpose, so that a leak check that finds nothing is known to be blind.
#[test]
fn a_planted_secret_is_in_the_log() {
    let planted =
        format!("planted-{:016x}", super::chance::<8>().iter().fold(0_u64, |n, b| n << 8 | u64::from(*b)));
    note(&planted);
    tracing::info!(target: "mcp_deputy::test", "on purpose: {planted}");
    files().log.0.lock().unwrap().flush().unwrap();
}
