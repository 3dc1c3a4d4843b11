//! Over https: cookies as they are meant to be, and both versions of HTTP.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use mcp_deputy::{
    domain::pkce::CodeChallenge,
    net::tls::Certificates,
    sandbox::{
        browser::html,
        third_party::{ADA, ThirdParty},
    },
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use serde_json::json;

use crate::support::{Gateway, Reply, Setup, Visitor, client::LOOPBACK, parameter, random, secrets, tls};

/// A program that trusts the gateway's certificate and keeps cookies as a browser does.
struct Agent {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    cookies: BTreeMap<String, String>,
    version: Version,
}

impl Agent {
    fn new(roots: RootCertStore, version: Version) -> Self {
        let config = tls::client(roots);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let connector = match version {
            Version::HTTP_2 => builder.enable_http2().build(),
            _ => builder.enable_http1().build(),
        };
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector), cookies: BTreeMap::new(), version }
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Reply {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let response = self.pool.request(request.body(Full::from(body)).unwrap()).await.unwrap();
        assert_eq!(response.version(), self.version);
        let (head, body) = response.into_parts();
        let reply = Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        for line in reply.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let age = attributes.strip_prefix("HttpOnly; SameSite=Lax; Secure; Path=/");
            let age = age.unwrap_or_else(|| panic!("{name}: {attributes}"));
            assert!(name.starts_with("__Host-mcpd-"), "{name}");
            secrets::note(value);
            if age == "; Max-Age=0" {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    async fn get(&mut self, url: &str) -> Reply {
        self.send(Request::get(url).header("accept", "text/html"), String::new()).await
    }

    fn names(&self) -> Vec<String> {
        let kinds = self
            .cookies
            .keys()
            .map(|name| name.rsplit_once("-ticket-").map_or(name.as_str(), |_| "a ticket"));
        kinds.map(ToOwned::to_owned).collect()
    }
}

async fn gateway() -> (Gateway, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let certificates =
        Certificates::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
    let tls = Some(certificates.server_config().unwrap());
    (Setup { tls, ..Setup::default() }.start().await, roots)
}

/// What the person does at the third party, which is on another host and plain http.
async fn at_third_party(third_party: &ThirdParty, url: &str) -> String {
    let mut ada = Visitor::among([third_party], &ADA);
    let page = ada.open(url).await;
    let page = ada.answer_third_party(page).await;
    ada.callback_of(&page).await
}

#[tokio::test]
async fn over_https_every_cookie_is_a_host_cookie() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (gateway, roots) = gateway().await;
        let mut agent = Agent::new(roots, version);
        let registration = json!({ "client_name": "App", "redirect_uris": [LOOPBACK], "token_endpoint_auth_method": "none" });
        let request = Request::post(gateway.url("/register")).header("content-type", "application/json");
        let client = agent.send(request, registration.to_string()).await.json()["client_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let verifier = random("verifier-0123456789-");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", &client),
                ("redirect_uri", LOOPBACK),
                ("state", &random("state-")),
                ("code_challenge", CodeChallenge::of(&verifier).as_str()),
                ("code_challenge_method", "S256"),
                ("resource", &gateway.mcp()),
            ])
            .finish();
        let page = agent.get(&format!("{}?{query}", gateway.url("/authorize"))).await;
        assert_eq!(page.status, 200, "{}", page.text());
        assert_eq!(agent.names(), ["__Host-mcpd-render"]);
        let sealed = html::forms(&page.text())[0].fields[0].1.clone();
        secrets::note(&sealed);

        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("request", sealed.as_str()), ("decision", "approve")])
            .finish();
        let request = Request::post(gateway.url("/consent"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &gateway.origin)
            .header("sec-fetch-site", "same-origin");
        let departure = agent.send(request, form).await;
        assert_eq!(agent.names(), ["__Host-mcpd-render", "a ticket"]);
        let onward = html::refresh(&departure.text()).unwrap();
        secrets::note(&parameter(&onward, "state").unwrap());

        let callback = at_third_party(&gateway.third_party, &onward).await;
        let arrived = agent.get(&callback).await;
        assert_eq!(arrived.status, 303);
        assert_eq!(agent.names(), ["__Host-mcpd-render", "__Host-mcpd-session"]);
        let code = parameter(arrived.header("location").unwrap(), "code").unwrap();
        secrets::note(&code);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("grant_type", "authorization_code"),
                ("client_id", &client),
                ("code", &code),
                ("code_verifier", &verifier),
            ])
            .finish();
        let request =
            Request::post(gateway.url("/token")).header("content-type", "application/x-www-form-urlencoded");
        let tokens = agent.send(request, form).await.json();
        let access = tokens["access_token"].as_str().unwrap();
        secrets::note(access);
        secrets::note(tokens["refresh_token"].as_str().unwrap());
        let (head, body) = gateway.tool_request("/mcp", access, "whoami", json!({})).into_parts();
        let mut request = Request::builder().method(head.method).uri(head.uri);
        *request.headers_mut().unwrap() = head.headers;
        let reply = agent.send(request, String::from_utf8(body.to_vec()).unwrap()).await;
        assert_eq!(reply.result()["structuredContent"]["login"], "ada", "{version:?}");
        let reply = agent.send(Request::post(gateway.mcp()), "x".repeat(100_000)).await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (401, (version != Version::HTTP_2).then_some("close"))
        );
    }
}
