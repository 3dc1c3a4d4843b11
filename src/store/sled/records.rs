//! How records and our own notes lie in sled: one tree, ordered by key.
//!
//! ```text
//! record   table (1 byte, from 1) · id                    version (8 bytes, big-endian) · value
//! layout   0x00 "layout"                                  "1"
//! versions 0x00 "versions"                                the highest version that may be in use (8 bytes, big-endian)
//! ```

use std::ops::Bound;

use ::sled::{IVec, Tree};
use bytes::Bytes;

use crate::flow::{
    fault::Fault,
    ports::{Table, Version, Versioned},
};

/// Under which key the layout is noted.
pub(super) const LAYOUT_KEY: &[u8] = b"\0layout";

/// The layout that this file describes.
pub(super) const LAYOUT: &[u8] = b"1";

/// Under which key the highest version that may be in use is noted.
pub(super) const VERSIONS_KEY: &[u8] = b"\0versions";

/// The key of a record in sled; of the prefix of an id, the prefix of such keys.
pub(super) fn record_key(table: Table, id: &[u8]) -> Vec<u8> {
    [&[table as u8], id].concat()
}

/// What sled holds for a record.
pub(super) fn encode(version: Version, value: &[u8]) -> Vec<u8> {
    [&version.0.to_be_bytes(), value].concat()
}

/// A record as sled has it now, durable or not.
pub(super) fn read_record(tree: &Tree, key: &[u8]) -> Result<Option<Versioned>, Fault> {
    let stored = tree.get(key).map_err(|error| Fault::caused("read from the store", error))?;
    stored.map(|stored| decode(&stored)).transpose()
}

/// Records as sled has them now, durable or not. `prefix` and `after` are made by [`record_key`].
pub(super) fn scan_records(
    tree: &Tree,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Versioned)>, Fault> {
    let first = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut entries = Vec::new();
    for entry in tree.range::<&[u8], _>((first, Bound::Unbounded)).take(limit) {
        let (key, stored) = entry.map_err(|error| Fault::caused("scan the store", error))?;
        if !key.starts_with(prefix) {
            break;
        }
        let id = key.get(1..).unwrap_or_default();
        entries.push((Bytes::copy_from_slice(id), decode(&stored)?));
    }
    Ok(entries)
}

/// Whether there is no record.
pub(super) fn has_no_records(tree: &Tree) -> Result<bool, Fault> {
    let first = tree.range::<&[u8], _>([1].as_slice()..).next().transpose();
    Ok(first.map_err(|error| Fault::caused("read from the store", error))?.is_none())
}

fn decode(stored: &IVec) -> Result<Versioned, Fault> {
    let Some((version, value)) = stored.split_first_chunk() else {
        return Err(Fault::new("read from the store: a value has no version"));
    };
    Ok(Versioned { version: Version(u64::from_be_bytes(*version)), value: Bytes::copy_from_slice(value) })
}
