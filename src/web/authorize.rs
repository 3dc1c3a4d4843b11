//! `GET /authorize` (RFC 6749 section 4.1.1): the consent page, or a page that says why there is none. Never a redirect.
//!
//! Also what the consent page and the arrival page have in common: who asks for what.

use http::{StatusCode, header::SET_COOKIE};

use super::{
    page::{self, Asking, Consent, ErrorKind, Label, NameWarning, NamedBy, ScopeLine, Server, Verbatim},
    parameters::Parameters,
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::{
        catalog::{McpServer, ScopeDefinition},
        client::{Client, Source},
        name::ReservedNames,
        provider::Provider,
        redirect::Destination,
        refusal::Refusal,
        request::AuthorizationRequest,
        time::Timestamp,
    },
    flow::{AuthorizeQuery, ConsentPage},
};

/// Every parameter that is read, each at most once.
const ONCE: [&str; 10] = [
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
];

/// Shows the consent page.
pub(super) async fn answer(visit: &Visit<'_>) -> Reply {
    let parameters = match visit.query() {
        Ok(parameters) => parameters,
        Err(refusal) => return reply::failure_page(&visit.site.pages, &refusal.into(), visit.id, None),
    };
    if let Some(name) = parameters.repeated(&ONCE) {
        tracing::info!(reason = "parameter_repeated", parameter = name, "refused");
        return reply::error_page(&visit.site.pages, ErrorKind::BadParameter(name), visit.id, None);
    }
    let shown = match query(&parameters) {
        Ok(query) => visit.site.flows.authorize(query, visit.cookies().render()).await,
        Err(refusal) => Err(refusal.into()),
    };
    match shown {
        Ok(shown) => page(visit, &shown),
        Err(failure) => reply::failure_page(&visit.site.pages, &failure, visit.id, None),
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
    let context = Consent {
        asking: asked.asking(),
        provider_scopes: shown
            .request
            .provider_scopes
            .iter()
            .map(|name| provider_scope(&shown.provider, name))
            .collect(),
        missing_resource_warning: !shown.request.resource_named,
        request: shown.form.clone(),
    };
    let mut reply = reply::page(&visit.site.pages, StatusCode::OK, &context);
    if let Some(cookie) = &shown.set_render_cookie {
        reply.headers_mut().append(SET_COOKIE, visit.site.jar.render(cookie));
    }
    reply
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
        let destination = match self.destination {
            Destination::App { scheme } => page::Destination::App { scheme: Verbatim::new(scheme) },
            Destination::Loopback { port, .. } => page::Destination::Computer { port: Some(*port) },
            Destination::Site { host } => page::Destination::Web { host: Verbatim::new(host) },
        };
        let is_configured = self.client.source == Source::Configured;
        Asking {
            loopback_warning: !matches!(self.destination, Destination::Site { .. }),
            destination,
            client_name: Label::new(self.client.metadata.client_name.as_deref().unwrap_or_default()),
            named_by: if is_configured { NamedBy::Operator } else { NamedBy::App },
            name_warnings: if is_configured { Vec::new() } else { warnings(&self) },
            client_id: Verbatim::new(&self.client.id),
            source: Label::sentence(&if is_configured {
                "set up by the operator of this gateway".to_owned()
            } else {
                registered(self.client.registered_at, self.now)
            }),
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

/// What is odd about the name of an app, considering where it would get access.
fn warnings<S>(asked: &Asked<'_, S>) -> Vec<NameWarning> {
    let host = match asked.destination {
        Destination::Site { host } => Some(host.as_str()),
        Destination::App { .. } | Destination::Loopback { .. } => None,
    };
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

/// How long ago an app registered: an app that nobody knew a minute ago deserves a second look.
fn registered(at: Timestamp, now: Timestamp) -> String {
    let minutes = now.since(at).as_secs() / 60;
    let (number, unit) = match minutes {
        0 => return "registered itself less than a minute ago".to_owned(),
        1..=119 => (minutes, "minute"),
        120..=2879 => (minutes / 60, "hour"),
        _ => (minutes / (24 * 60), "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("registered itself {number} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_age_of_a_registration_is_told_in_words() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        for (seconds, words) in [
            (0, "less than a minute ago"),
            (60, "1 minute ago"),
            (3600, "60 minutes ago"),
            (7200, "2 hours ago"),
            (47 * 3600, "47 hours ago"),
            (48 * 3600, "2 days ago"),
        ] {
            assert_eq!(
                registered(now.before(Duration::from_secs(seconds)), now),
                format!("registered itself {words}")
            );
        }
    }
}
