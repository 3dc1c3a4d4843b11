//! HTTP over the flows.
