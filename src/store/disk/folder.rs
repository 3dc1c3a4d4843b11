//! The folder of the store: one process at a time, for its owner only, and its entries durable.

use std::{
    error::Error,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{log, takeover, tree::Tree};
use crate::store::private;

/// A folder that this process holds. Dropping it lets go.
pub(super) struct Folder {
    path: PathBuf,
    // The lock lasts as long as the file is open.
    _lock: File,
}

/// The file of the tree.
pub(super) const TREE: &str = "tree";
/// A tree that is being made. Worthless until it has its name.
pub(super) const UNFINISHED: &str = "tree.unfinished";
const LOCK: &str = "lock";
/// There while the store is being filled from a backup.
const FILLING: &str = "restore.unfinished";

/// Whether a process holds the folder `path`.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    let lock = match File::open(path.join(LOCK)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Notes that the store in the folder `path` is being filled: until [`filled`] nobody opens it again. To be called by whoever holds it.
pub(super) fn filling(path: &Path) -> io::Result<()> {
    private::options().create(true).truncate(true).write(true).open(path.join(FILLING))?.sync_all()?;
    private::sync_folder(path)
}

/// Notes that it is whole.
pub(super) fn filled(path: &Path) -> io::Result<()> {
    fs::remove_file(path.join(FILLING))?;
    private::sync_folder(path)
}

impl Folder {
    /// Takes hold of the folder `path`, and creates it where there is none.
    pub(super) fn take(path: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        private::create_folder(path)?;
        refuse_foreign(path)?;
        // A lock of our own and not only the tree's: what happens next must not meet another process either.
        let lock = private::options().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err("another process holds the store, and only one may use it at a time".into());
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Half of what was there before: apps that were revoked may be missing, and would be strangers.
        if path.join(FILLING).exists() {
            return Err("a restore into it was cut off: remove the folder, and restore again".into());
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Makes an empty tree where there is none. It has its name when it is whole: a crash on the way leads back to here.
    /// Says whether it made one.
    pub(super) fn make_tree(&self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let (tree, unfinished) = (self.path.join(TREE), self.path.join(UNFINISHED));
        if tree.exists() {
            return Ok(false);
        }
        drop(private::options().create(true).truncate(true).write(true).open(&unfinished)?);
        drop(Tree::open(&unfinished, 0)?);
        fs::rename(&unfinished, &tree)?;
        Ok(true)
    }

    /// Takes away what others may do with the files, and makes it durable that they exist, where they are new.
    pub(super) fn secure(&self, is_new: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if is_ours(&entry.file_name()) {
                private::restrict(&entry.path(), &entry.metadata()?)?;
            }
        }
        if !is_new {
            return Ok(());
        }
        private::sync_folder(&self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(private::sync_folder(parent.unwrap_or(Path::new(".")))?)
    }
}

/// A mistyped path must not fill somebody's folder with a database.
fn refuse_foreign(path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    if path.join(TREE).exists() || takeover::is_due(path) {
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

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // The last one is not the store's; it lies here because nobody else may enter.
    [TREE, UNFINISHED, LOCK, FILLING, "admin.sock"].contains(&name)
        || log::NAMES.contains(&name)
        || takeover::is_sleds(name)
}
