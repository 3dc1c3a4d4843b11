//! What the linker is told where a binary is built for use: what makes it smaller and quicker, and changes nothing else.
//!
//! Functions that came out alike are kept once, and the list of addresses which the loader adjusts is packed. Where the compiler
//! was told what is at work in every request (`deploy/build`), that lies side by side. docs/performance.md says what it brings. Not
//! every linker and C library knows all of it, so a trial is linked and run first; where it fails, the binary is as good, and
//! larger or slower.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SMALLER: [&str; 2] = ["-Wl,--icf=all", "-Wl,-z,pack-relative-relocs"];
const QUICKER: &str = "-Wl,-z,keep-text-section-prefix";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || !is("HOST", &told("TARGET")) {
        return;
    }
    let mut kept = Vec::new();
    for more in [SMALLER.as_slice(), &[QUICKER]] {
        // With what is kept already: each by itself says nothing of both.
        let together = [kept.as_slice(), more].concat();
        if works(&together) {
            kept = together;
        }
    }
    for argument in kept {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

/// Whether a program that was linked so runs here.
fn works(arguments: &[&str]) -> bool {
    let folder = PathBuf::from(told("OUT_DIR"));
    let (source, trial) = (folder.join("trial.rs"), folder.join("trial"));
    fs::write(&source, "fn main() {}").is_ok()
        && links(&source, &trial, arguments)
        && succeeds(&mut Command::new(&trial))
}

fn links(source: &Path, trial: &Path, arguments: &[&str]) -> bool {
    let mut rustc = Command::new(told("RUSTC"));
    let flags = told("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    let linker = told("RUSTC_LINKER");
    if !linker.is_empty() {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    for argument in arguments {
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
