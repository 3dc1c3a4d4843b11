//! The first `proxy.toml`: the smallest that is useful, from four answers.
//!
//! Owns the text, and the judgement of single answers before all are known. The judgement is that of the configuration
//! itself: an answer is put into a file whose other values are good.
//!
//! Must never hold a secret: the file says where it is. Must never write or ask; the command line does that
//! (`config init`).

use std::fmt::Write as _;
use std::path::PathBuf;

use url::Url;

use super::presets::{PRESETS, Preset, named};
use super::{ConfigError, from_text};
use crate::domain::origin::is_loopback_host;

/// What the first file is made from. Values that are not known yet are good ones of somebody else.
#[derive(Clone, Debug)]
pub struct Starter {
    /// The origin under which clients and browsers reach the gateway.
    pub public_url: String,
    /// The MCP server, as the gateway reaches it.
    pub upstream_url: String,
    /// The preset, which also names the configuration entry.
    pub provider: String,
    /// More keys of the provider that its preset needs, with their values.
    pub more: Vec<(&'static str, String)>,
    /// Our client identifier at the third party.
    pub client_id: String,
    /// Where its secret is.
    pub secret: SecretPlace,
}

/// Where the client secret is found at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(PathBuf),
}

impl Starter {
    /// For this preset, with sample values for everything else.
    pub fn new(provider: &str) -> Self {
        Self {
            public_url: "https://mcp.example.com".to_owned(),
            // Somewhere else, whatever the gateway's own address will be.
            upstream_url: "http://mcp-server.invalid/mcp".to_owned(),
            provider: provider.to_owned(),
            more: Vec::new(),
            client_id: "client-id".to_owned(),
            secret: SecretPlace::Env("CLIENT_SECRET".to_owned()),
        }
    }

    /// The file.
    pub fn text(&self) -> String {
        let listen = self.loopback_listener().map(|address| format!("listen = {}\n", quoted(&address)));
        let more = self.more.iter().map(|(key, value)| format!("{key} = {}\n", quoted(value)));
        let secret = match &self.secret {
            SecretPlace::Env(name) => format!("{{ env = {} }}", quoted(name)),
            SecretPlace::File(path) => format!("{{ file = {} }}", quoted(&path.to_string_lossy())),
        };
        format!(
            "# Every other key has a safe default: `mcp-deputy config example` shows them all.\n\
             public_url = {public_url}\n{listen}\n\
             [provider.{provider}]\npreset = {preset}\n{more}client_id = {client_id}\nclient_secret = {secret}\n\n\
             [[mcp_server]]\nupstream_url = {upstream_url}\n",
            public_url = quoted(&self.public_url),
            listen = listen.unwrap_or_default(),
            provider = self.provider,
            preset = quoted(&self.provider),
            more = more.collect::<String>(),
            client_id = quoted(&self.client_id),
            upstream_url = quoted(&self.upstream_url),
        )
    }

    /// Whether the answers so far are good. The secret is taken to be there.
    pub fn judge(&self) -> Result<(), ConfigError> {
        let there = Self { secret: SecretPlace::Env("CLIENT_SECRET".to_owned()), ..self.clone() };
        from_text("proxy.toml", &there.text(), &only("CLIENT_SECRET")).map(drop)
    }

    /// The redirect URI that has to be registered at the third party.
    pub fn callback(&self) -> String {
        format!("{}/callback/{}", self.public_url.trim_end_matches('/'), self.provider)
    }

    /// Where the first MCP server is reached by clients.
    pub fn resource(&self) -> String {
        format!("{}/mcp", self.public_url.trim_end_matches('/'))
    }

    /// What people call the third party.
    pub fn title(&self) -> &str {
        self.preset().map_or("", |preset| preset.title)
    }

    /// Where the operator creates the app: words that follow "at".
    pub fn apps(&self) -> String {
        let written = |name: &str| self.more.iter().find(|(key, _)| *key == name).map(|(_, value)| &**value);
        let page = self.preset().map_or_else(String::new, |preset| {
            preset.url(preset.apps, written("host").unwrap_or(preset.host), "")
        });
        match (self.title(), written("issuer").unwrap_or("your identity provider")) {
            ("", issuer) => issuer.to_owned(),
            (title, issuer) if page.is_empty() => format!("{title} ({issuer})"),
            (title, _) => format!("{title} ({page})"),
        }
    }

    /// Keys without which the preset is not complete, and which have no value yet.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let needs = self.preset().map(|preset| preset.needs).unwrap_or_default();
        needs.iter().copied().filter(|needed| self.more.iter().all(|(key, _)| key != needed))
    }

    fn preset(&self) -> Option<&'static Preset> {
        named(&self.provider)
    }

    /// Where the gateway has to listen itself, because nothing stands in front of it: a loopback URL on another port
    /// than the usual one.
    fn loopback_listener(&self) -> Option<String> {
        let url = Url::parse(&self.public_url).ok().filter(|url| url.scheme() == "http")?;
        url.host().filter(is_loopback_host)?;
        let (host, port) = (url.host_str()?, url.port().unwrap_or(80));
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let address = format!("{host}:{port}");
        (address != "127.0.0.1:8080").then_some(address)
    }
}

/// An environment in which only this variable is set.
pub fn only(variable: &str) -> impl Fn(&str) -> Option<String> {
    move |name| (name == variable).then(|| "there".to_owned())
}

/// Every preset, by the name that the file gives it.
pub fn presets() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// A text as TOML writes it (a basic string).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Four answers about GitHub.
    pub(crate) fn github() -> Starter {
        Starter {
            client_id: "Iv1.0123".to_owned(),
            secret: SecretPlace::File("github.secret".into()),
            ..Starter::new("github")
        }
    }

    #[test]
    fn it_is_small_and_means_what_was_answered() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("it's \"mine\"\\.secret");
        std::fs::write(&secret, "the-secret\n").unwrap();
        let starter = Starter { secret: SecretPlace::File(secret), ..github() };
        let settings = from_text("proxy.toml", &starter.text(), &|_| None).unwrap();
        assert_eq!(settings.public_url.as_str(), "https://mcp.example.com");
        assert_eq!(settings.providers[0].client_id, "Iv1.0123");
        assert_eq!(settings.servers[0].upstream_url.as_str(), "http://mcp-server.invalid/mcp");
        assert_eq!(settings.resource(&settings.servers[0]), starter.resource());
        assert_eq!(starter.callback(), "https://mcp.example.com/callback/github");
        assert_eq!(starter.apps(), "GitHub (https://github.com/settings/applications/new)");
        assert_eq!(starter.text().lines().filter(|line| line.contains(" = ")).count(), 5);
    }

    #[test]
    fn where_nothing_stands_in_front_it_listens_where_it_is_reached() {
        for (public_url, listen) in [
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://localhost:9000", "127.0.0.1:9000"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://[::1]", "[::1]:80"),
            ("http://localhost", "127.0.0.1:80"),
            ("https://mcp.example.com:9000", "127.0.0.1:8080"),
        ] {
            let starter = Starter {
                public_url: public_url.to_owned(),
                secret: SecretPlace::Env("A".to_owned()),
                ..github()
            };
            let settings = from_text("proxy.toml", &starter.text(), &only("A")).unwrap();
            assert_eq!(settings.listen, listen.parse().unwrap(), "{public_url}");
        }
    }

    #[test]
    fn each_answer_is_judged_by_itself() {
        assert_eq!(github().judge(), Ok(()));
        for wrong in [
            Starter { public_url: "mcp.example.com".to_owned(), ..github() },
            Starter { public_url: "http://mcp.example.com".to_owned(), ..github() },
            Starter { upstream_url: "stdio".to_owned(), ..github() },
            Starter { provider: "gihtub".to_owned(), ..github() },
            Starter { client_id: String::new(), ..github() },
            Starter { client_id: "a\nb".to_owned(), ..github() },
        ] {
            assert!(wrong.judge().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn for_every_preset_there_is_a_place_to_make_the_app_and_a_file_that_loads() {
        for name in presets() {
            let mut starter = Starter { secret: SecretPlace::Env("A".to_owned()), ..Starter::new(name) };
            assert_eq!(starter.judge().is_err(), starter.missing().count() > 0, "{name}");
            for key in starter.missing().collect::<Vec<_>>() {
                let value = match key {
                    "issuer" => "https://id.example.com",
                    _ => "11111111-2222-3333-4444-555555555555",
                };
                starter.more.push((key, value.to_owned()));
            }
            assert_eq!(starter.judge(), Ok(()), "{name}");
            assert!(starter.apps().contains("https://"), "{name}: {}", starter.apps());
        }
        let missing: Vec<_> = Starter::new("entra").missing().collect();
        assert_eq!(missing, ["tenant"]);
    }
}
