//! Denial of service: a stranger does too much of something. Each limit has a test that shows two things: that the
//! stranger is stopped, and that another address, another person, another client goes on unhindered.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use mcp_deputy::{
    domain::handle::{Handle, Kind, Presented},
    sandbox::third_party::{ADA, GRACE},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    support::{
        Client, Gateway, PATIENCE, Reply, Setup,
        backend::{Backend, events},
        chance,
        client::{HOSTED, LOOPBACK, Registration},
        gateway::form_request,
    },
    wire_registration::register,
};

/// A gateway behind a proxy, which says where requests come from.
async fn limited(limits: &str) -> Gateway {
    let limits = format!("registrations_per_minute = 1000\n{limits}\n");
    Setup { limits, top: "trusted_proxies = [\"127.0.0.1\"]".to_owned(), ..Setup::default() }.start().await
}

const STRANGER: &str = "203.0.113.66";
const OTHER: &str = "198.51.100.7";

impl Gateway {
    /// A request that comes from this address.
    async fn from(&self, address: &str, mut request: Request<Bytes>) -> Reply {
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        self.send(request).await
    }
}

fn refresh(gateway: &Gateway, client: &Client, token: &str) -> Request<Bytes> {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client.id.as_str())];
    form_request(&gateway.url("/token"), &form)
}

/// 429 and when to come back.
fn assert_limited(reply: &Reply) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let seconds: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn attack_flood_of_registrations() {
    let setup = Setup {
        limits: "registrations_per_minute = 5\n".to_owned(),
        top: "trusted_proxies = [\"127.0.0.1\"]".to_owned(),
        ..Setup::default()
    };
    let gateway = setup.start().await;
    let body = json!({ "redirect_uris": [LOOPBACK] }).to_string();
    let register = || {
        let request = Request::post(gateway.url("/register")).header("content-type", "application/json");
        request.body(Bytes::from(body.clone())).unwrap()
    };
    for _ in 0..5 {
        assert_eq!(gateway.from(STRANGER, register()).await.status, 201);
    }
    let reply = gateway.from(STRANGER, register()).await;
    assert_limited(&reply);
    assert_eq!(reply.error(), "temporarily_unavailable");
    assert_eq!(gateway.from(OTHER, register()).await.status, 201);
    // A header that no proxy of ours wrote does not make somebody else of the stranger.
    let forged = format!("{OTHER}, {STRANGER}");
    assert_limited(&gateway.from(&forged, register()).await);
    // The addresses of one IPv6 customer are one.
    for host in 0..5 {
        assert_eq!(gateway.from(&format!("2001:db8:1:1::{host}"), register()).await.status, 201);
    }
    assert_limited(&gateway.from("2001:db8:1:1:ffff::1", register()).await);
    assert_eq!(gateway.from("2001:db8:1:2::1", register()).await.status, 201);
}

/// Whoever registered once changes it again and again: each change is as much work as a registration.
#[tokio::test]
async fn attack_flood_of_changes_of_a_registration() {
    let setup = Setup {
        limits: "registrations_per_minute = 5\n".to_owned(),
        top: "trusted_proxies = [\"127.0.0.1\"]".to_owned(),
        ..Setup::default()
    };
    let gateway = setup.start().await;
    let body = json!({ "redirect_uris": [HOSTED], "token_endpoint_auth_method": "client_secret_post" });
    let answer = register(&gateway, &body).await;
    let (id, token) =
        (answer["client_id"].as_str().unwrap(), answer["registration_access_token"].as_str().unwrap());
    let manage = |method: &str, name: u32| {
        let mut body = body.clone();
        (body["client_id"], body["client_name"]) = (json!(id), json!(format!("App {name}")));
        let request = Request::builder().method(method).uri(gateway.url(&format!("/register/{id}")));
        let request = request.header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        request.body(Bytes::from(body.to_string())).unwrap()
    };
    for number in 0..5 {
        assert_eq!(gateway.from(STRANGER, manage("PUT", number)).await.status, 200);
    }
    assert_limited(&gateway.from(STRANGER, manage("PUT", 5)).await);
    assert_eq!(gateway.from(OTHER, manage("PUT", 6)).await.status, 200);
    // To read it costs little, and to withdraw it must always be possible.
    assert_eq!(gateway.from(STRANGER, manage("GET", 7)).await.status, 200);
    assert_eq!(gateway.from(STRANGER, manage("DELETE", 8)).await.status, 204);
}

#[tokio::test]
async fn attack_flood_of_authorization_requests() {
    let gateway = limited("authorizations_per_minute = 5").await;
    let client = gateway.client("App").await;
    let ask = || Request::get(client.asks().url()).header("accept", "text/html").body(Bytes::new()).unwrap();
    for _ in 0..5 {
        assert_eq!(gateway.from(STRANGER, ask()).await.status, 200);
    }
    let reply = gateway.from(STRANGER, ask()).await;
    assert_limited(&reply);
    assert_eq!(reply.slug(), "too_many_requests");
    assert_eq!(gateway.from(OTHER, ask()).await.status, 200);
    gateway.forward(Duration::from_secs(12));
    assert_eq!(gateway.from(STRANGER, ask()).await.status, 200, "only for a while");
}

#[tokio::test]
async fn attack_flood_of_approvals() {
    let gateway = limited("approvals_per_minute = 4").await;
    let forged = |path: &str| {
        let form = [("decision", "approve"), ("request", "x"), ("id", "x")];
        let mut request = form_request(&gateway.url(path), &form);
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
        request
    };
    for path in ["/consent", "/arrival"] {
        for _ in 0..2 {
            assert_eq!(gateway.from(STRANGER, forged(path)).await.status, 400, "{path}");
        }
    }
    let reply = gateway.from(STRANGER, forged("/consent")).await;
    assert_limited(&reply);
    assert_eq!(reply.slug(), "too_many_requests");
    assert_eq!(gateway.from(OTHER, forged("/consent")).await.status, 400, "judged");
    // A person whose browser comes by another way.
    gateway.tokens(&ADA).await;
}

/// A page on the internet that makes its visitors' browsers send forms here: it must not use up what they have.
#[tokio::test]
async fn attack_flood_from_a_foreign_page() {
    let gateway = limited("approvals_per_minute = 4").await;
    for path in ["/consent", "/arrival"] {
        for headers in [&[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..], &[]] {
            for _ in 0..6 {
                let mut request =
                    form_request(&gateway.url(path), &[("decision", "approve"), ("request", "x")]);
                for (name, value) in headers {
                    request.headers_mut().insert(*name, value.parse().unwrap());
                }
                let reply = gateway.send(request).await;
                assert_eq!((reply.status, reply.slug().as_str()), (403, "cross_site_post"), "{path}");
            }
        }
    }
    // From the same address, as the browser of a visitor would.
    gateway.tokens(&ADA).await;
}

/// The same with what browsers load without anybody clicking: images, scripts, frames, data.
#[tokio::test]
async fn attack_flood_of_pages_that_nobody_sees() {
    let gateway = limited("authorizations_per_minute = 3").await;
    let client = gateway.client("App").await;
    let load = |path: &str, kind: &str| {
        let url = if path == "/authorize" { client.asks().url() } else { gateway.url("/arrival?id=x") };
        let request = Request::get(url).header("accept", "text/html").header("sec-fetch-dest", kind);
        request.body(Bytes::new()).unwrap()
    };
    for path in ["/authorize", "/arrival"] {
        for kind in ["image", "script", "iframe", "empty", "", "Document"] {
            for _ in 0..4 {
                let reply = gateway.from(STRANGER, load(path, kind)).await;
                assert_eq!((reply.status, reply.header("set-cookie")), (403, None), "{path} {kind}");
            }
        }
    }
    assert_eq!(gateway.from(STRANGER, load("/authorize", "document")).await.status, 200);
    // What people open counts, the second page too.
    assert_eq!(gateway.from(STRANGER, load("/arrival", "document")).await.status, 400);
    assert_eq!(gateway.from(STRANGER, load("/arrival", "document")).await.status, 400);
    assert_limited(&gateway.from(STRANGER, load("/arrival", "document")).await);
    assert_limited(&gateway.from(STRANGER, load("/authorize", "document")).await);
    assert_eq!(gateway.from(OTHER, load("/arrival", "document")).await.status, 400);
}

/// And with registrations, which apps in browsers may send from their pages.
#[tokio::test]
async fn attack_flood_of_registrations_from_a_foreign_page() {
    let setup = Setup {
        limits: "registrations_per_minute = 3\n".to_owned(),
        top: "trusted_proxies = [\"127.0.0.1\"]".to_owned(),
        ..Setup::default()
    };
    let gateway = setup.start().await;
    let register = |site: Option<&str>| {
        let body = json!({ "redirect_uris": [LOOPBACK] }).to_string();
        let request = Request::post(gateway.url("/register")).header("content-type", "application/json");
        let request = site.into_iter().fold(request, |request, site| request.header("sec-fetch-site", site));
        request.body(Bytes::from(body)).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(gateway.from(STRANGER, register(Some("cross-site"))).await.status, 201);
    }
    for site in ["cross-site", "same-site"] {
        assert_limited(&gateway.from(STRANGER, register(Some(site))).await);
    }
    // The programs of the same person have theirs.
    for site in [None, Some("none"), None] {
        assert_eq!(gateway.from(STRANGER, register(site)).await.status, 201);
    }
    assert_limited(&gateway.from(STRANGER, register(None)).await);
}

#[tokio::test]
async fn attack_flood_of_open_approvals() {
    // Browsers of these tests have no proxy in front of them: 127.0.0.1 is the address that floods.
    let gateway = limited("max_open_approvals_per_address = 3\nmax_open_approvals = 20").await;
    let client = gateway.client("App").await;
    let mut script = gateway.visitor(&ADA);
    for _ in 0..3 {
        let departure = script.approve(&client.asks()).await;
        assert!(departure.leads_to().is_some());
    }
    let refused = script.approve(&client.asks()).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    // Nothing that was open is lost by that: the first one still arrives.
    let mut person = gateway.visitor(&GRACE);
    gateway.forward(Duration::from_mins(4));
    let departure = person.approve(&client.asks()).await;
    let refused = script.approve(&client.asks()).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    let arrived = person.go_on(&departure).await;
    assert!(arrived.captured, "{}", arrived.body);
    // Saying no takes none.
    let page = script.consent_page(&client.asks()).await;
    assert!(script.press(&page, "Deny").await.leads_to().is_some());
}

#[tokio::test]
async fn attack_flood_of_forged_refresh_tokens() {
    let gateway = limited("failed_tokens_per_minute = 5").await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    // Grant ids are no secret, and neither is the client's: everything but the secrets is right.
    let grant = Presented::parse(Kind::RefreshToken, &tokens.refresh).unwrap().grant;
    let forged = Handle::refresh_token(grant, chance(), chance()).expose().to_owned();
    for _ in 0..5 {
        let reply = gateway.from(STRANGER, refresh(&gateway, &client, &forged)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
    }
    let reply = gateway.from(STRANGER, refresh(&gateway, &client, &forged)).await;
    assert_limited(&reply);
    // Not the grant and not the client: from their own address, and even from the stranger's, what is right passes.
    let reply = gateway.from(STRANGER, refresh(&gateway, &client, &tokens.refresh)).await;
    let second = crate::support::Tokens::of(&reply);
    let reply = gateway.from(OTHER, refresh(&gateway, &client, &second.refresh)).await;
    let third = crate::support::Tokens::of(&reply);
    assert_eq!(gateway.whoami(&third.access).await, "ada");
    // And a failure elsewhere is told what it is.
    let reply = gateway.from(OTHER, refresh(&gateway, &client, &forged)).await;
    assert_eq!(reply.error(), "invalid_grant");
    // A new client at the stranger's address gets its tokens too.
    let answer = gateway.visitor(&GRACE).authorize(&client.asks()).await;
    let mut form = answer.form().to_vec();
    form.push(("client_id", client.id.as_str()));
    let reply = gateway.from(STRANGER, form_request(&gateway.url("/token"), &form)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn attack_old_tokens_do_not_silence_each_other() {
    let gateway = limited("failed_tokens_per_minute = 5").await;
    let (noisy, quiet) = (gateway.tokens(&ADA).await, gateway.tokens(&ADA).await);
    for (client, tokens) in [&noisy, &quiet] {
        client.revoke(&tokens.refresh).await;
    }
    for _ in 0..5 {
        let reply = gateway.from(STRANGER, refresh(&gateway, &noisy.0, &noisy.1.refresh)).await;
        assert_eq!(reply.error(), "invalid_grant");
    }
    assert_limited(&gateway.from(STRANGER, refresh(&gateway, &noisy.0, &noisy.1.refresh)).await);
    // Another client at the same address learns that it must ask for approval again.
    let reply = gateway.from(STRANGER, refresh(&gateway, &quiet.0, &quiet.1.refresh)).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
    // And the same one elsewhere.
    let reply = gateway.from(OTHER, refresh(&gateway, &noisy.0, &noisy.1.refresh)).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn attack_guessing_of_client_secrets() {
    let gateway = limited("failed_tokens_per_minute = 5").await;
    let client = Registration::native("Bank")
        .with("token_endpoint_auth_method", "client_secret_post")
        .at(&gateway)
        .await;
    let guess = |secret: &str, path: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("token", "x"),
            ("client_id", client.id.as_str()),
            ("client_secret", secret),
        ];
        form_request(&gateway.url(path), &form)
    };
    for path in ["/token", "/revoke", "/token", "/revoke", "/token"] {
        let reply = gateway.from(STRANGER, guess("guess", path)).await;
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"));
    }
    for path in ["/token", "/revoke"] {
        assert_limited(&gateway.from(STRANGER, guess("guess", path)).await);
    }
    // The real client is not locked out: not elsewhere, and not at the stranger's address.
    let secret = client.secret.clone().unwrap();
    for address in [OTHER, STRANGER] {
        let reply = gateway.from(address, guess(&secret, "/revoke")).await;
        assert_eq!(reply.status, 200, "{address}");
        let reply = gateway.from(address, guess(&secret, "/token")).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"), "{address}");
    }
}

#[tokio::test]
async fn attack_flood_of_unknown_tokens_at_an_mcp_server() {
    let gateway = limited("failed_admissions_per_minute = 5").await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let (dead_client, dead) = gateway.tokens(&ADA).await;
    dead_client.revoke(&dead.refresh).await;
    let call = |token: &str| gateway.tool_request("/mcp", token, "whoami", json!({}));
    for _ in 0..5 {
        let reply = gateway.from(STRANGER, call("made-up")).await;
        assert_eq!(reply.status, 401);
        assert!(reply.header("www-authenticate").is_some());
    }
    let reply = gateway.from(STRANGER, call("made-up")).await;
    assert_limited(&reply);
    assert_eq!(reply.json()["jsonrpc"], "2.0");
    // What is right passes, known to the worker or not.
    for _ in 0..2 {
        assert_eq!(gateway.from(STRANGER, call(&tokens.access)).await.status, 200);
    }
    assert_eq!(gateway.from(OTHER, call("made-up")).await.status, 401);
    // Who had a token, and who has none yet, learn what to do.
    let reply = gateway.from(STRANGER, call(&dead.access)).await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
    assert_eq!(gateway.from(STRANGER, call("")).await.status, 401);
    // A client that does not want to learn it hears it less and less.
    for _ in 0..4 {
        assert_eq!(gateway.from(STRANGER, call(&dead.access)).await.status, 401);
    }
    assert_limited(&gateway.from(STRANGER, call(&dead.access)).await);
    assert_eq!(gateway.from(STRANGER, call(&tokens.access)).await.status, 200);
}

#[tokio::test]
async fn attack_flood_of_made_up_callbacks() {
    let gateway = limited("failed_callbacks_per_minute = 5").await;
    let client = gateway.client("App").await;
    let forged = || {
        let address = gateway.url("/callback/quarry?state=made-up&code=x");
        Request::get(address).header("accept", "text/html").body(Bytes::new()).unwrap()
    };
    for _ in 0..5 {
        assert_eq!(gateway.send(forged()).await.status, 400);
    }
    let reply = gateway.send(forged()).await;
    assert_limited(&reply);
    assert_eq!(reply.slug(), "too_many_requests");
    assert_eq!(gateway.from(OTHER, forged()).await.status, 400);
    // At the very same address somebody comes back from the third party and is let in.
    gateway.visitor(&ADA).tokens(&client).await;
}

#[tokio::test]
async fn attack_one_person_takes_all_streams() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let limits = "registrations_per_minute = 1000\nmax_requests_per_person = 6\nmax_streams = 9\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), limits, ..Setup::default() }.start().await;
    let (_, greedy) = gateway.tokens(&ADA).await;
    let (_, second) = gateway.tokens(&ADA).await;
    let (_, third) = gateway.tokens(&ADA).await;
    let (_, grace) = gateway.tokens(&GRACE).await;
    let open = async |token: &str| {
        let request = gateway.at("/mcp", "GET", token).body(Bytes::new()).unwrap();
        gateway.fetch().open(request).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open(&greedy.access).await);
    }
    // One app has half of what its person has; the person's other apps go on.
    let refused = open(&greedy.access).await;
    assert_eq!(
        (refused.status(), refused.headers()["retry-after"].to_str().unwrap()),
        (429.try_into().unwrap(), "1")
    );
    for _ in 0..3 {
        held.push(open(&second.access).await);
    }
    assert!(held.iter().all(|response| response.status() == 200));
    assert_eq!(open(&third.access).await.status(), 429, "the person has no more");
    assert_eq!(backend.count(), 6, "what is refused does not reach the MCP server");
    // Another person goes on.
    let other = open(&grace.access).await;
    assert_eq!(other.status(), 200);
    // What is closed is free again.
    held.clear();
    for _ in 0..6 {
        timeout(PATIENCE, streams.recv().await.unwrap().closed()).await.unwrap();
    }
    let again = timeout(PATIENCE, async {
        loop {
            let response = open(&third.access).await;
            if response.status() == 200 {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    again.await.expect("never free again");
    drop(other);
}

#[tokio::test]
async fn attack_one_person_fills_the_store_with_grants() {
    let gateway = limited("max_grants_per_person = 2").await;
    let (client, first) = gateway.tokens(&ADA).await;
    let (_, grace) = gateway.tokens(&GRACE).await;
    gateway.forward(Duration::from_secs(1));
    let (_, second) = gateway.tokens(&ADA).await;
    gateway.forward(Duration::from_secs(1));
    // The first was used since, so the second goes.
    let first = client.refresh(&first.refresh).await;
    gateway.forward(Duration::from_secs(1));
    let (_, third) = gateway.tokens(&ADA).await;
    let status = async |token: &str| gateway.tool(token, "whoami", json!({})).await.status;
    assert_eq!((status(&first.access).await, status(&second.access).await), (200, 401));
    assert_eq!((status(&third.access).await, status(&grace.access).await), (200, 200));
}

/// A connection from this address of the loopback net.
async fn connect(gateway: &Gateway, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(gateway.address()).await.unwrap()
}

/// Whether a request over it is answered.
async fn is_served(gateway: &Gateway, stream: &mut TcpStream) -> bool {
    let host = gateway.address();
    let request = format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut head = [0; 12];
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut head).await
    };
    timeout(PATIENCE, exchange).await.expect("neither served nor closed").is_ok() && &head == b"HTTP/1.1 200"
}

#[tokio::test]
async fn attack_one_address_takes_all_connections() {
    let limits = "registrations_per_minute = 1000\nmax_connections = 60\nmax_connections_per_address = 10\n";
    let gateway = Setup {
        limits: limits.to_owned(),
        top: "trusted_proxies = [\"127.0.0.1\"]".to_owned(),
        ..Setup::default()
    }
    .start()
    .await;
    let mut held = Vec::new();
    while held.len() < 30 {
        let mut stream = connect(&gateway, "127.0.0.66").await;
        if !is_served(&gateway, &mut stream).await {
            break;
        }
        held.push(stream);
    }
    // An eighth of what is free, and eight at least.
    assert_eq!(held.len(), 8);
    let refused = gateway.metrics().await.value("mcp_deputy_connections_refused_total", &[]);
    assert_eq!(refused, 1);
    for other in ["127.0.0.67", "127.0.0.1"] {
        assert!(is_served(&gateway, &mut connect(&gateway, other).await).await, "{other}");
    }
    // The proxy stands for many people: its connections are not counted.
    let mut proxied = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&gateway, "127.0.0.1").await;
        assert!(is_served(&gateway, &mut stream).await);
        proxied.push(stream);
    }
    // What the stranger closes, the stranger may open again.
    held.pop();
    let again = async {
        while !is_served(&gateway, &mut connect(&gateway, "127.0.0.66").await).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("never free again");
}

#[tokio::test]
async fn attack_long_address() {
    let gateway = Gateway::start().await;
    let long = format!("/authorize?state={}", "s".repeat(17_000));
    assert_eq!(gateway.get(&long).await.status, 414);
    assert_eq!(gateway.get("/").await.status, 200);
}

#[tokio::test]
async fn attack_dribbling_upload() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let limits = "registrations_per_minute = 1000\nbody_timeout = \"500ms\"\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), limits, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // A byte long before each deadline, for ever: to the MCP server, and to an endpoint of ours.
    let host = gateway.address();
    for head in [
        format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n", tokens.access),
        format!(
            "POST /token HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        ),
    ] {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(format!("{head}content-length: 60000\r\n\r\n").as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let sending = async {
            while writing.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = [0; 12];
        let answered = async {
            tokio::select! {
                () = sending => {}
                read = reading.read_exact(&mut answer) => { read.unwrap(); }
            }
        };
        timeout(PATIENCE, answered).await.expect("goes on for ever");
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
}

/// All places for streams are taken. A call that could be answered with a stream is refused before it is done: who hears
/// "try again" does so, and it would be done twice.
#[tokio::test]
async fn attack_full_streams_do_not_make_calls_happen_twice() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let limits = "registrations_per_minute = 1000\nmax_streams = 2\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), limits, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let call = || gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push((gateway.fetch().open(call()).await.unwrap(), streams.recv().await.unwrap()));
    }
    let refused = gateway.send(call()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(backend.count(), 2, "it was done all the same");
    let (response, events) = open.pop().unwrap();
    drop(response);
    timeout(PATIENCE, events.closed()).await.unwrap();
    for _ in 0..200 {
        if gateway.fetch().open(call()).await.unwrap().status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its place was never given back");
}

/// Bodies that are begun and never ended, through a proxy that passes them on as they come.
#[tokio::test]
async fn attack_many_bodies_that_never_end() {
    let gateway = limited("").await;
    let begin = async |from: &str| {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: {}\r\nx-forwarded-for: {from}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\na",
            gateway.address()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(begin(STRANGER).await);
    }
    let ask = || form_request(&gateway.url("/token"), &[("grant_type", "x"), ("client_id", "x")]);
    let until = async |status: u16| {
        let asking = async {
            while gateway.from(STRANGER, ask()).await.status != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {status}"));
    };
    until(429).await;
    assert_limited(&gateway.from(STRANGER, ask()).await);
    assert_eq!(gateway.from(OTHER, ask()).await.status, 400, "another address");
    assert_eq!(
        gateway.from(STRANGER, Request::get(gateway.url("/")).body(Bytes::new()).unwrap()).await.status,
        200
    );
    drop(held);
    until(400).await;
}

/// Whoever had a token once knows the id of its permission, and can make up tokens that look like its own.
#[tokio::test]
async fn attack_made_up_tokens_of_an_own_permission() {
    let gateway = limited("failed_admissions_per_minute = 5").await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let (dead_client, dead) = gateway.tokens(&GRACE).await;
    dead_client.revoke(&dead.refresh).await;
    let grant = Presented::parse(Kind::AccessToken, &tokens.access).unwrap().grant;
    let made_up = || {
        let token = Handle::of_grant(Kind::AccessToken, grant, chance()).expose().to_owned();
        gateway.tool_request("/mcp", &token, "whoami", json!({}))
    };
    for _ in 0..5 {
        assert_eq!(gateway.from(STRANGER, made_up()).await.status, 401);
    }
    assert_limited(&gateway.from(STRANGER, made_up()).await);
    // Nobody else at that address hears less, and the good token is as good as before.
    let call = |token: &str| gateway.tool_request("/mcp", token, "whoami", json!({}));
    assert_eq!(gateway.from(STRANGER, call(&dead.access)).await.status, 401);
    assert_eq!(gateway.from(STRANGER, call(&tokens.access)).await.status, 200);
}
