//! People with tokens, in a store that can be copied.
//!
//! Each build of ours has its own, seeded by itself: a store that another build has written may first have to be brought up
//! to date, which is none of what is measured here.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Options, candidate,
    stage::{Stage, free_port},
    tokens::Tokens,
};
use crate::Failure;

/// Tokens live for 24 hours.
const GOOD_FOR: Duration = Duration::from_hours(20);

/// Some people who approved, each with a token.
pub(super) struct People {
    pub(super) tokens: Tokens,
    store: PathBuf,
}

impl People {
    /// So many in a store of this binary, from an earlier run where their tokens are still good.
    pub(super) fn new(
        count: usize,
        binary: &Path,
        stage: &Stage,
        options: &Options,
    ) -> Result<Self, Failure> {
        let store = place(count, binary, stage)?;
        let age = fs::metadata(store.join("tokens"))
            .and_then(|file| file.modified())
            .map(|seeded| seeded.elapsed());
        let are_good = matches!(age, Ok(Ok(age)) if age < GOOD_FOR);
        if options.reseed || !are_good {
            seed(count, binary, stage, &store)?;
        }
        Self::read(store)
    }

    /// So many, seeded now: what the gateway has learned of a person from the third party ten minutes ago or longer, it asks
    /// again.
    pub(super) fn fresh(count: usize, binary: &Path, stage: &Stage) -> Result<Self, Failure> {
        let store = place(count, binary, stage)?.with_extension("fresh");
        seed(count, binary, stage, &store)?;
        Self::read(store)
    }

    fn read(store: PathBuf) -> Result<Self, Failure> {
        let ours: Vec<_> = fs::read_to_string(store.join("tokens"))?.lines().map(str::to_owned).collect();
        Ok(Self { tokens: Tokens::of(&ours, &store)?, store })
    }

    /// Puts a copy of the store into `folder`, in place of what is there.
    pub(super) fn copy_store(&self, folder: &Path) -> Result<(), Failure> {
        let _ = fs::remove_dir_all(folder.join("data"));
        copy(&self.store.join("data"), &folder.join("data"))?;
        copy(&self.store.join("data.key"), &folder.join("data.key"))
    }
}

/// Where so many people of this binary are.
fn place(count: usize, binary: &Path, stage: &Stage) -> Result<PathBuf, Failure> {
    let content = fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let digest = digest(&SHA256, &content);
    let name = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..6).unwrap_or_default());
    Ok(stage.folder.join("people").join(format!("{count}-{name}")))
}

fn seed(count: usize, binary: &Path, stage: &Stage, store: &Path) -> Result<(), Failure> {
    eprintln!("seeding {count} people");
    let _ = fs::remove_dir_all(store);
    fs::create_dir_all(store)?;
    let port = free_port()?;
    let backend = stage.backend_of(0, false).to_string();
    let config =
        stage.config(&["proxy.toml", "proxy-seeding.toml"], store, port, &[("{backend}", &backend)])?;
    // Keys of the top level come first.
    let text = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{}", fs::read_to_string(&config)?);
    fs::write(&config, text)?;
    let log = store.join("log");
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(config);
    let mut gateway = candidate::spawn(command, &log)?;
    let seeded = journeys(SocketAddr::from(([127, 0, 0, 1], port)), count, &store.join("tokens"));
    candidate::stop(&mut gateway);
    seeded.map_err(|failure| format!("seeding failed, see {}: {failure}", log.display()).into())
}

/// Waits for the gateway and sends everybody through it.
fn journeys(gateway: SocketAddr, count: usize, out: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    while TcpStream::connect(gateway).is_err() {
        tries += 1;
        if tries > 1000 {
            return Err("the gateway does not start".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["seed", "--gateway", &gateway.to_string(), "--people", &count.to_string(), "--out"])
        .arg(out);
    let output = command.output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
