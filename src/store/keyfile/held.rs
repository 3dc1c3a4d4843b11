//! Changing a key file: one change at a time, whoever makes it, and each whole or not at all.
//!
//! Whoever changes it holds a lock on it and has read it under that lock. The new content is written to another file
//! (`….key.new`), made durable, and takes the name of the old one in one step; then the folder is made durable. A crash leaves the old
//! file or the new one, and perhaps an unfinished one beside it, which the next change removes. The file keeps its owner: root
//! may change it for the user that runs the gateway.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Failed, FileKey, folder_of, read_open, rendered};
use crate::{flow::fault::Fault, store::private};

/// How long somebody else may hold the file. Who waits for it is a thread that nobody can call off, not even the end of the process.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it is free.
const LOOK: Duration = Duration::from_millis(20);

/// A key file that nobody else changes.
#[derive(Debug)]
pub struct Held {
    /// Where it really is: a link to it stays a link.
    path: PathBuf,
    /// The lock lasts as long as the file is open.
    file: File,
    keys: Vec<FileKey>,
}

impl Held {
    /// Waits until nobody else holds the file, for ten seconds at most, and reads it. Fails where it is missing, damaged, or others may
    /// read it.
    pub fn at(path: &Path) -> Result<Self, Fault> {
        Self::within(path, PATIENCE)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long a lock is waited for, which decides nothing else"
    )]
    fn within(path: &Path, patience: Duration) -> Result<Self, Fault> {
        let fault = |error: Failed| Fault::caused(format!("change the key file {}", path.display()), error);
        let path = fs::canonicalize(path).map_err(|error| fault(error.into()))?;
        Self::of(path, Instant::now() + patience).map_err(fault)
    }

    fn of(path: PathBuf, until: Instant) -> Result<Self, Failed> {
        loop {
            let file = File::open(&path)?;
            lock(&file, until)?;
            // Whoever held it before may have put another file in its place.
            if !is_same(&file.metadata()?, &fs::metadata(&path)?) {
                continue;
            }
            let (current, previous) = read_open(file.try_clone()?)?;
            let keys = std::iter::once(current).chain(previous).collect();
            return Ok(Self { path, file, keys });
        }
    }

    /// What it holds, the current key first.
    pub fn keys(&self) -> &[FileKey] {
        &self.keys
    }

    /// Puts these keys in the place of what it holds. When this returns, they are durable. Where it fails, the old content stands
    /// there, or the new one, never a part.
    pub fn write(self, keys: &[FileKey]) -> Result<(), Fault> {
        let fault = |error: io::Error| {
            let what = format!("write the key file {}; its keys are as they were", self.path.display());
            Fault::caused(what, error)
        };
        let mut unfinished: OsString = self.path.clone().into();
        unfinished.push(".new");
        let unfinished = PathBuf::from(unfinished);
        let written = self.write_unfinished(&unfinished, keys);
        let renamed = written.and_then(|()| fs::rename(&unfinished, &self.path));
        if renamed.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&unfinished);
        }
        renamed.map_err(fault)?;
        private::sync_folder(folder_of(&self.path)).map_err(|error| {
            Fault::caused(format!("make the key file {} durable", self.path.display()), error)
        })
    }

    /// Makes durable what it holds: somebody else wrote it, and may not have come to that.
    pub fn confirm(self) -> Result<Vec<FileKey>, Fault> {
        let synced = self.file.sync_all().and_then(|()| private::sync_folder(folder_of(&self.path)));
        synced.map_err(|error| {
            Fault::caused(format!("make the key file {} durable", self.path.display()), error)
        })?;
        Ok(self.keys)
    }

    fn write_unfinished(&self, path: &Path, keys: &[FileKey]) -> io::Result<()> {
        // What a crash has left.
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private::options().create_new(true).write(true).open(path)?;
        keep_owner(&file, &self.file.metadata()?)?;
        file.write_all(rendered(keys).as_bytes())?;
        file.sync_all()
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a lock is waited for, which decides nothing else")]
fn lock(file: &File, until: Instant) -> Result<(), Failed> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => return Err("another process holds it".into()),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Whether both are the same file.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;

        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.modified().ok() == other.modified().ok()
    }
}

/// Gives a file the owner of another one, where that is somebody else.
fn keep_owner(file: &File, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};

        let mine = file.metadata()?;
        if (mine.uid(), mine.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    _ = (file, old);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::seal::MasterKey;
    use super::*;
    use crate::domain::time::Timestamp;

    fn key(byte: u8, made: u64) -> FileKey {
        let made_at = Some(Timestamp::from_millis(made * 1000));
        FileKey { key: MasterKey::from_bytes([byte; 32]), made_at, replaced_at: None }
    }

    fn bytes(path: &Path) -> Vec<u8> {
        Held::at(path).unwrap().keys().iter().map(|key| key.key.as_bytes()[0]).collect()
    }

    /// A folder with a key file as the first start makes it.
    fn begun() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.key");
        assert!(super::super::create(&path, &MasterKey::from_bytes([1; 32]), [1; 8]).unwrap());
        (folder, path)
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_is_left_over() {
        let (folder, path) = begun();
        let held = Held::at(&path).unwrap();
        let old = FileKey { replaced_at: Some(Timestamp::from_millis(7000)), ..held.keys()[0].clone() };
        held.write(&[key(2, 7), old]).unwrap();
        let held = Held::at(&path).unwrap();
        let [new, old] = held.keys() else { panic!("{held:?}") };
        assert_eq!((new.key.as_bytes(), new.made_at, new.replaced_at), (&[2; 32], key(2, 7).made_at, None));
        let replaced_at = Some(Timestamp::from_millis(7000));
        assert_eq!((old.key.as_bytes(), old.made_at, old.replaced_at), (&[1; 32], None, replaced_at));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(held.confirm().unwrap().len(), 2);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_a_crash_left_beside_it_does_not_matter() {
        let (folder, path) = begun();
        fs::write(folder.path().join("data.key.new"), "half a k").unwrap();
        assert_eq!(bytes(&path), [1]);
        let held = Held::at(&path).unwrap();
        held.write(&[key(2, 7)]).unwrap();
        assert_eq!(bytes(&path), [2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_it_cannot_be_written_it_stays_as_it_is() {
        let (folder, path) = begun();
        // In the place of the unfinished file.
        fs::create_dir_all(folder.path().join("data.key.new/x")).unwrap();
        assert!(Held::at(&path).unwrap().write(&[key(2, 7)]).is_err());
        assert_eq!(bytes(&path), [1]);
    }

    #[test]
    fn changes_at_once_are_all_made() {
        let (_folder, path) = begun();
        let threads: Vec<_> = (2..10)
            .map(|byte| {
                let path = path.clone();
                thread::spawn(move || {
                    let held = Held::at(&path).unwrap();
                    let keys: Vec<_> =
                        std::iter::once(key(byte, 7)).chain(held.keys().iter().cloned()).collect();
                    held.write(&keys).unwrap();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let mut all = bytes(&path);
        all.sort_unstable();
        assert_eq!(all, (1..10).collect::<Vec<_>>());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_it_stays_a_link() {
        let (folder, path) = begun();
        let link = folder.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Held::at(&link).unwrap().write(&[key(2, 7)]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(bytes(&path), [2]);
    }

    #[test]
    fn one_that_somebody_keeps_is_not_waited_for_without_end() {
        let (_folder, path) = begun();
        let held = Held::at(&path).unwrap();
        let refused = Held::within(&path, Duration::from_millis(50)).unwrap_err();
        assert!(crate::flow::fault::chain(&refused).contains("another process holds it"));
        drop(held);
        assert!(Held::within(&path, Duration::from_millis(50)).is_ok());
    }

    /// Root changes it for the user that runs the gateway, who could not read it otherwise.
    #[cfg(unix)]
    #[test]
    fn it_stays_the_property_of_its_owner() {
        use std::os::unix::fs::{MetadataExt as _, chown};

        let (_folder, path) = begun();
        if chown(&path, Some(12_345), Some(12_346)).is_err() {
            // Only root may give files away, and only root has this to lose.
            return;
        }
        Held::at(&path).unwrap().write(&[key(2, 7)]).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (12_345, 12_346, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn one_that_others_may_read_is_not_changed() {
        use std::os::unix::fs::PermissionsExt as _;

        let (_folder, path) = begun();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Held::at(&path).is_err());
    }
}
