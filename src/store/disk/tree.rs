//! The tree: a B-tree in one file (redb), in which all records lie in the order of their keys. It is written by folding a
//! turn of the log into it, in one transaction, and is always as some such transaction left it.
//!
//! Every transaction notes with it where its free pages are, so that opening it takes milliseconds, however large it is and
//! however the process before ended. That note costs more than a small batch: the log is why it is written rarely.
//!
//! ```text
//! records  table (1 byte, from 1) · id     version (8 bytes, big-endian) · value
//! notes    "layout"                        2
//!          "folded"                        the last turn of the log that is in the tree
//!          "versions"                      the highest version that was ever given out
//! ```

use std::{error::Error, ops::Bound, path::Path};

use bytes::Bytes;
use redb::{
    Builder, Database, ReadOnlyTable, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition,
};

use super::recent::{Changes, Stored};
use crate::flow::{fault::Fault, ports::Table};

const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
const NOTES: TableDefinition<'static, &str, u64> = TableDefinition::new("notes");

/// The layout that this file and `log` describe. Layout 1 was sled's (see `takeover`).
const LAYOUT: u64 = 2;

type Failed = Box<dyn Error + Send + Sync>;

/// The tree, open.
pub(super) struct Tree(Database);

/// What the tree says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Notes {
    /// The last turn of the log that is in it.
    pub(super) folded: u64,
    /// The highest version that was given out until then.
    pub(super) versions: u64,
}

/// The records at one moment.
pub(super) struct Snapshot(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Tree {
    /// Opens the tree in the file `path`, or makes an empty one.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, Failed> {
        let tree = Self(Builder::new().set_cache_size(cache_bytes).create(path)?);
        match tree.layout()? {
            None => tree.fold(&Changes::new(), Notes::default())?,
            Some(LAYOUT) => {}
            Some(other) => {
                return Err(
                    format!("its layout is {other}, and this version reads layout {LAYOUT} only").into()
                );
            }
        }
        Ok(tree)
    }

    fn layout(&self) -> Result<Option<u64>, Failed> {
        let reading = self.0.begin_read()?;
        match reading.open_table(NOTES) {
            Ok(notes) => Ok(notes.get("layout")?.map(|layout| layout.value())),
            Err(redb::TableError::TableDoesNotExist(_)) if reading.list_tables()?.next().is_none() => {
                Ok(None)
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {
                Err("it is a database of something else: it has no layout of ours".into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What it says of itself.
    pub(super) fn notes(&self) -> Result<Notes, Failed> {
        let notes = self.0.begin_read()?.open_table(NOTES)?;
        let note = |name| Ok::<_, Failed>(notes.get(name)?.map_or(0, |note| note.value()));
        Ok(Notes { folded: note("folded")?, versions: note("versions")? })
    }

    /// Brings changes into the tree, durably, all or none of them.
    pub(super) fn fold(&self, changes: &Changes, reached: Notes) -> Result<(), Failed> {
        let mut writing = self.0.begin_write()?;
        writing.set_quick_repair(true);
        {
            let mut records = writing.open_table(RECORDS)?;
            for (key, stored) in changes {
                match &stored.value {
                    Some(value) => _ = records.insert(key.as_slice(), &*encode(stored.version, value))?,
                    None => _ = records.remove(key.as_slice())?,
                }
            }
            let mut notes = writing.open_table(NOTES)?;
            notes.insert("layout", LAYOUT)?;
            notes.insert("folded", reached.folded)?;
            notes.insert("versions", reached.versions)?;
        }
        Ok(writing.commit()?)
    }

    /// The records as they are now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Fault> {
        let fault = |error: redb::Error| Fault::caused("read from the store", error);
        let reading = self.0.begin_read().map_err(|error| fault(error.into()))?;
        Ok(Snapshot(reading.open_table(RECORDS).map_err(|error| fault(error.into()))?))
    }
}

impl Snapshot {
    /// A record.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Stored>, Fault> {
        let found = self.0.get(key).map_err(|error| Fault::caused("read from the store", error))?;
        found.map(|found| decode(found.value())).transpose()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> Result<bool, Fault> {
        self.0.is_empty().map_err(|error| Fault::caused("read from the store", error))
    }

    /// Records from `first` on, in the order of their keys.
    pub(super) fn range(
        &self,
        first: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Vec<u8>, Stored), Fault>> + use<>, Fault> {
        let fault = |error| Fault::caused("scan the store", error);
        let found = self.0.range::<&[u8]>((first, Bound::Unbounded)).map_err(fault)?;
        Ok(found.map(move |entry| {
            let (key, value) = entry.map_err(fault)?;
            Ok((key.value().to_vec(), decode(value.value())?))
        }))
    }
}

/// The key of a record; of the prefix of an id, the prefix of such keys.
pub(super) fn record_key(table: Table, id: &[u8]) -> Vec<u8> {
    [&[table as u8], id].concat()
}

fn encode(version: u64, value: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes(), value].concat()
}

fn decode(stored: &[u8]) -> Result<Stored, Fault> {
    let Some((version, value)) = stored.split_first_chunk() else {
        return Err(Fault::new("read from the store: a value has no version"));
    };
    Ok(Stored { version: u64::from_be_bytes(*version), value: Some(Bytes::copy_from_slice(value)) })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Notes a layout in a tree that nobody has open.
    pub(in super::super) fn note_layout(path: &Path, layout: u64) {
        let tree = Database::create(path).unwrap();
        let writing = tree.begin_write().unwrap();
        writing.open_table(NOTES).unwrap().insert("layout", layout).unwrap();
        writing.commit().unwrap();
    }

    /// Makes a database that is not ours.
    pub(in super::super) fn make_foreign(path: &Path) {
        let tree = Database::create(path).unwrap();
        let writing = tree.begin_write().unwrap();
        writing.open_table(RECORDS).unwrap();
        writing.commit().unwrap();
    }

    #[test]
    fn a_fold_is_whole_and_says_how_far_it_got() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tree");
        let stored = |version, value: Option<&'static str>| Stored { version, value: value.map(Bytes::from) };
        {
            let tree = Tree::open(&path, 1024 * 1024).unwrap();
            assert_eq!(tree.notes().unwrap(), Notes::default());
            let before = tree.snapshot().unwrap();
            let first =
                Changes::from([(vec![1, 2], stored(5, Some("a"))), (vec![1, 3], stored(6, Some("b")))]);
            tree.fold(&first, Notes { folded: 1, versions: 6 }).unwrap();
            assert!(before.is_empty().unwrap(), "a snapshot does not move");
            let second = Changes::from([(vec![1, 2], stored(7, None)), (vec![1, 9], stored(8, None))]);
            tree.fold(&second, Notes { folded: 2, versions: 8 }).unwrap();
        }
        let tree = Tree::open(&path, 1024 * 1024).unwrap();
        assert_eq!(tree.notes().unwrap(), Notes { folded: 2, versions: 8 });
        let now = tree.snapshot().unwrap();
        assert_eq!(now.get(&[1, 2]).unwrap(), None);
        assert_eq!(now.get(&[1, 3]).unwrap(), Some(stored(6, Some("b"))));
        assert_eq!(now.range(Bound::Excluded(&[1, 3][..])).unwrap().count(), 0);
    }
}
