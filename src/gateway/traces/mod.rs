//! Traces on their way out: who is followed under this configuration, and what takes finished spans to the collector.
//!
//! With the Cargo feature `otel` this is `on`; without it an empty shape with the same functions (`off`). What is followed and
//! how it hangs together is `observe::trace`; the crates of OpenTelemetry are named in `export` and nowhere else.

#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod on;

#[cfg(not(feature = "otel"))]
pub(super) use off::Traces;
#[cfg(feature = "otel")]
pub(super) use on::Traces;
