//! `restore`: the apps of a backup, into an empty store that no gateway uses.
//!
//! What people approved does not come back, nor does anything that was revoked after the backup was made: people approve and
//! sign in again. Only that an app itself was revoked since cannot be seen in the backup, so all those of which it may be
//! true are named; `--revoke` and `--journal` say of which it is.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek as _, Write},
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
        journal,
        operator::{PutBack, rfc3339},
        ports::Sealer as _,
    },
    gateway::{self, Filling},
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
    /// The ids of those that could not have become known here.
    impossible: Vec<String>,
    /// The file of the key that was made, since there was none.
    new_key: Option<PathBuf>,
}

/// The most ids that are named in a sentence.
const NAMED: usize = 20;

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
        // Opened once, so that what is restored is what was looked at.
        let file = File::open(&self.file).map_err(|error| fault(&self.file, error))?;
        if !file.metadata().is_ok_and(|it| it.is_file()) {
            return Err(fault(&self.file, "it is no file that can be read twice").into());
        }
        // The whole of it, before anything is written.
        let (head, known, sum) = self.verify(&file, settings, &named)?;
        if let Some(missing) = named.iter().find(|id| !known.contains(*id)) {
            let what = format!("revoke {}", table::plain(missing));
            return Err(Fault::caused(what, "the backup has no app with this id").into());
        }
        revoked.extend(named);
        let restored = if self.dry_run {
            self.would(&file, settings, &revoked)?
        } else {
            let filling = gateway::empty_store(folder, settings)?;
            self.fill(file, sum, filling, &revoked).await?
        };
        let _ = self.report(&mut io::stdout().lock(), settings, &head, restored);
        Ok(())
    }

    /// Whether the file is whole and ours. Which of `asked` are in it.
    fn verify(
        &self,
        file: &File,
        settings: &Settings,
        asked: &BTreeSet<String>,
    ) -> Result<(Head, BTreeSet<String>, Digest), Stopped> {
        let (mut head, mut known) = (None, BTreeSet::new());
        let End { sum, seal, key } = each(&self.file, file, |read| {
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
        Ok((head, known, sum))
    }

    /// What would come back.
    fn would(&self, file: &File, settings: &Settings, revoked: &BTreeSet<String>) -> Result<Restored, Fault> {
        let rules = gateway::readmission(settings);
        let mut restored = Restored::default();
        each(&self.file, file, |read| {
            if let Read::Client(client) = read {
                let row = row(&client);
                let revoke = revoked.contains(&client.id);
                restored.count(rules.would(*client, revoke), row);
            }
            Ok(())
        })?;
        Ok(restored)
    }

    /// Writes what the file holds. It is read on a thread of its own, so that it need not be in memory whole.
    async fn fill(
        &self,
        file: File,
        verified: Digest,
        filling: Filling,
        revoked: &BTreeSet<String>,
    ) -> Result<Restored, Fault> {
        let (sender, mut clients) = mpsc::channel::<Client>(AT_ONCE);
        let path = self.file.clone();
        let reading = tokio::task::spawn_blocking(move || {
            each(&path, &file, |read| match read {
                Read::Client(client) => {
                    sender.blocking_send(*client).map_err(|_| fault(&path, "the store does not take it"))
                }
                Read::Head(_) | Read::End(..) => Ok(()),
            })
        });
        let mut restored = Restored { new_key: filling.new_key.clone(), ..Restored::default() };
        let mut under_way = JoinSet::new();
        loop {
            let next = if under_way.len() < AT_ONCE { clients.recv().await } else { None };
            if let Some(client) = next {
                let (store, revoke) = (filling.store.clone(), revoked.contains(&client.id));
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
        let end = reading.await.map_err(|_| fault(&self.file, "it could not be read"))??;
        if end.sum != verified {
            return Err(fault(
                &self.file,
                "somebody has changed it meanwhile: remove the folder of the store, and begin again",
            ));
        }
        filling.end()?;
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
        if !restored.impossible.is_empty() {
            let named: Vec<String> =
                restored.impossible.iter().take(NAMED).map(|id| table::plain(id)).collect();
            let more = if restored.impossible.len() > NAMED { ", …" } else { "" };
            writeln!(
                out,
                "{} are left out: they could not register here as they stand there: {}{more}",
                restored.impossible.len(),
                named.join(", ")
            )?;
        }
        if let Some(path) = &restored.new_key {
            writeln!(
                out,
                "A new encryption key is in {}. Keep a copy of it somewhere else than the backups.",
                path.display()
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
    fn count(&mut self, becomes: PutBack, mut row: Vec<String>) {
        match becomes {
            PutBack::Impossible => self.impossible.extend(row.drain(..).next()),
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
fn each(path: &Path, mut file: &File, mut take: impl FnMut(Read) -> Result<(), Fault>) -> Result<End, Fault> {
    file.rewind().map_err(|error| fault(path, error))?;
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

/// The apps of which a log says that the operator revoked them, or that they withdrew. Fails where it has no line of the journal at all:
/// that is another file, and says nothing about what was revoked.
fn revoked_by(log: &Path) -> Result<BTreeSet<String>, Fault> {
    let what = || format!("read the log {}", log.display());
    let failed = |error: io::Error| Fault::caused(what(), error);
    let (mut ids, mut is_ours) = (BTreeSet::new(), false);
    for line in BufReader::new(File::open(log).map_err(failed)?).split(b'\n') {
        let line = line.map_err(failed)?;
        let Some(event) = event_of(&line) else { continue };
        let at = |key| event.get(key).and_then(Value::as_str);
        is_ours |= at("target") == Some(journal::TARGET);
        if at("event") == Some("client_revoked") && matches!(at("reason"), Some("operator" | "withdrawn")) {
            ids.extend(at("client_id").map(ToOwned::to_owned));
        }
    }
    if !is_ours {
        return Err(Fault::caused(
            what(),
            "it has no line of the gateway's journal (JSON, target mcp_deputy::journal)",
        ));
    }
    Ok(ids)
}

/// A line of the log, as it is or as keepers of logs wrap it: Docker's `log`, journald's `MESSAGE`.
fn event_of(line: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let wrapped = ["log", "MESSAGE"].iter().find_map(|member| event.get(member)?.as_str());
    match wrapped.map(serde_json::from_str) {
        Some(Ok(inner)) => Some(inner),
        _ => Some(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        backup::Writer,
        handle::{Handle, Kind},
    };

    /// A backup of one app, and a configuration for where it is to be restored.
    fn begun(folder: &Path) -> (Restore, Settings) {
        let text = format!(
            "public_url = \"http://localhost:8080\"\n[provider.github]\npreset = \"github\"\nclient_id = \"x\"\n\
             client_secret = \"y\"\n[[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n[store]\nurl = \"disk:{}\"\n",
            folder.join("data").display()
        );
        let settings = crate::config::from_text("proxy.toml", &text, &|_| None).unwrap();
        let file = folder.join("backup");
        std::fs::write(&file, backup("http://127.0.0.1/")).unwrap();
        let restore = Restore {
            file,
            config: None,
            revoke: Vec::new(),
            journal: Vec::new(),
            without_seal: true,
            dry_run: false,
        };
        (restore, settings)
    }

    fn backup(redirect_uri: &str) -> Vec<u8> {
        let now = gateway::now();
        let id = Handle::derived(Kind::Client, &Digest::of("a")).expose().to_owned();
        let body = format!(r#"{{"redirect_uris":["{redirect_uri}"],"token_endpoint_auth_method":"none"}}"#);
        let (mut writer, mut lines) = Writer::begin(now, "http://localhost:8080", "1");
        lines.extend(writer.client(crate::domain::client::tests::client(&id, &body, None, now)));
        lines.extend(writer.end(|_| [0; 32]));
        lines
    }

    fn words(stopped: &Stopped) -> String {
        match stopped {
            Stopped::Wrong(fault) | Stopped::Failed(fault) => crate::flow::fault::chain(fault),
        }
    }

    /// Somebody who may write to the file waits until it was looked at.
    #[tokio::test]
    async fn what_changes_between_the_look_and_the_writing_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (restore, settings) = begun(folder.path());
        let file = File::open(&restore.file).unwrap();
        let Ok((_, _, sum)) = restore.verify(&file, &settings, &BTreeSet::new()) else { panic!() };
        // Within the same file; and another one of its name.
        for replaced in [true, false] {
            if replaced {
                std::fs::remove_file(&restore.file).unwrap();
            }
            std::fs::write(&restore.file, backup("https://evil.example/")).unwrap();
            let path = folder.path().join(format!("data-{replaced}"));
            let filling = gateway::empty_store(&path, &settings).unwrap();
            let file = if replaced { file.try_clone().unwrap() } else { File::open(&restore.file).unwrap() };
            let filled = restore.fill(file, sum, filling, &BTreeSet::new()).await;
            assert_eq!(filled.is_ok(), replaced, "what was opened is what is written");
            // A gateway would not start on it.
            assert_eq!(
                gateway::empty_store(&path, &settings)
                    .is_err_and(|it| { crate::flow::fault::chain(&it).contains("cut off") }),
                !replaced
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_twice_is_no_backup() {
        let folder = tempfile::tempdir().unwrap();
        let (restore, settings) = begun(folder.path());
        let restore = Restore { file: folder.path().to_owned(), ..restore };
        let Err(stopped) = restore.restore(&settings).await else { panic!() };
        assert!(words(&stopped).contains("no file that can be read twice"), "{}", words(&stopped));
    }
}
