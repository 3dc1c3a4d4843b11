//! Headers that cross the border between a client and an MCP server, in every spelling that some server reads as another.

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::third_party::ADA;
use secrecy::ExposeSecret as _;

use crate::support::{Gateway, Setup, Tokens, backend::Backend, socket::raw};

/// What a client says with these must not be what an MCP server hears.
const FORGED: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "cookie2",
    "dpop",
    "origin",
    "referer",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "x-cluster-client-ip",
    "x-original-url",
    "x-original-host",
    "x-original-uri",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "remote-user",
    "remote-groups",
    "remote-email",
    "remote-name",
    "x-remote-user",
    "x-remote-groups",
    "x-user",
    "x-user-id",
    "x-user-email",
    "x-userinfo",
    "x-username",
    "x-login",
    "x-email",
    "x-groups",
    "x-roles",
    "x-role",
    "x-tenant-id",
    "x-account-id",
    "x-subject",
    "x-principal",
    "x-identity",
    "x-id-token",
    "x-access-token",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-access-token",
    "x-auth-user",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-authenticated-scope",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-goog-authenticated-user-email",
    "x-goog-iap-jwt-assertion",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-data",
    "x-ms-client-principal",
    "x-ms-client-principal-name",
    "x-ms-token-aad-access-token",
    "cf-access-jwt-assertion",
    "cf-access-authenticated-user-email",
    "oidc-claim-sub",
    "x-oidc-email",
    "x-jwt-assertion",
    "x-jwt-payload",
    "x-pomerium-jwt-assertion",
    "x-pomerium-claim-email",
    "x-vouch-user",
    "x-authentik-username",
    "x-webauth-user",
    "tailscale-user-login",
    "auth-user",
    "ssl-client-cert",
    "ssl-client-verify",
    "x-ssl-client-cert",
    "x-ssl-client-s-dn",
    "x-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-envoy-original-path",
    "x-envoy-external-address",
    "x-mcp-deputy-subject",
    "x-mcp-deputy-login",
    "x-mcp-deputy-client",
    "x-mcp-deputy-scopes",
    "sec-fetch-site",
    "sec-fetch-mode",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
    "http2-settings",
];

/// Those of them that decide how a request is read, or whether.
const FRAMING: [&str; 4] = ["authorization", "origin", "te", "upgrade"];

async fn echoing() -> (Backend, Gateway, Tokens) {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let server = "identity_headers = true".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), server, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    (backend, gateway, tokens)
}

#[tokio::test]
async fn attack_identity_in_every_spelling() {
    const FORGERY: &str = "forged-by-the-client";
    let (backend, gateway, tokens) = echoing().await;
    let spellings: [fn(&str) -> String; 6] = [
        str::to_owned,
        str::to_uppercase,
        |name| name.replace('-', "_"),
        |name| name.replace('-', "."),
        |name| name.replacen('-', "_", 1),
        |name| name.replace('-', "~"),
    ];
    let sent: Vec<&str> = FORGED.iter().copied().filter(|name| !FRAMING.contains(name)).collect();
    for (spell, names) in spellings.iter().flat_map(|spell| sent.chunks(40).map(move |names| (spell, names)))
    {
        let mut request = gateway.at("/mcp", "POST", &tokens.access);
        for name in names {
            request = request.header(HeaderName::from_bytes(spell(name).as_bytes()).unwrap(), FORGERY);
        }
        let reply = gateway.send(request.body("{}".into()).unwrap()).await;
        assert_eq!(reply.status, 200, "{}", spell("x-user"));
        let seen = backend.last();
        for (name, value) in &seen.headers {
            assert!(!value.to_str().unwrap().contains(FORGERY), "{name} came through");
        }
        let own = |name: &str| seen.headers.get_all(name).iter().count();
        assert_eq!((own("x-mcp-deputy-subject"), own("x-mcp-deputy-login"), own("authorization")), (1, 1, 1));
        assert_eq!(seen.headers["x-mcp-deputy-login"], "ada");
    }
    // Each by itself, written several times and in two spellings at once.
    for name in FORGED.iter().filter(|name| name.starts_with("x-")) {
        let odd = name.replacen('-', "_", 1);
        let request = gateway.at("/mcp", "POST", &tokens.access);
        let request = request.header(*name, FORGERY).header(*name, FORGERY).header(odd.as_str(), FORGERY);
        gateway.send(request.body("{}".into()).unwrap()).await;
        let told = format!("{:?}", backend.last().headers);
        assert!(!told.contains(FORGERY), "{name}: {told}");
    }
}

/// `Connection` names headers that end here: not those that the gateway puts in, nor those that it judges.
#[tokio::test]
async fn attack_headers_named_by_connection() {
    let (backend, gateway, tokens) = echoing().await;
    let third: Vec<_> = gateway.third_party.secrets();
    for connection in [
        "authorization",
        "Authorization, close",
        "close, x-mcp-deputy-subject, x-mcp-deputy-login",
        "x-mcp-deputy-client",
        "host, content-length, transfer-encoding",
        "content-type, accept",
        "mcp-session-id, mcp-protocol-version",
        "connection, keep-alive, te, upgrade",
        ",,, ,authorization,",
        "\u{e9}, authorization",
        "*",
    ] {
        let request = gateway.at("/mcp", "POST", &tokens.access).header("connection", connection.as_bytes());
        let reply = gateway.send(request.header("x-kept", "1").body("{}".into()).unwrap()).await;
        assert_eq!(reply.status, 200, "{connection}");
        let seen = backend.last();
        let bearer = seen.headers["authorization"].to_str().unwrap();
        assert!(
            third.iter().any(|secret| bearer == format!("Bearer {}", secret.expose_secret())),
            "{connection}"
        );
        assert_eq!(
            (&seen.headers["x-mcp-deputy-login"], &seen.body[..]),
            (&"ada".parse().unwrap(), &b"{}"[..])
        );
        assert_eq!(seen.headers["x-kept"], "1");
        assert!(!seen.headers.contains_key("connection") || seen.headers["connection"] == "keep-alive");
    }
}

/// Upgrades, trailers and early data are not for MCP servers; a client that asks for them gets an ordinary answer.
#[tokio::test]
async fn attack_protocol_switched_on_the_way() {
    let (backend, gateway, tokens) = echoing().await;
    let head = |more: &str, length: usize| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             {more}content-length: {length}\r\n\r\n",
            gateway.address(),
            tokens.access
        )
    };
    for more in [
        "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n",
        "connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "connection: upgrade, close\r\nupgrade: TLS/1.3\r\n",
        "connection: close\r\nexpect: 100-continue\r\n",
        "connection: close\r\nearly-data: 1\r\n",
    ] {
        let before = backend.count();
        let reply = raw(gateway.address(), format!("{}{{}}", head(more, 2)).as_bytes()).await;
        let text = reply.text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200"), "{more}: {}", reply.text);
        let seen = backend.last();
        assert_eq!(backend.count(), before + 1);
        for name in ["upgrade", "http2-settings", "expect"] {
            assert!(!seen.headers.contains_key(name), "{name}");
        }
    }
    // Trailers of the client end here: they could say what headers must not.
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         connection: close\r\ntrailer: x-mcp-deputy-login, authorization\r\ntransfer-encoding: chunked\r\n\r\n",
        gateway.address(),
        tokens.access
    );
    let body = "2\r\n{}\r\n0\r\nx-mcp-deputy-login: root\r\nauthorization: Bearer x\r\n\r\n";
    let reply = raw(gateway.address(), format!("{head}{body}").as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let seen = backend.last();
    assert_eq!((&seen.headers["x-mcp-deputy-login"], &seen.body[..]), (&"ada".parse().unwrap(), &b"{}"[..]));
    assert!(!seen.headers.contains_key("trailer"));
}

/// An MCP server speaks under our origin: it must not change what browsers and clients believe about it.
#[tokio::test]
async fn attack_answer_of_a_malicious_mcp_server() {
    const EVIL: &str = "evil";
    let names: &[&'static str] = &[
        "www-authenticate",
        "proxy-authenticate",
        "authentication-info",
        "proxy-authentication-info",
        "authorization",
        "dpop-nonce",
        "set-cookie",
        "set-cookie2",
        "set-login",
        "clear-site-data",
        "service-worker-allowed",
        "refresh",
        "alt-svc",
        "strict-transport-security",
        "public-key-pins",
        "expect-ct",
        "origin-agent-cluster",
        "nel",
        "report-to",
        "reporting-endpoints",
        "accept-ch",
        "critical-ch",
        "link",
        "location",
        "content-location",
        "server",
        "x-powered-by",
        "via",
        "x-sendfile",
        "x-reproxy-url",
        "x-accel-redirect",
        "x-accel-buffering",
        "x-accel-expires",
        "x-accel-limit-rate",
        "x-lighttpd-send-file",
        "surrogate-control",
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "x-oauth-scopes",
        "x-accepted-oauth-scopes",
        "x-mcp-deputy-login",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "access-control-max-age",
        "access-control-allow-private-network",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "upgrade",
    ];
    for spell in
        [str::to_owned as fn(&str) -> String, |name| name.replace('-', "_"), |name| name.replace('-', ".")]
    {
        let names: Vec<String> = names.iter().map(|name| spell(name)).collect();
        let said = names.clone();
        let backend = Backend::start(move |_| {
            let mut answer =
                Response::builder().header("content-type", "application/json").header("x-kept", "1");
            for name in said.iter().filter(|name| !["trailer", "upgrade"].contains(&name.as_str())) {
                answer = answer.header(name.as_str(), EVIL);
            }
            // Some of them twice; of more than 100 headers in all nothing is read.
            for name in said.iter().filter(|name| name.len() > 12) {
                answer = answer.header(name.as_str(), EVIL);
            }
            let answer = answer.body(http_body_util::Full::new(Bytes::from_static(b"{}")).boxed()).unwrap();
            async move { Ok(answer) }
        })
        .await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        for (method, origin) in
            [("POST", None), ("GET", None), ("DELETE", None), ("POST", Some("http://localhost:1"))]
        {
            let mut request = gateway.at("/mcp", method, &tokens.access);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let reply = gateway.send(request.body("{}".into()).unwrap()).await;
            assert_eq!((reply.status, reply.header("x-kept")), (200, Some("1")));
            for (name, value) in &reply.headers {
                assert!(!value.to_str().unwrap().contains(EVIL), "{name} came through");
            }
            assert_eq!(reply.header("access-control-allow-origin"), origin);
            assert_eq!(reply.headers.get_all("x-request-id").iter().count(), 1, "ours");
        }
    }
}

/// Ids of sessions are bound by us: an MCP server that answers with two, or with bytes, does not get one past.
#[tokio::test]
async fn attack_session_id_of_a_malicious_mcp_server() {
    for ids in [&["one", "two"][..], &["one", "one"], &["a b"], &["\u{e9}"], &[""]] {
        let said = ids.to_vec();
        let backend = Backend::start(move |_| {
            let mut answer = Response::builder().header("content-type", "application/json");
            for id in &said {
                answer = answer.header("mcp-session-id", id.as_bytes());
            }
            let answer = answer.body(http_body_util::Full::new(Bytes::from_static(b"{}")).boxed()).unwrap();
            async move { Ok(answer) }
        })
        .await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        let reply = gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
        let given: Vec<_> = reply.headers.get_all("mcp-session-id").iter().collect();
        assert!(given.len() <= 1, "{ids:?}");
        for id in given {
            let id = id.to_str().unwrap();
            assert!(id.starts_with("one.") && id.len() == "one.".len() + 43, "{ids:?}: {id}");
        }
    }
}

/// The id of a request is ours: one from outside would write into our log and our pages.
#[tokio::test]
async fn attack_request_id_from_outside() {
    let gateway = Gateway::start().await;
    for name in ["x-request-id", "x-correlation-id", "request-id", "x-amzn-trace-id"] {
        for path in ["/authorize", "/nothing", "/callback/quarry", "/mcp", "/"] {
            let request =
                Request::get(gateway.url(path)).header("accept", "text/html").header(name, "<script>forged");
            let reply = gateway.send(request.body("".into()).unwrap()).await;
            let told = format!("{:?}{}", reply.headers, reply.text());
            assert!(!told.contains("forged"), "{name} {path}");
            assert_eq!(reply.header("x-request-id").unwrap().len(), 12);
        }
    }
}
