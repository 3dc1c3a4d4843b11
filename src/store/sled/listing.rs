//! The keys whose latest change is not durable yet.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{PoisonError, RwLock},
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_keys_and_prefixes() {
        let listing = Listing::default();
        listing.publish([b"a/2".to_vec(), b"b".to_vec()]);
        assert!(listing.has(b"a/2") && !listing.has(b"a/") && !listing.has(b"a/3"));
        assert!(listing.has_any_under(b"a/") && listing.has_any_under(b"") && listing.has_any_under(b"b"));
        assert!(
            !listing.has_any_under(b"a/3") && !listing.has_any_under(b"c") && !listing.has_any_under(b"aa")
        );
        listing.withdraw();
        assert!(!listing.has(b"b") && !listing.has_any_under(b""));
    }
}
