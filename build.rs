//! What the linker is told where a binary is built for use: what makes it smaller and quicker, and changes nothing else.
//!
//! Functions that came out alike are kept once, and the list of addresses which the loader adjusts is packed. What every request
//! runs through lies side by side (`hot-functions`). docs/performance.md says what that brings. Not every linker and C library
//! knows all of it, so a trial is linked and run first; where it fails, the binary is as good, and larger or slower.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SMALLER: [&str; 2] = ["-Wl,--icf=all", "-Wl,-z,pack-relative-relocs"];
/// The functions that every request runs through.
const HOT: &str = "hot-functions";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={HOT}");
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") || !is("HOST", &told("TARGET")) {
        return;
    }
    let smaller = SMALLER.map(str::to_owned).to_vec();
    let quicker = side_by_side().map(|script| format!("-Wl,-T,{}", script.display()));
    let mut kept = Vec::new();
    for more in [smaller, quicker.into_iter().collect()] {
        // With what is kept already: each by itself says nothing of both.
        let together = [kept.as_slice(), &more].concat();
        if works(&together) {
            kept = together;
        }
    }
    for argument in kept {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}

/// A script for the linker that puts the hot functions in front of all others, in this order. Each has a section of its own.
fn side_by_side() -> Option<PathBuf> {
    let names = fs::read_to_string(HOT).ok()?;
    let names = names.lines().filter(|line| !line.starts_with('#'));
    let sections: Vec<_> = names.map(|name| format!("    *(.text.{name})\n")).collect();
    let script = PathBuf::from(told("OUT_DIR")).join("hot.ld");
    // Beside the linker's own script, not instead of it.
    let text = format!("SECTIONS {{\n  .text.hot : {{\n{}  }}\n}} INSERT BEFORE .text;\n", sections.concat());
    fs::write(&script, text).ok()?;
    Some(script)
}

/// Whether a program that was linked so runs here.
fn works(arguments: &[String]) -> bool {
    let folder = PathBuf::from(told("OUT_DIR"));
    let (source, trial) = (folder.join("trial.rs"), folder.join("trial"));
    fs::write(&source, "fn main() {}").is_ok()
        && links(&source, &trial, arguments)
        && succeeds(&mut Command::new(&trial))
}

fn links(source: &Path, trial: &Path, arguments: &[String]) -> bool {
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
