//! A scripted MCP client: from one URL to a tool call, by the book of the MCP authorization specification.
//!
//! It asks without a token, follows the challenge to the metadata (RFC 9728, RFC 8414), registers itself (RFC 7591),
//! makes an authorization URL with PKCE, `state` and `resource`, checks the answer (`state`, `iss`), redeems the code,
//! opens a session of the 2025 era and calls tools. The browser's part is not here: whoever plays it opens
//! [`McpClient::authorization_url`] and hands back the address at which the answer arrived.
//!
//! Honest programs and attackers use the same client, which is the point: only the redirect URI differs. Every exchange
//! is written down as a [`Message`] without secret values. For the replay, the attack page and tests only.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header, request::Builder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{
    browser::transcript::pair,
    chance::{random, s256},
    fetch::{Fetch, FetchError},
    http::Params,
    story::{Cast, Message},
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Why a client does not get on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer.
    #[error("no answer to: {step}")]
    Fetch {
        /// What was tried.
        step: &'static str,
        /// Why.
        source: FetchError,
    },
    /// The answer is not what the specification promises.
    #[error("unexpected answer to: {step} (status {status})")]
    Unexpected {
        /// What was tried.
        step: &'static str,
        /// The HTTP status of the answer.
        status: StatusCode,
    },
    /// What arrived at the redirect URI is not the answer to our request.
    #[error("what arrived at the redirect URI is not usable: {0}")]
    Answer(&'static str),
}

/// A client of one MCP server.
pub struct McpClient {
    name: String,
    cast: Cast,
    fetch: Fetch,
    url: Url,
    server: Server,
    redirect_uri: String,
    client_id: String,
    state: String,
    verifier: String,
    tokens: Option<Tokens>,
    session: Option<String>,
    messages: Vec<Message>,
}

/// What discovery told.
#[derive(Default)]
struct Server {
    issuer: String,
    resource: String,
    scope: Option<String>,
    authorization_endpoint: String,
    token_endpoint: String,
    sends_iss: bool,
}

struct Tokens {
    access: SecretString,
    refresh: Option<SecretString>,
}

/// An answer, read.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl McpClient {
    /// Discovers what stands at `url` (an MCP endpoint) and registers there as `client_name` with one redirect URI. `who`
    /// is what the story calls this program.
    pub async fn connect(
        who: &str,
        client_name: &str,
        url: &str,
        redirect_uri: &str,
        cast: &Cast,
    ) -> Result<Self, ClientError> {
        let url = Url::parse(url).map_err(|_| ClientError::Answer("the MCP server's URL is none"))?;
        let mut client = Self {
            name: who.to_owned(),
            cast: cast.clone(),
            fetch: Fetch::new(),
            url,
            server: Server::default(),
            redirect_uri: redirect_uri.to_owned(),
            client_id: String::new(),
            state: random("state-"),
            verifier: random("a-verifier-of-at-least-43-characters-"),
            tokens: None,
            session: None,
            messages: Vec::new(),
        };
        let registration_endpoint = client.discover().await?;
        client.register(&registration_endpoint, client_name).await?;
        Ok(client)
    }

    /// Where the person's browser has to go (OAuth 2.1 section 4.1.1, RFC 8707).
    pub fn authorization_url(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("state", &self.state)
            .append_pair("code_challenge", &s256(&self.verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &self.server.resource);
        if let Some(scope) = &self.server.scope {
            query.append_pair("scope", scope);
        }
        format!("{}?{}", self.server.authorization_endpoint, query.finish())
    }

    /// Begins another authorization: new `state`, new PKCE pair.
    pub fn start_again(&mut self) {
        self.state = random("state-");
        self.verifier = random("a-verifier-of-at-least-43-characters-");
    }

    /// The `state` of the authorization under way.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Takes the answer that arrived at the redirect URI and redeems its code.
    pub async fn redeem(&mut self, arrived: &Url) -> Result<(), ClientError> {
        let answer = Params::parse(arrived.query().unwrap_or_default().as_bytes());
        if answer.get("state") != Some(self.state.as_str()) {
            return Err(ClientError::Answer("the state is not ours"));
        }
        if self.server.sends_iss && answer.get("iss") != Some(self.server.issuer.as_str()) {
            return Err(ClientError::Answer("the issuer is not the one that was asked"));
        }
        let code = answer.get("code").ok_or(ClientError::Answer("it carries no code"))?.to_owned();
        let (verifier, redirect_uri) = (self.verifier.clone(), self.redirect_uri.clone());
        // The session belongs to the person that the client was before.
        self.session = None;
        self.ask_for_tokens(
            "redeem the code",
            &[
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("code_verifier", &verifier),
                ("redirect_uri", &redirect_uri),
            ],
        )
        .await
    }

    /// Exchanges the refresh token.
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        let token = self.tokens.as_ref().and_then(|tokens| tokens.refresh.clone());
        let token = token.ok_or(ClientError::Answer("there is no refresh token"))?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())];
        self.ask_for_tokens("refresh", &form).await
    }

    /// The access token, for those who look for it where it must not be.
    pub fn access_token(&self) -> Option<&SecretString> {
        self.tokens.as_ref().map(|tokens| &tokens.access)
    }

    /// The names of the tools.
    pub async fn tools(&mut self) -> Result<Vec<String>, ClientError> {
        let result = self.ask("tools/list", json!({})).await?;
        let tools = result.get("tools").and_then(Value::as_array).into_iter().flatten();
        Ok(tools.filter_map(|tool| text(tool, "/name")).map(ToOwned::to_owned).collect())
    }

    /// Calls a tool without arguments and returns its structured result.
    pub async fn call(&mut self, tool: &str) -> Result<Value, ClientError> {
        let mut result = self.ask("tools/call", json!({ "name": tool, "arguments": {} })).await?;
        Ok(result.pointer_mut("/structuredContent").map(Value::take).unwrap_or_default())
    }

    /// What `whoami` says: the login name of the person whose account the token opens.
    pub async fn whoami(&mut self) -> Result<String, ClientError> {
        let user = self.call("whoami").await?;
        text(&user, "/login").map(ToOwned::to_owned).ok_or(ClientError::Answer("whoami knows nobody"))
    }

    /// What was sent and answered since the last time.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// RFC 9728 section 5, RFC 8414. Returns the registration endpoint.
    async fn discover(&mut self) -> Result<String, ClientError> {
        const STEP: &str = "discover";
        let hello = Request::post(self.url.as_str()).header(header::CONTENT_TYPE, "application/json");
        let refused = self.send(STEP, hello, "{}", "(without a token)").await?;
        let challenge = refused.headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.filter(|_| refused.status == StatusCode::UNAUTHORIZED);
        let challenge = challenge.ok_or(refused.unexpected(STEP))?;
        let metadata = quoted(challenge, "resource_metadata").ok_or(refused.unexpected(STEP))?;
        let scope = quoted(challenge, "scope").map(ToOwned::to_owned);
        let resource = self.send(STEP, Request::get(metadata), "", "").await?;
        let document = resource.json(STEP)?;
        let issuer = text(&document, "/authorization_servers/0").ok_or(resource.unexpected(STEP))?;
        let address = format!("{issuer}/.well-known/oauth-authorization-server");
        let answered = self.send(STEP, Request::get(address), "", "").await?;
        let server = answered.json(STEP)?;
        if text(&server, "/issuer") != Some(issuer) {
            return Err(ClientError::Answer("the metadata are of another issuer"));
        }
        let owned = |document, name| text(document, name).unwrap_or_default().to_owned();
        self.server = Server {
            issuer: issuer.to_owned(),
            resource: owned(&document, "/resource"),
            scope,
            authorization_endpoint: owned(&server, "/authorization_endpoint"),
            token_endpoint: owned(&server, "/token_endpoint"),
            sends_iss: server.get("authorization_response_iss_parameter_supported") == Some(&true.into()),
        };
        Ok(owned(&server, "/registration_endpoint"))
    }

    /// RFC 7591 section 3.1.
    async fn register(&mut self, endpoint: &str, client_name: &str) -> Result<(), ClientError> {
        const STEP: &str = "register";
        let wanted = json!({
            "client_name": client_name,
            "redirect_uris": [self.redirect_uri],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        });
        let request = Request::post(endpoint).header(header::CONTENT_TYPE, "application/json");
        let shown =
            format!("[{}, {}]", pair("client_name", client_name), pair("redirect_uri", &self.redirect_uri));
        let reply = self.send(STEP, request, &wanted.to_string(), &shown).await?;
        let registered = reply.json(STEP)?;
        text(&registered, "/client_id").ok_or(reply.unexpected(STEP))?.clone_into(&mut self.client_id);
        Ok(())
    }

    async fn ask_for_tokens(&mut self, step: &'static str, form: &[(&str, &str)]) -> Result<(), ClientError> {
        let mut fields = form.to_vec();
        let (client_id, resource) = (self.client_id.clone(), self.server.resource.clone());
        fields.extend([("client_id", client_id.as_str()), ("resource", resource.as_str())]);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let shown = form.iter().map(|(name, value)| pair(name, value)).collect::<Vec<_>>().join(", ");
        let request = Request::post(&self.server.token_endpoint).header(header::CONTENT_TYPE, FORM);
        let reply = self.send(step, request, &body, &format!("[{shown}]")).await?;
        let answered = reply.json(step)?;
        let secret = |name| text(&answered, name).map(SecretString::from);
        let access = secret("/access_token").ok_or(reply.unexpected(step))?;
        let before = self.tokens.take().and_then(|tokens| tokens.refresh);
        self.tokens = Some(Tokens { access, refresh: secret("/refresh_token").or(before) });
        Ok(())
    }

    /// One JSON-RPC request inside the session, which is opened where there is none yet.
    async fn ask(&mut self, method: &'static str, params: Value) -> Result<Value, ClientError> {
        if self.session.is_none() {
            let hello = json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": { "name": self.name, "version": "1" },
            });
            let reply = self.rpc("initialize", Some(1), hello).await?;
            let session = reply.headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
            self.session = Some(session.ok_or(reply.unexpected("initialize"))?.to_owned());
            self.rpc("notifications/initialized", None, json!({})).await?;
        }
        let reply = self.rpc(method, Some(2), params).await?;
        reply.rpc_result().ok_or(reply.unexpected(method))
    }

    async fn rpc(
        &mut self,
        method: &'static str,
        id: Option<u32>,
        params: Value,
    ) -> Result<Reply, ClientError> {
        let token = self.tokens.as_ref().ok_or(ClientError::Answer("there is no access token"))?;
        let mut request = Request::post(self.url.as_str())
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json")
            .header("mcp-protocol-version", "2025-06-18")
            .header(header::AUTHORIZATION, format!("Bearer {}", token.access.expose_secret()));
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        let tool = text(&params, "/name").map(|tool| format!(" {tool}")).unwrap_or_default();
        // A notification has no id.
        let body = match id {
            Some(id) => json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }),
            None => json!({ "jsonrpc": "2.0", "method": method, "params": params }),
        };
        let reply =
            self.send(method, request, &body.to_string(), &format!("{method}{tool} [token=…]")).await?;
        if !reply.status.is_success() {
            return Err(reply.unexpected(method));
        }
        Ok(reply)
    }

    /// Sends a request and writes it down. `shown` says what the story tells of the body.
    async fn send(
        &mut self,
        step: &'static str,
        request: Builder,
        body: &str,
        shown: &str,
    ) -> Result<Reply, ClientError> {
        let fail = |source| ClientError::Fetch { step, source };
        let request = request.body(Bytes::from(body.to_owned())).map_err(|error| fail(error.into()))?;
        let url = request.uri().to_string();
        let method = request.method().clone();
        let (parts, body) = self.fetch.send(request).await.map_err(fail)?.into_parts();
        let reply = Reply { status: parts.status, headers: parts.headers, body };
        if let Ok(url) = Url::parse(&url) {
            let request = format!("{method} {} {shown}", Cast::path(&url)).trim_end().to_owned();
            let (from, to) = (self.name.clone(), self.cast.name(&url));
            self.messages.push(Message { from, to, request, answer: reply.told() });
        }
        Ok(reply)
    }
}

impl Reply {
    fn json(&self, step: &'static str) -> Result<Value, ClientError> {
        let value = serde_json::from_slice(&self.body).ok();
        value.filter(|_| self.status.is_success()).ok_or(self.unexpected(step))
    }

    fn unexpected(&self, step: &'static str) -> ClientError {
        ClientError::Unexpected { step, status: self.status }
    }

    /// The result of a JSON-RPC answer, alone or at the end of an SSE stream.
    fn rpc_result(&self) -> Option<Value> {
        let text = std::str::from_utf8(&self.body).ok()?;
        let streamed = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        let message = streamed.chain([text]).find_map(|text| {
            let message = serde_json::from_str::<Value>(text).ok()?;
            message.get("result").is_some().then_some(message)
        });
        message?.get_mut("result").map(Value::take)
    }

    /// What the story tells of the answer.
    fn told(&self) -> String {
        let status = self.status.as_u16();
        let result = self.rpc_result();
        let login = result.as_ref().and_then(|result| text(result, "/structuredContent/login"));
        match (login, self.status) {
            (Some(login), _) => format!("{status}, \"you are {login}\""),
            (None, StatusCode::UNAUTHORIZED) => format!("{status}, with the address of the metadata"),
            (None, _) => status.to_string(),
        }
    }
}

/// The text at `pointer` (RFC 6901).
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The value of a quoted parameter of a challenge.
fn quoted<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_challenge_is_read() {
        let challenge = r#"Bearer resource_metadata="http://a/b", scope="x y""#;
        assert_eq!(quoted(challenge, "resource_metadata"), Some("http://a/b"));
        assert_eq!(quoted(challenge, "scope"), Some("x y"));
        assert_eq!(quoted(challenge, "error"), None);
    }
}
