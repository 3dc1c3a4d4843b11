//! The folder of the store: one process at a time, for its owner only, and its entries durable.

use std::{
    error::Error,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::store::private;

/// A folder that this process holds. Dropping it lets go.
pub(super) struct Folder {
    path: PathBuf,
    // The lock lasts as long as the file is open.
    _lock: File,
}

impl Folder {
    /// Takes hold of the folder `path`, and creates it where there is none. Also returns a handle of sled's file, with
    /// which it is synced.
    pub(super) fn take(path: &Path) -> Result<(Self, File), Box<dyn Error + Send + Sync>> {
        private::create_folder(path)?;
        refuse_foreign(path)?;
        // A lock of our own and not only sled's: what happens next must not meet another process either.
        let lock = private::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err("another process holds the store, and only one may use it at a time".into());
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        remove_unfinished_snapshots(path)?;
        let file =
            private::options().create(true).truncate(false).read(true).write(true).open(path.join(DATA))?;
        Ok((Self { path: path.to_owned(), _lock: lock }, file))
    }

    /// Takes away what others may do with the files, and makes it durable that they exist.
    pub(super) fn secure(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if !is_ours(&entry.file_name()) {
                continue;
            }
            let metadata = entry.metadata()?;
            private::restrict(&entry.path(), &metadata)?;
            if metadata.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        private::sync_folder(&self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(private::sync_folder(parent.unwrap_or(Path::new(".")))?)
    }
}

/// A mistyped path must not fill somebody's folder with a database.
fn refuse_foreign(path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    if path.join(DATA).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !is_ours(&name) && name != "lost+found" {
            return Err("the folder is not empty and holds no store".into());
        }
    }
    Ok(())
}

/// sled writes a snapshot of its page table at start, under this name, and renames it when it is whole. If it is killed
/// before that, it takes the piece for a damaged snapshot the next time and refuses to open.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    [BLOBS, CONFIGURATION, DATA, LOCK].contains(&name) || name.starts_with("snap.")
}

const BLOBS: &str = "blobs";
const CONFIGURATION: &str = "conf";
const DATA: &str = "db";
const LOCK: &str = "lock";
