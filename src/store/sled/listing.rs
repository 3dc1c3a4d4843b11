//! The keys whose latest change is not durable yet.

use std::{collections::BTreeSet, ops::Bound};

use super::sync::{PoisonError, RwLock};

/// Filled before a batch is applied, cleared after it is durable. Whoever read a value *before* finding its key absent
/// here holds a durable value.
#[derive(Debug, Default)]
pub(super) struct Listing(RwLock<BTreeSet<Vec<u8>>>);

impl Listing {
    /// Whether `key` is listed.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Whether any key that starts with `prefix` is listed.
    pub(super) fn has_any_under(&self, prefix: &[u8]) -> bool {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut from = keys.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|key| key.starts_with(prefix))
    }

    /// Lists the keys of a batch.
    pub(super) fn publish(&self, keys: impl IntoIterator<Item = Vec<u8>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    /// Clears the list: everything is durable.
    pub(super) fn withdraw(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
