//! The endpoints over the real flows, without sockets in front: a browser with a cookie jar, a client, and requests that
//! are wrong in every way that has a row in a table.

mod endpoints;
mod journey;
mod lines;
mod mcp;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{
    HeaderMap, Method, Request,
    header::{CONTENT_TYPE, HOST, SET_COOKIE},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

use super::{
    Caller, Mount, Site, SiteParts, Web,
    origin::AllowedOrigins,
    reply::Reply,
    testing::{Chance, body_of, pages},
};
use crate::{
    domain::{origin::Origin, pkce::CodeChallenge},
    flow::{
        admit::Sessions,
        tests::{CALLBACK, PUBLIC, VERIFIER, World},
    },
    net::backend::{Backend, BackendSettings},
    observe::trace::Tracer,
    proxy::{Body, Credential, Route, full},
};

/// A gateway as one worker sees it, and the world around it.
struct Gateway {
    web: Web,
    world: World,
}

impl Gateway {
    /// One whose MCP servers cannot be reached.
    fn new() -> Self {
        Self::in_front_of("http://127.0.0.1:1/mcp")
    }

    fn in_front_of(upstream: &str) -> Self {
        let world = World::new();
        let rule = AllowedOrigins {
            listed: vec![Origin::parse(PUBLIC).unwrap(), Origin::parse("https://app.example").unwrap()],
            any_loopback: false,
        };
        let parts = SiteParts {
            flows: Arc::clone(&world.flows),
            pages: pages(),
            clock: Arc::clone(&world.clock) as _,
            entropy: Arc::new(Chance::default()),
            allowed_origins: [("/mcp".to_owned(), rule.clone()), ("/other".to_owned(), rule)].into(),
            trusted_proxies: Vec::new(),
            body_timeout: Duration::from_secs(5),
            rates: super::limits::tests::rates(),
            max_requests_per_person: 100,
            max_streams: 100,
            max_body: 1 << 20,
            tracer: Tracer::default(),
        };
        let mounts: BTreeMap<_, _> =
            ["/mcp", "/other"].map(|path| (path.to_owned(), mount(path, upstream))).into();
        let web = Web::new(Site::new(parts).unwrap(), Sessions::with_capacity(16), mounts, Arc::default());
        Self { web, world }
    }

    /// Sends a request as it is, to the right host.
    async fn send(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(HOST, "mcp.example.com");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request: Request<Body> = request.body(full(body.to_owned())).unwrap();
        let caller = Caller { peer: "192.0.2.1:5000".parse().unwrap(), draining: CancellationToken::new() };
        self.web.answer(&mut request, &caller).await
    }

    async fn get(&self, uri: &str) -> Reply {
        self.send(Method::GET, uri, &[], "").await
    }

    async fn post_form(&self, uri: &str, form: &str) -> Reply {
        self.send(Method::POST, uri, &[(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")], form)
            .await
    }

    async fn register(&self) -> String {
        let body = format!(
            r#"{{"redirect_uris":["{CALLBACK}"],"token_endpoint_auth_method":"none","client_name":"App"}}"#
        );
        let reply =
            self.send(Method::POST, "/register", &[("content-type", "application/json")], &body).await;
        assert_eq!(reply.status().as_u16(), 201);
        json_of(reply).await["client_id"].as_str().unwrap().to_owned()
    }

    /// A client with tokens: the whole journey, without looking left or right.
    async fn tokens(&self) -> (String, serde_json::Value) {
        let client = self.register().await;
        let mut browser = Browser::new(self);
        let code = browser.code(&client).await;
        (client.clone(), self.redeem(&client, &code).await)
    }

    async fn redeem(&self, client: &str, code: &str) -> serde_json::Value {
        let form = format!(
            "grant_type=authorization_code&client_id={client}&code={code}&code_verifier={VERIFIER}&redirect_uri={CALLBACK}"
        );
        let reply = self.post_form("/token", &form).await;
        assert_eq!(reply.status().as_u16(), 200);
        json_of(reply).await
    }
}

/// A browser that keeps the cookies it is given.
struct Browser<'a> {
    gateway: &'a Gateway,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, cookies: BTreeMap::new() }
    }

    async fn go(&mut self, method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut all =
            vec![("accept", "text/html"), ("sec-fetch-dest", "document"), ("cookie", cookies.as_str())];
        all.extend_from_slice(headers);
        let reply = self.gateway.send(method, uri, &all, body).await;
        for value in reply.headers().get_all(SET_COOKIE) {
            let text = value.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            assert!(
                text.contains("HttpOnly") && text.contains("Secure") && name.starts_with("__Host-"),
                "{text}"
            );
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    async fn get(&mut self, uri: &str) -> Reply {
        self.go(Method::GET, uri, &[], "").await
    }

    /// Presses a button of a page of ours.
    async fn press(&mut self, action: &str, form: &str) -> Reply {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
            ("origin", PUBLIC),
        ];
        self.go(Method::POST, action, &headers, form).await
    }

    /// Opens the consent page; its sealed request.
    async fn open(&mut self, client: &str) -> String {
        let reply = self.get(&authorize(client)).await;
        assert_eq!(reply.status().as_u16(), 200);
        field(&body_of(reply).await, "request")
    }

    /// Approves; the address at the third party.
    async fn approve(&mut self, client: &str) -> String {
        let request = self.open(client).await;
        let reply = self.press("/consent", &format!("request={request}&decision=approve")).await;
        assert_eq!(reply.status().as_u16(), 200);
        onward(&body_of(reply).await)
    }

    /// Comes back from the third party.
    async fn come_back(&mut self, departed: &str) -> Reply {
        let uri = callback(departed);
        self.get(&uri).await
    }

    async fn code(&mut self, client: &str) -> String {
        let departed = self.approve(client).await;
        let reply = self.come_back(&departed).await;
        assert_eq!(reply.status().as_u16(), 200);
        parameter(&onward(&body_of(reply).await), "code").unwrap()
    }

    fn tickets(&self) -> usize {
        self.cookies.keys().filter(|name| name.contains("-ticket-")).count()
    }
}

fn authorize(client: &str) -> String {
    let challenge = CodeChallenge::of(VERIFIER);
    format!(
        "/authorize?response_type=code&client_id={client}&redirect_uri={CALLBACK}&state=their+state\
         &code_challenge={}&code_challenge_method=S256&resource={PUBLIC}/mcp",
        challenge.as_str()
    )
}

fn callback(departed: &str) -> String {
    format!("/callback/third?code=third-party-code&state={}", parameter(departed, "state").unwrap())
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The value of a hidden field.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect("the field");
    rest.split('"').next().unwrap().to_owned()
}

/// Where a page goes by itself.
fn onward(page: &str) -> String {
    let (_, rest) = page.split_once("content=\"0;url=").expect("a page that goes on");
    rest.split('"').next().unwrap().replace("&amp;", "&")
}

async fn json_of(reply: Reply) -> serde_json::Value {
    serde_json::from_str(&body_of(reply).await).unwrap()
}

fn mount(path: &str, upstream: &str) -> Mount {
    let settings = BackendSettings {
        upstream: upstream.parse().unwrap(),
        http2: false,
        tls: None,
        connect_timeout: Duration::from_secs(5),
    };
    let route = Route {
        path: path.to_owned(),
        credential: Credential::Authorization,
        identity_headers: false,
        max_body: 1024 * 1024,
        upload_stall: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        end_streams_at_expiry: true,
        drain_grace: Duration::ZERO,
    };
    Mount { route, backend: Backend::new(settings).unwrap(), traffic: Arc::default() }
}

/// An MCP server that says the same to everybody; its URL.
async fn mcp_server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = socket.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
                // What it was told comes back as a header, for the test to see.
                let told =
                    request.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("none");
                let text = answer.replace("TOLD", told);
                let _ = socket.write_all(text.as_bytes()).await;
            });
        }
    });
    url
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}
