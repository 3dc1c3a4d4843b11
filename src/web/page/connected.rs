//! The page of connected apps at `/account`, and the page after signing out.
//!
//! Everything that a stranger wrote (names, client ids, redirect URIs) is a [`Label`] or a [`Verbatim`], as on the consent
//! page. The forms carry the sealed page; what is pressed is the name of a button.

use serde::Serialize;

use super::{Destination, Label, NamedBy, PageContext, PageKind, ScopeLine, StartAgain, Verbatim};

/// The page at `GET /account`; its forms post `form` and what was pressed to `/account`: `sign_in` or `another` (with the
/// name of a provider entry), `disconnect` (with the id of an app) or `disconnect_all`, both beside `account`, or `sign_out`.
///
/// Not `Debug`: the sealed page has no business in a log.
#[derive(Serialize)]
pub struct Connected {
    /// Who is signed in, and what they connected.
    pub accounts: Vec<SignedInAs>,
    /// Where nobody is signed in.
    pub others: Vec<SignInAt>,
    /// What was just disconnected.
    pub ended: Option<Ended>,
    /// The sealed page.
    pub form: String,
}

/// What was just disconnected.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Ended {
    /// Everything of an account.
    All,
    /// One app.
    One {
        /// Its name, where that is known.
        name: Option<Label>,
    },
}

/// A provider at which nobody is signed in.
#[derive(Clone, Serialize)]
pub struct SignInAt {
    /// The name of its entry.
    pub id: String,
    /// Its name for people.
    pub title: Label,
}

/// Somebody who is signed in.
#[derive(Clone, Serialize)]
pub struct SignedInAs {
    /// The name of the provider entry.
    pub id: String,
    /// Its name for people.
    pub title: Label,
    /// The login name there.
    pub login: Label,
    /// Whether the third party lets people choose an account.
    pub chooses_account: bool,
    /// The apps, on this page of the list.
    pub apps: Vec<ConnectedApp>,
    /// Which page of the list this is, and of how many.
    pub page: usize,
    /// How many pages there are.
    pub pages: usize,
    /// The page before this one.
    pub before: Option<StartAgain>,
    /// The page after this one.
    pub after: Option<StartAgain>,
    /// How many apps there are in all.
    pub in_all: usize,
    /// Whether there are more than were looked at.
    pub is_cut: bool,
}

/// An app that holds access.
#[derive(Clone, Serialize)]
pub struct ConnectedApp {
    /// Which.
    pub id: String,
    /// Its name.
    pub name: Label,
    /// Whose word that name is; nobody's, where nothing is known of the app any more.
    pub named_by: Option<NamedBy>,
    /// The host that publishes its metadata document, where it has one.
    pub published_by: Option<Verbatim>,
    /// Its client id.
    pub client_id: Verbatim,
    /// Where it sends people back to, in their words.
    pub destination: Option<Destination>,
    /// The same, whole.
    pub redirect_uri: Option<Verbatim>,
    /// The name of the MCP server, where it is still configured.
    pub server: Option<Label>,
    /// Its address.
    pub resource: Verbatim,
    /// What the app may do there.
    pub scopes: Vec<ScopeLine>,
    /// Since when it has been connected.
    pub since: Label,
    /// When it was last used; `None`: it has something open at this moment.
    pub used: Option<Label>,
    /// How often it is connected.
    pub grants: usize,
}

/// The page after signing out.
#[derive(Serialize)]
pub struct SignedOut {
    /// The third parties that have sessions of their own.
    pub providers: Vec<Label>,
}

impl PageContext for Connected {
    const KIND: PageKind = PageKind::Connected;

    fn samples() -> Vec<Self> {
        let at = |id: &str, title: &str| SignInAt { id: id.to_owned(), title: Label::new(title) };
        let page = |number: usize| StartAgain::new(&format!("/account?page={number}"));
        let account = |login: &str, apps: Vec<ConnectedApp>| SignedInAs {
            id: "github".to_owned(),
            title: Label::new("GitHub"),
            login: Label::new(login),
            chooses_account: true,
            in_all: apps.len(),
            apps,
            page: 1,
            pages: 1,
            before: None,
            after: None,
            is_cut: false,
        };
        let form = || "c2FtcGxlLXNlYWxlZC1wYWdl".to_owned();
        let of = |accounts: Vec<SignedInAs>, others: Vec<SignInAt>, ended| Self {
            accounts,
            others,
            ended,
            form: form(),
        };
        let [claude, code, reports, hostile] = ConnectedApp::samples();
        let many = SignedInAs {
            page: 2,
            pages: 3,
            before: page(1),
            after: page(3),
            in_all: 120,
            is_cut: true,
            ..account("octocat", vec![claude.clone(), code.clone()])
        };
        let slate = SignedInAs {
            id: "slate".to_owned(),
            title: Label::new("Slate"),
            chooses_account: false,
            ..account("grace.hopper", Vec::new())
        };
        vec![
            of(Vec::new(), vec![at("github", "GitHub")], None),
            of(Vec::new(), vec![at("github", "GitHub"), at("slate", "Slate <b>&amp;</b>")], None),
            of(vec![account("octocat", vec![claude, code.clone(), reports])], Vec::new(), None),
            of(vec![account("octocat", Vec::new())], Vec::new(), Some(Ended::All)),
            of(
                vec![account("\u{202E}<script>alert(1)</script>", vec![hostile]), slate],
                vec![at("other", "Other")],
                Some(Ended::One { name: Some(Label::new("<img src=x> \u{202E}")) }),
            ),
            of(vec![many], vec![at("slate", "Slate")], Some(Ended::One { name: None })),
        ]
    }
}

impl ConnectedApp {
    /// One that is described by a metadata document, one on this computer, one that the operator set up, a hostile one.
    fn samples() -> [Self; 4] {
        let claude = Self {
            id: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
            name: Label::new("Claude"),
            named_by: Some(NamedBy::App),
            published_by: Some(Verbatim::new("claude.ai")),
            client_id: Verbatim::new("https://claude.ai/oauth/metadata.json"),
            destination: Some(Destination::Web { host: Verbatim::new("claude.ai") }),
            redirect_uri: Some(Verbatim::new("https://claude.ai/api/mcp/auth_callback")),
            server: Some(Label::new("GitHub tools")),
            resource: Verbatim::new("https://mcp.example.com/mcp"),
            scopes: vec![
                ScopeLine::new("repo:read", Some("See your repositories")),
                ScopeLine::new(
                    "repo:write",
                    Some("Change files and open pull requests in your repositories"),
                ),
            ],
            since: Label::new("12 days ago"),
            used: None,
            grants: 1,
        };
        let code = Self {
            id: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb".to_owned(),
            name: Label::new("Visual Studio Code"),
            published_by: None,
            client_id: Verbatim::new("mcpd_ci_7Jw2mZs0Qm1vN4tYb8Xk3A"),
            destination: Some(Destination::Computer { port: Some(33418) }),
            redirect_uri: Some(Verbatim::new("http://127.0.0.1:33418/")),
            scopes: vec![ScopeLine::new("mcp", Some("Use GitHub tools"))],
            used: Some(Label::new("41 minutes ago")),
            grants: 3,
            ..claude.clone()
        };
        let reports = Self {
            id: "ccccccccccccccccccccccccccccccccccccccccccc".to_owned(),
            name: Label::new("Our reports"),
            named_by: Some(NamedBy::Operator),
            destination: Some(Destination::App { scheme: Verbatim::new("com.example.reports") }),
            redirect_uri: Some(Verbatim::new("com.example.reports:/callback")),
            client_id: Verbatim::new("reports"),
            used: Some(Label::new("3 days ago")),
            ..code.clone()
        };
        let nasty = "\"><img src=x onerror='alert(1)'>&amp;";
        let hostile = Self {
            id: nasty.to_owned(),
            name: Label::new(&"\u{202E}<script>alert(1)</script>\u{0301}\u{0301}\u{0301} ".repeat(300)),
            named_by: None,
            published_by: Some(Verbatim::new(&"accounts.github.com.".repeat(12))),
            client_id: Verbatim::new(nasty),
            destination: None,
            redirect_uri: Some(Verbatim::new(&format!("https://evil.example/{}", "cb/".repeat(200)))),
            server: None,
            scopes: vec![ScopeLine::new(nasty, None)],
            ..code.clone()
        };
        [claude, code, reports, hostile]
    }
}

impl PageContext for SignedOut {
    const KIND: PageKind = PageKind::SignedOut;

    fn samples() -> Vec<Self> {
        let of =
            |providers: &[&str]| Self { providers: providers.iter().map(|name| Label::new(name)).collect() };
        vec![of(&["GitHub"]), of(&["GitHub", "Slate <b>&amp;</b>"])]
    }
}
