//! What is true.

pub mod origin;
pub mod provider;
