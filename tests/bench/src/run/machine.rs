//! On what, with what and when it was measured.

use std::{fs, path::Path, process::Command};

/// What is told of a run, besides its figures: names and values.
pub(super) fn described(binary: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("Date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("Processor", processor()),
        ("Memory", memory()),
        ("System", format!("Linux {}, {}", said("uname", &["-r", "-m"]), system())),
        ("mcp-deputy", format!("{} ({})", said(&binary.to_string_lossy(), &["--version"]), commit())),
        ("HAProxy", said("haproxy", &["-v"])),
        ("nginx", said("nginx", &["-v"])),
        ("Rust", said("rustc", &["--version"])),
        ("hyper", locked("hyper")),
    ]
}

/// The first line that a program says, wherever it says it.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().next().unwrap_or("unknown").trim().to_owned()
}

fn commit() -> String {
    let (commit, changed) =
        (said("git", &["rev-parse", "--short", "HEAD"]), said("git", &["status", "--porcelain", "src"]));
    if changed == "unknown" { format!("commit {commit}") } else { format!("commit {commit} with changes") }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} × {}", model.map_or("unknown", |(_, model)| model))
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{} GiB", (kib + (1 << 19)) >> 20))
}

fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("unknown").trim_matches('"').to_owned()
}

/// The version of a crate that both we and the bare pair are built with.
fn locked(name: &str) -> String {
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
    version.and_then(|(_, rest)| rest.split_once('"')).map_or("unknown", |(version, _)| version).to_owned()
}
