//! The steps.
pub mod admit;
pub mod fault;
pub mod ports;
