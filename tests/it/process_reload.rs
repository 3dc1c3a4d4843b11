//! The real binary reads its configuration again: at SIGHUP, when its files change, all of it or nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use mcp_deputy::{
    net::files,
    sandbox::{
        fetch::Fetch,
        third_party::{ADA, GRACE, StaticClient},
    },
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::support::{
    Client, PATIENCE, Visitor,
    backend::{Backend, events},
    process::World,
    tls::shown,
};

/// The status of a request without a token.
async fn status(world: &World, path: &str) -> u16 {
    let request = Request::post(format!("{}{path}", world.origin)).body("".into()).unwrap();
    world.fetch.send(request).await.unwrap().status().as_u16()
}

/// A second MCP server.
fn with_other(text: &str) -> String {
    let upstream = text.split("upstream_url = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    format!("{text}[[mcp_server]]\npath = \"/other\"\nname = \"Other\"\nupstream_url = \"{upstream}\"\n")
}

#[tokio::test]
async fn a_hangup_brings_a_server_in_and_takes_it_out_again() {
    let mut world = World::new().await;
    let process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    assert_eq!((world.admitted(&tokens.access).await, status(&world, "/other").await), (200, 404));
    let before = world.metrics().await;
    let text = fs::read_to_string(world.config()).unwrap();
    world.rewrite(|text| with_other(&text));
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    // On the connections that were open before, too.
    assert_eq!((world.admitted(&tokens.access).await, status(&world, "/other").await), (200, 401));
    let after = world.metrics().await;
    after.follows(&before);
    assert_eq!(after.value("mcp_deputy_config_reloads_total", &[("result", "applied")]), 1);
    assert_eq!(
        after.value("mcp_deputy_mcp_requests_total", &[("server", "/other"), ("reason", "token_absent")]),
        1
    );
    world.rewrite(|_| text);
    process.hang_up();
    process.journaled("configuration_reloaded", 2).await;
    assert_eq!((world.admitted(&tokens.access).await, status(&world, "/other").await), (200, 404));
    client.reconnected().refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn a_config_map_that_is_swapped_by_a_link_is_noticed() {
    let mut world = World::new().await;
    // As Kubernetes mounts it: proxy.toml -> ..data/proxy.toml, ..data -> a folder, which is swapped by a rename.
    let folder = world.config().parent().unwrap().to_path_buf();
    let text = fs::read_to_string(world.config()).unwrap();
    for (name, text) in [("..one", text.clone()), ("..two", with_other(&text))] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("proxy.toml"), text).unwrap();
    }
    fs::remove_file(world.config()).unwrap();
    symlink("..one", folder.join("..data")).unwrap();
    symlink("..data/proxy.toml", world.config()).unwrap();
    let process = world.start().await;
    assert_eq!(status(&world, "/other").await, 404);
    symlink("..two", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(status(&world, "/other").await, 401);
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_says_why() {
    let mut world = World::new().await;
    let process = world.start().await;
    let good = fs::read_to_string(world.config()).unwrap();
    let port = world.origin.rsplit(':').next().unwrap().to_owned();
    let other_port = format!("listen = \"127.0.0.1:1{}\"", &port[1..]);
    let elsewhere = good.replace("[store]\nurl = \"disk:", "[store]\nurl = \"disk:/nowhere");
    for (index, (text, reason, sentence)) in [
        ("public_url = \"half a fi".to_owned(), "configuration_wrong", "this is not TOML"),
        (with_other(&good).replace("/other", "/token"), "configuration_wrong", "/token"),
        (with_other(&good.replace("[store]", "surprise = 1\n[store]")), "configuration_wrong", "surprise"),
        (with_other(&format!("log = \"loud=loud\"\n{good}")), "configuration_wrong", "log filter"),
        (
            with_other(&good.replace(&format!("listen = \"127.0.0.1:{port}\""), &other_port)),
            "needs_restart",
            "listen",
        ),
        (with_other(&elsewhere), "needs_restart", "store.url"),
        (
            with_other(&format!("trusted_proxies = [\"10.0.0.1\"]\n{good}")),
            "needs_restart",
            "trusted_proxies",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        world.rewrite(|_| text);
        process.hang_up();
        let entry = process.journaled("configuration_refused", index + 1).await;
        assert_eq!(entry["reason"], reason, "{sentence}");
        let told = process.told("message", "the new configuration was not taken; the one before holds");
        let said = told.last().unwrap()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(sentence), "{said}");
        assert_eq!((status(&world, "/mcp").await, status(&world, "/other").await), (401, 404), "{sentence}");
    }
    // What was refused is not tried again by itself, and what is right is taken after all that.
    assert!(process.told("event", "configuration_reloaded").is_empty());
    let metrics = world.metrics().await;
    assert_eq!(metrics.value("mcp_deputy_config_reloads_total", &[("result", "refused")]), 7);
    assert!(metrics.value("mcp_deputy_config_refused_timestamp_seconds", &[]) > 1_000_000_000);
    world.rewrite(|_| with_other(&good));
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(status(&world, "/other").await, 401);
    assert_eq!(process.told("event", "configuration_refused").len(), 7);
}

#[tokio::test]
async fn narrower_access_ends_the_sessions_of_those_it_does_not_name() {
    let mut world = World::new().await;
    let backend = Backend::start(|seen| async move {
        if seen.method == http::Method::GET {
            let (sender, response) = events();
            // Open for as long as somebody reads.
            tokio::spawn(async move {
                sender.send("data: hello\n\n".into()).await.ok();
                sender.closed().await;
            });
            return Ok(response);
        }
        let json = http::Response::builder().header("content-type", "application/json");
        Ok(json.body(Full::from("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}").boxed()).unwrap())
    })
    .await;
    world.rewrite(|text| {
        let upstream = text.split("upstream_url = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        text.replace(&upstream, &backend.url)
    });
    let process = world.start().await;
    let client = world.client("App").await;
    let ada = world.visitor().tokens(&client).await;
    let grace = Visitor::among([&world.third_party], &GRACE).tokens(&client).await;
    let open = async |token: &str| {
        let request = Request::get(format!("{}/mcp", world.origin))
            .header("accept", "text/event-stream")
            .header("authorization", format!("Bearer {token}"));
        let mut stream = world.fetch.open(request.body("".into()).unwrap()).await.unwrap();
        assert_eq!(stream.status(), 200);
        stream.body_mut().frame().await.unwrap().unwrap();
        stream
    };
    let ends = async |stream: &mut http::Response<Incoming>, within: Duration| {
        let ends = async { while stream.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} };
        timeout(within, ends).await.is_ok()
    };
    let (mut hers, mut others) = (open(&ada.access).await, open(&grace.access).await);
    assert_eq!((world.admitted(&ada.access).await, world.admitted(&grace.access).await), (200, 200));
    world.rewrite(|text| format!("{text}[access]\nusers = [\"quarry:{}\"]\n", GRACE.id));
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    assert!(ends(&mut hers, Duration::from_secs(2)).await, "ada's stream goes on");
    assert_eq!((world.admitted(&ada.access).await, world.admitted(&grace.access).await), (401, 200));
    assert!(!ends(&mut others, Duration::from_millis(200)).await, "grace's stream has ended");
    assert_eq!(client.try_refresh(&ada.refresh).await.status, 400);
    client.refresh(&grace.refresh).await;
    assert_ne!(ADA.id, GRACE.id);

    // Without its server a stream ends too; with it back, its client comes back.
    let text = fs::read_to_string(world.config()).unwrap();
    world.rewrite(|text| text.replace("path = \"/mcp\"", "path = \"/elsewhere\""));
    process.hang_up();
    process.journaled("configuration_reloaded", 2).await;
    assert!(ends(&mut others, Duration::from_secs(2)).await, "a stream of a server that is gone goes on");
    world.rewrite(|_| text);
    process.hang_up();
    process.journaled("configuration_reloaded", 3).await;
    assert_eq!(world.admitted(&grace.access).await, 200);
}

/// An MCP server that answers requests with the header `wait` only when it is told to; how many of those wait for it.
async fn gated() -> (Backend, Arc<AtomicUsize>, watch::Sender<bool>) {
    let (gate, opened) = watch::channel(false);
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&waiting);
    let backend = Backend::start(move |seen| {
        let (counted, mut opened) = (Arc::clone(&counted), opened.clone());
        async move {
            if seen.headers.contains_key("wait") {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = opened.wait_for(|is_open| *is_open).await;
            }
            let json = http::Response::builder().header("content-type", "application/json");
            Ok(json.body(Full::from("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}").boxed()).unwrap())
        }
    });
    (backend.await, waiting, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reloads_under_a_thousand_requests_drop_none() {
    const IN_FLIGHT: usize = 1000;
    /// Clients that go on asking while the configuration changes under them.
    const BUSY: usize = 20;
    files::raise().unwrap();
    let mut world = World::new().await;
    let (backend, waiting, gate) = gated().await;
    world.rewrite(|text| {
        let upstream = text.split("upstream_url = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let text = text.replace(&upstream, &backend.url);
        // All from one address, and by one person. At the usual level: a trace of all this is of no use to anybody.
        format!(
            "trusted_proxies = [\"127.0.0.1\"]\nlog = \"info\"\n{text}max_requests_per_person = 100000\n\
             max_streams = 20000\nupstream_response_timeout = \"30m\"\n"
        )
    });
    let process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    // A connection of its own for each client, used for all of its requests.
    let (origin, token) = (world.origin.clone(), tokens.access.clone());
    let ask = move |fetch: Fetch, waits: bool| {
        let (origin, token) = (origin.clone(), token.clone());
        async move {
            let mut request = Request::post(format!("{origin}/mcp"))
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream");
            if waits {
                request = request.header("wait", "yes");
            }
            let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string();
            let answer = fetch.send(request.body(body.into()).unwrap()).await;
            answer.expect("a request was dropped").status().as_u16()
        }
    };
    let patient = || Fetch::with_timeout(Duration::from_mins(30));
    let mut clients = JoinSet::new();
    for number in 0..IN_FLIGHT {
        let fetch = patient();
        let (first, again) = (ask(fetch.clone(), true), ask(fetch, false));
        clients.spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::try_from(number).unwrap())).await;
            [first.await, again.await]
        });
    }
    let all_wait = async {
        while waiting.load(Ordering::SeqCst) < IN_FLIGHT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_mins(5), all_wait).await.expect("never so many at once");

    let stop = Arc::new(AtomicBool::new(false));
    let mut busy = JoinSet::new();
    for _ in 0..BUSY {
        let (stop, fetch, ask) = (Arc::clone(&stop), patient(), ask.clone());
        busy.spawn(async move {
            let mut answered: u64 = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(ask(fetch.clone(), false).await, 200);
                answered += 1;
            }
            answered
        });
    }
    let plain = fs::read_to_string(world.config()).unwrap();
    for round in 1..=10 {
        world.rewrite(|_| if round % 2 == 1 { with_other(&plain) } else { plain.clone() });
        process.hang_up();
        process.journaled("configuration_reloaded", round).await;
        assert_eq!(status(&world, "/other").await, if round % 2 == 1 { 401 } else { 404 });
    }
    stop.store(true, Ordering::SeqCst);
    let mut answered = 0;
    while let Some(client) = busy.join_next().await {
        answered += client.expect("a busy client lost a request");
    }
    gate.send(true).unwrap();
    while let Some(client) = clients.join_next().await {
        assert_eq!(client.expect("a waiting client lost a request"), [200, 200]);
        answered += 2;
    }
    let metrics = world.metrics().await;
    let passed = [("server", "/mcp"), ("code", "2xx"), ("reason", "answered")];
    assert_eq!(metrics.value("mcp_deputy_mcp_requests_total", &passed), answered);
    assert_eq!(metrics.value("mcp_deputy_mcp_requests_total", &[("server", "/mcp"), ("code", "5xx")]), 0);
    assert!(answered > 2000, "{answered}");
}

#[tokio::test]
async fn log_levels_change_with_the_file() {
    let mut world = World::new().await;
    world.rewrite(|text| format!("log = \"info\"\n{text}"));
    let process = world.start().await;
    let debug = || process.told("level", "DEBUG").len() + process.told("level", "TRACE").len();
    status(&world, "/mcp").await;
    assert_eq!(debug(), 0);
    world.rewrite(|text| text.replacen("log = \"info\"", "log = \"info,mcp_deputy::access=debug\"", 1));
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    let lines = process.told("level", "DEBUG");
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line["target"] == "mcp_deputy::access"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn another_certificate_is_shown_from_then_on_and_a_broken_one_is_not() {
    let mut world = World::new().await;
    let folder = world.config().parent().unwrap().to_path_buf();
    let write = |year: i32| {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
        cert.der().to_vec()
    };
    // In how many years it is said to end.
    let ends_in = async |world: &World| {
        let metrics = world.metrics().await;
        let file = folder.join("certificate.pem").display().to_string();
        metrics.value("mcp_deputy_certificate_expires_in_seconds", &[("certificate", &file)]) / 31_556_952
    };
    let first = write(2100);
    let authority = world.origin.strip_prefix("http://").unwrap().to_owned();
    world.rewrite(|text| {
        let tls = format!(
            "[tls]\ncertificate = \"{0}/certificate.pem\"\nkey = \"{0}/key.pem\"\n",
            folder.display()
        );
        text.replace(&world.origin, &format!("https://{authority}")) + &tls
    });
    let process = world.start().await;
    let (certificate, mut open) = shown(&authority).await;
    assert_eq!(certificate, first);

    fs::write(folder.join("certificate.pem"), "no certificate").unwrap();
    process.hang_up();
    let entry = process.journaled("configuration_refused", 1).await;
    assert_eq!(entry["reason"], "configuration_unusable");
    assert_eq!(world.metrics().await.value("mcp_deputy_config_last_reload_successful", &[]), 0);
    assert_eq!(shown(&authority).await.0, first);
    let years = ends_in(&world).await;
    assert!((20..80).contains(&years), "{years}");

    let second = write(2150);
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(shown(&authority).await.0, second);
    assert_eq!(ends_in(&world).await, years + 50, "of the one that is shown");
    assert_eq!(world.metrics().await.value("mcp_deputy_config_last_reload_successful", &[]), 1);
    // Whoever is connected stays so.
    let request =
        format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    open.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    timeout(PATIENCE, open.read_exact(&mut begin)).await.unwrap().unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");

    // Without a word from anybody: the files are looked at.
    let third = write(2120);
    let renewed = async {
        while shown(&authority).await.0 != third {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("a renewed certificate is never shown");
    assert_eq!(ends_in(&world).await, years + 20);
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_taken() {
    let mut world = World::new().await;
    let process = world.start().await;
    let good = fs::read_to_string(world.config()).unwrap();
    // Valid at every moment, and never the same for as long as two looks take.
    let (mut text, until) = (with_other(&good), tokio::time::Instant::now() + Duration::from_secs(7));
    while tokio::time::Instant::now() < until {
        text.push_str("# One line more.\n");
        fs::write(world.config(), &text).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for event in ["configuration_reloaded", "configuration_refused"] {
        assert!(process.told("event", event).is_empty(), "{event}");
    }
    assert_eq!(status(&world, "/other").await, 404);
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(status(&world, "/other").await, 401);
}

/// As an editor saves: another file takes the name, and for a moment there may be none.
#[tokio::test]
async fn a_file_that_is_replaced_is_taken_once() {
    let mut world = World::new().await;
    let process = world.start().await;
    let text = with_other(&fs::read_to_string(world.config()).unwrap());
    let (beside, backup) = (world.folder().join("proxy.toml.new"), world.folder().join("proxy.toml~"));
    fs::write(&beside, text).unwrap();
    fs::rename(world.config(), &backup).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::rename(&beside, world.config()).unwrap();
    // Whoever is told of it at the same moment by several, and finds it changed as well, reads it once more at most.
    for _ in 0..5 {
        process.hang_up();
    }
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(status(&world, "/other").await, 401);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(process.told("event", "configuration_refused").is_empty());
    assert!(process.told("event", "configuration_reloaded").len() <= 6);
    assert_eq!(world.probe("/readyz").await, Some(200));
}

#[tokio::test]
async fn what_was_refused_is_not_tried_again_until_it_changes() {
    let mut world = World::new().await;
    let process = world.start().await;
    let good = fs::read_to_string(world.config()).unwrap();
    world.rewrite(|text| format!("{text}surprise = 1\n"));
    process.journaled("configuration_refused", 1).await;
    // As long as three looks take.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(process.told("event", "configuration_refused").len(), 1);
    world.rewrite(|_| good);
    process.journaled("configuration_reloaded", 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(process.told("event", "configuration_reloaded").len(), 1);
}

#[tokio::test]
async fn a_client_secret_that_is_renewed_in_its_file_is_used() {
    let mut world = World::new().await;
    let between =
        |text: &str, from: &str| text.split(from).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let text = fs::read_to_string(world.config()).unwrap();
    let (id, secret) = (between(&text, "client_id = \""), between(&text, "client_secret = \""));
    let file = world.folder().join("secret");
    fs::write(&file, &secret).unwrap();
    let from_file = format!("client_secret = {{ file = {file:?} }}");
    world.rewrite(|text| text.replace(&format!("client_secret = \"{secret}\""), &from_file));
    let process = world.start().await;
    let client = world.client("App").await;
    world.visitor().tokens(&client).await;
    let provider = between(&text, "[provider.").split(']').next().unwrap().to_owned();
    let renewed = format!("{secret}-renewed");
    world.third_party.register_client(StaticClient {
        client_id: id,
        client_secret: renewed.clone().into(),
        name: "The gateway".to_owned(),
        redirect_uris: vec![format!("{}/callback/{provider}", world.origin)],
    });
    fs::write(&file, &renewed).unwrap();
    process.journaled("configuration_reloaded", 1).await;
    world.visitor().tokens(&client).await;
    let log = fs::read_to_string(process.log()).unwrap();
    assert!(!log.contains(&secret), "the log has a secret");
}

#[tokio::test]
async fn a_client_that_leaves_the_configuration_loses_what_it_holds() {
    let mut world = World::new().await;
    let text = fs::read_to_string(world.config()).unwrap();
    let uri = "http://127.0.0.1:33418/callback";
    world.rewrite(|text| {
        format!(
            "{text}[[client]]\nclient_id = \"reports\"\nname = \"Our reports\"\nredirect_uris = [\"{uri}\"]\n"
        )
    });
    let process = world.start().await;
    let said =
        json!({ "client_id": "reports", "redirect_uris": [uri], "token_endpoint_auth_method": "none" });
    let client = Client::registered(&world.origin, &said);
    let tokens = world.visitor().tokens(&client).await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    world.rewrite(|_| text);
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    assert_eq!(world.admitted(&tokens.access).await, 401);
    assert_ne!(client.try_refresh(&tokens.refresh).await.status, 200);
    assert_ne!(world.visitor().open(&client.asks().url()).await.status, 200);
    assert_eq!(process.told("reason", "not_configured_any_more").len(), 1);
}

/// The last thing that an operator does before a restart, or a supervisor in the same second.
#[tokio::test]
async fn a_hangup_while_it_drains_keeps_nobody_from_the_end() {
    let mut world = World::new().await;
    for early in [false, true] {
        let mut process = world.start().await;
        world.rewrite(|text| format!("{text}# One line more.\n"));
        if early {
            process.hang_up();
        }
        process.terminate();
        process.hang_up();
        assert_eq!(process.ended().await.code(), Some(0));
    }
}
