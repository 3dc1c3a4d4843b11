//! Logs and audit events.
