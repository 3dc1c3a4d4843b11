//! The steps.
pub mod fault;
pub mod ports;
