//! Stores of earlier versions: their folder holds a database of sled, which is read once, brought into a tree and removed.
//!
//! Nothing of the old one is touched before the new one is whole, durable and under its name. A crash on the way leads back to
//! the beginning, one after that to the removal.

use std::{error::Error, fs, io, path::Path};

#[cfg(feature = "takeover")]
use bytes::Bytes;

use super::folder::{TREE, UNFINISHED};
#[cfg(feature = "takeover")]
use super::{
    recent::{Changes, Stored},
    tree::{Notes, Tree},
};
use crate::store::private;

type Failed = Box<dyn Error + Send + Sync>;

/// Whether the folder holds a database of sled.
pub(super) fn is_due(path: &Path) -> bool {
    path.join(DATA).exists()
}

/// Whether a file of this name in our folder was sled's.
pub(super) fn is_sleds(name: &str) -> bool {
    [BLOBS, CONFIGURATION, DATA].contains(&name) || name.starts_with(SNAPSHOT)
}

/// Brings what sled's database holds into a tree, under the same versions, and removes the database. Needs the lock of the
/// folder.
pub(super) fn take_over(path: &Path) -> Result<(), Failed> {
    let unfinished = path.join(UNFINISHED);
    remove(&unfinished)?;
    if !is_due(path) {
        return Ok(());
    }
    if !path.join(TREE).exists() {
        tracing::warn!(path = %path.display(), "brings the store of an earlier version into the present form");
        copy(path, &unfinished)?;
        fs::rename(&unfinished, path.join(TREE))?;
        private::sync_folder(path)?;
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        // The data go last: as long as they are there, this is done again.
        if name.to_str().is_some_and(is_sleds) && name != DATA {
            if entry.metadata()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    remove(&path.join(DATA))?;
    Ok(private::sync_folder(path)?)
}

#[cfg(not(feature = "takeover"))]
fn copy(_: &Path, _: &Path) -> Result<(), Failed> {
    Err("it is the store of an earlier version: start a build with the Cargo feature `takeover` on it once"
        .into())
}

#[cfg(feature = "takeover")]
fn copy(path: &Path, unfinished: &Path) -> Result<(), Failed> {
    for entry in fs::read_dir(path)? {
        // A snapshot that a crash cut off: sled would take it for a damaged one.
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(SNAPSHOT) && name.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    let config = ::sled::Config::new()
        .path(path)
        .segment_size(SEGMENT)
        .mode(::sled::Mode::LowSpace)
        .flush_every_ms(None);
    let sled = config.open()?;
    match sled.get(LAYOUT_KEY)? {
        Some(layout) if layout == LAYOUT => {}
        Some(layout) => {
            return Err(
                format!("its layout is {}, which no version ever wrote", layout.escape_ascii()).into()
            );
        }
        None => return Err("it is a sled database of something else: it has no layout of ours".into()),
    }
    let mark = sled.get(VERSIONS_KEY)?.ok_or("its versions are damaged")?;
    let versions = u64::from_be_bytes(mark.as_ref().try_into().map_err(|_| "its versions are damaged")?);
    let notes = Notes { folded: 0, versions };

    drop(private::options().create(true).truncate(true).write(true).open(unfinished)?);
    let tree = Tree::open(unfinished, CACHE)?;
    let mut changes = Changes::new();
    for entry in sled.range::<&[u8], _>([1].as_slice()..) {
        let (key, stored) = entry?;
        let (version, value) = stored.split_first_chunk().ok_or("a value has no version")?;
        let stored =
            Stored { version: u64::from_be_bytes(*version), value: Some(Bytes::copy_from_slice(value)) };
        changes.insert(key.to_vec(), stored);
        if changes.len() == AT_ONCE {
            tree.fold(&std::mem::take(&mut changes), notes)?;
        }
    }
    tree.fold(&changes, notes)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

// How the earlier versions named and wrote things (layout 1).
const BLOBS: &str = "blobs";
const CONFIGURATION: &str = "conf";
const DATA: &str = "db";
const SNAPSHOT: &str = "snap.";
#[cfg(feature = "takeover")]
const SEGMENT: usize = 4 * 1024 * 1024;
#[cfg(feature = "takeover")]
const LAYOUT_KEY: &[u8] = b"\0layout";
#[cfg(feature = "takeover")]
const LAYOUT: &[u8] = b"1";
#[cfg(feature = "takeover")]
const VERSIONS_KEY: &[u8] = b"\0versions";

/// Records that are brought over in one transaction.
#[cfg(feature = "takeover")]
const AT_ONCE: usize = 20_000;
/// Memory for pages meanwhile, in bytes.
#[cfg(feature = "takeover")]
const CACHE: usize = 16 * 1024 * 1024;

#[cfg(feature = "takeover")]
#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        flow::ports::{Key, Store as _, Table, Version},
        store::disk::tests::open,
    };

    /// Waits until sled has let go of its file, which threads of its own do a moment after it was dropped. Of a process that has ended, the
    /// system has done it.
    fn let_go(path: &Path) {
        fs::File::open(path.join(DATA)).unwrap().lock().unwrap();
    }

    /// A folder as an earlier version left it.
    fn left_by_an_earlier_version(records: u64) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("data");
        let config = ::sled::Config::new().path(&path).segment_size(SEGMENT).mode(::sled::Mode::LowSpace);
        let sled = config.flush_every_ms(None).open().unwrap();
        sled.insert(LAYOUT_KEY, LAYOUT).unwrap();
        sled.insert(VERSIONS_KEY, &(1_u64 << 20).to_be_bytes()).unwrap();
        for number in 0..records {
            let key = [&[Table::Grant as u8][..], format!("{number:05}").as_bytes()].concat();
            sled.insert(key, [&number.to_be_bytes()[..], b"value"].concat()).unwrap();
        }
        sled.flush().unwrap();
        drop(sled);
        let_go(&path);
        fs::write(path.join("lock"), b"").unwrap();
        fs::write(path.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
        (folder, path)
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn an_earlier_store_is_taken_over_with_its_versions_and_leaves_nothing_behind() {
        // More than goes in one transaction.
        let count = AT_ONCE as u64 + 5;
        let (_folder, path) = left_by_an_earlier_version(count);
        // A crash before this one had made half a tree.
        fs::write(path.join(UNFINISHED), b"half").unwrap();
        let store = open(&path);
        assert_eq!(names(&path), ["lock", "log.0", "tree"]);
        let found = store.scan(Table::Grant, b"", None, usize::MAX).await.unwrap();
        assert_eq!(found.len() as u64, count);
        for (number, (id, found)) in (0_u64..).zip(&found) {
            assert_eq!(
                (&id[..], found.version, &found.value[..]),
                (format!("{number:05}").as_bytes(), Version(number), &b"value"[..])
            );
        }
        let key = Key::new(Table::Grant, "new");
        let written =
            store.write(key, crate::flow::ports::Expect::Absent, crate::flow::ports::Change::Put("x".into()));
        let crate::flow::ports::Written::Applied(version) = written.await.unwrap() else { panic!("lost") };
        assert!(version > Version(1 << 20), "below what the earlier version had reserved");
    }

    #[tokio::test]
    async fn a_crash_after_the_tree_has_its_name_leads_to_the_removal_only() {
        let (_folder, path) = left_by_an_earlier_version(3);
        copy(&path, &path.join(UNFINISHED)).unwrap();
        fs::rename(path.join(UNFINISHED), path.join(TREE)).unwrap();
        fs::remove_file(path.join(CONFIGURATION)).unwrap();
        assert_eq!(open(&path).scan(Table::Grant, b"", None, 9).await.unwrap().len(), 3);
        assert_eq!(names(&path), ["lock", "log.0", "tree"]);
    }

    #[test]
    fn a_database_of_something_else_is_refused_and_left() {
        let folder = TempDir::new().unwrap();
        let db = ::sled::Config::new().path(folder.path()).segment_size(SEGMENT).open().unwrap();
        db.insert(b"theirs", b"x").unwrap();
        drop(db);
        let_go(folder.path());
        let error = take_over(folder.path()).unwrap_err().to_string();
        assert!(error.contains("of something else"), "{error}");
        assert!(is_due(folder.path()));
        let_go(folder.path());
        let db = ::sled::Config::new().path(folder.path()).segment_size(SEGMENT).open().unwrap();
        assert!(db.get(b"theirs").unwrap().is_some());
    }
}
