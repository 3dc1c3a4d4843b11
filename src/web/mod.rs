//! HTTP over the flows.

pub mod page;
