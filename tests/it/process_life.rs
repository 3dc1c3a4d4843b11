//! The real binary from its command line to its last answer.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Reply, process::World};

#[tokio::test]
async fn it_serves_and_sigterm_drains() {
    let mut world = World::new().await;
    let mut process = world.start().await;
    assert!(process.admin().starts_with("http://127.0.0.1:"));
    assert_eq!((world.probe("/healthz").await, world.probe("/readyz").await), (Some(200), Some(200)));
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;

    // A stream that would never end by itself, and a call that takes a while.
    let at = |method: &str| {
        Request::builder()
            .method(method)
            .uri(format!("{}/mcp", world.origin))
            .header("authorization", format!("Bearer {}", tokens.access))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
    };
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let opened: Reply =
        world.fetch.send(at("POST").body(initialize.to_string().into()).unwrap()).await.unwrap().into();
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let in_session = |method: &str| at(method).header("mcp-session-id", &session);
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    world.fetch.send(in_session("POST").body(ready.to_string().into()).unwrap()).await.unwrap();
    let mut stream = world.fetch.open(in_session("GET").body("".into()).unwrap()).await.unwrap();
    assert_eq!(stream.status(), 200);
    let slowly = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "count_slowly", "arguments": { "to": 4, "pause_ms": 250 }, "_meta": { "progressToken": "p" } } });
    let mut call =
        world.fetch.open(in_session("POST").body(slowly.to_string().into()).unwrap()).await.unwrap();
    // It has begun.
    call.body_mut().frame().await.unwrap().unwrap();

    process.terminate();
    let rest = call.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("Counted to 4."), "a call under way was cut");
    let ends = async { while stream.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(5), ends).await.expect("the stream goes on");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(world.probe("/healthz").await, None);

    // And what it knew, it knows again.
    let _process = world.start().await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    client.reconnected().refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn a_second_gateway_on_the_same_port_or_store_does_not_start() {
    let mut world = World::new().await;
    let _first = world.start().await;
    let second = Command::new(env!("CARGO_BIN_EXE_mcp-deputy"))
        .args(["serve", "--config"])
        .arg(world.config())
        .output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("listen on 127.0.0.1"));
    assert_eq!(world.probe("/healthz").await, Some(200));
}

fn check(folder: &TempDir, text: &str) -> Output {
    let path = folder.path().join("proxy.toml");
    fs::write(&path, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mcp-deputy")).args(["check", "--config"]).arg(path).output().unwrap()
}

#[test]
fn the_command_line_says_what_is_right_and_what_is_wrong() {
    const GOOD: &str = "public_url = \"https://mcp.example.com\"\n[provider.github]\npreset = \"github\"\nclient_id = \"x\"\n\
                        client_secret = \"planted-nothing\"\n[[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n";
    let folder = TempDir::new().unwrap();
    let good = check(&folder, GOOD);
    let said = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0));
    for shown in [
        "https://mcp.example.com/mcp",
        "https://mcp.example.com/callback/github",
        "http://127.0.0.1:3000/mcp",
    ] {
        assert!(said.contains(shown), "{said}");
    }
    assert!(!said.contains("planted-nothing"));

    for (text, line, sentence) in [
        (GOOD.replace("https://mcp.example.com", "http://mcp.example.com"), Some(1), "http"),
        (GOOD.replace("preset", "prest"), Some(3), "preset"),
        (GOOD.replace("upstream_url", "upstream"), None, "upstream_url"),
        (format!("{GOOD}[store]\nurl = \"postgres://db/x\"\n"), Some(9), "PostgreSQL"),
        (GOOD.replace("https://mcp.example.com", "https://mcp.example.com/path"), Some(1), "public_url"),
        (GOOD.replace("public_url = ", "public_url "), Some(1), ""),
        (format!("{GOOD}path = \"/token\"\n"), Some(8), "/token"),
    ] {
        let wrong = check(&folder, &text);
        let said = String::from_utf8(wrong.stderr).unwrap();
        assert_eq!(wrong.status.code(), Some(64), "{text}\n{said}");
        assert!(said.contains("proxy.toml") && said.contains(sentence), "{said}");
        if let Some(line) = line {
            assert!(
                said.contains(&format!("proxy.toml:{line}")) || said.contains(&format!("line {line}")),
                "{line}: {said}"
            );
        }
        assert!(!said.contains("planted-nothing") && said.trim().lines().count() <= 3, "{said}");
    }
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_mcp-deputy")).args(arguments).output().unwrap();
    assert_eq!(run(&["check", "--config", "/nowhere.toml"]).status.code(), Some(64));
    assert_eq!(run(&["serve", "--config", "/nowhere.toml"]).status.code(), Some(64));
    assert_eq!(run(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
    assert!(String::from_utf8(run(&["--help"]).stdout).unwrap().contains("serve"));
}
