//! What must not be in any log: every secret that a test sees is written down here, and everything that is logged, at
//! level trace, goes to a file beside it. So does everything that the gateway answered, and which of the secrets are the
//! third party's, which no answer may hold. `tests/leaks.rs` reads all of it.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    panic,
    path::PathBuf,
    process,
    sync::{Arc, Mutex, OnceLock},
};

use http::HeaderMap;
use mcp_deputy::observe::log::{Form, report_panics, subscriber};

/// Shorter values would be found by chance.
const SHORTEST: usize = 12;

struct Files {
    log: Paper,
    answers: Paper,
    secrets: Mutex<(File, HashSet<String>)>,
    foreign: Mutex<(File, HashSet<String>)>,
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

/// Where a process that a test starts logs to.
pub(crate) fn log_path(name: &str) -> PathBuf {
    files();
    folder().join("test-logs").join(format!("it-{}-{name}.log", process::id()))
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
    write_down(&files().secrets, secret);
}

/// Writes down a token or a secret that is between the gateway and the third party only.
pub(crate) fn note_foreign(secret: &str) {
    note(secret);
    write_down(&files().foreign, secret);
}

/// Writes down what the gateway answered.
pub(crate) fn answered(headers: &HeaderMap, body: &[u8]) {
    let mut record = format!("{headers:?}\n").into_bytes();
    record.extend_from_slice(body);
    record.push(b'\n');
    files().answers.clone().write_all(&record).unwrap();
}

fn write_down(list: &Mutex<(File, HashSet<String>)>, secret: &str) {
    let mut known = list.lock().unwrap();
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
        let answers = Paper(Arc::new(Mutex::new(create("test-answers", "log"))));
        let secrets = Mutex::new((create("test-secrets", "txt"), HashSet::new()));
        let foreign = Mutex::new((create("test-foreign", "txt"), HashSet::new()));
        let pen = log.clone();
        let subscriber = subscriber(Some("trace"), Form::Json, move || pen.clone()).unwrap();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        // Into the log, for `tests/leaks.rs`; and as before, for whoever reads the failed test.
        let before = report_panics();
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            report(info);
            before(info);
        }));
        Files { log, answers, secrets, foreign }
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
