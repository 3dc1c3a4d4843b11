//! What `/metrics` says, where it is and where it is not, and that strangers cannot make it grow.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use mcp_deputy::{
    sandbox::{
        mcp_server::Refusal,
        third_party::{ADA, Health},
    },
    store::memory::MemoryStore,
};
use rustls::RootCertStore;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Gateway, PATIENCE, Reply, Setup, backend::Backend, client::Registration, metrics::Metrics, port::Port,
    process::World, random, tls,
};

const SERVER: (&str, &str) = ("server", "/mcp");

/// Requests to the MCP server that became this.
fn requests(metrics: &Metrics, code: &str, reason: &str) -> u64 {
    metrics.value("mcp_deputy_mcp_requests_total", &[SERVER, ("code", code), ("reason", reason)])
}

#[tokio::test]
async fn a_whole_journey_is_counted_step_by_step() {
    let gateway = Setup { disk: true, ..Setup::default() }.start().await;
    let before = gateway.metrics().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    for _ in 0..3 {
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    }
    let fresh = client.refresh(&tokens.refresh).await;
    client.refresh(&tokens.refresh).await;
    client.revoke(&fresh.refresh).await;
    let after = gateway.metrics().await;
    after.follows(&before);

    // Counts are of this process; with others in it, only the difference says something.
    let more = |event: &str| after.event(event) - before.event(event);
    for event in [
        "client_registered",
        "consent_page_shown",
        "approved",
        "departed",
        "code_issued",
        "code_redeemed",
        "refreshed",
        "refresh_replayed",
        "grant_ended",
    ] {
        assert_eq!(more(event), 1, "{event}");
    }
    assert_eq!(requests(&after, "2xx", "answered"), 3);
    assert_eq!(after.value("mcp_deputy_mcp_request_duration_seconds_count", &[SERVER]), 3);
    assert_eq!(after.value("mcp_deputy_mcp_requests_in_flight", &[SERVER]), 0);
    let looked_up = |result| after.value("mcp_deputy_session_cache_total", &[("result", result)]);
    // The first request on each worker reads the store.
    assert_eq!(looked_up("hit") + looked_up("miss"), 3);
    assert!(looked_up("miss") >= 1);
    let endpoint =
        |endpoint| after.value("mcp_deputy_http_requests_total", &[("endpoint", endpoint), ("code", "2xx")]);
    assert_eq!((endpoint("register"), endpoint("token"), endpoint("revoke")), (1, 3, 1));
    for call in ["redeem", "identify"] {
        let labels = [("provider", "quarry"), ("call", call)];
        let answered = after.value("mcp_deputy_third_party_calls_total", &labels);
        assert!(answered >= 1);
        assert_eq!(after.value("mcp_deputy_third_party_call_duration_seconds_count", &labels), answered);
    }
    for operation in ["read", "write"] {
        let name = "mcp_deputy_store_operation_duration_seconds_count";
        assert!(after.value(name, &[("operation", operation)]) > 3);
    }
    assert!(after.value("mcp_deputy_store_sync_duration_seconds_count", &[]) > 3);
    assert!(after.value("mcp_deputy_store_size_bytes", &[]) > 1000);
    assert!(after.value("mcp_deputy_connections_open", &[]) >= 1);
    assert!(after.value("process_resident_memory_bytes", &[]) > 1_000_000);
    assert_eq!(after.value("process_start_time_seconds", &[]), 1_900_000_000);
}

#[tokio::test]
async fn what_became_of_a_request_is_told_apart() {
    let gateway = Setup { refusal: Refusal::AlwaysUnauthorized, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let send = |request: Request<bytes::Bytes>| gateway.send(request);
    let empty = |builder: http::request::Builder| builder.body("".into()).unwrap();
    send(empty(gateway.at("/mcp", "POST", ""))).await;
    send(empty(gateway.at("/mcp", "POST", "made-up"))).await;
    send(empty(gateway.at("/mcp", "POST", &tokens.access).header("origin", "https://evil.example"))).await;
    send(empty(gateway.at("/mcp", "POST", &tokens.access).header("host", "evil.example"))).await;
    send(empty(gateway.at("/mcp", "PUT", &tokens.access))).await;
    send(empty(gateway.at("/mcp", "GET", &tokens.access).header("mcp-session-id", "made-up"))).await;
    // The MCP server refuses a token that the third party knows.
    gateway.tool(&tokens.access, "whoami", json!({})).await;
    let metrics = gateway.metrics().await;
    for (code, reason) in [
        ("4xx", "token_absent"),
        ("4xx", "token_refused"),
        ("4xx", "origin_foreign"),
        ("4xx", "not_for_us"),
        ("4xx", "method_refused"),
        ("4xx", "session_unknown"),
        ("5xx", "mcp_server_refused"),
    ] {
        assert_eq!(requests(&metrics, code, reason), 1, "{reason}");
    }
    assert_eq!(metrics.value("mcp_deputy_mcp_request_duration_seconds_count", &[SERVER]), 1);

    let nowhere =
        Setup { upstream: Some("http://127.0.0.1:1/mcp".to_owned()), ..Setup::default() }.start().await;
    let (_, tokens) = nowhere.tokens(&ADA).await;
    assert_eq!(nowhere.tool(&tokens.access, "whoami", json!({})).await.status, 502);
    assert_eq!(requests(&nowhere.metrics().await, "5xx", "mcp_server_unreachable"), 1);
}

#[tokio::test]
async fn a_third_party_that_is_down_is_seen() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    gateway.third_party.behave(|behaviour| behaviour.api = Health::ServerError);
    let mut visitor = gateway.visitor(&ADA);
    let departure = visitor.approve(&client.asks()).await;
    visitor.go_on(&departure).await;
    let metrics = gateway.metrics().await;
    let labels = [
        ("provider", "quarry"),
        ("call", "identify"),
        ("outcome", "unavailable"),
        ("reason", "server_error"),
    ];
    assert_eq!(metrics.value("mcp_deputy_third_party_calls_total", &labels), 1);
}

#[tokio::test]
async fn open_streams_are_counted_until_they_end() {
    let gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let open = |metrics: &Metrics| metrics.value("mcp_deputy_streams_open", &[SERVER]);
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let request = gateway.at("/mcp", "POST", &tokens.access).body(initialize.to_string().into()).unwrap();
    let session = gateway.send(request).await.header("mcp-session-id").unwrap().to_owned();
    let request = gateway.at("/mcp", "GET", &tokens.access).header("mcp-session-id", session);
    let mut stream = gateway.fetch().open(request.body("".into()).unwrap()).await.unwrap();
    assert_eq!(stream.status(), 200);
    let metrics = gateway.metrics().await;
    assert_eq!(open(&metrics), 1);
    // It has been answered; what is open is a stream and no request without an answer.
    assert_eq!(metrics.value("mcp_deputy_mcp_requests_in_flight", &[SERVER]), 0);
    let _ = tokio::time::timeout(std::time::Duration::from_millis(5), stream.body_mut().frame()).await;
    drop(stream);
    let ended = async { while open(&gateway.metrics().await) > 0 {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the stream is counted for ever");
    assert!(gateway.metrics().await.value("mcp_deputy_streams_total", &[SERVER]) >= 1);
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_answer_begins() {
    let (gate, opened) = tokio::sync::watch::channel(false);
    let backend = Backend::start(move |_| {
        let mut opened = opened.clone();
        async move {
            let _ = opened.wait_for(|is_open| *is_open).await;
            let json = http::Response::builder().header("content-type", "application/json");
            Ok(json.body(Full::from("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}").boxed()).unwrap())
        }
    })
    .await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let request = gateway.at("/mcp", "POST", &tokens.access).body(ping.to_string().into()).unwrap();
    let in_flight = |metrics: &Metrics| metrics.value("mcp_deputy_mcp_requests_in_flight", &[SERVER]);
    let seen = async {
        while in_flight(&gateway.metrics().await) != 1 {}
        gate.send(true).unwrap();
    };
    let both = async { tokio::join!(gateway.send(request), seen) };
    let (answer, ()) = tokio::time::timeout(PATIENCE, both).await.expect("it is never in flight");
    assert_eq!(answer.status, 200);
    assert_eq!(in_flight(&gateway.metrics().await), 0);
}

#[tokio::test]
async fn a_store_that_fails_and_a_worker_that_remembers_are_seen() {
    let store = Arc::new(MemoryStore::new());
    let gateway = Setup { store: Some(Arc::clone(&store) as _), ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    for _ in 0..20 {
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    }
    let before = gateway.metrics().await;
    let looked_up = |result| before.value("mcp_deputy_session_cache_total", &[("result", result)]);
    // Each worker reads the store once; everything else is in its memory.
    assert!(looked_up("hit") > looked_up("miss"), "{} {}", looked_up("hit"), looked_up("miss"));
    assert_eq!(before.value("mcp_deputy_store_faults_total", &[]), 0);
    store.fail_next(1);
    assert_ne!(client.try_refresh(&tokens.refresh).await.status, 200);
    assert_eq!(gateway.metrics().await.value("mcp_deputy_store_faults_total", &[]), 1);
}

/// The gateway's certificate, refused by somebody who trusts nobody.
async fn distrust(gateway: &Gateway) {
    let config = tls::client(RootCertStore::empty());
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    assert!(connector.connect("localhost".try_into().unwrap(), stream).await.is_err());
}

#[tokio::test]
async fn tls_handshakes_that_come_to_nothing_are_told_apart() {
    let gateway = Setup::https().start().await;
    assert_eq!(gateway.get("/").await.status, 200);
    distrust(&gateway).await;
    // Plain HTTP to the port of https, and somebody who only looks whether it is open.
    let mut plain = TcpStream::connect(gateway.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    drop(TcpStream::connect(gateway.address()).await.unwrap());
    let name = "mcp_deputy_tls_handshakes_failed_total";
    let expected = [("client_refused", 1), ("not_tls", 1), ("client_gone", 1), ("slow", 0), ("unusual", 0)];
    let counted = async {
        loop {
            let metrics = gateway.metrics().await;
            if expected.iter().all(|(reason, count)| metrics.value(name, &[("reason", reason)]) == *count) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("each is counted once, under its reason");
}

#[tokio::test]
async fn what_takes_less_than_a_millisecond_is_told_apart() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let tokens = world.visitor().tokens(&world.client("App").await).await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    let metrics = world.metrics().await;
    for (family, label) in [
        ("mcp_deputy_mcp_request_duration_seconds", SERVER),
        ("mcp_deputy_http_request_duration_seconds", ("endpoint", "token")),
        ("mcp_deputy_third_party_call_duration_seconds", ("call", "redeem")),
    ] {
        let bounds = metrics.bounds(family, label);
        assert_eq!(bounds[..4], ["0.0001", "0.00025", "0.0005", "0.001"], "{family}");
        // On the clock of the process, nothing is whole milliseconds.
        let sum = metrics.millionths(&format!("{family}_sum"), &[label]);
        assert!(sum > 0, "{family}");
    }
    let taken = ["mcp_deputy_mcp_request_duration_seconds", "mcp_deputy_http_request_duration_seconds"];
    let sums = taken.map(|family| metrics.millionths(&format!("{family}_sum"), &[]));
    assert!(sums.iter().any(|sum| sum % 1000 != 0), "{sums:?}");
}

/// Everything that a stranger can say in a request, each time something else.
async fn flood(gateway: &Gateway, times: usize) {
    for time in 0..times {
        let made_up = random("x");
        let get = |path: String| Request::get(gateway.url(&path)).body("".into()).unwrap();
        gateway.send(get(format!("/{made_up}"))).await;
        gateway.send(get(format!("/callback/{made_up}?code={made_up}&state={made_up}"))).await;
        gateway.send(get(format!("/callback/quarry?code={made_up}&state={made_up}"))).await;
        gateway
            .send(get(format!("/authorize?client_id={made_up}&redirect_uri=https://{made_up}.example/")))
            .await;
        // The journal names such a client, and what `random` makes is a secret to the leak check.
        let document = format!("https://made-up-{times}-{time}.example/c.json");
        gateway.send(get(format!("/authorize?client_id={document}"))).await;
        for method in ["GET", "POST", "DELETE", "PATCH", "BREW"] {
            let request =
                gateway.at("/mcp", method, &made_up).header("origin", format!("https://{made_up}.example"));
            gateway.send(request.body("".into()).unwrap()).await;
            let request = gateway.at("/mcp", method, &made_up).header("mcp-method", &made_up);
            gateway.send(request.body("".into()).unwrap()).await;
            let request = gateway.at("/mcp", method, "").header("host", format!("{made_up}.example"));
            gateway.send(request.body("".into()).unwrap()).await;
        }
        let method =
            Method::from_bytes(format!("X{}", made_up.to_uppercase().replace(['-', '_'], "")).as_bytes());
        let request = Request::builder().method(method.unwrap()).uri(gateway.url("/token"));
        gateway.send(request.body("".into()).unwrap()).await;
        let form = [("grant_type", "refresh_token"), ("client_id", &made_up), ("refresh_token", &made_up)];
        gateway.post_form("/token", &form).await;
        gateway.post_form("/token", &[("grant_type", &*made_up), ("client_id", &made_up)]).await;
        gateway.post_form("/revoke", &[("token", &*made_up), ("client_id", &made_up)]).await;
        gateway.post_form("/consent", &[("request", &*made_up), ("decision", &made_up)]).await;
        gateway.post_json("/register", &json!({ "client_name": made_up, "redirect_uris": [made_up] })).await;
        Registration::native(&made_up).at(gateway).await;
    }
}

#[tokio::test]
async fn attack_a_flood_of_strangers_adds_no_series() {
    let gateway = Gateway::start().await;
    flood(&gateway, 2).await;
    let before = gateway.metrics().await;
    flood(&gateway, 20).await;
    let after = gateway.metrics().await;
    after.follows(&before);
    let new: Vec<_> = after.series().difference(&before.series()).cloned().collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(requests(&after, "4xx", "token_refused") > requests(&before, "4xx", "token_refused"));
    assert!(after.samples.len() < 1500, "{}", after.samples.len());
}

#[tokio::test]
async fn the_admin_listener_has_them_under_no_name_that_can_be_rebound() {
    let gateway = Gateway::start().await;
    let admin = |host: &str| {
        let request = Request::get(format!("{}/metrics", gateway.admin)).header("host", host);
        gateway.send(request.body("".into()).unwrap())
    };
    assert_eq!(admin("rebound.example").await.status, 421);
    assert_eq!(admin("localhost").await.status, 200);
    // And the public listener has none.
    assert_eq!(gateway.get("/metrics").await.status, 404);
}

#[tokio::test]
async fn the_metrics_listener_has_them_under_any_name_and_nothing_else() {
    let mut world = World::new().await;
    let kept = Port::keep();
    let port = kept.number;
    let config = std::fs::read_to_string(world.config()).unwrap();
    std::fs::write(world.config(), format!("metrics_listen = \"127.0.0.1:{port}\"\n{config}")).unwrap();
    let _process = world.start().await;
    let ask = async |method: &str, path: &str, host: &str| {
        let request = Request::builder().method(method).uri(format!("http://127.0.0.1:{port}{path}"));
        let request = request.header("host", host).body("".into()).unwrap();
        Reply::from(world.fetch.send(request).await.unwrap())
    };
    let name = "mcp-deputy.tools.svc.cluster.local:9091";
    let scraped = ask("GET", "/metrics", name).await;
    assert_eq!(scraped.status, 200);
    assert_eq!(scraped.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(scraped.header("access-control-allow-origin"), None);
    assert_eq!(Metrics::read(&scraped.text()).value("mcp_deputy_build_info", &[]), 1);
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics/",
        "/mcp",
        "/register",
        "/.well-known/oauth-authorization-server",
    ] {
        assert_eq!(ask("GET", path, name).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(ask(method, "/metrics", name).await.status, 405, "{method}");
    }
    // The admin listener is still the admin listener.
    assert_eq!((world.probe("/healthz").await, world.probe("/metrics").await), (Some(200), Some(200)));
}
