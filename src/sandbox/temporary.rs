//! A folder for the store of one run, gone when the run is over.

use std::{
    fs::{DirBuilder, remove_dir_all},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::chance::random;

/// How often removing is tried.
const ATTEMPTS: usize = 10;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// A new folder below the system's folder for temporary files, for this user only. Dropping it removes it.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(random("mcp-deputy-sandbox-"));
        // Fails where the path exists: nobody can have prepared it for us.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let mut removed = remove_dir_all(&self.0);
        // Somebody may still be writing into it, and a file may appear while the others are removed.
        for _ in 1..ATTEMPTS {
            match &removed {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    thread::sleep(PAUSE);
                    removed = remove_dir_all(&self.0);
                }
                _ => break,
            }
        }
        if let Err(error) = removed {
            tracing::warn!(path = %self.0.display(), %error, "the temporary folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::TemporaryFolder;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
