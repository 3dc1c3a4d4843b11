//! The tool policy of an MCP server: the one place where the body of a request is read.
//!
//! Where a server's scopes name tools, a POST is read whole (bounded in size and time), read strictly (`message`), judged,
//! and then the very bytes that were judged are sent. What decides is the body, never a header: headers that mirror it
//! (MCP 2026-07-28) are compared with it, since whoever reads the body must (SEP-2243); those of older clients mean nothing
//! and do not pass. A body that says the same only to some parsers, or that is compressed or in another charset, is not
//! passed. Everything is decided before anything is sent, so a refusal is a plain answer and no broken stream.
//!
//! Must never change a body, and must never allow what it could not read. Called by `web` between admission and forwarding.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{
    Route,
    answer::Failure,
    held::{Held, Hold, NoRoom},
    message::{Malformed, Message, Messages, TOOLS_CALL, TOOLS_LIST, name_of},
    revision::{self, Revision},
    stream::Upload,
};
use crate::{
    domain::{catalog::McpServer, scope::ScopeSet, tools::ToolCall},
    flow::admit::Permit,
    net::body::{Body, BodyError},
};

/// What a request of a stateless revision asks for (MCP 2026-07-28, transports).
pub const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A request that the policy lets pass.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The bytes that were judged; nothing else may be sent in their place.
    pub body: Bytes,
    /// Its room in memory, to be held for as long as the body is.
    pub hold: Arc<Hold>,
    /// Whether the answer holds a list of tools.
    pub lists_tools: bool,
}

/// Why a request does not pass.
#[derive(Debug)]
pub enum Refused {
    /// This answer; the slug says why.
    Answer(Failure, &'static str),
    /// It needs all of these scopes.
    Scopes(ScopeSet),
}

/// Reads and judges a request. Headers that must not be believed are taken out of `head`.
pub async fn judge(
    head: &mut Parts,
    body: Body,
    server: &McpServer,
    permit: &Permit,
    route: &Route,
    memory: &Arc<Held>,
) -> Result<Judged, Refused> {
    let mut hold = memory.hold(permit.subject());
    if head.method != Method::POST {
        // A body here means nothing; what nobody judged is not sent.
        return Ok(Judged { body: Bytes::new(), hold: Arc::new(hold), lists_tools: false });
    }
    plain_json(&head.headers)?;
    let body = timeout(route.response_timeout, whole(body, route, &mut hold)).await;
    let body = body.unwrap_or(Err(BROKE_OFF))?;
    let hold = Arc::new(hold);
    let lists_tools = if body.len() <= AT_ONCE {
        decide(&mut head.headers, &body, server, permit.scopes())?
    } else {
        decide_beside(&mut head.headers, &body, server, permit, memory, &hold).await?
    };
    Ok(Judged { body, hold, lists_tools })
}

/// The largest body that is judged where requests are served, in bytes: a worker has one thread, and everybody whom it
/// serves waits meanwhile.
const AT_ONCE: usize = 256 * 1024;

/// Judges a large body on another thread.
async fn decide_beside(
    headers: &mut HeaderMap,
    body: &Bytes,
    server: &McpServer,
    permit: &Permit,
    memory: &Arc<Held>,
    hold: &Arc<Hold>,
) -> Result<bool, Refused> {
    const FAILED: Refused = Refused::Answer(Failure::Unavailable, "judging_failed");
    // All that it needs goes along: it runs to its end even if the client goes away.
    let kept = (memory.desk().await.ok_or(FAILED)?, Arc::clone(hold));
    let (mut judged, body, server) = (headers.clone(), body.clone(), server.clone());
    let scopes = permit.scopes().clone();
    let judging = tokio::task::spawn_blocking(move || {
        let decided = decide(&mut judged, &body, &server, &scopes);
        drop(kept);
        (judged, decided)
    });
    let (judged, decided) = judging.await.map_err(|_| FAILED)?;
    *headers = judged;
    decided
}

/// Judges what a body says, and whether it asks for a list of tools.
fn decide(
    headers: &mut HeaderMap,
    body: &[u8],
    server: &McpServer,
    held: &ScopeSet,
) -> Result<bool, Refused> {
    let messages = Messages::read(body).map_err(malformed)?;
    let revision = Revision::of(headers);
    match &messages {
        Messages::Batch(_) if !revision.has_batches() => return Err(malformed(Malformed("batch"))),
        Messages::Batch(all) if all.iter().any(is_stateless) => {
            return Err(malformed(Malformed("batch")));
        }
        Messages::One(message) if revision.is_stateless() || is_stateless(message) => {
            mirrored(headers, revision, message)?;
        }
        Messages::One(_) | Messages::Batch(_) => {
            for name in [MCP_METHOD, MCP_NAME] {
                headers.remove(name);
            }
        }
    }
    calls(&messages, server, held)?;
    Ok(messages.iter().any(|message| message.method.as_deref() == Some(TOOLS_LIST)))
}

fn is_stateless(message: &Message<'_>) -> bool {
    message.version.as_deref().is_some_and(revision::is_stateless)
}

fn malformed(Malformed(reason): Malformed) -> Refused {
    Refused::Answer(Failure::MessageMalformed, reason)
}

/// Every call of a tool in it, and of a batch all or nothing.
fn calls(messages: &Messages<'_>, server: &McpServer, held: &ScopeSet) -> Result<(), Refused> {
    let calls = messages.iter().filter(|message| message.method.as_deref() == Some(TOOLS_CALL));
    let mut needed = ScopeSet::default();
    for call in calls {
        match server.judge_call(held, call.name.as_deref().unwrap_or_default()) {
            ToolCall::Allowed => {}
            ToolCall::Needs(scopes) => needed = needed.union(&scopes),
            ToolCall::Unnamed => return Err(Refused::Answer(Failure::ToolNotOpen, "tool_in_no_scope")),
        }
    }
    if needed.is_empty() { Ok(()) } else { Err(Refused::Scopes(needed)) }
}

/// The body must be what we read: JSON in UTF-8, not compressed.
fn plain_json(headers: &HeaderMap) -> Result<(), Refused> {
    let refuse = |reason| Err(Refused::Answer(Failure::MediaType, reason));
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return refuse("content_encoding");
    }
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let Some(kind) = kinds.next() else { return Ok(()) };
    let (Ok(kind), None) = (kind.to_str(), kinds.next()) else { return refuse("content_type") };
    let mut parts = kind.split(';').map(str::trim);
    if !parts.next().unwrap_or_default().eq_ignore_ascii_case("application/json") {
        return refuse("content_type");
    }
    let is_utf8 = |charset: &str| ["utf-8", "utf8"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        let name = name.trim().to_ascii_lowercase();
        // `charset*` (RFC 2231) says the same to some, and may say another thing.
        if name.starts_with("charset") && (name != "charset" || !is_utf8(value)) {
            return refuse("charset");
        }
    }
    Ok(())
}

const BROKE_OFF: Refused = Refused::Answer(Failure::BodyIncomplete, "client_body_broke_off");
const TOO_LARGE: Refused = Refused::Answer(Failure::BodyTooLarge, "body_too_large");

/// The whole body, within its bounds.
async fn whole(body: Body, route: &Route, hold: &mut Hold) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > route.max_body {
        return Err(TOO_LARGE);
    }
    let mut upload = Upload::new(body, route.max_body, route.upload_stall);
    let mut whole = BytesMut::new();
    while let Some(frame) = upload.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(BodyError::TooLarge) => return Err(TOO_LARGE),
            Err(_) => return Err(BROKE_OFF),
        };
        let data = frame.into_data().unwrap_or_default();
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        hold.grow(length).map_err(|NoRoom| Refused::Answer(Failure::Busy, "bodies_held"))?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The headers of a stateless request say what its body says (MCP 2026-07-28, transports).
fn mirrored(headers: &HeaderMap, revision: Revision<'_>, message: &Message<'_>) -> Result<(), Refused> {
    let refuse = |reason| Err(Refused::Answer(Failure::HeaderMismatch, reason));
    let Some(method) = message.method.as_deref() else {
        return Err(malformed(Malformed("answer_where_none_was_asked")));
    };
    match (revision, message.version.as_deref()) {
        (Revision::Said(said), Some(version)) if said == version => {}
        // What is missing in the body is for the MCP server to say.
        (Revision::Said(_), None) => {}
        _ => return refuse("header_mismatch_version"),
    }
    match said(headers, &MCP_METHOD) {
        Ok(Some(said)) if said == method => {}
        Ok(None) if !message.has_id => {}
        _ => return refuse("header_mismatch_method"),
    }
    if name_of(method).is_none() {
        return Ok(());
    }
    match said(headers, &MCP_NAME) {
        Ok(Some(said)) if Some(&*said) == message.name.as_deref() => Ok(()),
        _ => refuse("header_mismatch_name"),
    }
}

/// Not one readable value.
struct Unreadable;

/// What a header says, decoded: plain ASCII, or `=?base64?…?=` around UTF-8.
fn said<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Cow<'h, str>>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unreadable);
    }
    let text = value.to_str().map_err(|_| Unreadable)?.trim_matches([' ', '\t']);
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Some(Cow::Borrowed(text)));
    };
    let decoded = STANDARD.decode(encoded).map_err(|_| Unreadable)?;
    String::from_utf8(decoded).map(|text| Some(Cow::Owned(text))).map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        domain::{catalog::ScopeDefinition, resource::Resource, time::Timestamp, tools::ToolPattern},
        net::body::full,
        proxy::testing::route,
    };

    fn server() -> McpServer {
        let scope = |name: &str, tools: &[&str]| ScopeDefinition {
            name: name.to_owned(),
            description: String::new(),
            provider_scopes: ScopeSet::default(),
            default: true,
            implies: vec![],
            optional: false,
            tools: Some(tools.iter().map(|tool| ToolPattern::parse(tool).unwrap()).collect()),
        };
        McpServer {
            path: "/mcp".to_owned(),
            resource: Resource::at("https://m.example", "/mcp"),
            name: "M".to_owned(),
            provider: "p".to_owned(),
            scopes: vec![scope("read", &["get_*", "caf\u{e9}", "copy"]), scope("write", &["set_*", "copy"])]
                .into(),
            filter_tools: false,
            identity_assertion: false,
        }
    }

    async fn judged(
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (Result<Judged, Refused>, HeaderMap) {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (mut head, body) = request.body(full(body.into())).unwrap().into_parts();
        let permit = Permit::for_test("ada", "c", "ada", Timestamp::from_millis(1), CancellationToken::new())
            .with_scopes("read");
        let judged =
            judge(&mut head, body, &server(), &permit, &route(), &Held::for_bodies_of(route().max_body))
                .await;
        (judged, head.headers)
    }

    #[tokio::test]
    async fn a_large_body_does_not_hold_up_the_worker() {
        let mut route = route();
        route.max_body = 16 * 1024 * 1024;
        let memory = Held::for_bodies_of(route.max_body);
        let permit = Permit::for_test("ada", "c", "ada", Timestamp::from_millis(1), CancellationToken::new())
            .with_scopes("read");
        for (size, is_beside) in [(100 * 1024, false), (4 * 1024 * 1024, true)] {
            for (tool, passes) in [("get_x", true), ("set_x", false)] {
                let arguments = json!({ "x": vec![0; size / 2] });
                let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                    "params": { "name": tool, "arguments": arguments } });
                let request = Request::post("/").header("mcp-name", "odd").body(full(body.to_string()));
                let (mut head, body) = request.unwrap().into_parts();
                let server = server();
                let mut judging = Box::pin(judge(&mut head, body, &server, &permit, &route, &memory));
                // All of the body is there: what waits, waits for another thread.
                let first =
                    std::future::poll_fn(|context| std::task::Poll::Ready(judging.as_mut().poll(context)));
                let judged = match first.await {
                    std::task::Poll::Ready(judged) => {
                        assert!(!is_beside, "{size} bytes were judged by the worker");
                        judged
                    }
                    std::task::Poll::Pending => {
                        assert!(is_beside, "{size} bytes");
                        judging.as_mut().await
                    }
                };
                drop(judging);
                assert_eq!(judged.is_ok(), passes, "{tool} {size}");
                assert!(!passes || !head.headers.contains_key("mcp-name"), "what is not believed goes");
            }
        }
    }

    #[tokio::test]
    async fn a_charset_in_another_spelling_is_not_json() {
        for kind in [
            "application/json; charset*=utf-16''x",
            "application/json; charset=utf-8; Charset*=utf-7",
            "application/json; charset*0=utf-16",
            "application/json; charset=utf-16",
        ] {
            assert_eq!(outcome(&[("content-type", kind)], call("get_x", None)).await, "charset", "{kind}");
        }
    }

    /// What is refused, in one word.
    async fn outcome(headers: &[(&str, &str)], body: impl Into<Bytes>) -> String {
        match judged("POST", headers, body).await.0 {
            Ok(_) => "passes".to_owned(),
            Err(Refused::Scopes(scopes)) => scopes.to_string(),
            Err(Refused::Answer(_, reason)) => reason.to_owned(),
        }
    }

    fn call(tool: &str, version: Option<&str>) -> String {
        let mut params = json!({ "name": tool });
        if let Some(version) = version {
            params["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": version });
        }
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
    }

    #[tokio::test]
    async fn what_was_judged_is_what_is_sent() {
        let body = Bytes::from(format!(" {}\n", call("get_x", None)));
        let (passed, _) = judged("POST", &[("content-type", "application/json")], body.clone()).await;
        let passed = passed.unwrap();
        assert_eq!((passed.body, passed.lists_tools), (body, false));
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
        assert!(judged("POST", &[], list).await.0.unwrap().lists_tools);
        for method in ["GET", "DELETE"] {
            let (passed, _) = judged(method, &[], call("set_x", None)).await;
            assert!(passed.unwrap().body.is_empty(), "a body that nobody judged");
        }
    }

    #[tokio::test]
    async fn a_call_needs_its_scopes_and_the_rest_passes() {
        for (tool, expected) in
            [("get_x", "passes"), ("set_x", "write"), ("copy", "read write"), ("drop_x", "tool_in_no_scope")]
        {
            assert_eq!(outcome(&[], call(tool, None)).await, expected, "{tool}");
            // Nobody waits for the answer, and still it would be done.
            let note = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": tool } });
            assert_eq!(outcome(&[], note.to_string()).await, expected, "{tool}");
        }
        for method in ["initialize", "ping", "tools/list", "resources/templates/list", "x/unknown"] {
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": {} });
            assert_eq!(outcome(&[], body.to_string()).await, "passes", "{method}");
        }
    }

    #[tokio::test]
    async fn of_a_batch_all_or_nothing() {
        let batch = |tools: &[&str]| {
            let calls: Vec<Value> =
                tools.iter().map(|tool| serde_json::from_str(&call(tool, None)).unwrap()).collect();
            Value::from(calls).to_string()
        };
        assert_eq!(outcome(&[], batch(&["get_x", "get_y"])).await, "passes");
        assert_eq!(outcome(&[("mcp-protocol-version", "2025-03-26")], batch(&["get_x"])).await, "passes");
        assert_eq!(outcome(&[], batch(&["get_x", "set_y", "get_z"])).await, "write");
        assert_eq!(outcome(&[], batch(&["get_x", "set_y", "copy"])).await, "read write");
        assert_eq!(outcome(&[], batch(&["set_y", "drop_z"])).await, "tool_in_no_scope");
        for version in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "nonsense"] {
            let outcome = outcome(&[("mcp-protocol-version", version)], batch(&["get_x"])).await;
            assert_eq!(outcome, "batch", "{version}");
        }
        let modern = format!("[{}]", call("get_x", Some("2026-07-28")));
        assert_eq!(outcome(&[], modern).await, "batch");
    }

    #[tokio::test]
    async fn headers_of_stateless_requests_say_what_the_body_says() {
        const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
        const METHOD: (&str, &str) = ("mcp-method", "tools/call");
        let modern = Some("2026-07-28");
        for (headers, tool, version, expected) in [
            (vec![VERSION, METHOD, ("mcp-name", "get_x")], "get_x", modern, "passes"),
            (vec![VERSION, METHOD, ("mcp-name", "get_x")], "get_x", None, "passes"),
            (vec![VERSION, METHOD, ("mcp-name", " \tget_x ")], "get_x", modern, "passes"),
            (vec![VERSION, METHOD, ("mcp-name", "=?base64?Z2V0X3g=?=")], "get_x", modern, "passes"),
            (vec![VERSION, METHOD, ("mcp-name", "=?base64?Y2Fmw6k=?=")], "caf\u{e9}", modern, "passes"),
            (
                vec![VERSION, ("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="), ("mcp-name", "get_x")],
                "get_x",
                modern,
                "passes",
            ),
            // The name.
            (vec![VERSION, METHOD, ("mcp-name", "get_x")], "set_x", modern, "header_mismatch_name"),
            (vec![VERSION, METHOD, ("mcp-name", "set_x")], "get_x", modern, "header_mismatch_name"),
            (vec![VERSION, METHOD, ("mcp-name", "GET_X")], "get_x", modern, "header_mismatch_name"),
            (vec![VERSION, METHOD, ("mcp-name", "caf\u{e9}")], "caf\u{e9}", modern, "header_mismatch_name"),
            (
                vec![VERSION, METHOD, ("mcp-name", "=?base64?Z2V0X3g?=")],
                "get_x",
                modern,
                "header_mismatch_name",
            ),
            (
                vec![VERSION, METHOD, ("mcp-name", "=?BASE64?Z2V0X3g=?=")],
                "get_x",
                modern,
                "header_mismatch_name",
            ),
            (vec![VERSION, METHOD, ("mcp-name", "=?base64?/w==?=")], "get_x", modern, "header_mismatch_name"),
            (vec![VERSION, METHOD], "get_x", modern, "header_mismatch_name"),
            (
                vec![VERSION, METHOD, ("mcp-name", "get_x"), ("mcp-name", "set_x")],
                "get_x",
                modern,
                "header_mismatch_name",
            ),
            // The method.
            (vec![VERSION, ("mcp-name", "get_x")], "get_x", modern, "header_mismatch_method"),
            (
                vec![VERSION, ("mcp-method", "tools/list"), ("mcp-name", "get_x")],
                "get_x",
                modern,
                "header_mismatch_method",
            ),
            (
                vec![VERSION, ("mcp-method", "Tools/Call"), ("mcp-name", "get_x")],
                "get_x",
                modern,
                "header_mismatch_method",
            ),
            // The version.
            (
                vec![VERSION, METHOD, ("mcp-name", "get_x")],
                "get_x",
                Some("2025-06-18"),
                "header_mismatch_version",
            ),
            (
                vec![("mcp-protocol-version", "2025-06-18"), METHOD, ("mcp-name", "get_x")],
                "get_x",
                modern,
                "header_mismatch_version",
            ),
            (vec![METHOD, ("mcp-name", "get_x")], "get_x", modern, "header_mismatch_version"),
            (
                vec![VERSION, VERSION, METHOD, ("mcp-name", "get_x")],
                "get_x",
                modern,
                "header_mismatch_version",
            ),
        ] {
            assert_eq!(
                outcome(&headers, call(tool, version)).await,
                expected,
                "{headers:?} {tool} {version:?}"
            );
        }
        // A notification need not say its method, but must not lie; there are no answers.
        let note = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        assert_eq!(outcome(&[VERSION], note).await, "passes");
        assert_eq!(outcome(&[VERSION, METHOD], note).await, "header_mismatch_method");
        let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert_eq!(outcome(&[VERSION], answer).await, "answer_where_none_was_asked");
        assert_eq!(outcome(&[("mcp-protocol-version", "2025-11-25")], answer).await, "passes");
        let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "file:///a" } });
        let read = read.to_string();
        let headers = [VERSION, ("mcp-method", "resources/read"), ("mcp-name", "file:///a")];
        assert_eq!(outcome(&headers, read.clone()).await, "passes");
        let headers = [VERSION, ("mcp-method", "resources/read"), ("mcp-name", "file:///b")];
        assert_eq!(outcome(&headers, read).await, "header_mismatch_name");
    }

    #[tokio::test]
    async fn headers_of_older_clients_are_not_believed_and_do_not_pass() {
        for version in [None, Some("2025-03-26"), Some("2025-11-25"), Some("nonsense")] {
            let mut headers = vec![("mcp-method", "tools/call"), ("mcp-name", "get_x"), ("mcp-param-a", "1")];
            headers.extend(version.map(|version| ("mcp-protocol-version", version)));
            assert_eq!(outcome(&headers, call("set_x", None)).await, "write", "{version:?}");
            headers[1].1 = "set_x";
            let (passed, left) = judged("POST", &headers, call("get_x", None)).await;
            assert!(passed.is_ok());
            assert!(!left.contains_key("mcp-name") && !left.contains_key("mcp-method"));
            assert!(left.contains_key("mcp-param-a"));
        }
    }

    #[tokio::test]
    async fn only_plain_json_is_read() {
        for (header, expected) in [
            (("content-type", "application/json"), "passes"),
            (("content-type", "Application/JSON ; charset=\"UTF-8\""), "passes"),
            (("content-type", "application/json; charset=utf-7"), "charset"),
            (("content-type", "application/json; x=1; Charset = \"utf-16\""), "charset"),
            (("content-type", "application/json; charset"), "charset"),
            (("content-type", "text/plain"), "content_type"),
            (("content-type", "application/x-www-form-urlencoded"), "content_type"),
            (("content-type", ""), "content_type"),
            (("content-encoding", "gzip"), "content_encoding"),
            (("content-encoding", "identity, br"), "content_encoding"),
            (("content-encoding", "identity"), "passes"),
        ] {
            assert_eq!(outcome(&[header], call("get_x", None)).await, expected, "{header:?}");
        }
        let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
        assert_eq!(outcome(&twice, call("get_x", None)).await, "content_type");
    }

    #[tokio::test]
    async fn a_body_is_bounded() {
        let limit = usize::try_from(route().max_body).unwrap();
        assert_eq!(outcome(&[], vec![b' '; limit + 1]).await, "body_too_large");
        assert_eq!(outcome(&[], vec![b' '; limit]).await, "body_not_json");
    }
}
