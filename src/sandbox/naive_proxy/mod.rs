//! A proxy that is VULNERABLE ON PURPOSE: the confused deputy that mcp-deputy is built against.
//!
//! It does what many samples did, and does most of it right: registered redirect URIs are compared exactly, PKCE is
//! verified, codes work once, the third party's token stays inside. One thing is missing: nobody is asked. Its
//! `/authorize` sends every browser straight to the third party under the proxy's one static client there, whichever
//! client came. A third party that remembers that person's consent for this static client skips its page, and the
//! code goes to whoever registered.
//!
//! It exists to be attacked by the replay and the attack page, on loopback, with a simulated third party. Never copy
//! it, never give it real credentials; no other module may call into it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    chance::{random, s256},
    events::EventLog,
    fetch::Fetch,
    http::{
        Answer, Body, Bound, Params, answer, json as json_answer, page, read_bearer, read_body, read_form,
        redirect, text,
    },
    third_party::StaticClient,
};

/// The path at which the third party's codes arrive.
pub const CALLBACK: &str = "/callback";
/// Headers that travel to the MCP server behind.
const FORWARDED: [&str; 6] =
    ["accept", "content-type", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"];

/// What stands around the proxy.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where browsers are sent.
    pub authorization_endpoint: String,
    /// Where codes are exchanged.
    pub token_endpoint: String,
    /// The static client at the third party, the same one for all clients here.
    pub static_client: StaticClient,
    /// The third party's scopes.
    pub scope: String,
    /// The MCP server behind.
    pub mcp_server: String,
}

/// What the proxy did. No variant holds a code, token or state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Somebody registered a client.
    ClientRegistered {
        /// The id it got.
        client_id: String,
        /// What it calls itself.
        client_name: String,
        /// Where it wants its codes.
        redirect_uris: Vec<String>,
    },
    /// The proxy's own code was sent to a client.
    CodeSent {
        /// To which client.
        client_id: String,
        /// Where it went.
        redirect_uri: String,
    },
    /// A client called the MCP server through the proxy.
    McpCalled {
        /// Which.
        client_id: String,
    },
    /// A browser was sent to the third party. Nobody was asked.
    SentToThirdParty {
        /// On behalf of which client.
        client_id: String,
    },
    /// A client exchanged a code.
    TokenIssued {
        /// Which.
        client_id: String,
    },
}

/// A running naive proxy.
#[derive(Clone)]
pub struct NaiveProxy {
    shared: Arc<Shared>,
}

struct Shared {
    origin: String,
    around: Surroundings,
    fetch: Fetch,
    state: Mutex<State>,
    events: EventLog<Event>,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Vec<String>>,
    /// Requests on their way through the third party, by our `state`.
    requests: HashMap<String, Asked>,
    codes: HashMap<String, Redeemable>,
    tokens: HashMap<String, Redeemable>,
}

#[derive(Clone)]
struct Asked {
    client_id: String,
    redirect_uri: String,
    state: Option<String>,
    challenge: String,
}

/// What a code or token of ours stands for.
#[derive(Clone)]
struct Redeemable {
    asked: Asked,
    third_party_token: SecretString,
}

impl NaiveProxy {
    /// Serves on `bound` until `stop`. Its callback has to be registered at the third party.
    pub fn start(bound: Bound, around: Surroundings, stop: &CancellationToken) -> Self {
        let (origin, fetch, state, events) =
            (bound.origin(), Fetch::new(), Mutex::default(), EventLog::new());
        let shared = Arc::new(Shared { origin, around, fetch, state, events });
        let handler = Arc::clone(&shared);
        bound.serve(stop, move |request| Arc::clone(&handler).route(request));
        Self { shared }
    }

    /// `http://host:port`
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// What it did so far.
    pub fn events(&self) -> &EventLog<Event> {
        &self.shared.events
    }
}

impl Shared {
    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let mut response = match (request.method(), path.as_str()) {
            (&Method::GET, "/") => warning(),
            (&Method::GET, "/.well-known/oauth-authorization-server") => self.metadata(),
            (
                &Method::GET,
                "/.well-known/oauth-protected-resource" | "/.well-known/oauth-protected-resource/mcp",
            ) => self.resource_metadata(),
            (&Method::POST, "/register") => self.register(request).await,
            (&Method::GET, "/authorize") => self.authorize(&Params::of_query(&request)),
            (&Method::GET, CALLBACK) => self.callback(&Params::of_query(&request)).await,
            (&Method::POST, "/token") => self.token(&read_form(request).await),
            (&Method::POST, "/mcp") => self.forward(request).await,
            _ => text(StatusCode::NOT_FOUND, "not found"),
        };
        let label = HeaderValue::from_static("vulnerable on purpose");
        response.headers_mut().insert("x-naive-proxy", label);
        Ok(response)
    }

    fn metadata(&self) -> Response<Body> {
        let origin = &self.origin;
        let metadata = json!({
            "issuer": origin,
            "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "registration_endpoint": format!("{origin}/register"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
        });
        json_answer(StatusCode::OK, &metadata)
    }

    fn resource_metadata(&self) -> Response<Body> {
        let origin = &self.origin;
        let metadata = json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin] });
        json_answer(StatusCode::OK, &metadata)
    }

    /// Registration (RFC 7591): anybody, any name, any redirect URI.
    async fn register(&self, request: Request<Incoming>) -> Response<Body> {
        let body = read_body(request).await.unwrap_or_default();
        let wanted = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let uris = wanted.get("redirect_uris").and_then(Value::as_array).into_iter().flatten();
        let redirect_uris = uris.filter_map(Value::as_str).map(ToOwned::to_owned).collect::<Vec<_>>();
        if redirect_uris.is_empty() {
            return oauth_error("invalid_redirect_uri");
        }
        let client_id = random("client_");
        let client_name = wanted.get("client_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.state().clients.insert(client_id.clone(), redirect_uris.clone());
        let response = json!({
            "client_id": client_id,
            "client_name": client_name,
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
        });
        self.events.record(Event::ClientRegistered { client_id, client_name, redirect_uris });
        json_answer(StatusCode::CREATED, &response)
    }

    /// Here a consent page is missing. Everything else that belongs here is done.
    fn authorize(&self, query: &Params) -> Response<Body> {
        let (Some(client_id), Some(redirect_uri), Some(challenge)) =
            (query.get("client_id"), query.get("redirect_uri"), query.get("code_challenge"))
        else {
            return oauth_error("invalid_request");
        };
        let registered = |uris: &Vec<String>| uris.iter().any(|uri| uri == redirect_uri);
        if !self.state().clients.get(client_id).is_some_and(registered) {
            return oauth_error("invalid_request");
        }
        let asked = Asked {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            state: query.get("state").map(ToOwned::to_owned),
            challenge: challenge.to_owned(),
        };
        let Ok(mut location) = Url::parse(&self.around.authorization_endpoint) else {
            return oauth_error("server_error");
        };
        let state = random("");
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.around.static_client.client_id)
            .append_pair("redirect_uri", &format!("{}{CALLBACK}", self.origin))
            .append_pair("scope", &self.around.scope)
            .append_pair("state", &state);
        self.events.record(Event::SentToThirdParty { client_id: asked.client_id.clone() });
        self.state().requests.insert(state, asked);
        redirect(StatusCode::FOUND, location.as_str())
    }

    /// Whoever's browser brings the `state`: nothing ties it to the browser that started.
    async fn callback(&self, query: &Params) -> Response<Body> {
        let asked = query.get("state").and_then(|state| self.state().requests.remove(state));
        let Some(asked) = asked else { return oauth_error("invalid_request") };
        let Ok(mut location) = Url::parse(&asked.redirect_uri) else { return oauth_error("invalid_request") };
        let token = match query.get("code") {
            Some(code) => self.exchange(code).await,
            None => None,
        };
        if let Some(third_party_token) = token {
            let code = random("code_");
            location.query_pairs_mut().append_pair("code", &code);
            let (client_id, redirect_uri) = (asked.client_id.clone(), asked.redirect_uri.clone());
            self.events.record(Event::CodeSent { client_id, redirect_uri });
            self.state().codes.insert(code, Redeemable { asked: asked.clone(), third_party_token });
        } else {
            location.query_pairs_mut().append_pair("error", "access_denied");
        }
        location.query_pairs_mut().extend_pairs(asked.state.iter().map(|state| ("state", state)));
        redirect(StatusCode::FOUND, location.as_str())
    }

    fn token(&self, form: &Params) -> Response<Body> {
        let found = form.get("code").and_then(|code| self.state().codes.remove(code));
        let verified = found.filter(|found| {
            form.get("client_id") == Some(found.asked.client_id.as_str())
                && form.get("redirect_uri").is_none_or(|uri| uri == found.asked.redirect_uri)
                && form.get("code_verifier").map(s256).as_deref() == Some(found.asked.challenge.as_str())
        });
        let Some(found) = verified else { return oauth_error("invalid_grant") };
        self.events.record(Event::TokenIssued { client_id: found.asked.client_id.clone() });
        let token = random("token_");
        self.state().tokens.insert(token.clone(), found);
        json_answer(
            StatusCode::OK,
            &json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }),
        )
    }

    async fn forward(&self, request: Request<Incoming>) -> Response<Body> {
        let found = read_bearer(request.headers()).and_then(|token| self.state().tokens.get(token).cloned());
        let Some(found) = found else {
            let mut response = text(StatusCode::UNAUTHORIZED, "");
            let challenge = format!(
                "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"",
                self.origin
            );
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            return response;
        };
        self.events.record(Event::McpCalled { client_id: found.asked.client_id });
        let token = found.third_party_token.expose_secret();
        let mut onward =
            Request::post(&self.around.mcp_server).header(header::AUTHORIZATION, format!("Bearer {token}"));
        for name in FORWARDED {
            if let Some(value) = request.headers().get(name) {
                onward = onward.header(name, value);
            }
        }
        let body = read_body(request).await.unwrap_or_default();
        let Ok(onward) = onward.body(body) else { return oauth_error("invalid_request") };
        match self.fetch.send(onward).await {
            Ok(answered) => relay(answered),
            Err(_) => text(StatusCode::BAD_GATEWAY, ""),
        }
    }

    async fn exchange(&self, code: &str) -> Option<SecretString> {
        let client = &self.around.static_client;
        let credentials =
            STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret.expose_secret()));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "authorization_code"), ("code", code)])
            .append_pair("redirect_uri", &format!("{}{CALLBACK}", self.origin))
            .finish();
        let request = Request::post(&self.around.token_endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .ok()?;
        let answered = self.fetch.send(request).await.ok()?;
        let fields = serde_json::from_slice::<Value>(answered.body()).ok()?;
        Some(fields.get("access_token")?.as_str()?.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn relay(answered: Response<Bytes>) -> Response<Body> {
    let (parts, body) = answered.into_parts();
    let mut response = answer(parts.status, "application/octet-stream", body);
    for name in [header::CONTENT_TYPE, HeaderName::from_static("mcp-session-id")] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn oauth_error(error: &str) -> Response<Body> {
    json_answer(StatusCode::BAD_REQUEST, &json!({ "error": error }))
}

fn warning() -> Response<Body> {
    let body = "<p><strong>Vulnerable on purpose.</strong> This proxy asks nobody before it sends a browser to the \
                third party. It exists in the sandbox to be attacked, on loopback, and nowhere else.</p>";
    page(StatusCode::OK, "The naive proxy", "#b00020", body)
}

#[cfg(test)]
mod tests;
