//! What a process holds, as the kernel counts it, and what a folder takes.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Anonymous resident memory of a process in KiB: what it holds itself, without files that are mapped.
pub fn anonymous(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or newer");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// What the files of a folder take on the disk, in bytes.
pub fn on_disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the folder is there").flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => on_disk(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}

pub fn mib(bytes: u64) -> String {
    let mib = bytes as f64 / 1_048_576.0;
    format!("{mib:.1} MiB")
}
