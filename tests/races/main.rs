//! Threads that meet at the store's writer, in orders that a scheduler of models (shuttle) chooses: whoever reads sees
//! durable values only.
//!
//! The listing is the real one (`src/store/sled/listing.rs`, compiled here with shuttle's lock in the place of the
//! standard library's). sled has threads and locks of its own, which no scheduler of models can hold: the database is a
//! map here that remembers what was synced, and the few lines of `writer.rs` and `mod.rs` that bring the two together are
//! written down again, in their order. Each wrong order is tried as well, and has to be found out.

#[cfg(test)]
#[path = "../../src/store/sled/listing.rs"]
mod listing;
#[cfg(test)]
mod store;

#[cfg(test)]
mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use shuttle::sync::RwLock;
}
