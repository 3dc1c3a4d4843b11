//! HTTP over the flows: reading requests, answering them, and nothing in between.

pub mod browser;
pub mod credentials;
pub mod limit;
pub mod metadata;
pub mod origin;
pub mod parameters;
pub mod read;
#[cfg(test)]
pub(crate) mod testing;
