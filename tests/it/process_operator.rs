//! The operator's commands against the real binary: over its socket, and over the admin listener with the token.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use http::Request;
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::third_party::{ADA, GRACE};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Client, Reply, Tokens, Visitor, process::World, random, secrets};

/// An app, and somebody's tokens for it.
async fn app(world: &World, name: &str) -> (Client, Tokens) {
    let client = world.client(name).await;
    let tokens = world.visitor().tokens(&client).await;
    (client, tokens)
}

fn items(listed: &Value) -> &[Value] {
    listed["items"].as_array().unwrap()
}

/// An open stream of this token's, as the body of its answer.
async fn stream(world: &World, token: &str) -> http::Response<hyper::body::Incoming> {
    let at = |method: &str| {
        Request::builder()
            .method(method)
            .uri(format!("{}/mcp", world.origin))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    };
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let opened: Reply =
        world.fetch.send(at("POST").body(initialize.to_string().into()).unwrap()).await.unwrap().into();
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let request = at("POST").header("mcp-session-id", &session).body(ready.to_string().into()).unwrap();
    world.fetch.send(request).await.unwrap();
    let stream = world.fetch.open(at("GET").header("mcp-session-id", &session).body("".into()).unwrap());
    let stream = stream.await.unwrap();
    assert_eq!(stream.status(), 200);
    stream
}

async fn ends(mut stream: http::Response<hyper::body::Incoming>) -> bool {
    let end = async { while stream.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(1), end).await.is_ok()
}

#[tokio::test]
async fn what_the_operator_revokes_is_refused_within_a_second_and_its_streams_end() {
    let mut world = World::new().await;
    let process = world.start().await;
    for what in ["grants", "consents", "clients"] {
        let (client, tokens) = app(&world, &format!("App for {what}")).await;
        let (other, others) = app(&world, &format!("Bystander of {what}")).await;
        let open = stream(&world, &tokens.access).await;
        let others_open = stream(&world, &others.access).await;
        assert_eq!(world.admitted(&tokens.access).await, 200);

        let id = if what == "clients" {
            client.id.clone()
        } else {
            let listed = world.json(&[what, "list", "--client", &client.id]).await;
            let [item] = items(&listed) else { panic!("{listed}") };
            item["id"].as_str().unwrap().to_owned()
        };
        let (status, said, error) = world.command(&[what, "revoke", &id]).await;
        let revoked = Instant::now();
        assert_eq!((status, error.as_str()), (Some(0), ""), "{what}");
        assert!(said.contains(&id) && said.contains("1 grant ended"), "{said}");
        assert_eq!(world.admitted(&tokens.access).await, 401, "{what}");
        assert!(ends(open).await, "{what}: a stream goes on");
        assert!(revoked.elapsed() < Duration::from_secs(1), "{what}: {:?}", revoked.elapsed());
        let refused = client.try_refresh(&tokens.refresh).await;
        let slug = if what == "clients" { "invalid_client" } else { "invalid_grant" };
        assert_eq!(refused.error(), slug, "{what}");

        // Nobody else's.
        assert_eq!(world.admitted(&others.access).await, 200);
        drop(others_open);
        other.refresh(&others.refresh).await;

        let event = match what {
            "clients" => "client_revoked",
            "consents" => "consent_revoked",
            _ => "grant_revoked",
        };
        let told = process.told("event", event);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((&told[0]["reason"], &told[0]["client_id"]), (&json!("operator"), &json!(client.id)));

        // Again: nothing more happens, and nothing goes wrong.
        let (status, said, _) = world.command(&[what, "revoke", &id]).await;
        match what {
            // It was forgotten with its last grant.
            "consents" => assert!(matches!(status, Some(0 | 1)), "{said}"),
            _ => assert_eq!(status, Some(0), "{said}"),
        }
        assert!(items(&world.json(&["grants", "list", "--client", &client.id]).await).is_empty());
        let all = world.json(&["grants", "list", "--client", &client.id, "--all"]).await;
        assert_eq!(items(&all)[0]["ended"], "revoked", "{all}");
    }
    // After a restart too.
    drop(process);
    let _process = world.start().await;
    let listed = world.json(&["clients", "list"]).await;
    let revoked: Vec<_> = items(&listed).iter().filter(|item| item["state"] == "revoked").collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["name"], "App for clients");
}

#[tokio::test]
async fn an_app_that_is_reinstated_may_ask_again_and_has_nothing() {
    let mut world = World::new().await;
    let process = world.start().await;
    let (client, tokens) = app(&world, "By mistake").await;
    let (status, _, error) = world.command(&["clients", "reinstate", &client.id]).await;
    assert!(status == Some(64) && error.contains("not revoked"), "{error}");
    world.command(&["clients", "revoke", &client.id]).await;
    let refused = world.visitor().open(&client.asks().url()).await;
    assert_ne!(refused.status, 200);
    let (status, said, error) = world.command(&["clients", "reinstate", &client.id]).await;
    assert!(status == Some(0) && said.contains(&client.id), "{error}");
    assert_eq!(process.told("event", "client_reinstated").len(), 1);
    assert_eq!(world.admitted(&tokens.access).await, 401);
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    let again = world.visitor().tokens(&client).await;
    assert_eq!(world.admitted(&again.access).await, 200);
    assert_eq!(world.command(&["grants", "reinstate", "AAAA"]).await.0, Some(64));
}

#[tokio::test]
async fn everything_of_a_person_ends_at_once_and_may_begin_anew() {
    let mut world = World::new().await;
    let process = world.start().await;
    let (first, one) = app(&world, "One").await;
    let (_, two) = app(&world, "Two").await;
    let client = world.client("Shared").await;
    let mut grace = Visitor::among([&world.third_party], &GRACE);
    let hers = grace.tokens(&client).await;
    let open = stream(&world, &two.access).await;
    assert_eq!(world.command(&["clients", "revoke", "--user", "ada"]).await.0, Some(64));
    let (status, said, error) = world.command(&["grants", "revoke", "--user", "ADA"]).await;
    assert!(status == Some(0) && said.contains("2 grants ended"), "{said}{error}");
    for tokens in [&one, &two] {
        assert_eq!(world.admitted(&tokens.access).await, 401);
    }
    assert!(ends(open).await);
    assert_eq!(world.admitted(&hers.access).await, 200);
    assert_eq!(process.told("event", "person_revoked")[0]["reason"], "operator");
    let again = world.visitor().tokens(&first).await;
    assert_eq!(world.admitted(&again.access).await, 200);
    let (status, _, error) = world.command(&["grants", "revoke", "--user", "nobody"]).await;
    assert!(status == Some(1) && error.contains("no such user"), "{error}");
}

#[tokio::test]
async fn the_third_party_is_told_to_end_what_nobody_holds_any_more() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let (client, tokens) = app(&world, "An app").await;
    let (second, others) = app(&world, "Another app").await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    let live = |world: &World| world.third_party.live_tokens_of(&ADA);
    assert!(live(&world) > 0);
    world.command(&["clients", "revoke", &client.id]).await;
    // The other app stands on the same link.
    assert_eq!(world.admitted(&others.access).await, 200);
    assert!(live(&world) > 0);
    world.command(&["clients", "revoke", &second.id]).await;
    let ended = async {
        while live(&world) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the third party's token lives on");
}

#[tokio::test]
async fn lists_are_filtered_and_show_no_secret() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let (client, tokens) = app(&world, "Quill <script>\u{1b}[31m").await;
    let (second, _) = app(&world, "Pencil").await;
    let unused = world.client("Never approved").await;

    let ids = |listed: &Value| -> Vec<String> {
        items(listed).iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let listed = world.json(&["clients", "list"]).await;
    assert_eq!(ids(&listed).len(), 2, "{listed}");
    assert!(ids(&world.json(&["clients", "list", "--all"]).await).contains(&unused.id));
    assert_eq!(ids(&world.json(&["clients", "list", "--name", "quill"]).await), [client.id.as_str()]);
    let grants = world.json(&["grants", "list"]).await;
    assert_eq!(ids(&grants).len(), 2);
    let of_second = world.json(&["grants", "list", "--client", &second.id]).await;
    let [grant] = items(&of_second) else { panic!("{of_second}") };
    let subject = grant["user"]["subject"].as_str().unwrap();
    let login = grant["user"]["login"].as_str().unwrap();
    for who in [subject, login] {
        assert_eq!(ids(&world.json(&["grants", "list", "--user", who]).await).len(), 2);
        assert_eq!(ids(&world.json(&["consents", "list", "--user", who]).await).len(), 2);
        assert_eq!(ids(&world.json(&["clients", "list", "--user", who]).await).len(), 2);
    }
    for (server, found) in [("/mcp", 2), ("Tools", 2), ("https://elsewhere.example/mcp", 0)] {
        assert_eq!(ids(&world.json(&["grants", "list", "--server", server]).await).len(), found, "{server}");
    }
    assert_eq!(ids(&world.json(&["grants", "list", "--limit", "1"]).await).len(), 1);

    // One that is not there keeps none of the others alive, and is named.
    let third = world.visitor().tokens(&second).await;
    let listed = world.json(&["grants", "list", "--client", &second.id]).await;
    let last = items(&listed).iter().map(|item| item["id"].as_str().unwrap());
    let last = last.filter(|id| *id != grant["id"]).collect::<Vec<_>>()[0];
    let (status, said, error) = world.command(&["grants", "revoke", "AAAAAAAA", last]).await;
    assert!(
        status == Some(1) && said.contains("1 grant ended") && error.contains("AAAAAAAA: There is no"),
        "{error}"
    );
    assert_eq!(world.admitted(&third.access).await, 401);

    // By the beginnings of their ids, as the table shows them.
    for what in ["clients", "consents", "grants"] {
        let (status, table, _) = world.command(&[what, "list", "--client", &second.id]).await;
        assert_eq!(status, Some(0));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[1].contains("Pencil"), "{table}");
        let shown = lines[1].split_whitespace().next().unwrap();
        let item = world.json(&[what, "show", shown]).await;
        assert!(item["id"].as_str().unwrap().starts_with(&shown[..8]), "{item}");
        let (status, facts, _) = world.command(&[what, "show", shown]).await;
        assert!(status == Some(0) && facts.contains("Pencil"), "{facts}");
    }
    let (_, table, _) = world.command(&["clients", "list", "--all"]).await;
    assert!(!table.contains('\u{1b}'), "{table:?}");

    // Nothing of what opens something, in no form.
    let mut everything = String::new();
    for what in ["clients", "consents", "grants"] {
        let listed = world.json(&[what, "list", "--all"]).await;
        everything.push_str(&listed.to_string());
        for id in ids(&listed) {
            everything.push_str(&world.json(&[what, "show", &id]).await.to_string());
        }
    }
    let digest = |secret: &str| mcp_deputy::domain::secret::Digest::of(secret).to_base64url();
    for secret in [&tokens.access, &tokens.refresh] {
        assert!(!everything.contains(secret) && !everything.contains(&digest(secret)));
    }
    for field in ["secret", "token", "code", "digest", "hash", "sealed", "link", "family"] {
        assert!(!everything.contains(&format!("\"{field}\"")), "{field}");
    }
}

#[tokio::test]
async fn pages_hold_everything_once() {
    let mut world = World::new().await;
    world.configure(&format!("admin_token = \"{}\"", random("admin-token-0123456789-")));
    let _process = world.start().await;
    let client = world.client("Many").await;
    let mut ada = world.visitor();
    for _ in 0..5 {
        ada.tokens(&client).await;
    }
    for number in 0..3 {
        world.client(&format!("App {number}")).await;
    }
    for (what, filter, total) in [
        ("grants", "", 5),
        ("grants", "&user=ada", 5),
        ("grants", "&client=CLIENT", 5),
        ("clients", "&all=true", 4),
        ("consents", "", 1),
        ("consents", "&client=CLIENT", 1),
    ] {
        for limit in [1, 2, 500] {
            let mut found = Vec::new();
            let mut after = String::new();
            loop {
                let filter = filter.replace("CLIENT", &client.id);
                let page =
                    world.admin_api("GET", &format!("/admin/v1/{what}?limit={limit}{filter}{after}")).await;
                assert_eq!(page.status, 200, "{}", page.text());
                let page = page.json();
                assert!(items(&page).len() <= limit);
                found.extend(items(&page).iter().map(|item| item["id"].as_str().unwrap().to_owned()));
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            let mut once = found.clone();
            once.sort();
            once.dedup();
            assert_eq!((found.len(), once.len()), (total, total), "{what} {filter} {limit}");
        }
    }
}

#[tokio::test]
async fn the_admin_listener_lets_nobody_in_without_the_token() {
    let mut world = World::new().await;
    let ask = async |world: &World, token: Option<&str>, host: Option<&str>, path: &str| -> Reply {
        let mut request = Request::get(format!("{}{path}", world.admin()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(host) = host {
            request = request.header("host", host);
        }
        world.fetch.send(request.body("".into()).unwrap()).await.unwrap().into()
    };
    let token = random("admin-token-0123456789-");
    let process = world.start().await;
    assert_eq!(ask(&world, Some(&token), None, "/admin/v1/grants").await.status, 404, "it is off");
    drop(process);

    world.configure(&format!("admin_token = \"{token}\""));
    let process = world.start().await;
    assert_eq!(ask(&world, Some(&token), None, "/admin/v1/grants").await.status, 200);
    assert_eq!(ask(&world, None, None, "/admin/v1/grants").await.status, 401);
    let wrong = random("admin-token-0123456789-");
    assert_eq!(ask(&world, Some(&wrong), None, "/admin/v1/grants").await.status, 401);
    assert_eq!(process.told("event", "operator_refused").len(), 2);
    let rebound = ask(&world, Some(&token), Some("rebound.example"), "/admin/v1/grants").await;
    assert_eq!(rebound.status, 421);
    // The public port has nothing of it, with the token or without.
    for path in ["/admin/v1/grants", "/admin/v1", "/admin"] {
        let request = Request::get(format!("{}{path}", world.origin))
            .header("authorization", format!("Bearer {token}"));
        assert_eq!(world.fetch.send(request.body("".into()).unwrap()).await.unwrap().status(), 404);
    }
    for (method, path, status) in [
        ("POST", "/admin/v1/grants", 405),
        ("GET", "/admin/v1/grants/revoke?id=AAAAAAAA", 405),
        ("GET", "/admin/v1/grants?usr=ada", 400),
        ("GET", "/admin/v1/grants?user=nobody", 404),
        ("GET", "/admin/v1/grants?after=%3F", 400),
        ("GET", "/admin/v1/grants/show?id=AAA", 400),
        ("GET", "/admin/v1/grants/show?id=AAAA", 404),
        ("POST", "/admin/v1/clients/revoke?id=mcpd_ci_none", 404),
        ("GET", "/admin/v2/grants", 404),
        ("GET", "/admin/v1/tokens", 404),
    ] {
        let reply = world.admin_api(method, path).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert!(reply.json()["message"].is_string());
    }

    // The commands over it: the token comes from a file or a variable, never from the command line.
    let file = world.folder().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let (status, said, error) = world
        .command(&["grants", "list", "--url", world.admin(), "--token-file", file.to_str().unwrap()])
        .await;
    assert_eq!(status, Some(0), "{said}{error}");
    fs::write(&file, wrong).unwrap();
    let (status, _, error) = world
        .command(&["grants", "list", "--url", world.admin(), "--token-file", file.to_str().unwrap()])
        .await;
    assert!(status == Some(1) && error.contains("admin token"), "{error}");
    secrets::note(&token);
}

#[tokio::test]
async fn the_socket_is_for_its_owner_is_replaced_after_a_crash_and_goes_at_the_end() {
    let mut world = World::new().await;
    let socket = world.folder().join("data/admin.sock");
    let mut process = world.start().await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(world.folder().join("data")).unwrap().permissions().mode() & 0o077, 0);
    process.kill();
    assert!(socket.exists(), "a killed process cleans nothing up");
    let (status, _, error) = world.command(&["grants", "list"]).await;
    assert!(status == Some(1) && error.contains(socket.to_str().unwrap()), "{error}");

    let mut process = world.start().await;
    assert_eq!(world.command(&["grants", "list"]).await.0, Some(0));
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(!socket.exists());
    let (status, _, error) = world.command(&["grants", "list"]).await;
    assert!(
        status == Some(1) && error.contains(socket.to_str().unwrap()) && error.contains("start it"),
        "{error}"
    );

    // Somebody else's, who lives: the gateway does not start.
    let elsewhere = world.folder().join("taken.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
    let before = fs::read_to_string(world.config()).unwrap();
    world.configure(&format!("admin_socket = \"{}\"", elsewhere.display()));
    let (status, _, error) = world.command(&["serve"]).await;
    assert!(status == Some(1) && error.contains("another process answers there"), "{error}");
    assert!(elsewhere.exists());

    // Off, and nothing else to ask over.
    fs::write(world.config(), format!("admin_socket = \"off\"\n{before}")).unwrap();
    let _process = world.start().await;
    assert!(!socket.exists());
    let (status, _, error) = world.command(&["grants", "list"]).await;
    assert!(status == Some(64) && error.contains("admin_token"), "{error}");
}

#[tokio::test]
async fn whoever_looks_for_the_gateway_needs_none_of_its_secrets() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let text = fs::read_to_string(world.config()).unwrap();
    // As an operator's shell sees it: the variable is set for the service only.
    let start = text.find("client_secret = ").unwrap();
    let end = start + text[start..].find('\n').unwrap();
    let without = format!("{}client_secret = {{ env = \"NOWHERE_SET\" }}{}", &text[..start], &text[end..]);
    fs::write(world.config(), without).unwrap();
    let (status, _, error) = world.command(&["grants", "list"]).await;
    assert_eq!((status, error.as_str()), (Some(0), ""));
    let (status, _, error) = world.command(&["check"]).await;
    assert!(status == Some(64) && error.contains("NOWHERE_SET"), "{error}");
}

#[tokio::test]
async fn health_tells_probes() {
    let mut world = World::new().await;
    assert_eq!(world.command(&["health"]).await.0, Some(1));
    let process = world.start().await;
    for arguments in [&["health"][..], &["health", "--ready"]] {
        assert_eq!(world.command(arguments).await.0, Some(0), "{arguments:?}");
    }
    let socket = world.folder().join("data/admin.sock");
    let (status, said, _) = world.command(&["health", "--ready", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!((status, said.as_str()), (Some(0), "ready\n"));

    // A stream keeps the drain open: alive, and not ready.
    let (_, tokens) = app(&world, "Slow").await;
    let open = stream(&world, &tokens.access).await;
    process.terminate();
    let drains = async {
        while world.command(&["health", "--ready"]).await.0 == Some(0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), drains).await.expect("it is still ready");
    drop(open);

    let nowhere = ["health", "--url", "http://127.0.0.1:1", "--timeout", "300ms"];
    assert_eq!(world.command(&nowhere).await.0, Some(1));
    assert_eq!(world.command(&["health", "--url", "https://127.0.0.1:1"]).await.0, Some(64));
}
