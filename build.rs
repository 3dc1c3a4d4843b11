//! What the linker is told where a binary is built for use: two things that make it smaller and change nothing else.
//!
//! Functions that came out alike are kept once, and the list of addresses which the loader adjusts is packed; docs/performance.md
//! says what that saves. Not every linker and C library knows both, so a trial is linked and run first; where it fails, the
//! binary is as good and larger.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SMALLER: [&str; 2] = ["-Wl,--icf=all", "-Wl,-z,pack-relative-relocs"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if is("PROFILE", "release")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("HOST", &told("TARGET"))
        && works()
    {
        for argument in SMALLER {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}

/// Whether a program that was linked so runs here.
fn works() -> bool {
    let folder = PathBuf::from(told("OUT_DIR"));
    let (source, trial) = (folder.join("trial.rs"), folder.join("trial"));
    fs::write(&source, "fn main() {}").is_ok()
        && links(&source, &trial)
        && succeeds(&mut Command::new(&trial))
}

fn links(source: &Path, trial: &Path) -> bool {
    let mut rustc = Command::new(told("RUSTC"));
    let flags = told("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    let linker = told("RUSTC_LINKER");
    if !linker.is_empty() {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    for argument in SMALLER {
        rustc.args(["-C", &format!("link-arg={argument}")]);
    }
    succeeds(rustc.args(["--edition", "2024", "-o"]).arg(trial).arg(source))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is(name: &str, value: &str) -> bool {
    told(name) == value
}

fn told(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
