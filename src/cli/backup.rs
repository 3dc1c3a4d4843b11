//! `backup`: the apps that the running gateway knows, into a file that only its owner may read.
//!
//! The file has its name when it is whole, checked and on the disk; until then it has `.part` behind it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt as _,
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
        let mut part = self.file.clone().into_os_string();
        part.push(".part");
        let part = Part(PathBuf::from(part));
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
struct Part(PathBuf);

impl Part {
    /// What an earlier run has left goes; nobody's link is followed.
    fn create(&self) -> io::Result<File> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.0)
    }

    /// Gives it its name, durably.
    fn rename(&self, name: &Path, replacing: bool) -> io::Result<()> {
        if replacing {
            fs::rename(&self.0, name)?;
        } else if let Err(error) = fs::hard_link(&self.0, name) {
            // A link replaces nothing. Where the file system has none, whoever came first since we looked is replaced.
            if error.kind() == ErrorKind::AlreadyExists {
                return Err(error);
            }
            fs::rename(&self.0, name)?;
        }
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
