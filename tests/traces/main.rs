//! Traces over real HTTP, with a collector that reads what it gets byte by byte. Only with the feature `otel`
//! (`tests/run traces`); the language of these tests is that of `tests/it`.
//!
//! Everything that a collector receives goes below `target/test-logs`, where `tests/leaks.rs` looks for secrets.

#[cfg(test)]
mod attack_traces;
#[cfg(test)]
mod collector;
#[cfg(test)]
mod journey_traces;
#[cfg(test)]
mod limits_traces;
#[cfg(test)]
mod process_traces;
#[cfg(test)]
mod protobuf;
#[cfg(test)]
#[expect(dead_code, reason = "most of it is for the tests in tests/it")]
#[path = "../it/support/mod.rs"]
mod support;
