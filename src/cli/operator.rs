//! `clients`, `consents`, `grants`: what there is, and the end of it, asked of the running gateway.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use http::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    reach::{Unreached, Where},
    table,
};

/// Of which kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// Apps.
    Clients,
    /// What people approved.
    Consents,
    /// What apps hold.
    Grants,
}

/// What to do with them.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List them
    List(List),
    /// Show one of them whole
    Show(Show),
    /// End some of them: at once, open streams included
    Revoke(Revoke),
}

/// What to do with apps.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum ClientVerb {
    #[command(flatten)]
    Verb(Verb),
    /// Take the revocation of one back: it may ask people anew, and has nothing until they approve
    Reinstate(Show),
}

/// What to list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct List {
    /// Only what belongs to this person: login name, e-mail address, or subject (issuer|id)
    #[arg(long, value_name = "WHO")]
    user: Option<String>,
    /// Only what belongs to this app: its client id, or the beginning of it
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only what is good at this MCP server: its URL, path or name
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Only apps with this in what they call themselves
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Also what has ended, was revoked, or was never used
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// As JSON: { "items": [ … ] }
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Which one to show.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Show {
    /// Its id, or the beginning of it where no other one begins like that
    id: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Which ones to end.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Revoke {
    /// Their ids, or the beginnings of them where no other one begins like that
    #[arg(value_name = "ID", required_unless_present = "user")]
    ids: Vec<String>,
    /// Everything that this person approved, for all apps: login name, e-mail address, or subject (issuer|id)
    #[arg(long, value_name = "WHO", conflicts_with = "ids")]
    user: Option<String>,
    /// As JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Puts ids that begin with a hyphen, as one of sixty-four does, where they are not taken for options: behind everything else.
/// No option of ours is a hyphen and several letters.
pub(super) fn with_ids_last(line: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let line: Vec<OsString> = line.collect();
    let is_about_ids =
        line.get(1).is_some_and(|noun| ["clients", "consents", "grants"].iter().any(|it| noun == it));
    if !is_about_ids || line.iter().any(|word| word == "--") {
        return line;
    }
    let is_id = |word: &OsString| {
        word.to_str().is_some_and(|word| word.len() > 4 && word.starts_with('-') && !word.starts_with("--"))
    };
    let (ids, mut others): (Vec<_>, Vec<_>) = line.into_iter().partition(is_id);
    if !ids.is_empty() {
        others.push("--".into());
        others.extend(ids);
    }
    others
}

/// Does it.
pub(super) fn run(what: What, verb: &Verb) -> ExitCode {
    let work = async {
        match verb {
            Verb::List(list) => list.run(what).await,
            Verb::Show(show) => show.run(what).await,
            Verb::Revoke(revoke) => revoke.run(what).await,
        }
    };
    super::asked(work)
}

/// Does it with apps.
pub(super) fn run_clients(verb: &ClientVerb) -> ExitCode {
    match verb {
        ClientVerb::Verb(verb) => run(What::Clients, verb),
        ClientVerb::Reinstate(which) => super::asked(which.reinstate()),
    }
}

impl What {
    fn path(self) -> &'static str {
        match self {
            Self::Clients => "/admin/v1/clients",
            Self::Consents => "/admin/v1/consents",
            Self::Grants => "/admin/v1/grants",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Clients => "the app",
            Self::Consents => "the consent",
            Self::Grants => "the grant",
        }
    }

    fn titles(self) -> &'static [&'static str] {
        match self {
            Self::Clients => {
                &["CLIENT", "NAME (UNVERIFIED)", "STATE", "REGISTERED", "LAST USED", "REDIRECTS TO"]
            }
            Self::Consents => {
                &["CONSENT", "USER", "APP (UNVERIFIED)", "SERVER", "SCOPES", "APPROVED", "STATE"]
            }
            Self::Grants => {
                &["GRANT", "USER", "APP (UNVERIFIED)", "CLIENT", "SERVER", "APPROVED", "LAST USED", "STATE"]
            }
        }
    }

    fn row(self, item: &Value) -> Vec<String> {
        let at = |key| text(item, key);
        match self {
            Self::Clients => vec![
                short_client(&at("id")),
                at("name"),
                at("state"),
                minute(&at("registered_at")),
                day(&at("used_at")),
                destinations(item),
            ],
            Self::Consents => vec![
                short_consent(&at("id")),
                who(item),
                at("client_name"),
                at("server"),
                list(item, "scopes"),
                minute(&at("granted_at")),
                at("state"),
            ],
            Self::Grants => vec![
                at("id"),
                who(item),
                at("client_name"),
                short_client(&at("client_id")),
                at("server"),
                minute(&at("approved_at")),
                minute(&at("used_at")),
                if item.get("in_use") == Some(&Value::Bool(true)) {
                    "in use".to_owned()
                } else {
                    at("state")
                },
            ],
        }
    }
}

impl List {
    async fn run(&self, what: What) -> Result<(), Unreached> {
        let gateway = self.place.gateway()?;
        let mut out = io::stdout().lock();
        let (mut shown, mut rows, mut after) = (0, Vec::new(), None::<String>);
        if self.json {
            written(write!(out, "{{\"items\":["))?;
        }
        loop {
            let page = gateway.ask(Method::GET, &self.page(what, after.as_deref())).await?;
            for item in page.get("items").and_then(Value::as_array).into_iter().flatten() {
                if self.limit.is_some_and(|limit| shown >= limit) {
                    break;
                }
                if self.json {
                    let comma = if shown == 0 { "\n" } else { ",\n" };
                    written(write!(out, "{comma}{}", table::json(&item.to_string())))?;
                } else {
                    rows.push(what.row(item));
                }
                shown += 1;
            }
            after = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
            if after.is_none() || self.limit.is_some_and(|limit| shown >= limit) {
                break;
            }
        }
        if self.json {
            return written(writeln!(out, "\n]}}"));
        }
        if rows.is_empty() {
            let hint = if self.all {
                ""
            } else {
                " With --all: also what has ended, was revoked or was never used."
            };
            return written(writeln!(out, "There is nothing like that.{hint}"));
        }
        written(table::rows(&mut out, what.titles(), &rows))
    }

    fn page(&self, what: What, after: Option<&str>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let client = self.client.as_deref().map(without_ellipsis);
        let all = self.all.then_some("true");
        for (key, value) in [
            ("user", self.user.as_deref()),
            ("client", client),
            ("server", self.server.as_deref()),
            ("name", self.name.as_deref()),
            ("all", all),
            ("after", after),
        ] {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        format!("{}?{}", what.path(), query.finish())
    }
}

impl Show {
    async fn run(&self, what: What) -> Result<(), Unreached> {
        let gateway = self.place.gateway()?;
        let item = gateway.ask(Method::GET, &about(what, "show", &self.id)).await;
        let item = item.map_err(|error| error.about(&table::plain(&self.id)))?;
        let mut out = io::stdout().lock();
        if self.json {
            return written(writeln!(out, "{}", table::json(&format!("{item:#}"))));
        }
        let object = item.as_object().into_iter().flatten();
        let facts: Vec<(&str, String)> = object
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.as_str(), fact(key, value)))
            .collect();
        written(table::facts(&mut out, &facts))
    }
}

impl Show {
    async fn reinstate(&self) -> Result<(), Unreached> {
        let gateway = self.place.gateway()?;
        let item = gateway.ask(Method::POST, &about(What::Clients, "reinstate", &self.id)).await?;
        let mut out = io::stdout().lock();
        if self.json {
            return written(writeln!(out, "{}", table::json(&format!("{item:#}"))));
        }
        let id = table::word(&text(&item, "id"));
        written(writeln!(out, "The app {id} may ask people again. What they had approved stays over."))
    }
}

impl Revoke {
    async fn run(&self, what: What) -> Result<(), Unreached> {
        let gateway = self.place.gateway()?;
        if let Some(who) = &self.user {
            if matches!(what, What::Clients) {
                const WHY: &str = "an app is not one person's: revoke the grants or consents of a person, or the app for everybody";
                return Err(Unreached::Wrong(WHY.to_owned()));
            }
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("id", who).finish();
            let revoked = gateway.ask(Method::POST, &format!("/admin/v1/users/revoke?{query}")).await?;
            return self.say("everything of", what, &revoked);
        }
        // One that cannot be ended keeps none of the others alive.
        let mut failed = None;
        for id in &self.ids {
            match gateway.ask(Method::POST, &about(what, "revoke", id)).await {
                Ok(revoked) => self.say(what.one(), what, &revoked)?,
                Err(error) => {
                    let before = failed.take();
                    failed = Some(error.about(&table::plain(id)).after(before));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn say(&self, of: &str, what: What, revoked: &Value) -> Result<(), Unreached> {
        let mut out = io::stdout().lock();
        if self.json {
            return written(writeln!(out, "{}", table::json(&revoked.to_string())));
        }
        let ended = revoked.get("grants_ended").and_then(Value::as_u64).unwrap_or_default();
        let ended = match (ended, what) {
            (0, What::Grants) => "it was over already".to_owned(),
            (0, _) => "it held nothing any more".to_owned(),
            (1, _) => "1 grant ended".to_owned(),
            (ended, _) => format!("{ended} grants ended"),
        };
        let id = table::word(&text(revoked, "id"));
        written(writeln!(out, "Revoked {of} {id}: {ended}."))
    }
}

fn about(what: What, verb: &str, id: &str) -> String {
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("id", without_ellipsis(id)).finish();
    format!("{}/{verb}?{query}", what.path())
}

/// Whoever copies an id out of a table may have copied what stands for the rest of it.
fn without_ellipsis(id: &str) -> &str {
    id.trim_end_matches('…')
}

/// Whether a line could be written. A reader that has seen enough is no mistake.
fn written(outcome: io::Result<()>) -> Result<(), Unreached> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Unreached::Failed(format!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn text(item: &Value, key: &str) -> String {
    item.get(key).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn list(item: &Value, key: &str) -> String {
    let words = item.get(key).and_then(Value::as_array).into_iter().flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// What people copy from here into another command.
const COPIED: [&str; 5] = ["id", "client_id", "consent", "subject", "login"];

fn fact(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if COPIED.contains(&key) => table::word(text),
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(|word| fact(key, word)).collect::<Vec<_>>().join(" "),
        Value::Object(inner) => {
            let facts = inner.iter().filter(|(_, value)| !value.is_null());
            facts.map(|(key, value)| format!("{key} {}", fact(key, value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn who(item: &Value) -> String {
    let user = item.get("user");
    let at = |key| user.and_then(|user| user.get(key)).and_then(Value::as_str);
    at("login").or_else(|| at("subject")).unwrap_or("-").to_owned()
}

/// Enough of an id that we gave out to find it again.
fn short_client(id: &str) -> String {
    const SHOWN: usize = "mcpd_ci_".len() + 10;
    match id.strip_prefix("mcpd_ci_") {
        Some(_) if id.len() > SHOWN => format!("{}…", id.get(..SHOWN).unwrap_or(id)),
        _ => id.to_owned(),
    }
}

fn short_consent(id: &str) -> String {
    let Some((subject, part)) = id.split_once('.') else { return id.to_owned() };
    format!("{}.{}", subject.get(..10).unwrap_or(subject), part.get(..10).unwrap_or(part))
}

/// Hosts, each once.
fn destinations(item: &Value) -> String {
    let mut hosts: Vec<String> = Vec::new();
    let uris = item.get("redirect_uris").and_then(Value::as_array).into_iter().flatten();
    for uri in uris.filter_map(Value::as_str) {
        let host = url::Url::parse(uri).ok().and_then(|url| url.host_str().map(ToOwned::to_owned));
        let host = host.unwrap_or_else(|| uri.to_owned());
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.join(" ")
}

fn minute(moment: &str) -> String {
    moment.get(..16).map_or_else(|| moment.to_owned(), |moment| moment.replace('T', " "))
}

fn day(moment: &str) -> String {
    moment.get(..10).unwrap_or(moment).to_owned()
}
