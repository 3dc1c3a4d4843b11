//! Published advisories of gateways and of the classic proxies that ask people to log in: each as the attack that worked
//! there.

use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::third_party::{ADA, GRACE};
use serde_json::json;

use crate::support::{
    Answer, Gateway, Setup,
    backend::Backend,
    client::{HOSTED, Registration},
};

async fn seen_by(gateway: &Gateway, request: Request<Bytes>) -> u16 {
    gateway.send(request).await.status
}

/// GHSA-5hvv-m4w4-gf6v: whoever calls themselves a health check passes. And health is not asked for at the public port.
#[tokio::test]
async fn attack_health_check_user_agent() {
    let backend = Backend::saying(200, &[], "secret").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    for agent in
        ["GoogleHC/1.0", "kube-probe/1.31", "ELB-HealthChecker/2.0", "Amazon-Route53-Health-Check-Service"]
    {
        for path in ["/mcp", "/healthz", "/readyz", "/metrics", "/ping", "/ready"] {
            let request =
                Request::get(gateway.url(path)).header("user-agent", agent).body(Bytes::new()).unwrap();
            let status = seen_by(&gateway, request).await;
            assert_eq!(status, if path == "/mcp" { 401 } else { 404 }, "{agent} {path}");
        }
    }
    assert_eq!(backend.count(), 0);
}

/// GHSA-7x63-xv5r-3p2x: rules that believed what a header said about the path.
#[tokio::test]
async fn attack_forwarded_uri() {
    let backend = Backend::saying(200, &[], "secret").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    for name in [
        "x-forwarded-uri",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-http-method-override",
        "x-auth-request-redirect",
    ] {
        for value in ["/.well-known/oauth-authorization-server", "/", "/register", "OPTIONS"] {
            let request = gateway.at("/mcp", "POST", "").header(name, value).body("{}".into()).unwrap();
            assert_eq!(seen_by(&gateway, request).await, 401, "{name}: {value}");
        }
    }
    assert_eq!(backend.count(), 0);
}

/// GHSA-pxq7-h93f-9jrg, CVE-2026-32871: query, dot segments and encodings that make one path look like another.
#[tokio::test]
async fn attack_path_that_looks_like_another() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // Without a token: no path of ours lets the MCP server's through.
    for path in ["/mcp?/.well-known/oauth-authorization-server", "/mcp?path=/register", "/mcp?x=/healthz"] {
        let request = gateway.at(path, "POST", "").body("{}".into()).unwrap();
        assert_eq!(seen_by(&gateway, request).await, 401, "{path}");
    }
    // With a token: the configured URL, and nothing beside it.
    for path in [
        "/mcp/../admin",
        "/mcp/%2e%2e/admin",
        "/mcp%2f..%2fadmin",
        "/mcp/..%5cadmin",
        "/mcp/admin",
        "/mcp/",
        "//mcp",
        "/./mcp",
        "/MCP",
        "/%6dcp",
        "/mcp;x=1",
        "/.well-known/../mcp",
    ] {
        let target = format!("{path} HTTP/1.1");
        let answer = raw(&gateway, &format!("POST {target}"), &tokens.access).await;
        assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert_eq!(backend.count(), 0, "nothing of that reached the MCP server");
    let good = raw(&gateway, "POST /mcp HTTP/1.1", &tokens.access).await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    assert_eq!(backend.last().target, "/backend");
}

/// A request as it is written, since clients tidy paths up.
async fn raw(gateway: &Gateway, line: &str, token: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let request = format!(
        "{line}\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        gateway.address()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refusal may close the connection before everything is read.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// CVE-2025-64484: identity headers in spellings that a list of names misses.
#[tokio::test]
async fn attack_header_smuggling_with_underscores() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let server = "identity_headers = true".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), server, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let spellings = |name: &str| [name.to_owned(), name.replace('-', "_"), name.replacen('-', "_", 1)];
    let names = [
        "x-mcp-deputy-subject",
        "x-mcp-deputy-login",
        "x-mcp-deputy-client",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-access-token",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-auth-request-user",
        "x-auth-request-access-token",
        "x-remote-user",
        "x-user-id",
        "remote-user",
    ];
    let mut request = gateway.at("/mcp", "POST", &tokens.access);
    // Twice, too: the last one must not win over ours.
    request = request.header("x-mcp-deputy-login", "root-smuggled");
    for name in names.iter().flat_map(|name| spellings(name)) {
        request = request.header(name, "root-smuggled");
    }
    assert_eq!(seen_by(&gateway, request.body("{}".into()).unwrap()).await, 200);
    let seen = backend.last();
    let smuggled: Vec<_> = seen
        .headers
        .iter()
        .filter(|(_, value)| String::from_utf8_lossy(value.as_bytes()).contains("root-smuggled"))
        .map(|(name, _)| name.clone())
        .collect();
    assert!(smuggled.is_empty(), "{smuggled:?}");
    let own = seen.headers.get_all("x-mcp-deputy-login");
    assert_eq!(own.iter().collect::<Vec<_>>(), ["ada"]);
}

/// GHSA-f24x-5g9q-753f: a session that the attacker planted before the login is the victim's after it.
#[tokio::test]
async fn attack_session_fixation() {
    let tables = "[consent]\nmode = \"remember\"\n".to_owned();
    let gateway = Setup { tables, ..Setup::https() }.start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let origin = gateway.origin.parse().unwrap();
    let session = |visitor: &mut crate::support::Visitor| {
        let sending = mcp_deputy::sandbox::browser::jar::Sending { cross_site: false, safe: true };
        let all = visitor.browser.jar().for_request(&origin, sending);
        let found = all.iter().find(|(name, _)| *name == "__Host-mcpd-session");
        found.map(|(_, value)| (*value).to_owned())
    };
    let plant = |visitor: &mut crate::support::Visitor, value: &str| {
        let line = format!("__Host-mcpd-session={value}; Path=/; Secure");
        visitor.browser.jar().set(&origin, &line).unwrap();
    };
    // A made-up one, and one that is really the attacker's.
    let mut attacker = gateway.visitor(&GRACE);
    attacker.tokens(&client).await;
    let attackers = session(&mut attacker).unwrap();
    for planted in ["mcpd_ck_made-up", attackers.as_str()] {
        let mut ada = gateway.visitor(&ADA);
        plant(&mut ada, planted);
        let asking = client.asks();
        let departure = ada.approve_any(&asking).await;
        let mut page = ada.go_on(&departure).await;
        if planted == attackers {
            // Somebody else than the session's person: asked again, by name.
            assert_eq!(page.url.path(), "/arrival", "{}", page.body);
            assert!(page.body.contains("<bdi>ada</bdi>") && page.body.contains("<bdi>grace</bdi>"));
            let approved = ada.press(&page, "Approve").await;
            page = ada.go_on(&approved).await;
        }
        client.redeem(&Answer::of(&page, &asking)).await;
        let own = session(&mut ada).unwrap();
        assert_ne!(own, planted, "a login makes a new session");
        // What was planted opens nothing of hers.
        let mut after = gateway.visitor(&GRACE);
        plant(&mut after, planted);
        let page = after.consent_page(&client.asks()).await;
        assert!(!page.body.contains("<bdi>ada</bdi>"), "{}", page.body);
    }
}

/// CVE-2025-64443, GHSA-g53w-w6mj-hrpp, CVE-2026-14540: where a request goes, with the credential, is configured; nothing
/// in the request has a say.
#[tokio::test]
async fn attack_destination_from_the_request() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let elsewhere = Backend::saying(200, &[], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let authority = elsewhere.url.trim_start_matches("http://").trim_end_matches("/backend").to_owned();
    for name in
        ["x-forwarded-host", "x-host", "x-original-host", "x-forwarded-server", "x-upstream", "x-backend-url"]
    {
        let mut request = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
        request.headers_mut().insert(name, authority.parse().unwrap());
        assert_eq!(seen_by(&gateway, request).await, 200);
        let host = backend.last().headers["host"].to_str().unwrap().to_owned();
        assert_eq!(format!("http://{host}/backend"), backend.url, "{name}");
    }
    // Another authority than ours: in the request line, or in `Host`.
    let lines = [
        format!("POST {}/mcp HTTP/1.1", elsewhere.url.trim_end_matches("/backend")),
        format!("CONNECT {authority} HTTP/1.1"),
    ];
    let before = backend.count();
    for line in lines {
        let answer = raw(&gateway, &line, &tokens.access).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
    }
    let mut request = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
    request.headers_mut().insert("host", authority.parse().unwrap());
    assert!(matches!(seen_by(&gateway, request).await, 400..=499));
    assert_eq!((backend.count(), elsewhere.count()), (before, 0));
}
