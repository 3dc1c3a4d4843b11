//! Logs and audit events, traces, and the text of `/metrics`.

pub mod exposition;
pub mod levels;
pub mod log;
pub mod request;
pub mod trace;
