//! Requests in a shape that was not meant: other methods, other media types, other writings of a path, other protocols.
//!
//! A path is ours byte for byte or it is not; a method and a media type are what they are, whatever a header says.

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcp_deputy::sandbox::third_party::ADA;
use tokio::net::TcpStream;

use crate::support::{Gateway, Setup, backend::Backend, gateway::form_request, socket::raw};

/// Our routes and what may be asked of them.
const ROUTES: &[(&str, &[&str])] = &[
    ("/", &["GET", "HEAD"]),
    ("/authorize", &["GET"]),
    ("/consent", &["POST"]),
    ("/callback/quarry", &["GET"]),
    ("/arrival", &["GET", "POST"]),
    ("/token", &["POST", "OPTIONS"]),
    ("/revoke", &["POST", "OPTIONS"]),
    ("/register", &["POST", "OPTIONS"]),
    ("/.well-known/oauth-authorization-server", &["GET", "HEAD", "OPTIONS"]),
    ("/.well-known/oauth-protected-resource/mcp", &["GET", "HEAD", "OPTIONS"]),
];

#[tokio::test]
async fn attack_method_that_is_not_allowed() {
    let gateway = Gateway::start().await;
    for (path, allowed) in ROUTES {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "TRACK", "DEBUG",
            "PROPFIND", "MKCOL", "LOCK", "SEARCH", "PURGE", "LINK", "get", "Post", "GETT", "QUERY", "X",
        ] {
            if allowed.contains(&method) {
                continue;
            }
            let request = Request::builder().method(method).uri(gateway.url(path)).body("".into()).unwrap();
            let reply = gateway.send(request).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(!reply.header("allow").unwrap().is_empty());
            assert_eq!(
                (reply.header("set-cookie"), reply.header("location")),
                (None, None),
                "{method} {path}"
            );
        }
        // What a header, the query or the body says of the method is no method.
        let method = if allowed.contains(&"POST") { "GET" } else { "POST" };
        if !allowed.contains(&method) {
            let wanted = allowed[0];
            for name in ["x-http-method-override", "x-http-method", "x-method-override", "_method"] {
                let request =
                    Request::builder().method(method).uri(gateway.url(&format!("{path}?_method={wanted}")));
                let request =
                    request.header(name, wanted).header("content-type", "application/x-www-form-urlencoded");
                let reply = gateway.send(request.body(format!("_method={wanted}").into()).unwrap()).await;
                assert_eq!(reply.status, 405, "{name} {path}");
            }
        }
    }
}

#[tokio::test]
async fn attack_method_at_an_mcp_server() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    for method in ["PUT", "PATCH", "HEAD", "TRACE", "TRACK", "PROPFIND", "get", "post", "QUERY", "X"] {
        let reply = gateway.send(gateway.at("/mcp", method, &tokens.access).body("{}".into()).unwrap()).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST, DELETE")), "{method}");
        let without = gateway.send(gateway.at("/mcp", method, "").body("{}".into()).unwrap()).await;
        assert_eq!(without.status, 401, "{method}: the token first");
    }
    assert_eq!(backend.count(), 0);
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "X_HTTP_METHOD_OVERRIDE"] {
        let request = gateway.at("/mcp", "POST", &tokens.access).header(name, "DELETE");
        assert_eq!(gateway.send(request.body("{}".into()).unwrap()).await.status, 200);
        let seen = backend.last();
        assert_eq!(seen.method, "POST");
        assert!(!format!("{:?}", seen.headers).contains("DELETE"), "{name}");
    }
    // Preflights need no token and reach nobody.
    let before = backend.count();
    let preflight = Request::options(gateway.mcp()).header("origin", "http://localhost:1");
    assert_eq!(gateway.send(preflight.body("".into()).unwrap()).await.status, 204);
    assert_eq!(backend.count(), before);
}

#[tokio::test]
async fn attack_path_in_another_writing() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let bearer = format!("Bearer {}", tokens.access);
    for (route, _) in ROUTES.iter().filter(|(route, _)| *route != "/").chain([&("/mcp", &[][..])]) {
        let (first, last) = (&route[1..2], &route[route.len() - 1..]);
        for path in [
            format!("/{route}"),
            format!("{route}/"),
            format!("{route}//"),
            format!("{route}/."),
            format!("{route}/.."),
            format!("/.{route}"),
            format!("/x/..{route}"),
            format!("/%2e{route}"),
            format!("/%2e%2e{route}"),
            format!("/x%2f..{route}"),
            format!("/{:02X}{}", 0, &route[1..]),
            format!("/%{:02x}{}", first.as_bytes()[0], &route[2..]),
            format!("{}%{:02x}", &route[..route.len() - 1], last.as_bytes()[0]),
            format!("%2f{}", &route[1..]),
            format!("{route}%00"),
            format!("{route}%20"),
            format!("{route}%2f"),
            format!("{route}%3f"),
            format!("{route}%23"),
            format!("{route};"),
            format!("{route};jsessionid=x"),
            format!("{route}.json"),
            format!("{route}.css"),
            format!("{route}/x.css"),
            format!("{route}\\"),
            format!("{route}~"),
            route.to_uppercase(),
            format!("/public{route}"),
            format!("{route}{route}"),
            format!("/{route}/../{route}"),
        ] {
            for method in ["GET", "POST"] {
                let reply = gateway.raw(&format!("{method} {path}"), &[("authorization", &bearer)]).await;
                // Below the registration endpoint each client has an address, and this is the token of none.
                if path.starts_with("/register/") && reply.status != 404 {
                    assert!([401, 405].contains(&reply.status), "{method} {path}: {}", reply.text);
                    continue;
                }
                // 400 where the parser of HTTP refuses it already.
                assert!([400, 404].contains(&reply.status), "{method} {path}: {}", reply.text);
                for name in ["set-cookie", "location", "www-authenticate", "access-control-allow-origin"] {
                    assert_eq!(reply.header(name), None, "{method} {path}");
                }
            }
        }
    }
    assert_eq!(backend.count(), 0, "something reached the MCP server");
    // A fragment and a query are no part of it.
    assert_eq!(gateway.raw("POST /mcp?a=/token&b=..%2f", &[("authorization", &bearer)]).await.status, 200);
    assert_eq!(backend.last().target, "/backend");
}

/// Targets that name a host (RFC 9112 section 3.2.2): it must be ours, and `Host` cannot make up for it.
#[tokio::test]
async fn attack_target_that_names_a_host() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let (bearer, ours) = (format!("Bearer {}", tokens.access), gateway.address().to_string());
    for target in [
        "http://evil.example/mcp".to_owned(),
        "https://evil.example/mcp".to_owned(),
        format!("http://{ours}@evil.example/mcp"),
        format!("http://evil.example@{ours}/mcp"),
        format!("http://{ours}.evil.example/mcp"),
        "http://127.0.0.1/mcp".to_owned(),
        format!("http://localhost:{}/mcp", gateway.address().port()),
        format!("http://[::ffff:127.0.0.1]:{}/mcp", gateway.address().port()),
        "//evil.example/mcp".to_owned(),
        format!("//{ours}/mcp"),
        "ftp://evil.example/mcp".to_owned(),
        "evil.example:443".to_owned(),
        "*".to_owned(),
    ] {
        for method in ["GET", "POST", "CONNECT", "OPTIONS"] {
            let reply = gateway.raw(&format!("{method} {target}"), &[("authorization", &bearer)]).await;
            assert!([0, 400, 404, 421].contains(&reply.status), "{method} {target}: {}", reply.text);
            assert!(!reply.text.contains("evil"), "{method} {target}");
        }
    }
    for (line, hosts) in [
        (format!("GET http://{ours}/mcp"), &["evil.example"][..]),
        ("GET /mcp".to_owned(), &["evil.example"]),
        ("GET /mcp".to_owned(), &[&ours, "evil.example"]),
        ("GET /mcp".to_owned(), &["evil.example", &ours]),
        ("GET /mcp".to_owned(), &[&ours, &ours]),
        ("GET /mcp".to_owned(), &[""]),
        ("GET /mcp".to_owned(), &[]),
        ("GET /mcp".to_owned(), &[&format!("{ours}, evil.example")]),
        ("GET /mcp".to_owned(), &[&format!("{ours}/")]),
        ("GET /mcp".to_owned(), &[&format!("x@{ours}")]),
        ("GET /mcp".to_owned(), &[&format!("{ours}#")]),
        ("GET /mcp".to_owned(), &["127.0.0.1"]),
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let hosts: Vec<String> = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
            let hosts = hosts.concat();
            let text =
                format!("{line} {version}\r\n{hosts}authorization: {bearer}\r\nconnection: close\r\n\r\n");
            let reply = raw(gateway.address(), text.as_bytes()).await;
            assert!([400, 421].contains(&reply.status), "{line} {hosts:?} {version}: {}", reply.text);
        }
    }
    assert_eq!(backend.count(), 0);
    let text = format!(
        "GET http://{ours}/mcp HTTP/1.1\r\nhost: {ours}\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(
        raw(gateway.address(), text.as_bytes()).await.status,
        200,
        "the absolute form of our own name is ours"
    );
}

/// What is not exactly the media type of an endpoint is not read there.
#[tokio::test]
async fn attack_media_type_that_browsers_send_unasked() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let form = answer.form().into_iter().chain([("client_id", client.id.as_str())]).collect::<Vec<_>>();
    let good = form_request("http://x/", &form).into_body();
    let json: serde_json::Map<_, _> =
        form.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let json = serde_json::Value::Object(json).to_string();
    let registration = serde_json::json!({ "redirect_uris": ["https://app.example/cb"] }).to_string();
    let types = [
        None,
        Some(""),
        Some("text/plain"),
        Some("text/html"),
        Some("multipart/form-data; boundary=x"),
        Some("application/x-www-form-urlencoded, application/json"),
        Some("application/json, application/x-www-form-urlencoded"),
        Some("text/plain; application/json"),
        Some("application/jsonx"),
        Some("application/json-patch+json"),
        Some("application/vnd.api+json"),
        Some("application/xml"),
        Some("application/octet-stream"),
        Some("application /json"),
        Some("json"),
        Some("*/*"),
    ];
    let send = async |path: &str, kind: Option<&str>, body: String| {
        let mut request = Request::post(gateway.url(path));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        gateway.send(request.header("sec-fetch-site", "same-origin").body(body.into()).unwrap()).await
    };
    let good = String::from_utf8(good.to_vec()).unwrap();
    for kind in types {
        for path in ["/token", "/revoke", "/consent", "/arrival"] {
            let reply = send(path, kind, good.clone()).await;
            let is_form =
                kind.is_some_and(|kind| kind.split(';').next() == Some("application/x-www-form-urlencoded"));
            assert!(
                reply.status == 400 || (is_form && path != "/token"),
                "{path} {kind:?}: {}",
                reply.status
            );
        }
        if kind.is_none_or(|kind| kind.split(';').next() != Some("application/json")) {
            assert_eq!(send("/register", kind, registration.clone()).await.status, 400, "{kind:?}");
        }
    }
    // The other endpoint's type, and the right type around the other's body.
    assert_eq!(
        send("/register", Some("application/x-www-form-urlencoded"), registration.clone()).await.status,
        400
    );
    assert_eq!(send("/token", Some("application/json"), json.clone()).await.error(), "invalid_request");
    assert_eq!(send("/token", Some("application/x-www-form-urlencoded"), json).await.status, 401);
    for body in [
        "",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{",
        "{}x",
        "\u{feff}{}",
        "{\"redirect_uris\":[\"https://a.example/\"],}",
    ] {
        assert_eq!(send("/register", Some("application/json"), body.to_owned()).await.status, 400, "{body}");
    }
    let twice = "{\"redirect_uris\":[\"https://a.example/\"],\"redirect_uris\":[\"https://evil.example/\"]}";
    assert_eq!(
        send("/register", Some("application/json"), twice.to_owned()).await.status,
        400,
        "a member twice"
    );
    for encoding in ["gzip", "br", "deflate", "identity, gzip"] {
        let request = Request::post(gateway.url("/token")).header("content-encoding", encoding);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let reply = gateway.send(request.body("\u{1f}\u{8b}x".into()).unwrap()).await;
        assert!(reply.status >= 400, "{encoding}");
    }
    client.redeem(&answer).await;
}

/// HTTP/2, where the target is made of pseudo-headers, with the same judgement.
#[tokio::test]
async fn attack_pseudo_headers() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let ours = gateway.address().to_string();
    let send = async |method: &str, uri: &str, headers: &[(&str, &str)]| {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer =
            sender.send_request(request.body(Full::new(bytes::Bytes::from_static(b"{}"))).unwrap()).await;
        let status = match answer {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let text = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&text).contains("evil"));
                head.status.as_u16()
            }
            // The stream was reset: as good as a refusal.
            Err(_) => 0,
        };
        driving.abort();
        status
    };
    let bearer = format!("Bearer {}", tokens.access);
    let token = ("authorization", bearer.as_str());
    for (method, uri, headers) in [
        ("POST", "http://evil.example/mcp", &[token][..]),
        ("POST", "http://evil.example/mcp", &[token, ("host", ours.as_str())]),
        ("POST", &format!("http://{ours}/mcp"), &[token, ("host", "evil.example")]),
        ("POST", &format!("http://{ours}/mcp"), &[token, ("host", ours.as_str()), ("host", "evil.example")]),
        ("POST", &format!("http://{ours}.evil.example/mcp"), &[token]),
        ("POST", "http://localhost/mcp", &[token]),
        ("POST", &format!("http://{ours}//mcp"), &[token]),
        ("POST", &format!("http://{ours}/mcp/"), &[token]),
        ("POST", &format!("http://{ours}/%6dcp"), &[token]),
        ("POST", &format!("http://{ours}/x/../mcp"), &[token]),
        ("POST", &format!("http://{ours}/mcp"), &[]),
        ("POST", &format!("http://{ours}/mcp"), &[token, token]),
        ("POST", &format!("http://{ours}/mcp?access_token={}", tokens.access), &[]),
        ("PUT", &format!("http://{ours}/mcp"), &[token]),
        ("TRACE", &format!("http://{ours}/mcp"), &[token]),
        ("CONNECT", &ours, &[token]),
        ("CONNECT", "evil.example:443", &[token]),
    ] {
        let status = send(method, uri, headers).await;
        let shown = uri.replace(&tokens.access, "…");
        assert!([0, 400, 401, 404, 405, 421].contains(&status), "{method} {shown}: {status}");
    }
    assert_eq!(backend.count(), 0, "something reached the MCP server");
    assert_eq!(send("POST", &format!("http://{ours}/mcp"), &[token]).await, 200);
    assert_eq!(
        send("POST", &format!("https://{ours}/mcp"), &[token, ("host", &ours)]).await,
        200,
        "the scheme is ours to know"
    );
}
