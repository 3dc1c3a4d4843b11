//! `GET /authorize` (RFC 6749 section 4.1.1): the consent page, or a page that says why there is none. Never a redirect.
//!
//! Also what the consent page and the arrival page have in common: who asks for what.

use http::{StatusCode, header::SET_COOKIE};

use super::{
    limits::Gate,
    page::{
        self, Account, Age, Asking, Consent, Face, Label, NameWarning, NamedBy, ScopeLine, Server,
        StartAgain, Verbatim,
    },
    parameters::Parameters,
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::{
        catalog::{McpServer, ScopeDefinition},
        client::{Client, Source},
        document::host_of,
        name::ReservedNames,
        provider::Provider,
        redirect::Destination,
        refusal::Refusal,
        request::AuthorizationRequest,
        scope::ScopeSet,
        showing::Showing,
        time::Timestamp,
    },
    flow::{AuthorizeQuery, ConsentPage},
    observe::trace,
};

/// Every parameter that is read, each at most once.
const ONCE: [&str; 11] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "state",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "prompt",
];

/// Shows the consent page.
pub(super) async fn answer(visit: &Visit<'_>) -> Reply {
    if let Err(failure) = visit.pass_to_page(Gate::Authorizations) {
        return visit.turned_away(&failure);
    }
    let parameters = match visit.query_of(&ONCE) {
        Ok(parameters) => parameters,
        Err(refused) => return *refused,
    };
    let shown = match query(&parameters) {
        Ok(query) => {
            trace::current().comes_from(query.client_id.as_deref());
            let cookies = visit.cookies();
            visit.site.flows.authorize(query, cookies.render(), cookies.session()).await
        }
        Err(refusal) => Err(refusal.into()),
    };
    match shown {
        Ok(shown) => page(visit, &shown),
        Err(failure) => reply::failure_page(visit.voice(), &failure, visit.id, None),
    }
}

fn query(parameters: &Parameters) -> Result<AuthorizeQuery, Refusal> {
    Ok(AuthorizeQuery {
        client_id: parameters.take("client_id")?,
        redirect_uri: parameters.take("redirect_uri")?,
        response_type: parameters.take("response_type")?,
        response_mode: parameters.take("response_mode")?,
        state: parameters.take("state")?,
        scope: parameters.take("scope")?,
        code_challenge: parameters.take("code_challenge")?,
        code_challenge_method: parameters.take("code_challenge_method")?,
        resource: parameters.all("resource"),
        prompt: parameters.take("prompt")?,
        request_object: parameters.one("request")?.is_some() || parameters.one("request_uri")?.is_some(),
    })
}

fn page(visit: &Visit<'_>, shown: &ConsentPage) -> Reply {
    let asked = Asked {
        request: &shown.request,
        client: &shown.client,
        destination: &shown.destination,
        server: &shown.server,
        provider: &shown.provider,
        scopes: shown.scopes.iter(),
        names: &visit.site.flows.policy().registration.names,
        now: shown.rendered_at,
    };
    let mut asking = asked.asking();
    let provider_scopes = shown.request.provider_scopes.iter();
    let mut provider_scopes: Vec<_> =
        provider_scopes.map(|name| provider_scope(&shown.provider, name)).collect();
    if let Showing::Widened { scopes, provider_scopes: wider } = &shown.showing {
        mark(&mut asking.scopes, scopes, |line| &mut line.is_new);
        mark(&mut provider_scopes, wider, |line| &mut line.is_new);
    }
    mark(&mut asking.scopes, &shown.optional, |line| &mut line.is_optional);
    let context = Consent {
        asking,
        provider_scopes,
        missing_resource_warning: !shown.request.resource_named,
        face: match shown.showing {
            Showing::Full => Face::Full,
            Showing::Short => Face::Short,
            Showing::Widened { .. } => Face::Widened,
        },
        account: match &shown.request.named {
            Some(known) => Account::Known { login: Label::new(&known.login) },
            None if shown.request.chooses_account && shown.other_account.is_some() => Account::Chosen,
            None => Account::Unknown,
        },
        other_account: shown.other_account.as_deref().and_then(StartAgain::new),
        everything: StartAgain::new(&shown.everything),
        request: shown.form.clone(),
    };
    trace::current().leads_to(&shown.form);
    let mut reply = reply::page(visit.voice(), StatusCode::OK, &context);
    if let Some(cookie) = &shown.set_render_cookie {
        reply.headers_mut().append(SET_COOKIE, visit.site.jar.render(cookie));
    }
    reply
}

/// Marks the lines of these scopes.
fn mark(lines: &mut [ScopeLine], scopes: &ScopeSet, flag: impl Fn(&mut ScopeLine) -> &mut bool) {
    for line in lines.iter_mut().filter(|line| scopes.contains(line.name.as_str())) {
        *flag(line) = true;
    }
}

/// What both pages are made from.
pub(super) struct Asked<'a, S> {
    pub(super) request: &'a AuthorizationRequest,
    pub(super) client: &'a Client,
    pub(super) destination: &'a Destination,
    pub(super) server: &'a McpServer,
    pub(super) provider: &'a Provider,
    pub(super) scopes: S,
    /// Names that apps are not believed.
    pub(super) names: &'a ReservedNames,
    pub(super) now: Timestamp,
}

impl<'a, S: Iterator<Item = &'a ScopeDefinition>> Asked<'a, S> {
    pub(super) fn asking(self) -> Asking {
        let destination = page::Destination::from(self.destination);
        let is_configured = self.client.source == Source::Configured;
        Asking {
            loopback_warning: !matches!(self.destination, Destination::Site { .. }),
            destination,
            client_name: Label::seen(self.client.metadata.client_name.as_deref().unwrap_or_default()),
            named_by: named_by(self.client),
            name_warnings: if is_configured { Vec::new() } else { warnings(&self) },
            published_by: publisher(self.client).map(Verbatim::new),
            client_id: Verbatim::new(&self.client.id),
            source: source(self.client, self.now),
            redirect_uri: Verbatim::new(&self.request.redirect_uri),
            server: Server {
                name: Label::new(&self.server.name),
                url: Verbatim::new(self.server.resource.as_str()),
            },
            provider: Label::new(&self.provider.title),
            scopes: self
                .scopes
                .map(|scope| ScopeLine::new(&scope.name, Some(scope.description.as_str())))
                .collect(),
        }
    }
}

impl From<&Destination> for page::Destination {
    fn from(destination: &Destination) -> Self {
        match destination {
            Destination::App { scheme } => Self::App { scheme: Verbatim::new(scheme) },
            Destination::Loopback { port, .. } => Self::Computer { port: Some(*port) },
            Destination::Site { host } => Self::Web { host: Verbatim::new(host) },
        }
    }
}

/// Whose word the name of an app is.
pub(super) fn named_by(client: &Client) -> NamedBy {
    if client.source == Source::Configured { NamedBy::Operator } else { NamedBy::App }
}

/// What is odd about the name of an app, considering who publishes it, or else where it would get access.
fn warnings<S>(asked: &Asked<'_, S>) -> Vec<NameWarning> {
    let host = publisher(asked.client).or(match asked.destination {
        Destination::Site { host } => Some(host.as_str()),
        Destination::App { .. } | Destination::Loopback { .. } => None,
    });
    let name = asked.client.metadata.client_name.as_deref().unwrap_or_default();
    let verdict = asked.names.judge(name, host);
    let like = verdict.looks_like.as_deref().map(|name| NameWarning::LooksLike { name: Label::new(name) });
    let hides = verdict.hides.then_some(NameWarning::Hides);
    let mixes = verdict.mixes.then_some(NameWarning::Mixes);
    like.into_iter().chain(hides).chain(mixes).collect()
}

/// A third-party scope: its name, and words where there are any.
pub(super) fn provider_scope(provider: &Provider, name: &str) -> ScopeLine {
    ScopeLine::new(name, provider.scope_descriptions.get(name).map(String::as_str))
}

/// The host that publishes the metadata document of an app that has one.
pub(super) fn publisher(client: &Client) -> Option<&str> {
    host_of(&client.id).filter(|_| client.source == Source::Document)
}

/// Where an app comes from, and since when.
fn source(client: &Client, now: Timestamp) -> page::Source {
    let age = Age::of(now.since(client.registered_at));
    match client.source {
        Source::Configured => page::Source::configured(),
        Source::Document => page::Source::document(client.used_at.map(|_| age)),
        Source::Registered => page::Source::registered(age),
    }
}
