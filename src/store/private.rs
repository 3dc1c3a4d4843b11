//! Files and folders that only their owner may read. Where the platform has no such modes, they are plain ones.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Creates a folder, and those above it, that only its owner may enter. Leaves one that exists as it is.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options that give a file which they create to its owner only.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes away what group and others may do with a file or folder.
pub(super) fn restrict(path: &Path, metadata: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    if !is_private(metadata) {
        use std::os::unix::fs::PermissionsExt as _;

        let mut permissions = metadata.permissions();
        permissions.set_mode(permissions.mode() & 0o700);
        return std::fs::set_permissions(path, permissions);
    }
    _ = (path, metadata);
    Ok(())
}

/// Whether group and others may do nothing with it.
pub(super) fn is_private(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    {
        let shared = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077;
        shared == 0
    }
    #[cfg(not(unix))]
    {
        _ = metadata;
        true
    }
}

/// Makes the entries of a folder durable: without it a new file may be gone after a power loss.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return File::open(path)?.sync_all();
    #[cfg(not(unix))]
    {
        _ = (path, File::open);
        Ok(())
    }
}
