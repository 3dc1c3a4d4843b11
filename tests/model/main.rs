//! The permission journey as a model: every state that two browsers, two apps, a third party that remembers consent, an
//! attacker, crashes and the sweeper can bring about, within the bounds of a few worlds (`scenario`).
//!
//! The model compiles `src/domain` into itself, so it stands where `src/flow` stands: it drives the real transitions, and
//! it cannot make a proof, a match or a taken ticket any other way than `flow` can. What it has of its own is the order of
//! reads and writes of the steps (`steps`), each moment of which names what it mirrors.
//!
//! docs/model.md says what is modelled and what is not, and lists what each protection is good for.
//! `cargo test --test model -- --nocapture` prints the report.

#[cfg(test)]
mod account;
#[cfg(test)]
#[path = "../../src/domain/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "the model needs a part of it, nothing is public in a test, and the library is where it is linted"
)]
mod domain;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod protections;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod store;
#[cfg(test)]
mod switches;
#[cfg(test)]
mod world;
