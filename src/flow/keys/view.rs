//! The keys as the operator sees them. Never a key itself.

use serde::Serialize;

use crate::{
    domain::time::Timestamp,
    flow::{
        operator::rfc3339,
        ports::{KeyOrigin, KnownKey},
    },
};

/// The keys, and how far the store is sealed with the current one.
#[derive(Clone, Debug, Serialize)]
pub struct KeysView {
    /// The current one first.
    pub keys: Vec<KeyView>,
    /// How far.
    pub resealing: ResealingView,
    /// How many records have an envelope that no key opens, where that was asked for.
    pub unreadable: Option<u64>,
}

/// A key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// Its id, in hexadecimal digits. Says nothing about the key.
    pub id: String,
    /// `current` or `previous`.
    pub state: &'static str,
    /// `key_file`, `configuration` or `memory`.
    pub origin: &'static str,
    /// When it was made, where that is known.
    pub made_at: Option<String>,
    /// When another one took its place, where that is known.
    pub replaced_at: Option<String>,
    /// How many records are sealed with it, where that was asked for.
    pub records: Option<u64>,
    /// From when on pages and sessions that know it count as gone, of a previous one.
    pub needed_until: Option<String>,
}

impl KeyView {
    pub(super) fn of(
        key: &KnownKey,
        is_current: bool,
        records: Option<u64>,
        needed_until: Option<Timestamp>,
    ) -> Self {
        Self {
            id: key.id.to_string(),
            state: if is_current { "current" } else { "previous" },
            origin: match key.origin {
                KeyOrigin::File => "key_file",
                KeyOrigin::Configuration => "configuration",
                KeyOrigin::Memory => "memory",
            },
            made_at: key.made_at.map(rfc3339),
            replaced_at: key.replaced_at.map(rfc3339),
            records,
            needed_until: needed_until.map(rfc3339),
        }
    }
}

/// How far the store is sealed with the current key.
#[derive(Clone, Debug, Serialize)]
pub struct ResealingView {
    /// The current key.
    pub key: String,
    /// `counting`, `resealing`, `settling`, `failing` or `done`.
    pub state: &'static str,
    /// How many records were sealed with older keys when that was counted; those that were sealed anew before are in it.
    pub records: Option<u64>,
    /// How many were sealed anew.
    pub resealed: u64,
    /// How many have an envelope that no key opens.
    pub unreadable: u64,
}

impl ResealingView {
    /// Whether nothing is sealed with another key.
    pub fn is_done(&self) -> bool {
        self.state == "done"
    }
}

/// What became of the previous keys.
#[derive(Clone, Debug, Serialize)]
pub struct DroppedView {
    /// Those that are gone.
    pub dropped: Vec<String>,
    /// Those that are not.
    pub kept: Vec<KeptView>,
}

/// A key that was not dropped.
#[derive(Clone, Debug, Serialize)]
pub struct KeptView {
    /// Its id.
    pub id: String,
    /// `configured`, `resealing`, `may_be_in_use` or `sealed`.
    pub reason: &'static str,
    /// When it may go, if nothing comes under it until then.
    pub until: Option<String>,
    /// How many records are sealed with it.
    pub records: Option<u64>,
}

impl KeptView {
    pub(super) fn of(
        key: &KnownKey,
        reason: &'static str,
        until: Option<Timestamp>,
        records: Option<u64>,
    ) -> Self {
        Self { id: key.id.to_string(), reason, until: until.map(rfc3339), records }
    }
}
