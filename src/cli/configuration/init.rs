//! `mcp-deputy config init`: four answers, and the gateway can run.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::terminal::Terminal;
use crate::config::{
    self, DEFAULT_FILE,
    starter::{SecretPlace, Starter, only, presets},
};

/// How often one question is asked.
const TRIES: usize = 3;

/// Where MCP servers usually listen.
const USUAL: [&str; 2] = ["http://127.0.0.1:3000/mcp", "http://127.0.0.1:8000/mcp"];

/// Answers that are given beforehand. What is left out is asked for on a terminal.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Init {
    /// The origin under which people and apps reach the gateway, such as `https://mcp.example.com`.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The MCP server, as the gateway reaches it, such as `http://127.0.0.1:3000/mcp`.
    #[arg(long, value_name = "URL")]
    upstream_url: Option<String>,
    /// The third party whose API the MCP server works with: the name of a preset.
    #[arg(long, value_name = "PRESET", default_value = "github")]
    provider: String,
    /// Host of an installation of your own, for presets that have such (GitHub Enterprise Server).
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The tenant's id, for presets that need it (entra).
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// The issuer, for presets that need it (oidc, okta).
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The client ID that the third party gave to your app.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file that holds the client secret; it is read at every start. `-`: take it from standard input, and write it to a
    /// file beside the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "client_secret_env")]
    client_secret_file: Option<PathBuf>,
    /// The environment variable that will hold the client secret.
    #[arg(long, value_name = "NAME")]
    client_secret_env: Option<String>,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// Why nothing was written: a sentence.
pub(super) type Stopped = String;

impl Init {
    /// Asks what is left, writes, and gives the words about what to do next. `is_asked`: somebody is there to answer.
    pub(super) fn run(&self, terminal: &mut dyn Terminal, is_asked: bool) -> Result<String, Stopped> {
        let beside = self.secret_beside();
        for path in [Some(&self.file), self.writes_secret().then_some(&beside)].into_iter().flatten() {
            if path.symlink_metadata().is_ok() {
                return Err(format!(
                    "{} is there already; nothing was written: give this gateway a folder of its own",
                    path.display()
                ));
            }
        }
        let mut starter = Starter::new(&self.provider);
        let more = [("host", &self.host), ("tenant", &self.tenant), ("issuer", &self.issuer)];
        starter.more.extend(more.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        if !presets().any(|name| name == self.provider) {
            let known = presets().collect::<Vec<_>>().join(", ");
            return Err(format!("there is no preset '{}'; there are: {known}", self.provider));
        }
        if let Some(key) = starter.missing().next() {
            return Err(format!("the preset {} needs --{key}", self.provider));
        }
        judged(&starter)?;
        if !is_asked {
            self.is_complete()?;
        }
        let mut questions = Questions { terminal, is_asked };
        // As it is copied from a browser's address bar.
        let without_slash = |url: &str| url.strip_suffix('/').unwrap_or(url).to_owned();
        starter.public_url = questions.answer(
            self.public_url.as_ref(),
            "The public URL of this gateway, as people's browsers and apps reach it",
            Some("http://localhost:8080"),
            |public_url| judged(&Starter { public_url: without_slash(public_url), ..starter.clone() }),
        )?;
        starter.public_url = without_slash(&starter.public_url);
        let fits = |url: &str| judged(&Starter { upstream_url: url.to_owned(), ..starter.clone() });
        starter.upstream_url = questions.answer(
            self.upstream_url.as_ref(),
            "The URL of your MCP server, as this gateway reaches it",
            // The gateway itself may be where one of them would be.
            USUAL.into_iter().find(|url| fits(url).is_ok()),
            fits,
        )?;
        if self.client_id.is_none() {
            questions.say(&format!(
                "\nCreate your app at {}\nwith this callback URL (redirect URI): {}\n",
                starter.apps(),
                starter.callback()
            ))?;
        }
        starter.client_id =
            questions.answer(self.client_id.as_ref(), "Its client ID", None, |client_id| {
                judged(&Starter { client_id: client_id.to_owned(), ..starter.clone() })
            })?;
        let secret = self.secret(&mut questions, &beside, &mut starter.secret)?;
        write(&self.file, &starter, secret.as_deref())?;
        Ok(self.told(&starter))
    }

    /// Whether the secret becomes a file here, instead of being somewhere already.
    fn writes_secret(&self) -> bool {
        self.client_secret_env.is_none() && self.client_secret_file.as_deref().is_none_or(is_input)
    }

    /// The file for the secret: beside the configuration, named after the provider.
    fn secret_beside(&self) -> PathBuf {
        self.file.with_file_name(format!("{}.secret", self.provider))
    }

    /// Whether flags say everything that nobody is there to be asked for.
    fn is_complete(&self) -> Result<(), Stopped> {
        let has_secret = self.client_secret_env.is_some() || self.client_secret_file.is_some();
        let missing: Vec<_> = [
            ("--public-url", self.public_url.is_some()),
            ("--upstream-url", self.upstream_url.is_some()),
            ("--client-id", self.client_id.is_some()),
            ("--client-secret-file or --client-secret-env", has_secret),
        ]
        .into_iter()
        .filter_map(|(flag, is_there)| (!is_there).then_some(flag))
        .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("this is no terminal, so nothing can be asked; missing: {}", missing.join(", ")))
    }

    /// Sets where the secret is; gives the secret itself where it has to be written there.
    fn secret(
        &self,
        questions: &mut Questions<'_>,
        beside: &Path,
        place: &mut SecretPlace,
    ) -> Result<Option<String>, Stopped> {
        if let Some(name) = &self.client_secret_env {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(fits) {
                return Err("--client-secret-env must be the name of an environment variable".to_owned());
            }
            *place = SecretPlace::Env(name.clone());
            return Ok(None);
        }
        if let Some(path) = self.client_secret_file.as_deref().filter(|path| !is_input(path)) {
            // Whether it can be used is judged when the file that names it is read back.
            *place = SecretPlace::File(path.to_owned());
            return Ok(None);
        }
        *place = SecretPlace::File(beside.to_owned());
        let secret = if self.client_secret_file.is_some() {
            let all = questions.terminal.rest().map_err(|error| unanswered(&error))?;
            all.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            questions.ask("Its client secret (not shown)", None, true, |secret| {
                if secret.is_empty() { Err("there is no app without a secret".to_owned()) } else { Ok(()) }
            })?
        };
        if secret.is_empty() || secret.contains(char::is_control) {
            return Err("the client secret must be one line of text; nothing was written".to_owned());
        }
        Ok(Some(secret))
    }

    /// What was done, and what comes next.
    fn told(&self, starter: &Starter) -> String {
        let config = match self.file.to_str() {
            Some(DEFAULT_FILE) => String::new(),
            _ => format!(" --config {}", self.file.display()),
        };
        let (secret, before) = match &starter.secret {
            SecretPlace::Env(name) => {
                (format!("The secret is taken from {name} at every start."), { format!("{name}=… ") })
            }
            SecretPlace::File(path) if self.writes_secret() => {
                (format!("The secret is in {}, which only you can read.", path.display()), String::new())
            }
            SecretPlace::File(path) => {
                (format!("The secret is read from {} at every start.", path.display()), String::new())
            }
        };
        let front = if starter.public_url.starts_with("https://") {
            "\nIt listens on 127.0.0.1:8080 without TLS: let your load balancer or web server pass requests on to it, with their\n\
             Host header, or set `listen` and `[tls]`.\n"
        } else {
            ""
        };
        format!(
            "Wrote {file}. {secret}\n\n\
             At {apps} the app must have this callback URL:\n  {callback}\n\n\
             Next:\n  {before}mcp-deputy check{config}\n  {before}mcp-deputy serve{config}\n\
             And while it runs, in another terminal:\n  {before}mcp-deputy doctor{config}\n{front}\n\
             People give their MCP client this URL, and nothing else:\n  {resource}\n",
            file = self.file.display(),
            apps = starter.apps(),
            callback = starter.callback(),
            resource = starter.resource(),
        )
    }
}

/// Questions, each with a few tries.
struct Questions<'t> {
    terminal: &'t mut dyn Terminal,
    is_asked: bool,
}

impl Questions<'_> {
    fn say(&mut self, text: &str) -> Result<(), Stopped> {
        if self.is_asked { self.terminal.say(text).map_err(|error| unanswered(&error)) } else { Ok(()) }
    }

    /// What a flag says, or what is answered.
    fn answer(
        &mut self,
        flag: Option<&String>,
        question: &str,
        default: Option<&str>,
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Stopped> {
        let Some(value) = flag else { return self.ask(question, default, false, judge) };
        judge(value).map(|()| value.clone())
    }

    fn ask(
        &mut self,
        question: &str,
        default: Option<&str>,
        is_secret: bool,
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Stopped> {
        let default_shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        for _ in 0..TRIES {
            self.say(&format!("\n{question}{default_shown}\n> "))?;
            let line = self.terminal.line(is_secret).map_err(|error| unanswered(&error))?;
            let Some(line) = line else {
                return Err("the answers ended; nothing was written".to_owned());
            };
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default.to_owned(),
                (answer, _) => answer.to_owned(),
            };
            match judge(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) => self.say(&format!("  {why}\n"))?,
            }
        }
        Err("that was not understood; nothing was written".to_owned())
    }
}

fn judged(starter: &Starter) -> Result<(), String> {
    starter.judge().map_err(|error| error.sentence().to_owned())
}

/// Writes the secret, then the file that names it, and reads everything back. Whatever fails, nothing is left behind.
fn write(path: &Path, starter: &Starter, secret: Option<&str>) -> Result<(), Stopped> {
    let mut written: Vec<&Path> = Vec::new();
    let all = (|| {
        if let (SecretPlace::File(place), Some(secret)) = (&starter.secret, secret) {
            create(place, 0o600, &format!("{secret}\n"))?;
            written.push(place);
        }
        create(path, 0o644, &starter.text())?;
        written.push(path);
        // The variable is the business of whoever starts the gateway.
        let env = match &starter.secret {
            SecretPlace::Env(name) => name,
            SecretPlace::File(_) => "",
        };
        config::load(Some(path), &only(env)).map(drop).map_err(|error| error.to_string())
    })();
    if all.is_err() {
        for path in written {
            let _ = fs::remove_file(path);
        }
    }
    all
}

/// A new file, with these permissions at most.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), Stopped> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
    });
    written.map_err(|error| format!("{} cannot be written: {}", path.display(), error.kind()))
}

fn is_input(path: &Path) -> bool {
    path == Path::new("-")
}

fn unanswered(error: &io::Error) -> Stopped {
    format!("the terminal cannot be used: {}", error.kind())
}

#[cfg(test)]
mod tests;
