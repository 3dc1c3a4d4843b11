//! The consent page: what a person is asked before the browser is sent to the third party.
//!
//! [`Asking`] is the part that the consent page and the arrival page have in common: who would receive access, to
//! what. Its fields are filled from the verified request, never from the URL.

use std::time::Duration;

use serde::Serialize;

use super::{Age, Demands, Label, PageContext, PageKind, Source, StartAgain, Verbatim};

/// The page at `GET /authorize`; its form posts `request`, `decision` (`deny` or `approve`) and a `scope` for each ticked box
/// to `/consent`.
///
/// Not `Debug`: the sealed request has no business in a log.
#[derive(Serialize)]
pub struct Consent {
    /// Who asks for what.
    pub asking: Asking,
    /// What the third party will be asked for.
    pub provider_scopes: Vec<ScopeLine>,
    /// The client sent no `resource` (RFC 8707): the page then asks whether it was given exactly our address.
    pub missing_resource_warning: bool,
    /// How much of it is shown.
    pub face: Face,
    /// Whose account is meant.
    pub account: Account,
    /// The same request with another account; where the third party lets people choose.
    pub other_account: Option<StartAgain>,
    /// The same request on the full page.
    pub everything: Option<StartAgain>,
    /// The sealed pending request.
    pub request: String,
}

/// How much of the consent page is shown.
#[derive(Clone, Copy, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Face {
    /// Everything.
    Full,
    /// Destination, MCP server and account: the same was approved before.
    Short,
    /// Everything, and what is new is marked [`ScopeLine::is_new`].
    Widened,
}

/// Whose account at the third party a page is about.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Account {
    /// The person will choose it there.
    Chosen,
    /// The one that this browser was last used with.
    Known {
        /// Its login name.
        login: Label,
    },
    /// Nobody knows before the third party has said so.
    Unknown,
}

/// Who asks for access to what.
#[derive(Clone, Serialize)]
pub struct Asking {
    /// Where the code would go: the first and largest thing on the page.
    pub destination: Destination,
    /// The client's name; `None` where it shows nothing.
    pub client_name: Option<Label>,
    /// Whose word that name is.
    pub named_by: NamedBy,
    /// What is odd about that name.
    pub name_warnings: Vec<NameWarning>,
    /// The host that publishes the client's metadata document, where the client id is the URL of one: the one thing about
    /// the client that was verified.
    pub published_by: Option<Verbatim>,
    /// The client's identifier.
    pub client_id: Verbatim,
    /// Where the client comes from and since when.
    pub source: Source,
    /// The redirect URI, whole.
    pub redirect_uri: Verbatim,
    /// The MCP server that the client would use.
    pub server: Server,
    /// The third party's name.
    pub provider: Label,
    /// The MCP scopes.
    pub scopes: Vec<ScopeLine>,
    /// The redirect ends on the person's own device, where any program could be listening.
    pub loopback_warning: bool,
}

/// Where a redirect URI leads, in a person's words.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Destination {
    /// A private-use scheme (RFC 8252 §7.1): whichever app on the device has claimed it.
    App {
        /// The scheme without its colon.
        scheme: Verbatim,
    },
    /// A loopback address (RFC 8252 §7.3).
    Computer {
        /// The port, where the redirect URI names one.
        port: Option<u16>,
    },
    /// A host on the web, in ASCII (punycode where it must be), with its port if it is not the scheme's own.
    Web {
        /// The host.
        host: Verbatim,
    },
}

/// Whose word the client's name is.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedBy {
    /// The app itself, unverified: registration (RFC 7591) and metadata documents.
    App,
    /// The operator of this gateway, in its configuration.
    Operator,
}

/// What is odd about a name that an app chose for itself.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NameWarning {
    /// It holds characters that nobody sees or that change the order of others.
    Hides,
    /// It is, or looks like, the name of somebody else.
    LooksLike {
        /// That name.
        name: Label,
    },
    /// It mixes alphabets whose letters look alike.
    Mixes,
}

/// An MCP server as people see it.
#[derive(Clone, Serialize)]
pub struct Server {
    /// Its configured name.
    pub name: Label,
    /// Its address here: the resource identifier.
    pub url: Verbatim,
}

/// One scope in a list.
#[derive(Clone, Serialize)]
pub struct ScopeLine {
    /// The scope as it goes over the wire.
    pub name: Verbatim,
    /// What it means, where we know.
    pub words: Option<Label>,
    /// It was not part of what the person approved before.
    pub is_new: bool,
    /// It has a box that can be unticked. Only the consent page has them.
    pub is_optional: bool,
}

impl ScopeLine {
    /// All of these must be shown, in words and by name.
    pub(super) fn demand(what: &'static str, lines: &[Self], demands: &mut Demands) {
        for line in lines {
            if let Some(words) = &line.words {
                demands.label(what, words);
            }
            demands.verbatim(what, &line.name);
        }
    }

    /// A scope without any mark.
    pub fn new(name: &str, words: Option<&str>) -> Self {
        Self {
            name: Verbatim::new(name),
            words: words.map(Label::sentence),
            is_new: false,
            is_optional: false,
        }
    }
}

impl PageContext for Consent {
    const KIND: PageKind = PageKind::Consent;

    fn demands(&self, demands: &mut Demands) {
        self.asking.demand(demands);
        if let Account::Known { login } = &self.account {
            demands.label("the account", login);
        }
        let mut boxes = Vec::new();
        if self.face != Face::Short {
            self.asking.demand_details(demands);
            ScopeLine::demand("a scope of the provider", &self.provider_scopes, demands);
            if self.missing_resource_warning {
                let url = self.asking.server.url.as_str().to_owned();
                demands.told_with("warning.no_resource", vec![("url", url)]);
            }
            if self.face == Face::Widened {
                demands.told("warning.asks_for_more");
            }
            let optional = self.asking.scopes.iter().filter(|line| line.is_optional);
            boxes.extend(optional.map(|line| line.name.as_str().to_owned()));
        }
        demands.form("/consent", ("request", &self.request), boxes);
    }

    fn samples() -> Vec<Self> {
        let path =
            |more: &str| StartAgain::new(&format!("/authorize?client_id=c&state=%22'<script>&prompt={more}"));
        let mut all: Vec<Self> = Asking::samples()
            .into_iter()
            .enumerate()
            .map(|(index, asking)| Self {
                face: Face::Full,
                account: Account::Unknown,
                other_account: path("select_account"),
                everything: path("consent"),
                provider_scopes: match index {
                    0 => vec![
                        ScopeLine::new(
                            "repo",
                            Some("Read and write your repositories, private ones included"),
                        ),
                        ScopeLine::new("read:user", Some("Read your profile")),
                        ScopeLine::new("write:packages", None),
                    ],
                    1 => vec![ScopeLine::new("read:user", Some("Read your profile"))],
                    _ => Vec::new(),
                },
                missing_resource_warning: index == 1,
                request: "c2FtcGxlLXNlYWxlZC1yZXF1ZXN0".to_owned(),
                asking,
            })
            .collect();
        let hosted = || Asking::samples().remove(0);
        let like = |asking: Asking, face, login: &str| Self {
            face,
            account: Account::Known { login: Label::new(login) },
            other_account: path("select_account"),
            everything: path("consent"),
            provider_scopes: vec![
                ScopeLine::new("read:user", Some("Read your profile")),
                ScopeLine {
                    is_new: face == Face::Widened,
                    ..ScopeLine::new("repo", Some("Read and write your repositories"))
                },
            ],
            missing_resource_warning: false,
            request: "c2FtcGxlLXNlYWxlZC1yZXF1ZXN0".to_owned(),
            asking,
        };
        let mut widened = hosted();
        for line in widened.scopes.iter_mut().skip(1) {
            (line.is_new, line.is_optional) = (true, true);
        }
        let mut choosable = hosted();
        choosable.scopes.push(ScopeLine::new("issues", Some("See and comment on issues and pull requests")));
        choosable.scopes.push(ScopeLine::new("raw", None));
        choosable.scopes.iter_mut().skip(1).for_each(|line| line.is_optional = true);
        let mut hostile = Asking::samples().remove(3);
        hostile.scopes.iter_mut().for_each(|line| line.is_optional = true);
        all.extend([
            like(hosted(), Face::Short, "octocat"),
            like(widened, Face::Widened, "octocat"),
            Self { account: Account::Chosen, ..like(choosable, Face::Full, "octocat") },
            Self { other_account: None, ..like(hostile.clone(), Face::Short, "\u{202E}x<b>'\"&") },
            like(hostile, Face::Full, "<script>alert(1)</script>"),
        ]);
        all
    }
}

impl Asking {
    /// What must be shown of it on every page of approval, where access would go first.
    pub(super) fn demand(&self, demands: &mut Demands) {
        match &self.destination {
            Destination::App { scheme } => {
                demands.destination("destination.app", &format!("{}:", scheme.as_str()));
            }
            Destination::Computer { port } => {
                let (name, places) = match port {
                    Some(port) => ("destination.this_computer_port", vec![("port", port.to_string())]),
                    None => ("destination.this_computer", Vec::new()),
                };
                demands.destination_told("destination.computer", name, places);
            }
            Destination::Web { host } => demands.destination("destination.web", host.as_str()),
        }
        match &self.client_name {
            Some(name) => demands.label("the name of the app", name),
            None => demands.told("app.nameless"),
        }
        demands.told(match self.named_by {
            NamedBy::App => "app.named_by_app",
            NamedBy::Operator => "app.named_by_operator",
        });
        if let Some(host) = &self.published_by {
            demands.told_with("app.published_by", vec![("host", host.as_str().to_owned())]);
        }
        for warning in &self.name_warnings {
            match warning {
                NameWarning::Hides => demands.told("warning.hides"),
                NameWarning::LooksLike { name } => {
                    demands.told_with("warning.looks_like", vec![("name", name.as_str().to_owned())]);
                    demands.told("warning.go_by_host");
                }
                NameWarning::Mixes => demands.told("warning.mixes"),
            }
        }
        if self.loopback_warning {
            demands.told("warning.started");
            demands.told(match self.destination {
                Destination::App { .. } => "warning.any_app",
                _ => "warning.any_program",
            });
            demands.told("warning.else_deny");
            if let Some(host) = &self.published_by {
                demands.told_with("warning.published_elsewhere", vec![("host", host.as_str().to_owned())]);
            }
        }
        demands.label("the name of the MCP server", &self.server.name);
        demands.verbatim("the address of the MCP server", &self.server.url);
        demands.label("the name of the provider", &self.provider);
    }

    /// What is shown besides wherever the page is a full one.
    pub(super) fn demand_details(&self, demands: &mut Demands) {
        demands.verbatim("the redirect URI", &self.redirect_uri);
        demands.verbatim("the client id", &self.client_id);
        ScopeLine::demand("a scope", &self.scopes, demands);
    }

    /// A hosted client, one on this computer, an installed app set up by the operator, a hostile one, and one that is
    /// described by a metadata document.
    pub(super) fn samples() -> Vec<Self> {
        let server =
            Server { name: Label::new("GitHub tools"), url: Verbatim::new("https://mcp.example.com/mcp") };
        let hosted = Self {
            destination: Destination::Web { host: Verbatim::new("claude.ai") },
            client_name: Label::seen("Claude"),
            named_by: NamedBy::App,
            name_warnings: Vec::new(),
            published_by: None,
            client_id: Verbatim::new("c_7Jw2mZs0Qm1vN4tYb8Xk3A"),
            source: Source::registered(Age::of(Duration::from_secs(200))),
            redirect_uri: Verbatim::new("https://claude.ai/api/mcp/auth_callback"),
            server,
            provider: Label::new("GitHub"),
            scopes: vec![
                ScopeLine::new("repo:read", Some("See your repositories")),
                ScopeLine::new(
                    "repo:write",
                    Some("Change files and open pull requests in your repositories"),
                ),
            ],
            loopback_warning: false,
        };
        let local = Self {
            destination: Destination::Computer { port: Some(33418) },
            client_name: Label::seen("Visual Studio Code"),
            redirect_uri: Verbatim::new("http://127.0.0.1:33418/"),
            scopes: vec![ScopeLine::new("mcp", Some("Use GitHub tools"))],
            loopback_warning: true,
            ..hosted.clone()
        };
        let installed = Self {
            destination: Destination::App { scheme: Verbatim::new("cursor") },
            client_name: Label::seen("Cursor"),
            named_by: NamedBy::Operator,
            source: Source::configured(),
            redirect_uri: Verbatim::new("cursor://anysphere.cursor-mcp/oauth/callback"),
            scopes: Vec::new(),
            loopback_warning: true,
            ..hosted.clone()
        };
        let host = format!("{}evil.example", "accounts.github.com.".repeat(12));
        let hostile = Self {
            client_name: Label::seen(
                &"\u{202E}<script>alert(1)</script>\u{0301}\u{0301}\u{0301} ".repeat(300),
            ),
            name_warnings: vec![
                NameWarning::Hides,
                NameWarning::Mixes,
                NameWarning::LooksLike { name: Label::new("GitHub <b>&amp;</b>") },
            ],
            client_id: Verbatim::new("\"><img src=x onerror='alert(1)'>&amp;"),
            redirect_uri: Verbatim::new(&format!("https://{host}/{}", "cb/".repeat(200))),
            destination: Destination::Web { host: Verbatim::new(&host) },
            ..hosted.clone()
        };
        let portless = Self { destination: Destination::Computer { port: None }, ..local.clone() };
        let published = Self {
            client_name: Label::seen("Claude Code"),
            published_by: Some(Verbatim::new("claude.ai")),
            client_id: Verbatim::new("https://claude.ai/oauth/claude-code.json"),
            source: Source::document(None),
            ..local.clone()
        };
        vec![hosted, local, installed, hostile, portless, published]
    }
}
