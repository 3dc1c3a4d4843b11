//! The port to the master keys: which there are, and how they change.

use super::KeyId;
use crate::{domain::time::Timestamp, flow::fault::Fault};

/// Where a master key comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyOrigin {
    /// The key file beside the store.
    File,
    /// The configuration.
    Configuration,
    /// It was made at start, and goes with the process.
    Memory,
}

/// A master key, without the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownKey {
    /// Which.
    pub id: KeyId,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// When it was made, where that is known.
    pub made_at: Option<Timestamp>,
    /// When another one took its place, where that is known.
    pub replaced_at: Option<Timestamp>,
}

/// Why the keys stay as they are.
#[derive(Debug)]
pub enum KeysUnchanged {
    /// They come from elsewhere, and are changed there.
    Elsewhere(KeyOrigin),
    /// The key file holds as many as it may.
    TooMany,
    /// The key is the current one.
    Current,
    /// The current key is another one by now.
    Changed,
    /// There is no such key.
    Unknown,
    /// The key file could not be written, or read.
    Fault(Fault),
}

/// The master keys: which there are, and how they change. Its calls may write files, so they are made where that may take a
/// while. What they say was done is durable.
pub trait KeyKeeper: Send + Sync {
    /// All of them, the current one first.
    fn known(&self) -> Vec<KnownKey>;

    /// Makes a key, which is the current one from then on, if the one before it is `instead_of` (where that is given). It is
    /// durable before anything is sealed with it.
    fn renew(&self, instead_of: Option<KeyId>, now: Timestamp) -> Result<KeyId, KeysUnchanged>;

    /// Drops a previous key for good. Whether something still needs it is the caller's to know.
    fn forget(&self, id: KeyId) -> Result<(), KeysUnchanged>;

    /// The previous keys under which a MAC has matched since this was asked last.
    fn used(&self) -> Vec<KeyId>;
}
