//! Attacks on whoever runs the gateway: by what apps call themselves, through the admin listener, in the place of its socket.

use std::{net::SocketAddr, process::Command};

use http::Request;
use serde_json::{Value, json};

use crate::support::{Reply, port::Port, process::World, random, secrets, socket};

/// An id that is a command, as the operator's own configuration could hold it; that of an app with a metadata document is a
/// URL of the app's, with everything that a URL may hold.
const ID: &str = "app;touch$IFS'owned';$(touch$IFS'owned')";

/// Registers an app under this name, and says its id.
async fn registered(world: &World, name: &str) -> String {
    let said = json!({ "client_name": name, "redirect_uris": ["https://app.example/cb"], "token_endpoint_auth_method": "none" });
    let request =
        Request::post(format!("{}/register", world.origin)).header("content-type", "application/json");
    let reply: Reply = world.fetch.send(request.body(said.to_string().into()).unwrap()).await.unwrap().into();
    reply.json()["client_id"].as_str().unwrap().to_owned()
}

/// What is copied out of a table, or out of what one app is shown as, is that id in a shell, and nothing else happens.
#[tokio::test]
async fn attack_an_id_that_is_a_command_once_it_is_copied() {
    let mut world = World::new().await;
    world.rewrite(|text| {
        format!("{text}\n[[client]]\nclient_id = {ID:?}\nname = \"Reports\"\nredirect_uris = [\"https://app.example/cb\"]\n")
    });
    let _process = world.start().await;
    let (_, listed, _) = world.command(&["clients", "list"]).await;
    let (_, shown, _) = world.command(&["clients", "show", ID]).await;
    let (_, revoked, _) = world.command(&["clients", "revoke", ID]).await;
    let (_, reinstated, _) = world.command(&["clients", "reinstate", ID]).await;
    let line = listed.lines().find(|line| line.contains("Reports")).unwrap();
    let copied = line.split("  ").next().unwrap().to_owned();
    for said in [&shown, &revoked, &reinstated] {
        assert!(said.contains(&copied), "{said}");
    }
    let script = format!("printf %s {copied}");
    let output = Command::new("sh").args(["-c", &script]).current_dir(world.folder()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ID, "{script}");
    assert!(!world.folder().join("owned").exists(), "{script}");
}

/// Nothing that an app calls itself does anything to a terminal, in tables and in JSON; and no name looks like the columns
/// beside it.
#[tokio::test]
async fn attack_a_name_that_acts_on_the_operators_terminal() {
    let mut world = World::new().await;
    let _process = world.start().await;
    let name = "Nice\u{9b}31m\u{1b}]0;owned\u{7}\u{202e}\u{7f}\r\n app      revoked      2020-01-01 00:00\u{3000}\u{3000}x";
    let id = registered(&world, name).await;
    for arguments in [
        &["clients", "list", "--all"][..],
        &["clients", "list", "--all", "--json"],
        &["clients", "show", &id],
        &["clients", "show", &id, "--json"],
    ] {
        let (status, said, error) = world.command(arguments).await;
        assert_eq!((status, error.as_str()), (Some(0), ""), "{arguments:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(acts), "{arguments:?}: {said:?}");
        if arguments.contains(&"--json") {
            let said: Value = serde_json::from_str(&said).unwrap();
            let shown = if arguments.contains(&"list") { &said["items"][0]["name"] } else { &said["name"] };
            assert_eq!(shown, name, "programs read what there is");
        } else if arguments.contains(&"list") {
            let line = said.lines().find(|line| line.contains("Nice")).unwrap();
            assert!(!line.contains("app  ") && line.contains("  unused  "), "{line}");
        }
    }
}

/// The admin API by every way around its token: paths that could mean it, names that are not its listener's, the other
/// listeners of the same process. A page that makes a browser ask for any number fills no journal.
#[tokio::test]
async fn attack_the_admin_api_by_another_door() {
    let mut world = World::new().await;
    let token = random("admin-token-0123456789-");
    secrets::note(&token);
    let kept = Port::keep();
    let port = kept.number;
    world.configure(&format!("admin_token = \"{token}\"\nmetrics_listen = \"127.0.0.1:{port}\""));
    let process = world.start().await;
    let admin: SocketAddr = world.admin().trim_start_matches("http://").parse().unwrap();
    let public: SocketAddr = world.origin.trim_start_matches("http://").parse().unwrap();
    let metrics: SocketAddr = ([127, 0, 0, 1], port).into();
    let bearer = format!("authorization: Bearer {token}\r\n");
    let ask = async |to: SocketAddr, line: &str, headers: &str| {
        let request = format!("{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        let answer = socket::raw(to, request.as_bytes()).await;
        let tells = answer.text.contains("\"items\"")
            || answer.text.contains("\"issuer\"")
            || answer.text.contains("\"nonce\"");
        (answer.status, tells)
    };
    let here = format!("host: {admin}\r\n");
    assert_eq!(ask(admin, "GET /admin/v1/clients", &format!("{here}{bearer}")).await, (200, true));
    // Without the token.
    for line in [
        "GET /admin/v1/clients",
        "GET /admin/v1//clients",
        "GET //admin/v1/clients",
        "GET /./admin/v1/clients",
        "GET /metrics/../admin/v1/clients",
        "GET /healthz/../admin/v1/clients",
        "GET /admin%2fv1/clients",
        "GET /%61dmin/v1/clients",
        "GET /ADMIN/v1/clients",
        "GET /admin/v1/clients%00",
        "GET /metrics;/admin/v1/clients",
        "GET /healthz?/admin/v1/clients",
        "POST /admin/v1/mirror",
        "POST /admin/v1/keys/new",
        "OPTIONS /admin/v1/clients",
        "HEAD /admin/v1/clients",
        &format!("GET http://{admin}/admin/v1/clients"),
    ] {
        let (status, tells) = ask(admin, line, &here).await;
        // The last two but one of the probes are what they are without the rest of the line.
        let is_probe = line.contains("healthz?");
        assert!(!tells && (is_probe || matches!(status, 400 | 401 | 404 | 405)), "{line}: {status}");
    }
    // With it, under a name that could be rebound, or under two.
    for headers in [
        "host: rebound.example\r\n".to_owned(),
        format!("host: {admin}\r\nhost: rebound.example\r\n"),
        format!("host: {admin}, rebound.example\r\n"),
        "host: 127.0.0.1.rebound.example\r\n".to_owned(),
        "host: localhost.rebound.example\r\n".to_owned(),
        "host: \r\n".to_owned(),
        String::new(),
    ] {
        let (status, tells) = ask(admin, "GET /admin/v1/clients", &format!("{headers}{bearer}")).await;
        assert!(!tells && matches!(status, 400 | 421), "{headers}: {status}");
    }
    let absolute =
        ask(admin, "GET http://rebound.example/admin/v1/clients", &format!("{here}{bearer}")).await;
    assert!(!absolute.1 && matches!(absolute.0, 400 | 421), "{}", absolute.0);
    // With it, at the listeners that are not the operator's; their paths under the name of the admin listener.
    for to in [public, metrics] {
        for host in [admin, to] {
            for line in ["GET /admin/v1/clients", "GET /admin/v1", "POST /admin/v1/mirror", "GET /readyz"] {
                let (status, tells) = ask(to, line, &format!("host: {host}\r\n{bearer}")).await;
                assert!(!tells && matches!(status, 404 | 405 | 421), "{to} {line}: {status}");
            }
            let (status, _) = ask(to, "OPTIONS /metrics", &format!("host: {host}\r\n")).await;
            assert!(matches!(status, 404 | 405 | 421), "{to}: {status}");
        }
    }

    let before = process.told("event", "operator_refused").len();
    for _ in 0..200 {
        let request = Request::get(format!("{}/admin/v1/clients", world.admin()))
            .header("sec-fetch-site", "cross-site");
        assert_eq!(world.fetch.send(request.body("".into()).unwrap()).await.unwrap().status(), 401);
    }
    let written = process.told("event", "operator_refused").len();
    assert!(before > 0 && written <= 2 * 20, "{before} {written}");
}
