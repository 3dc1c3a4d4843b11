//! Metadata and challenges, which tell clients where to send people and secrets: nothing of a request may change them.

use http::Request;

use crate::support::{Gateway, Reply, Setup, challenge};

const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
const ISSUER: &str = "/.well-known/oauth-authorization-server";

/// Everything by which a request could claim to have been sent to somewhere else.
const ELSEWHERE: &[(&str, &str)] = &[
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-host", "evil.example, 127.0.0.1"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-scheme", "javascript"),
    ("x-forwarded-protocol", "ssl"),
    ("x-forwarded-ssl", "on"),
    ("x-forwarded-port", "8443"),
    ("x-forwarded-prefix", "//evil.example"),
    ("x-forwarded-path", "/evil"),
    ("x-forwarded-uri", "/evil"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded", "host=evil.example"),
    ("forwarded", "host=evil.example;proto=https;for=127.0.0.1"),
    ("forwarded", "host=\"evil.example:443\", host=evil.example"),
    ("x-host", "evil.example"),
    ("x-http-host-override", "evil.example"),
    ("x-original-host", "evil.example"),
    ("x-original-url", "/evil"),
    ("x-rewrite-url", "/evil"),
    ("x-proxy-host", "evil.example"),
    ("x-real-host", "evil.example"),
    ("x-real-ip", "127.0.0.1"),
    ("x-scheme", "https"),
    ("x-url-scheme", "https"),
    ("x-script-name", "/evil"),
    ("front-end-https", "on"),
    ("x-http-method-override", "POST"),
    ("x-mcp-deputy-public-url", "https://evil.example"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/"),
    ("via", "1.1 evil.example"),
    ("mcp-protocol-version", "9999-99-99"),
    ("mcp-protocol-version", "2024-11-05"),
    ("accept", "text/html"),
    ("accept", "application/jwt"),
    ("accept-language", "tlh"),
    ("if-none-match", "*"),
    ("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ("range", "bytes=0-1"),
    ("authorization", "Bearer x"),
    ("cookie", "mcpd-session=x"),
    ("x-forwarded-host", "evil.example\u{e9}"),
];

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    gateway.send(request.body("".into()).unwrap()).await
}

#[tokio::test]
async fn attack_host_injected_into_metadata() {
    // Where a proxy in front is trusted, it is trusted with addresses of callers and with nothing else.
    for top in ["", "trusted_proxies = [\"127.0.0.0/8\"]\n"] {
        let gateway = Setup { top: top.to_owned(), ..Setup::default() }.start().await;
        for path in [RESOURCE, ISSUER, "/.well-known/oauth-protected-resource"] {
            let clean = get(&gateway, path, &[]).await;
            assert_eq!(clean.status, 200);
            assert!(clean.text().contains(&gateway.origin) && !clean.text().contains("evil"));
            assert_eq!(clean.header("content-type"), Some("application/json"));
            assert_eq!(clean.header("cache-control"), Some("public, max-age=300"));
            assert_eq!(
                (clean.header("set-cookie"), clean.header("vary")),
                (None, None),
                "one answer for everybody"
            );
            for header in ELSEWHERE {
                let reply = get(&gateway, path, &[*header]).await;
                assert_eq!((reply.status, &reply.body), (200, &clean.body), "{header:?}");
                let told = format!("{:?}", reply.headers);
                assert!(!told.contains("evil"), "{header:?}: {told}");
            }
            let all = get(&gateway, path, ELSEWHERE).await;
            assert_eq!(all.body, clean.body);
            for query in ["?", "?issuer=https://evil.example", "?resource=https://evil.example/mcp", "?x=%ff"]
            {
                assert_eq!(get(&gateway, &format!("{path}{query}"), &[]).await.body, clean.body, "{query}");
            }
        }
    }
}

#[tokio::test]
async fn attack_host_injected_into_a_challenge_or_a_page() {
    let gateway = Gateway::start().await;
    let expected = challenge(&gateway, "/mcp", "read");
    let client = gateway.client("App").await;
    for header in ELSEWHERE {
        let (name, value) = *header;
        if ["origin", "authorization"].contains(&name) {
            continue;
        }
        for method in ["POST", "GET", "DELETE"] {
            let request = gateway.at("/mcp", method, "").header(name, value.as_bytes());
            let reply = gateway.send(request.body("{}".into()).unwrap()).await;
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (401, Some(expected.as_str())),
                "{header:?}"
            );
            assert!(!reply.text().contains("evil"));
        }
        let url = client.asks().url().replace(&gateway.origin, "");
        let page = get(&gateway, &url, &[*header]).await;
        assert_eq!(page.status, 200, "{header:?}");
        assert!(page.text().contains(&gateway.mcp()) && !page.text().contains("evil"), "{header:?}");
        let home = get(&gateway, "/", &[*header]).await;
        assert!(!home.text().contains("evil"), "{header:?}");
    }
}

#[tokio::test]
async fn attack_metadata_at_another_address() {
    for two_mounts in [false, true] {
        let gateway = Setup { two_mounts, ..Setup::default() }.start().await;
        for path in [
            "/.well-known",
            "/.well-known/",
            "/.well-known/oauth-authorization-server/",
            "/.well-known/oauth-authorization-server/mcp",
            "/.well-known/oauth-authorization-server/evil.example",
            "/.well-known/oauth-authorization-server.json",
            "/.well-known/oauth-protected-resource/",
            "/.well-known/oauth-protected-resource/mcp/",
            "/.well-known/oauth-protected-resource//mcp",
            "/.well-known/oauth-protected-resource/MCP",
            "/.well-known/oauth-protected-resource/mcp/x",
            "/.well-known/oauth-protected-resource/mcp/../mcp",
            "/.well-known/oauth-protected-resource/nothing",
            "/.well-known/oauth-protected-resource/%6dcp",
            "/.well-known/oauth-protected-resource/mcp%00",
            "/.well-known/oauth-protected-resource/mcp;x",
            "/.well-known/oauth-protected-resource/https://evil.example/mcp",
            "/.well-known/oauth-protected-resourcemcp",
            "/.well-known/OAuth-Protected-Resource/mcp",
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/mcp",
            "/.well-known/jwks.json",
            "/.well-known/mcp",
            "/.well-known/oauth-client",
            "/.well-known/change-password",
            "/.well-known/security.txt",
            "/.well-known/acme-challenge/x",
            "/mcp/.well-known/oauth-protected-resource",
            "/mcp/.well-known/oauth-authorization-server",
            "/mcp/.well-known/openid-configuration",
            "//.well-known/oauth-authorization-server",
            "/./.well-known/oauth-authorization-server",
            "/x/../.well-known/oauth-authorization-server",
            "/%2ewell-known/oauth-authorization-server",
            "/.well%2dknown/oauth-authorization-server",
            "/.well-known%2foauth-authorization-server",
            "/.well-known\\oauth-authorization-server",
        ] {
            let reply = gateway.raw(&format!("GET {path}"), &[]).await;
            assert!([400, 404].contains(&reply.status), "{path}: {}", reply.text);
            assert!(
                !reply.text.contains("evil") && !reply.text.contains(".well-known"),
                "{path}: {}",
                reply.text
            );
        }
        // The root describes a resource only where there is no doubt which.
        let root = get(&gateway, "/.well-known/oauth-protected-resource", &[]).await;
        assert_eq!(root.status, if two_mounts { 404 } else { 200 });
        for path in [RESOURCE, ISSUER] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE"] {
                let request =
                    Request::builder().method(method).uri(gateway.url(path)).body("{}".into()).unwrap();
                let reply = gateway.send(request).await;
                assert_eq!(
                    (reply.status, reply.header("allow")),
                    (405, Some("GET, HEAD")),
                    "{method} {path}"
                );
            }
            let head = gateway.raw(&format!("HEAD {path}"), &[]).await;
            assert_eq!((head.status, head.body()), (200, ""));
        }
    }
}

/// What is told agrees with itself: every address is ours, and every document names the others as they are.
#[tokio::test]
async fn attack_metadata_that_contradicts_itself() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let issuer = get(&gateway, ISSUER, &[]).await.json();
    assert_eq!(issuer["issuer"], gateway.origin.as_str());
    for (name, value) in issuer.as_object().unwrap() {
        if name.ends_with("_endpoint") || name.ends_with("_uri") {
            let address = value.as_str().unwrap();
            assert!(address.starts_with(&format!("{}/", gateway.origin)), "{name}: {address}");
            // And something is there.
            let path = address.strip_prefix(&gateway.origin).unwrap();
            assert_ne!(get(&gateway, path, &[]).await.status, 404, "{name}");
        }
    }
    for resource in issuer["protected_resources"].as_array().unwrap() {
        let path = resource.as_str().unwrap().strip_prefix(&gateway.origin).unwrap();
        let document =
            get(&gateway, &format!("/.well-known/oauth-protected-resource{path}"), &[]).await.json();
        assert_eq!(&document["resource"], resource);
        assert_eq!(document["authorization_servers"], serde_json::json!([gateway.origin]));
        assert_eq!(document["bearer_methods_supported"], serde_json::json!(["header"]));
        let told = get(&gateway, path, &[]).await.header("www-authenticate").unwrap().to_owned();
        assert!(told.contains(&format!("{}/.well-known/oauth-protected-resource{path}\"", gateway.origin)));
    }
    for name in ["code_challenge_methods_supported", "response_types_supported"] {
        assert_eq!(issuer[name].as_array().unwrap().len(), 1, "{name}");
    }
}
