//! Everything on loopback.
