//! Logs and audit events, and the text of `/metrics`.

pub mod exposition;
pub mod levels;
pub mod log;
pub mod request;
