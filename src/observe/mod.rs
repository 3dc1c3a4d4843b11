//! Logs and audit events.

pub mod log;
pub mod request;
