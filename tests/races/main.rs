//! Threads that meet at the store, in orders that a scheduler of models (shuttle) chooses: whoever reads sees durable values
//! only, and never misses one that is on its way from the log into the tree.
//!
//! What is recent is the real thing (`src/store/disk/recent.rs`, compiled here with shuttle's lock in the place of the
//! standard library's). The tree has locks of its own, which no scheduler of models can hold: log and tree are maps here,
//! and the few lines of `writer.rs` and `mod.rs` that bring the three together are written down again, in their order. Each
//! wrong order is tried as well, and has to be found out.

#[cfg(test)]
#[path = "../../src/store/disk/recent.rs"]
#[expect(dead_code, reason = "the product uses all of it, from inside its module")]
mod recent;
#[cfg(test)]
mod store;

#[cfg(test)]
mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use shuttle::sync::{Arc, RwLock};
}
