//! Records behind the store port.
