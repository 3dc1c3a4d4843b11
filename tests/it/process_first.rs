//! The first five minutes: from `config init` to a tool call, with the real binary and nothing else written.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use mcp_deputy::sandbox::third_party::StaticClient;

use crate::support::{process::World, random, secrets};

/// `config init` with what the third party of this world gave to our app, the secret on standard input.
fn init(world: &World, issuer: &str, secret: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mcp-deputy"))
        .args(["config", "init", "--provider", "oidc", "--issuer", issuer, "--public-url", &world.origin])
        .args(["--upstream-url", &world.upstream, "--client-id", "first-app", "--client-secret-file", "-"])
        .arg("--file")
        .arg(world.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn from_config_init_to_a_tool_call() {
    let mut world = World::new().await;
    fs::remove_file(world.config()).unwrap();
    let secret = random("first-secret-");
    secrets::note_foreign(&secret);
    let done = init(&world, &world.third_party.issuer(), &secret);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    // What it says is all that somebody has to do.
    let callback = said.lines().map(str::trim).find(|line| line.contains("/callback/")).unwrap();
    assert_eq!(callback, format!("{}/callback/oidc", world.origin));
    world.third_party.register_client(StaticClient {
        client_id: "first-app".to_owned(),
        client_secret: secret.clone().into(),
        name: "The first app".to_owned(),
        redirect_uris: vec![callback.to_owned()],
    });
    assert!(said.lines().any(|line| line.trim() == format!("{}/mcp", world.origin)));
    assert!(!said.contains(&secret) && !fs::read_to_string(world.config()).unwrap().contains(&secret));

    // Its endpoints are nowhere written: they are read from the issuer.
    let _process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    assert_eq!(world.admitted(&tokens.access).await, 200);

    // Again would overwrite it.
    let again = init(&world, &world.third_party.issuer(), &secret);
    assert_eq!(again.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
}

#[tokio::test]
async fn attack_an_issuer_that_is_another_one_starts_no_gateway() {
    let world = World::new().await;
    fs::remove_file(world.config()).unwrap();
    // It is found there, and names itself otherwise.
    let other = world.third_party.issuer().replace("localhost", "127.0.0.1");
    let done = init(&world, &other, "a-secret");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let folder = world.config().parent().unwrap().to_owned();
    let config = world.config();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_mcp-deputy"))
            .args(["serve", "--config"])
            .arg(config)
            .env("MCP_DEPUTY_ADMIN_LISTEN", "127.0.0.1:0")
            .current_dir(folder)
            .output()
    };
    let refused = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("discovery document of [provider.oidc]") && said.contains("another_issuer"),
        "{said}"
    );
}
