//! A sample MCP server behind the gateway, made with the official Rust MCP SDK.
//!
//! Its tools call the third party's API with the token that the request carried, and with nothing else: whose account
//! a tool sees is decided by the gateway, request by request. It speaks streamable HTTP of both eras, with sessions
//! (2025) and without (2026-07-28). It has no authorization of its own, as an MCP server that only its gateway can
//! reach, so it must never listen outside loopback. What arrived is in [`McpServer::seen`]; of a token only the digest.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    handler::server::{common::Extension, wrapper::Parameters},
    model::{
        CallToolResult, ContentBlock, Implementation, ProgressNotificationParam, RequestMetaObject,
        ServerCapabilities, ServerConfig,
    },
    schemars, tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    chance::s256,
    events::EventLog,
    fetch::Fetch,
    http::{Answer, Body, Bound, json, read_bearer, text},
};

/// The path of the MCP endpoint.
pub const PATH: &str = "/mcp";
/// Longest pause of `count_slowly` between two numbers.
const LONGEST_PAUSE: u64 = 10_000;

/// What to do with a request whose token the third party refuses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Refusal {
    /// Every request is answered with 401 at once, whatever its token.
    AlwaysUnauthorized,
    /// The token is tried at the API before anything else, and refused with HTTP 401 and a challenge.
    Unauthorized,
    /// Nothing: the tool that needs the API answers with a tool error.
    #[default]
    ToolError,
}

/// One HTTP request as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The HTTP method.
    pub method: String,
    /// The names of all headers, sorted.
    pub headers: Vec<String>,
    /// Base64url of the SHA-256 of the bearer token; compare with [`digest`].
    pub bearer: Option<String>,
    /// The value of `Mcp-Session-Id`: an identifier of this server, no secret of anybody else.
    pub session: Option<String>,
}

/// A running MCP server.
#[derive(Clone, Debug)]
pub struct McpServer {
    url: String,
    seen: Arc<EventLog<Seen>>,
}

/// What [`Seen::bearer`] holds for `token`.
pub fn digest(token: &str) -> String {
    s256(token)
}

impl McpServer {
    /// Serves on `bound` until `stop`. `api` is the origin of the third party's API.
    pub fn start(bound: Bound, api: &str, refusal: Refusal, stop: &CancellationToken) -> Self {
        let url = format!("{}{PATH}", bound.origin());
        let seen = Arc::new(EventLog::new());
        let api = Api { origin: api.into(), fetch: Fetch::with_timeout(Duration::from_secs(10)) };
        let tools = Tools { api: api.clone() };
        // The SDK accepts loopback hosts only, which guards against DNS rebinding.
        let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token());
        let sessions = Arc::new(LocalSessionManager::default());
        let service = StreamableHttpService::new(move || Ok(tools.clone()), sessions, config);
        let log = Arc::clone(&seen);
        bound.serve(stop, move |request| {
            log.record(Seen::of(&request));
            answer(request, service.clone(), api.clone(), refusal)
        });
        Self { url, seen }
    }

    /// The URL of the MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What arrived so far.
    pub fn seen(&self) -> &EventLog<Seen> {
        &self.seen
    }
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        let mut headers = request.headers().keys().map(ToString::to_string).collect::<Vec<_>>();
        headers.sort_unstable();
        let session = request.headers().get("mcp-session-id").and_then(|value| value.to_str().ok());
        Self {
            method: request.method().to_string(),
            headers,
            bearer: read_bearer(request.headers()).map(digest),
            session: session.map(ToOwned::to_owned),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    service: StreamableHttpService<Tools, LocalSessionManager>,
    api: Api,
    refusal: Refusal,
) -> Answer {
    if request.uri().path() != PATH {
        return Ok(text(StatusCode::NOT_FOUND, "not found"));
    }
    let refused = match refusal {
        Refusal::ToolError => false,
        Refusal::AlwaysUnauthorized => true,
        Refusal::Unauthorized => {
            matches!(api.get("/user", request.headers()).await, Err(Trouble::NoToken | Trouble::Refused(_)))
        }
    };
    if refused {
        return Ok(unauthorized());
    }
    Ok(Box::pin(service.handle(request)).await)
}

fn unauthorized() -> Response<Body> {
    let mut response = json(StatusCode::UNAUTHORIZED, &serde_json::json!({ "error": "invalid_token" }));
    let challenge = HeaderValue::from_static("Bearer realm=\"sample MCP server\", error=\"invalid_token\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// The third party's API, called with the token of the request at hand.
#[derive(Clone, Debug)]
struct Api {
    origin: Arc<str>,
    fetch: Fetch,
}

/// Why the API gave nothing. The texts are shown to the model and so to the person.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the request carried no access token")]
    NoToken,
    #[error("the third party refused the access token (status {0})")]
    Refused(u16),
    #[error("the third party's API is not available")]
    Unavailable,
}

impl Api {
    async fn get(&self, path: &str, headers: &HeaderMap) -> Result<Value, Trouble> {
        let token = read_bearer(headers).ok_or(Trouble::NoToken)?;
        let request = Request::get(format!("{}{path}", self.origin))
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::new())
            .map_err(|_| Trouble::NoToken)?;
        let response = self.fetch.send(request).await.map_err(|_| Trouble::Unavailable)?;
        match response.status() {
            StatusCode::OK => serde_json::from_slice(response.body()).map_err(|_| Trouble::Unavailable),
            status if status.is_client_error() => Err(Trouble::Refused(status.as_u16())),
            _ => Err(Trouble::Unavailable),
        }
    }
}

/// The tools. One value per session or request; it holds nothing of anybody.
#[derive(Clone, Debug)]
struct Tools {
    api: Api,
}

/// Arguments of `echo`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Echo {
    /// What to say.
    text: String,
}

/// Arguments of `count_slowly`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct Count {
    /// The last number; 5 if absent, at most 100.
    to: Option<u8>,
    /// Milliseconds between two numbers; 500 if absent, at most 10000.
    pause_ms: Option<u64>,
}

#[tool_router]
impl Tools {
    /// Says who the third party thinks you are.
    #[tool(annotations(read_only_hint = true))]
    async fn whoami(&self, Extension(parts): Extension<Parts>) -> CallToolResult {
        match self.api.get("/user", &parts.headers).await {
            Ok(user) => CallToolResult::structured(user),
            Err(trouble) => failed(&trouble),
        }
    }

    /// Lists your repositories at the third party.
    #[tool(annotations(read_only_hint = true))]
    async fn list_repositories(&self, Extension(parts): Extension<Parts>) -> CallToolResult {
        match self.api.get("/user/repos", &parts.headers).await {
            Ok(repositories) => {
                CallToolResult::structured(serde_json::json!({ "repositories": repositories }))
            }
            Err(trouble) => failed(&trouble),
        }
    }

    /// Counts up slowly and reports progress with every number.
    #[tool]
    async fn count_slowly(
        &self,
        Parameters(count): Parameters<Count>,
        meta: RequestMetaObject,
        peer: Peer<RoleServer>,
        stop: CancellationToken,
    ) -> Result<String, ErrorData> {
        let last = count.to.unwrap_or(5).min(100);
        let pause = Duration::from_millis(count.pause_ms.unwrap_or(500).min(LONGEST_PAUSE));
        let progress_token = meta.get_progress_token();
        for number in 1..=last {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
            }
            if let Some(token) = progress_token.clone() {
                let progress = ProgressNotificationParam::new(token, f64::from(number))
                    .with_total(f64::from(last))
                    .with_message(format!("{number} of {last}"));
                // Nobody listens any more: the cancellation arrives with the next pause.
                let _ = peer.notify_progress(progress).await;
            }
        }
        Ok(format!("Counted to {last}."))
    }

    /// Says the same.
    #[tool(annotations(read_only_hint = true))]
    async fn echo(&self, Parameters(echo): Parameters<Echo>) -> String {
        echo.text
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("sandbox-mcp-server", env!("CARGO_PKG_VERSION")))
            .with_instructions("Ask whoami to see whose account the tools use.")
    }
}

fn failed(trouble: &Trouble) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!("It did not work: {trouble}."))])
}

#[cfg(test)]
mod tests;
