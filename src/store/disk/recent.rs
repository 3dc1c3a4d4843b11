//! What is durable in the log and not yet in the tree. Readers look here first.
//!
//! Two maps: *active* takes what becomes durable, *folding* is what is on its way into the tree. The tree has all of the
//! latter before it goes from here. Whoever misses a key in both and looks into the tree *afterwards* therefore finds it
//! there; whoever needs more than one key looks at both in one [`Recent::look`], and opens the tree inside of it.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use super::sync::{Arc, PoisonError, RwLock};

/// A record as a batch left it. `None`: deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stored {
    pub(super) version: u64,
    pub(super) value: Option<Bytes>,
}

/// Changes by key; the last one of each.
pub(super) type Changes = BTreeMap<Vec<u8>, Stored>;

/// See the module. Everything in it is durable.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Maps>);

/// Both maps at one moment.
#[derive(Debug, Default)]
pub(super) struct Maps {
    active: Changes,
    folding: Option<Arc<Changes>>,
}

impl Recent {
    /// What the log held when it was opened: a turn that is to be folded, and the one that goes on.
    pub(super) fn new(folding: Option<Changes>, active: Changes) -> Self {
        Self(RwLock::new(Maps { active, folding: folding.map(Arc::new) }))
    }

    /// Shows `look` both maps at one moment.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Maps) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what has become durable.
    pub(super) fn publish(&self, changes: Changes) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).active.extend(changes);
    }

    /// Turns what is active into what is to be folded, and returns that. The turn before must have gone.
    pub(super) fn turn(&self) -> Arc<Changes> {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let folding = Arc::new(std::mem::take(&mut maps.active));
        maps.folding = Some(Arc::clone(&folding));
        folding
    }

    /// What is to be folded.
    pub(super) fn folding(&self) -> Option<Arc<Changes>> {
        self.look(|maps| maps.folding.clone())
    }

    /// Lets go of what was folded: the tree has it, durably.
    pub(super) fn folded(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).folding = None;
    }
}

impl Maps {
    /// What is known of a key here. `None`: nothing, so the tree knows.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Stored> {
        self.active.get(key).or_else(|| self.folding.as_ref()?.get(key))
    }

    /// What is known of keys from `first` on, in their order.
    pub(super) fn range<'a>(
        &'a self,
        first: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Stored)> + use<'a> {
        let from = move |changes: &'a Changes| {
            changes.range::<[u8], _>((first, Bound::Unbounded)).map(|(key, stored)| (key.as_slice(), stored))
        };
        merged(from(&self.active), self.folding.as_deref().into_iter().flat_map(from))
    }
}

/// Two sequences in the order of their keys as one. Where both have a key, `newer` is right.
pub(super) fn merged<K: Ord, V>(
    newer: impl Iterator<Item = (K, V)>,
    older: impl Iterator<Item = (K, V)>,
) -> impl Iterator<Item = (K, V)> {
    let (mut newer, mut older) = (newer.peekable(), older.peekable());
    std::iter::from_fn(move || match (newer.peek(), older.peek()) {
        (Some((new, _)), Some((old, _))) if new > old => older.next(),
        (Some((new, _)), Some((old, _))) => {
            if new == old {
                older.next();
            }
            newer.next()
        }
        (Some(_), None) => newer.next(),
        (None, _) => older.next(),
    })
}
