//! The third party.
