//! `backup`: the apps that the running gateway knows, into a file that only its owner may read.
//!
//! The file has its name when it is whole, checked and on the disk; until then it has `.part` behind it.

use std::{
    cell::OnceCell,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use super::reach::{Unreached, Where};
use crate::domain::backup::{LONGEST_LINE, Read, Reader};

/// Where to.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The backup holds the apps that registered or were configured. It holds no tokens, nothing about people \
                        and what they approved, and not the encryption key: keep that elsewhere.\n\n\
                        Exit status: 0 it is there, whole; 1 it is not; 64 the command line or the configuration is wrong."
)]
pub(super) struct Backup {
    /// The file to be made; - for standard output
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Where,
}

/// Takes it.
pub(super) fn run(backup: &Backup) -> ExitCode {
    super::asked(backup.take())
}

impl Backup {
    async fn take(&self) -> Result<(), Unreached> {
        if self.file == Path::new("-") {
            let clients = self.copy(&mut io::stdout().lock()).await?;
            let _ = writeln!(io::stderr(), "{}", done(clients, "standard output"));
            return Ok(());
        }
        let shown = self.file.display();
        let failed = |error: io::Error| Unreached::Failed(format!("{shown} cannot be written: {error}"));
        if !self.force && fs::symlink_metadata(&self.file).is_ok() {
            return Err(Unreached::Failed(format!("{shown} is there already; --force replaces it")));
        }
        let part = Part::at(&self.file);
        let mut file = part.create().map_err(failed)?;
        let clients = self.copy(&mut file).await?;
        file.sync_all().map_err(failed)?;
        part.rename(&self.file, self.force).map_err(failed)?;
        let _ = writeln!(io::stdout(), "{}", done(clients, &shown.to_string()));
        Ok(())
    }

    /// Copies what the gateway says, line by line, and looks whether it is whole. How many clients there were.
    async fn copy(&self, out: &mut impl Write) -> Result<u64, Unreached> {
        let answer = self.place.gateway()?.open(Method::GET, "/admin/v1/backup").await?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(Unreached::Failed(format!("the gateway gives no backup; it answers {status}")));
        }
        let broken = || Unreached::Failed("the gateway broke off; there is no backup".to_owned());
        let (mut reader, mut rest, mut clients) = (Reader::default(), Vec::new(), 0);
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| broken())?.into_data() else { continue };
            rest.extend_from_slice(&piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let read = reader.line(&line).map_err(|damaged| Unreached::Failed(damaged.to_string()))?;
                clients += u64::from(matches!(read, Read::Client(_)));
                out.write_all(&line)
                    .map_err(|error| Unreached::Failed(format!("the backup cannot be written: {error}")))?;
            }
            if rest.len() > LONGEST_LINE {
                return Err(broken());
            }
        }
        if !rest.is_empty() {
            return Err(broken());
        }
        reader.end().map_err(|damaged| Unreached::Failed(damaged.to_string()))?;
        out.flush().map_err(|error| Unreached::Failed(format!("the backup cannot be written: {error}")))?;
        Ok(clients)
    }
}

fn done(clients: u64, place: &str) -> String {
    let apps = if clients == 1 { "app" } else { "apps" };
    format!(
        "Backed up {clients} {apps} to {place}. It holds no tokens and nothing about people, and not the encryption key: keep \
         that elsewhere."
    )
}

/// A file that is not whole yet. Removed when it is dropped.
struct Part {
    path: PathBuf,
    /// The file itself, once it is there. Its lock says that somebody is writing it.
    file: OnceCell<File>,
}

impl Part {
    /// Of the file with this name.
    fn at(name: &Path) -> Self {
        let mut part = name.to_owned().into_os_string();
        part.push(".part");
        Self { path: PathBuf::from(part), file: OnceCell::new() }
    }

    /// What an earlier run has left goes; what another one is writing stays, and is an error. Nobody's link is followed.
    fn create(&self) -> io::Result<&File> {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.is_file())
            && let Ok(there) = File::open(&self.path)
        {
            locked(&there)?;
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path)?;
        locked(&file)?;
        Ok(self.file.get_or_init(|| file))
    }

    /// Gives it its name, durably. Fails where another file is in its place by now.
    fn rename(&self, name: &Path, replacing: bool) -> io::Result<()> {
        if !self.is_ours() {
            return Err(io::Error::new(ErrorKind::WouldBlock, UNDER_WAY));
        }
        if replacing {
            fs::rename(&self.path, name)?;
        } else if let Err(error) = fs::hard_link(&self.path, name) {
            // A link replaces nothing. Where the file system has none, whoever came first since we looked is replaced.
            if error.kind() == ErrorKind::AlreadyExists {
                return Err(error);
            }
            fs::rename(&self.path, name)?;
        }
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn is_ours(&self) -> bool {
        let there = fs::symlink_metadata(&self.path).ok().map(|it| (it.dev(), it.ino()));
        let ours = self.file.get().and_then(|file| file.metadata().ok()).map(|it| (it.dev(), it.ino()));
        ours.is_some() && there == ours
    }
}

/// Locks a file that nobody else is writing. Where the file system has no locks, what is renamed is looked at all the same.
fn locked(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(ErrorKind::WouldBlock, UNDER_WAY)),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

const UNDER_WAY: &str = "another backup into this file is under way";

impl Drop for Part {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timer that comes again before the one before it is done.
    #[test]
    fn two_at_once_never_give_a_half_one_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for replacing in [false, true] {
            let _ = fs::remove_file(at("backup"));
            let (one, other) = (Part::at(&at("backup")), Part::at(&at("backup")));
            let mut file = one.create().unwrap();
            file.write_all(b"whole").unwrap();
            if let Ok(mut file) = other.create() {
                file.write_all(b"ha").unwrap();
            }
            drop(other.rename(&at("other"), replacing));
            one.rename(&at("backup"), replacing).unwrap();
            assert_eq!(fs::read(at("backup")).unwrap(), b"whole");
        }
    }

    #[test]
    fn what_a_kill_has_left_is_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        fs::write(folder.path().join("backup.part"), "ha").unwrap();
        let part = Part::at(&path);
        part.create().unwrap().write_all(b"whole").unwrap();
        part.rename(&path, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        drop(part);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
