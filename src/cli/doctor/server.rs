//! The MCP servers behind us: whether each answers and speaks MCP. They are asked as by a client without a token; of what they
//! say no more is looked at than whether it is JSON-RPC.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use rustls::ClientConfig;
use url::Url;

use super::{
    call::{Answer, Trouble, call, whole},
    finding::{self, Check, Finding},
};
use crate::config::{Credential, ServerSettings};

/// How the present revision begins, and how the stateless one does.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"mcp-deputy-doctor","version":"1"}}}"#;
const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"mcp-deputy-doctor","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
const OF_DISCOVER: &str = "2026-07-28";

/// Asks one of them.
pub(super) async fn look(server: &ServerSettings, tls: &Arc<ClientConfig>) -> Vec<Finding> {
    let url = &server.upstream_url;
    let subject = format!("{} -> {url}", server.path);
    if server.upstream_http2 && url.scheme() == "http" {
        let why = "it is spoken to over HTTP/2 without TLS, which doctor does not speak";
        return vec![Finding::skipped(Check::McpServer, subject, why)];
    }
    let asked = ask(url, tls, INITIALIZE, None).await;
    let found = match asked {
        Ok(answer) if speaks(&answer.response) => {
            end_session(url, tls, &answer.response).await;
            Finding::ok(Check::McpServer, subject, "it speaks MCP")
        }
        // A server without sessions knows no `initialize`.
        Ok(answer) if answer.response.status().is_client_error() && !is_about_tokens(&answer) => {
            match ask(url, tls, DISCOVER, Some(OF_DISCOVER)).await {
                Ok(other) if speaks(&other.response) => {
                    Finding::ok(Check::McpServer, subject, "it speaks MCP, without sessions")
                }
                _ => judge(server, subject, &answer),
            }
        }
        Ok(answer) => judge(server, subject, &answer),
        Err(trouble) => unanswered(subject, &trouble),
    };
    vec![found]
}

async fn ask(
    url: &Url,
    tls: &Arc<ClientConfig>,
    body: &str,
    version: Option<&str>,
) -> Result<Answer, Trouble> {
    let mut request = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(version) = version {
        request = request.header("mcp-protocol-version", version).header("mcp-method", "server/discover");
    }
    // An event stream need not end.
    call(tls, url, request, body, |read| {
        is_json_rpc(read) && (read.ends_with(b"\n\n") || read.ends_with(b"\r\n\r\n"))
    })
    .await
}

/// Leaves nothing behind. Whether it works is of no interest.
async fn end_session(url: &Url, tls: &Arc<ClientConfig>, answer: &Response<Vec<u8>>) {
    if let Some(session) = answer.headers().get("mcp-session-id") {
        let request = Request::builder().method(Method::DELETE).header("mcp-session-id", session);
        let _ = call(tls, url, request, "", whole).await;
    }
}

fn is_json_rpc(body: &[u8]) -> bool {
    body.windows(9).any(|part| part == b"\"jsonrpc\"")
}

fn speaks(answer: &Response<Vec<u8>>) -> bool {
    answer.status().is_success() && is_json_rpc(answer.body())
}

fn is_about_tokens(answer: &Answer) -> bool {
    matches!(answer.response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn judge(server: &ServerSettings, subject: String, answer: &Answer) -> Finding {
    let status = answer.response.status();
    let said = format!("it answers {}", status.as_u16());
    match status {
        _ if status.is_redirection() => {
            let found = Finding::of(&finding::MCP_SERVER_REDIRECTS, subject).because(said);
            match target(&server.upstream_url, answer.response.headers()) {
                Some(target) => found.namely(format!("upstream_url = \"{target}\"")),
                None => found,
            }
        }
        _ if is_about_tokens(answer) && server.credential == Credential::None => {
            Finding::of(&finding::MCP_SERVER_WANTS_TOKEN, subject).because(said)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Finding::ok(Check::McpServer, subject, "it answers, and asks for the token that it will get")
        }
        _ if status.is_server_error() => Finding::of(&finding::MCP_SERVER_FAILS, subject).because(said),
        // A refusal in the words of the protocol is spoken MCP.
        _ if is_json_rpc(answer.response.body()) => {
            Finding::ok(Check::McpServer, subject, "it speaks MCP, and refuses what has no token")
        }
        _ => Finding::of(&finding::MCP_SERVER_ELSEWHERE, subject).because(said),
    }
}

fn unanswered(subject: String, trouble: &Trouble) -> Finding {
    let problem = match trouble {
        Trouble::Unresolved | Trouble::Unreachable => &finding::MCP_SERVER_UNREACHABLE,
        Trouble::Certificate(_) | Trouble::Tls => &finding::MCP_SERVER_UNTRUSTED,
        Trouble::Broken | Trouble::Slow => &finding::MCP_SERVER_SILENT,
    };
    Finding::of(problem, subject)
}

/// Where a redirect leads, as a URL that can be written into the configuration: no query, no credentials, not long.
fn target(from: &Url, headers: &http::HeaderMap) -> Option<Url> {
    let mut target = from.join(headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
    let is_plain = matches!(target.scheme(), "http" | "https")
        && target.username().is_empty()
        && target.password().is_none();
    target.set_query(None);
    target.set_fragment(None);
    (is_plain && target.host_str().is_some() && target.as_str().len() <= 200).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_what_can_be_written_down() {
        let from = Url::parse("http://127.0.0.1:9000/mcp").unwrap();
        let to = |location: &str| {
            let headers = [(header::LOCATION, location.parse().unwrap())].into_iter().collect();
            target(&from, &headers).map(String::from)
        };
        assert_eq!(to("/mcp/").as_deref(), Some("http://127.0.0.1:9000/mcp/"));
        assert_eq!(to("https://b.example/x?token=a#b").as_deref(), Some("https://b.example/x"));
        for odd in ["javascript:alert(1)", "http://user:pass@b.example/", "http://"] {
            assert_eq!(to(odd), None, "{odd}");
        }
        assert_eq!(to(&format!("/{}", "a".repeat(300))), None);
    }
}
