//! Logs and audit events.

pub mod log;
