//! `keys`: the encryption keys: which there are, a new one, everything sealed anew, and the end of an old one.
//!
//! The running gateway does it; the commands ask and tell. With `--offline` they look at or change the key file of a gateway that
//! does not run, which seals everything anew when it starts. Keys of the configuration are changed there: the commands say how.

mod offline;
mod say;

use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use super::{
    reach::{Gateway, Unreached, Where},
    tell::{out, text, written, written_anyway},
};

/// How often is asked how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How often nobody may answer meanwhile: a restart of the gateway takes a while.
const PATIENCE: usize = 120;
/// How often a line is written where nobody watches.
const LINES_APART: usize = 10;

/// What to do with the keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Make a new key, which is in use at once. The gateway seals everything anew in the background
    New(Here),
    /// List them: which is in use, and how many records are sealed with each
    List(Here),
    /// Make a new key, wait until nothing is sealed with an older one, and drop those that nothing needs
    Rotate(Rotate),
    /// Drop the older keys that nothing needs any more
    Drop(DropOld),
}

/// Where the keys are, and how to say what there is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Here {
    /// Use the key file of a gateway that does not run: then it is not known what is sealed with which
    #[arg(long, conflicts_with_all = ["socket", "url"])]
    offline: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// How to replace the key.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The gateway does the work and goes on with it when this command is interrupted. A rotation that is under way is \
                        followed, and no further key is made.\n\n\
                        Exit status: 0 nothing is sealed with an older key any more; 1 it failed, or the key comes from the \
                        configuration: then the steps are printed; 64 the command line or the configuration is wrong."
)]
pub(super) struct Rotate {
    /// Drop the older keys as soon as nothing is sealed with them: whoever has a page open must begin again, and apps begin new
    /// sessions. For a key that somebody else may have
    #[arg(long)]
    now: bool,
    /// As JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// How to drop the older ones.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DropOld {
    /// Do not wait until pages and sessions that know them are gone
    #[arg(long)]
    now: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Does it.
pub(super) fn run(keys: &Keys) -> ExitCode {
    super::asked(async {
        match keys {
            Keys::New(new) if new.offline => offline::new(&new.place, new.json),
            Keys::New(new) => make(new).await,
            Keys::List(list) if list.offline => offline::list(&list.place, list.json),
            Keys::List(list) => show(list).await,
            Keys::Rotate(rotate) => rotate.run().await,
            Keys::Drop(drop) => drop.run().await,
        }
    })
}

async fn make(here: &Here) -> Result<(), Unreached> {
    let gateway = here.place.gateway()?;
    refuse_configured(&keys_of(&gateway).await?, here.json)?;
    let made = gateway.ask(Method::POST, "/admin/v1/keys/new").await?;
    if here.json {
        return out(&format!("{made:#}"));
    }
    out(&format!(
        "The key {} is in use from now on, and the gateway seals everything anew with it. How far it is: mcp-deputy keys list\n\
         Keep a copy of the key file somewhere else than the backups.",
        text(&made, "id")
    ))
}

async fn show(here: &Here) -> Result<(), Unreached> {
    let gateway = here.place.gateway()?;
    let listed = gateway.ask(Method::GET, "/admin/v1/keys?count=true").await?;
    if here.json {
        return out(&format!("{listed:#}"));
    }
    written(say::list(&mut io::stdout().lock(), &listed))
}

impl Rotate {
    async fn run(&self) -> Result<(), Unreached> {
        let gateway = self.place.gateway()?;
        let before = keys_of(&gateway).await?;
        refuse_configured(&before, self.json)?;
        let id = if state(&before) == "done" { self.make(&gateway, &before).await? } else { None };
        let id = if let Some(id) = id {
            self.tell(
                &json!({ "event": "made", "key": id }),
                &format!("The key {id} is in use from now on."),
            )?;
            id
        } else {
            let id = text(&part(&keys_of(&gateway).await?, "resealing"), "key");
            let sentence = format!("A rotation to the key {id} is under way; no further key is made.");
            self.tell(&json!({ "event": "followed", "key": id }), &sentence)?;
            id
        };
        let resealing = self.follow(&gateway).await?;
        let resealed = resealing.get("resealed").and_then(Value::as_u64).unwrap_or_default();
        if !self.json {
            out(&format!(
                "Nothing is sealed with an older key any more; {resealed} records were sealed anew."
            ))?;
        }
        let dropped = gateway.ask(Method::POST, drop_path(self.now)).await?;
        if self.json {
            let (gone, kept) = (part(&dropped, "dropped"), part(&dropped, "kept"));
            let done =
                json!({ "event": "done", "key": id, "resealed": resealed, "dropped": gone, "kept": kept });
            return out(&done.to_string());
        }
        written(say::dropped(&mut io::stdout().lock(), &dropped))?;
        out("Keep a copy of the key file somewhere else than the backups.")
    }

    /// Makes a key in the place of the one that was seen. `None`: somebody else did.
    async fn make(&self, gateway: &Gateway, before: &Value) -> Result<Option<String>, Unreached> {
        let current = text(&part(before, "resealing"), "key");
        let made = gateway.ask(Method::POST, &format!("/admin/v1/keys/new?instead_of={current}")).await;
        match made {
            Ok(made) => Ok(Some(text(&made, "id"))),
            // It answers the same where it cannot; then there is no other one.
            Err(error) => {
                let now = text(&part(&keys_of(gateway).await?, "resealing"), "key");
                if now == current { Err(error) } else { Ok(None) }
            }
        }
    }

    /// Waits until nothing is sealed with an older key, and shows how far it is.
    async fn follow(&self, gateway: &Gateway) -> Result<Value, Unreached> {
        let is_watched = !self.json && io::stderr().is_terminal();
        let (mut shown, mut since, mut failures) = (String::new(), 0, 0);
        loop {
            let resealing = match keys_of(gateway).await {
                Ok(keys) => part(&keys, "resealing"),
                Err(error) if failures >= PATIENCE => {
                    let error =
                        format!("{error}; what was begun goes on with its next start: mcp-deputy keys list");
                    return Err(Unreached::Failed(error));
                }
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
            };
            failures = 0;
            let state = text(&resealing, "state");
            let (line, is_over) = (say::progress(&resealing), state == "done");
            since += 1;
            if is_watched {
                // The line is written over: `\x1b[K` clears what was longer.
                let end = if is_over { "\n" } else { "" };
                let _ = write!(io::stderr(), "\r{line}\x1b[K{end}");
            } else if line != shown && (since > LINES_APART || shown.is_empty() || is_over) {
                let event = json!({ "event": "progress", "state": state, "records": part(&resealing, "records"),
                    "resealed": part(&resealing, "resealed"), "unreadable": part(&resealing, "unreadable") });
                self.tell(&event, &line)?;
                (shown, since) = (line, 0);
            }
            if is_over {
                return Ok(resealing);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn tell(&self, event: &Value, sentence: &str) -> Result<(), Unreached> {
        if self.json { out(&event.to_string()) } else { out(sentence) }
    }
}

impl DropOld {
    async fn run(&self) -> Result<(), Unreached> {
        let dropped = self.place.gateway()?.ask(Method::POST, drop_path(self.now)).await?;
        if self.json {
            return out(&format!("{dropped:#}"));
        }
        written(say::dropped(&mut io::stdout().lock(), &dropped))
    }
}

fn drop_path(now: bool) -> &'static str {
    if now { "/admin/v1/keys/drop?now=true" } else { "/admin/v1/keys/drop" }
}

async fn keys_of(gateway: &Gateway) -> Result<Value, Unreached> {
    gateway.ask(Method::GET, "/admin/v1/keys").await
}

/// A member of an answer; null where it has none.
fn part(answer: &Value, name: &str) -> Value {
    answer.get(name).cloned().unwrap_or_default()
}

fn state(keys: &Value) -> String {
    text(&part(keys, "resealing"), "state")
}

/// Where the key is not one of a key file, says what to do instead.
fn refuse_configured(keys: &Value, in_json: bool) -> Result<(), Unreached> {
    match text(&keys.pointer("/keys/0").cloned().unwrap_or_default(), "origin").as_str() {
        "key_file" => Ok(()),
        "configuration" => {
            if in_json {
                out(&json!({ "error": "keys_configured", "steps": say::STEPS }).to_string())?;
            } else {
                say::steps(&mut io::stdout().lock()).or_else(written_anyway)?;
            }
            Err(Unreached::Failed("the encryption key comes from the configuration; nothing was changed".to_owned()))
        }
        _ => Err(Unreached::Failed(
            "the store is in memory: its encryption key ends with the process, and a restart makes another one".to_owned(),
        )),
    }
}
