//! An MCP client, as far as authorization goes: it registers, builds authorization requests, and spends what it gets.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use mcp_deputy::{domain::pkce::CodeChallenge, sandbox::fetch::Fetch};
use serde_json::{Value, json};

use super::{Answer, Gateway, Reply, gateway::form_request, random, secrets};

/// The callback of clients on this computer. Nobody listens there: browsers record what they were sent to.
pub(crate) const LOOPBACK: &str = "http://127.0.0.1:33418/callback";
/// The callback of a hosted client.
pub(crate) const HOSTED: &str = "https://app.example/callback";

/// What a client says of itself.
pub(crate) struct Registration(pub(crate) Value);

impl Registration {
    /// An app on this computer, without a secret.
    pub(crate) fn native(name: &str) -> Self {
        Self::hosted(name, LOOPBACK)
    }

    /// A hosted app. Each is another client, whatever its name: public ones that say the very same would be one.
    pub(crate) fn hosted(name: &str, redirect_uri: &str) -> Self {
        static VERSION: AtomicU64 = AtomicU64::new(0);
        Self(json!({
            "client_name": name,
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
            "software_version": VERSION.fetch_add(1, Ordering::Relaxed).to_string(),
        }))
    }

    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0[member] = value.into();
        self
    }

    /// Registers.
    pub(crate) async fn at(self, gateway: &Gateway) -> Client {
        let reply = gateway.post_json("/register", &self.0).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        Client::registered(&gateway.origin, &reply.json())
    }
}

/// A registered client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    pub(crate) method: String,
    pub(crate) redirect_uri: String,
    origin: String,
    fetch: Fetch,
}

/// What the token endpoint gave.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
}

/// An authorization request; every part can be changed before it is sent.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) verifier: String,
    origin: String,
}

impl Client {
    /// From the answer of the registration endpoint.
    pub(crate) fn registered(origin: &str, answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().map(ToOwned::to_owned);
        let secret = text("client_secret");
        for secret in [secret.as_ref(), text("registration_access_token").as_ref()].into_iter().flatten() {
            secrets::note(secret);
        }
        Self {
            id: text("client_id").unwrap(),
            secret,
            method: text("token_endpoint_auth_method").unwrap(),
            redirect_uri: answer["redirect_uris"][0].as_str().unwrap().to_owned(),
            origin: origin.to_owned(),
            fetch: super::tls::fetch(),
        }
    }

    /// A request for the MCP server at `/mcp`, with fresh PKCE and state.
    pub(crate) fn asks(&self) -> Asking {
        let verifier = random("verifier-0123456789-");
        let challenge = CodeChallenge::of(&verifier);
        let parameters = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("state", &random("state-")),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("resource", &format!("{}/mcp", self.origin)),
        ];
        Asking {
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            verifier,
            origin: self.origin.clone(),
        }
    }

    /// A token request with this client's way to authenticate.
    pub(crate) fn token_request(&self, path: &str, form: &[(&str, &str)]) -> Request<Bytes> {
        let mut form = form.to_vec();
        let mut basic = None;
        match (self.method.as_str(), &self.secret) {
            ("client_secret_basic", Some(secret)) => {
                basic = Some(format!("Basic {}", STANDARD.encode(format!("{}:{secret}", self.id))));
            }
            ("client_secret_post", Some(secret)) => {
                form.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
            }
            _ => form.push(("client_id", &self.id)),
        }
        let mut request = form_request(&format!("{}{path}", self.origin), &form);
        if let Some(basic) = basic {
            request.headers_mut().insert("authorization", basic.parse().unwrap());
        }
        request
    }

    /// The same client with connections of its own.
    pub(crate) fn reconnected(&self) -> Self {
        Self { fetch: super::tls::fetch(), ..self.clone() }
    }

    /// Sends a form; `None` when nobody answers.
    pub(crate) async fn try_post(&self, path: &str, form: &[(&str, &str)]) -> Option<Reply> {
        let reply: Reply = self.fetch.send(self.token_request(path, form)).await.ok()?.into();
        note_tokens(&reply);
        Some(reply)
    }

    /// Sends a form with this client's way to authenticate.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.try_post(path, form).await.expect("somebody answers")
    }

    /// Tries to redeem a code.
    pub(crate) async fn try_redeem(&self, answer: &Answer) -> Reply {
        self.post("/token", &answer.form()).await
    }

    pub(crate) async fn redeem(&self, answer: &Answer) -> Tokens {
        Tokens::of(&self.try_redeem(answer).await)
    }

    pub(crate) async fn try_refresh(&self, refresh: &str) -> Reply {
        self.post("/token", &[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await
    }

    pub(crate) async fn refresh(&self, refresh: &str) -> Tokens {
        Tokens::of(&self.try_refresh(refresh).await)
    }

    pub(crate) async fn revoke(&self, token: &str) {
        let reply = self.post("/revoke", &[("token", token)]).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{}", reply.text());
    }
}

impl Tokens {
    pub(crate) fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        assert_eq!(answer["token_type"], "Bearer");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            expires_in: answer["expires_in"].as_u64().unwrap(),
            scope: text("scope"),
        }
    }
}

fn note_tokens(reply: &Reply) {
    if let Ok(answer) = serde_json::from_slice::<Value>(&reply.body) {
        let tokens =
            ["access_token", "refresh_token"].map(|name| answer[name].as_str().map(ToOwned::to_owned));
        tokens.into_iter().flatten().for_each(|token| secrets::note(&token));
    }
}

impl Asking {
    /// Sets a parameter, in place of the one of that name.
    pub(crate) fn with(self, name: &str, value: &str) -> Self {
        let mut asking = self.without(name);
        asking.parameters.push((name.to_owned(), value.to_owned()));
        asking
    }

    /// Adds a parameter, beside one of that name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn url(&self) -> String {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.parameters).finish();
        format!("{}/authorize?{query}", self.origin)
    }
}
