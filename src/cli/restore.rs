//! `restore`: the apps of a backup, into an empty store that no gateway uses.
//!
//! What people approved does not come back, nor does anything that was revoked after the backup was made: people approve and
//! sign in again. Only that an app itself was revoked since cannot be seen in the backup, so all those of which it may be
//! true are named; `--revoke` and `--journal` say of which it is.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use super::{failed, load, table, wrong};
use crate::{
    config::{Settings, StoreUrl},
    domain::{
        backup::{Head, LONGEST_LINE, Read, Reader, sealed_parts},
        client::Client,
        secret::Digest,
    },
    flow::{
        fault::Fault,
        operator::{PutBack, Restoring, rfc3339},
        ports::Sealer as _,
    },
    gateway,
};

/// Writes under way at once: the store syncs once for all of them.
const AT_ONCE: usize = 64;

/// From where, and what is known besides.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The gateway must not run. Only apps come back. People approve and sign in again: no consent, grant, token or \
                        browser session is restored, and nothing that was revoked since the backup was made comes back to \
                        life. An app that the operator revoked since is in the backup as it was; the apps of which that may be \
                        true are named. Say which with --revoke, or let the journal say it with --journal.\n\n\
                        Exit status: 0 restored; 1 it failed; 64 the command line or the configuration is wrong."
)]
pub(super) struct Restore {
    /// The file that backup has made
    file: PathBuf,
    /// The configuration that names the store. Without it: ./proxy.toml, or environment variables where there is none
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This app was revoked since: it comes back revoked. May be given several times
    #[arg(long, value_name = "ID")]
    revoke: Vec<String>,
    /// A log of the gateway: the apps come back revoked of which it says that they were. May be given several times
    #[arg(long, value_name = "LOG")]
    journal: Vec<PathBuf>,
    /// Restore even though the key is not here that would tell whether somebody has changed the file
    #[arg(long)]
    without_seal: bool,
    /// Say what would be restored, and restore nothing
    #[arg(long)]
    dry_run: bool,
}

/// Why nothing was restored.
enum Stopped {
    Wrong(Fault),
    Failed(Fault),
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// What came back.
#[derive(Default)]
struct Restored {
    /// Id, name, last use and where it redirects to, of those that are not revoked.
    usable: Vec<Vec<String>>,
    revoked: usize,
    expired: usize,
}

/// Restores.
pub(super) fn run(restore: &Restore) -> ExitCode {
    let settings = match load(restore.config.as_deref()) {
        Ok(settings) => settings,
        Err(error) => return wrong(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(restore.restore(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stopped::Wrong(fault)) => wrong(&fault),
        Err(Stopped::Failed(fault)) => failed(&fault),
    }
}

impl Restore {
    async fn restore(&self, settings: &Settings) -> Result<(), Stopped> {
        let StoreUrl::Disk(folder) = &settings.store.url else {
            let why = "its store is in memory, which keeps nothing";
            return Err(Stopped::Wrong(Fault::caused("restore into this configuration", why)));
        };
        let mut revoked = BTreeSet::new();
        for log in &self.journal {
            revoked.extend(revoked_by(log)?);
        }
        let named: BTreeSet<String> = self.revoke.iter().cloned().collect();
        // The whole of it, before anything is written.
        let (head, known) = self.verify(settings, &named)?;
        if let Some(missing) = named.iter().find(|id| !known.contains(*id)) {
            let what = format!("revoke {}", table::plain(missing));
            return Err(Fault::caused(what, "the backup has no app with this id").into());
        }
        revoked.extend(named);
        let restored = if self.dry_run {
            self.would(&revoked)?
        } else {
            let store = gateway::empty_store(folder)?;
            self.fill(store, &revoked).await?
        };
        let _ = self.report(&mut io::stdout().lock(), settings, &head, restored);
        Ok(())
    }

    /// Whether the file is whole and ours. Which of `asked` are in it.
    fn verify(
        &self,
        settings: &Settings,
        asked: &BTreeSet<String>,
    ) -> Result<(Head, BTreeSet<String>), Stopped> {
        let (mut head, mut known) = (None, BTreeSet::new());
        let End { sum, seal, key } = each(&self.file, |read| {
            match read {
                Read::Head(first) => head = Some(first),
                Read::Client(client) if asked.contains(&client.id) => _ = known.insert(client.id),
                Read::Client(_) | Read::End(..) => {}
            }
            Ok(())
        })?;
        let why = match gateway::seals(settings)? {
            Some(seals) => {
                let is_ours =
                    <[u8; 32]>::try_from(seal).is_ok_and(|tag| seals.mac_matches(&sealed_parts(&sum), &tag));
                let known: Vec<String> = seals.ids().iter().map(ToString::to_string).collect();
                match key {
                    _ if is_ours => None,
                    Some(key) if !known.contains(&key) => Some(format!(
                        "it was sealed with the key {key}, which is not here any more (here: {}): a rotation drops an old key. Put that \
                         key into store.previous_encryption_keys, from where you kept a copy of the key file, or trust the file with \
                         --without-seal",
                        known.join(", ")
                    )),
                    _ => Some(
                        "it was sealed with another key, or somebody has changed it. Configure the key of the gateway that made \
                         it (as a previous one, where there is another by now), or trust the file with --without-seal"
                            .to_owned(),
                    ),
                }
            }
            None => Some(
                "its seal cannot be checked, since the key is not here. Configure it, or put the key file beside the store, or \
                 trust the file with --without-seal"
                    .to_owned(),
            ),
        };
        if let Some(why) = why.filter(|_| !self.without_seal) {
            return Err(fault(&self.file, why).into());
        }
        let head = head.ok_or_else(|| fault(&self.file, "it is not whole"))?;
        Ok((head, known))
    }

    /// What would come back.
    fn would(&self, revoked: &BTreeSet<String>) -> Result<Restored, Fault> {
        let now = gateway::now();
        let mut restored = Restored::default();
        each(&self.file, |read| {
            if let Read::Client(client) = read {
                let is_revoked = client.revoked_at.is_some() || revoked.contains(&client.id);
                let becomes = match (is_revoked, client.expires_at().has_passed(now)) {
                    (true, _) => PutBack::Revoked,
                    (false, true) => PutBack::Expired,
                    (false, false) => PutBack::Usable,
                };
                restored.count(becomes, row(&client));
            }
            Ok(())
        })?;
        Ok(restored)
    }

    /// Writes what the file holds. It is read on a thread of its own, so that it need not be in memory whole.
    async fn fill(&self, store: Restoring, revoked: &BTreeSet<String>) -> Result<Restored, Fault> {
        let (sender, mut clients) = mpsc::channel::<Client>(AT_ONCE);
        let file = self.file.clone();
        let reading = tokio::task::spawn_blocking(move || {
            each(&file, |read| match read {
                Read::Client(client) => {
                    sender.blocking_send(*client).map_err(|_| fault(&file, "the store does not take it"))
                }
                Read::Head(_) | Read::End(..) => Ok(()),
            })
        });
        let mut restored = Restored::default();
        let mut under_way = JoinSet::new();
        loop {
            let next = if under_way.len() < AT_ONCE { clients.recv().await } else { None };
            if let Some(client) = next {
                let (store, revoke) = (store.clone(), revoked.contains(&client.id));
                under_way.spawn(async move {
                    let row = row(&client);
                    store.put_back(client, revoke).await.map(|becomes| (becomes, row))
                });
                continue;
            }
            match under_way.join_next().await {
                Some(Ok(outcome)) => {
                    let (becomes, row) = outcome?;
                    restored.count(becomes, row);
                }
                Some(Err(_)) => return Err(fault(&self.file, "an app could not be written")),
                None => break,
            }
        }
        reading.await.map_err(|_| fault(&self.file, "it could not be read"))??;
        Ok(restored)
    }
    fn report(
        &self,
        out: &mut impl Write,
        settings: &Settings,
        head: &Head,
        mut restored: Restored,
    ) -> io::Result<()> {
        let taken = rfc3339(head.taken_at);
        let (would, not) =
            if self.dry_run { ("Would restore", " Nothing was written.") } else { ("Restored", "") };
        let usable = restored.usable.len();
        let (apps, are) = if usable == 1 { ("app", "it was") } else { ("apps", "they were") };
        writeln!(out, "{would} {usable} {apps}, as {are} at {taken}.{not}")?;
        match restored.revoked {
            0 => {}
            1 => writeln!(out, "1 more comes back revoked.")?,
            more => writeln!(out, "{more} more come back revoked.")?,
        }
        if restored.expired > 0 {
            writeln!(
                out,
                "Left out: {}, since nobody used them for so long that they would be forgotten by now.",
                restored.expired
            )?;
        }
        writeln!(
            out,
            "Nothing else comes back: no person, consent, grant, token or browser session. People approve and sign in again."
        )?;
        if head.issuer != settings.public_url.as_str() {
            writeln!(
                out,
                "The backup is of {}, this configuration of {}: apps that know the one will register anew at the other.",
                table::plain(&head.issuer),
                settings.public_url.as_str()
            )?;
        }
        if usable == 0 {
            return Ok(());
        }
        restored.usable.sort();
        writeln!(
            out,
            "\nIf you have revoked one of these apps since {taken}, that is not in the backup: {}",
            if self.dry_run {
                "restore with --revoke ID, or with --journal LOG."
            } else {
                "revoke it again as soon as the gateway runs (mcp-deputy clients revoke ID). Until then nobody can use what it \
                 held, but it may ask people anew."
            }
        )?;
        table::rows(out, &["CLIENT", "NAME (UNVERIFIED)", "LAST USED", "REDIRECTS TO"], &restored.usable)
    }
}

impl Restored {
    fn count(&mut self, becomes: PutBack, row: Vec<String>) {
        match becomes {
            PutBack::Expired => self.expired += 1,
            PutBack::Revoked => self.revoked += 1,
            PutBack::Usable => self.usable.push(row),
        }
    }
}

/// The end of a backup.
struct End {
    /// What its seal is over.
    sum: Digest,
    seal: Vec<u8>,
    /// The id of the key that it says it was sealed with.
    key: Option<String>,
}

/// Reads a backup, line by line, to its end.
fn each(path: &Path, mut take: impl FnMut(Read) -> Result<(), Fault>) -> Result<End, Fault> {
    let file = File::open(path).map_err(|error| fault(path, error))?;
    let (mut file, mut reader, mut line) = (BufReader::new(file), Reader::default(), Vec::new());
    let mut end = None;
    loop {
        line.clear();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        let read = file.by_ref().take(most).read_until(b'\n', &mut line);
        if read.map_err(|error| fault(path, error))? == 0 {
            break;
        }
        match reader.line(&line).map_err(|damaged| fault(path, damaged))? {
            Read::End(sum, seal) => end = Some((sum, seal)),
            other => take(other)?,
        }
    }
    reader.end().map_err(|damaged| fault(path, damaged))?;
    let (sum, seal) = end.ok_or_else(|| fault(path, "it is not whole"))?;
    Ok(End { sum, seal, key: reader.key().map(ToOwned::to_owned) })
}

fn fault(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::caused(format!("restore {}", path.display()), why)
}

fn row(client: &Client) -> Vec<String> {
    let name = client.metadata.client_name.clone().unwrap_or_else(|| "-".to_owned());
    let used = client.used_at.map_or_else(|| "never".to_owned(), rfc3339);
    let used = used.get(..10).unwrap_or(&used).to_owned();
    let uris = client.metadata.redirect_uris.iter().collect::<Vec<_>>().join(" ");
    vec![client.id.clone(), name, used, uris]
}

/// The apps of which a log says that the operator revoked them, or that they withdrew.
fn revoked_by(log: &Path) -> Result<BTreeSet<String>, Fault> {
    let fault = |error: io::Error| Fault::caused(format!("read the log {}", log.display()), error);
    let mut ids = BTreeSet::new();
    for line in BufReader::new(File::open(log).map_err(fault)?).split(b'\n') {
        let line = line.map_err(fault)?;
        let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
        let at = |key| event.get(key).and_then(Value::as_str);
        if at("event") == Some("client_revoked") && matches!(at("reason"), Some("operator" | "withdrawn")) {
            ids.extend(at("client_id").map(ToOwned::to_owned));
        }
    }
    Ok(ids)
}
