//! Everything together: the gateway, the third party, the MCP server and scripted people, over real sockets.

use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use super::{
    browser::Browser,
    command::{self, Options},
    fetch::Fetch,
    mcp_client::{ClientError, McpClient},
    mcp_server::digest,
    replay::{self, HONEST_CALLBACK, Target, agree, attack, judge},
    stage::{Actors, Port, Ports, Stage, StageError},
    third_party::{ADA, Event},
};

async fn client(actors: &Actors, name: &str, callback: &str) -> McpClient {
    McpClient::connect(name, name, &actors.mcp_url(), callback, &actors.cast()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_client_gets_from_a_url_to_a_tool_call_and_on_after_a_refresh() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let actors = &stage.actors;
    let mut app = client(actors, "App", HONEST_CALLBACK).await;
    let mut browser = Browser::new("Ada's browser");
    browser.capture(HONEST_CALLBACK);

    let consent = browser.open(&app.authorization_url()).await.unwrap();
    assert!(consent.url.as_str().starts_with(&format!("{}/authorize", actors.origin())));
    assert_eq!(actors.third_party.authorize_requests(), 0, "not before she has approved");
    let login = browser.press(&consent, "Approve").await.unwrap();
    assert!(login.url.as_str().starts_with(actors.third_party.origin()));
    let theirs = browser.press(&login, "Sign in as Ada").await.unwrap();
    let end = browser.press(&theirs, "Authorize").await.unwrap();
    assert!(end.captured, "the code went to the app: {}", end.title());

    app.redeem(&end.url).await.unwrap();
    let tools = app.tools().await.unwrap();
    assert!(["whoami", "list_repositories"].iter().all(|tool| tools.iter().any(|known| known == tool)));
    assert_eq!(app.whoami().await.unwrap(), "ada");
    let first = app.access_token().unwrap().clone();
    app.refresh().await.unwrap();
    let second = app.access_token().unwrap().clone();
    assert_ne!(first.expose_secret(), second.expose_secret());
    assert_eq!(app.whoami().await.unwrap(), "ada");
    let repositories = app.call("list_repositories").await.unwrap();
    assert!(repositories.to_string().contains(ADA.repositories[0]));
    assert!(matches!(app.redeem(&end.url).await, Err(ClientError::Unexpected { .. })), "a code works once");

    // The MCP server saw the third party's token with every request, and never one of ours.
    let theirs = actors.third_party.secrets();
    let theirs = theirs.iter().map(|secret| digest(secret.expose_secret())).collect::<Vec<_>>();
    let ours = [&first, &second].map(|token: &SecretString| digest(token.expose_secret()));
    let seen = actors.mcp_server.seen().all();
    assert!(!seen.is_empty());
    for seen in seen {
        let bearer = seen.bearer.expect("every request carries a token");
        assert!(theirs.contains(&bearer), "a token of the third party");
        assert!(!ours.contains(&bearer), "a token of ours went past the gateway");
    }
    stage.leave().await.unwrap();
}

/// The sandbox prints a line for Cursor, which comes back through a scheme of its own.
#[tokio::test(flavor = "multi_thread")]
async fn cursor_can_register_and_comes_back_through_its_scheme() {
    let callback = "cursor://anysphere.cursor-mcp/oauth/callback";
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let cursor = client(&stage.actors, "Cursor", callback).await;
    let mut browser = Browser::new("Ada's browser");
    browser.capture(callback);
    let page = browser.open(&cursor.authorization_url()).await.unwrap();
    assert!(agree(&mut browser, page).await.unwrap().captured);
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_in_the_same_browser_is_asked_again_though_the_third_party_would_skip_its_page() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let actors = &stage.actors;
    let mut browser = Browser::new("Ada's browser");
    let other_callback = "http://localhost:33419/callback";
    browser.capture(HONEST_CALLBACK);
    browser.capture(other_callback);
    let first = client(actors, "First app", HONEST_CALLBACK).await;
    let page = browser.open(&first.authorization_url()).await.unwrap();
    agree(&mut browser, page).await.unwrap();
    assert_eq!(actors.third_party.authorize_requests(), 1);

    let mut second = client(actors, "Second app", other_callback).await;
    browser.next_scene();
    let page = browser.open(&second.authorization_url()).await.unwrap();
    assert!(!page.captured && page.body.contains("Second app") && page.body.contains("localhost"));
    assert_eq!(actors.third_party.authorize_requests(), 1, "the third party was not asked before she was");

    // With her approval there is no further page: the third party does skip its own.
    let end = browser.press(&page, "Approve").await.unwrap();
    assert!(end.captured);
    let skipped = actors.third_party.events().count(|event| matches!(event, Event::ConsentSkipped { .. }));
    assert_eq!(skipped, 1);
    second.redeem(&end.url).await.unwrap();
    assert_eq!(second.whoami().await.unwrap(), "ada");
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attack_works_on_the_naive_proxy_and_stops_at_the_gateway() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let naive = attack(&stage.actors, Target::Naive).await.unwrap();
    let deputy = attack(&stage.actors, Target::Deputy).await.unwrap();
    let failed = judge(&naive.facts, &deputy.facts).into_iter().filter(|verdict| !verdict.holds);
    assert_eq!(failed.collect::<Vec<_>>(), []);
    // The judge is not satisfied by whatever comes: with the proxies swapped no claim holds.
    assert!(judge(&deputy.facts, &naive.facts).iter().all(|verdict| !verdict.holds));

    // No secret of anybody is in the stories.
    let stories = format!("{}{}{}", naive.story, deputy.story, replay::honest(&stage.actors).await.unwrap());
    assert!(stories.contains("you are ada"));
    for secret in stage.actors.third_party.secrets() {
        assert!(!stories.contains(secret.expose_secret()));
    }
    for handle in ["mcpd_ac_", "mcpd_at_", "mcpd_rt_", "mcpd_st_", "code=code_", "state=state-"] {
        assert!(!stories.contains(handle), "{handle} in a story");
    }
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_replays_and_leaves_nothing_behind() {
    let any = Some(0);
    let options = Options {
        port: any,
        third_party_port: any,
        mcp_server_port: any,
        naive_port: any,
        attack_port: any,
        admin_port: any,
        replay_attack: true,
        verbose: false,
    };
    let mut out = Vec::new();
    assert!(command::run(&options, &mut out, std::future::pending()).await.unwrap());
    let told = String::from_utf8(out).unwrap();
    assert!(told.contains("THROUGH A NAIVE PROXY") && told.contains("THROUGH MCP-DEPUTY"), "{told}");
    assert_eq!(told.matches("[ok]").count(), 5, "{told}");

    // Without the replay: everything is there until it is stopped.
    let (stop, mut out) = (CancellationToken::new(), Vec::new());
    stop.cancel();
    let options = Options { replay_attack: false, ..options };
    assert!(command::run(&options, &mut out, stop.cancelled()).await.unwrap());
    let told = String::from_utf8(out).unwrap();
    for line in
        ["claude mcp add --transport http", "code --add-mcp '{", "mcpServers", "npx mcp-remote", "/mcp\n"]
    {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_removed_with_the_stage() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let folder = stage.folder().to_owned();
    assert!(folder.join("data").is_dir());
    stage.leave().await.unwrap();
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_asked_for_and_is_taken_is_an_error_and_a_memorable_one_is_passed_over() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for ports in [
        Ports { gateway: Port::Exactly(port), ..Ports::ANY },
        Ports { admin: Port::Exactly(port), ..Ports::ANY },
        Ports { third_party: Port::Exactly(port), ..Ports::ANY },
        Ports { mcp_server: Port::Exactly(port), ..Ports::ANY },
    ] {
        let refused = Stage::set(&ports).await.err().expect("somebody listens there");
        assert!(matches!(&refused, StageError::Bind { port: told, .. } if *told == port), "{refused}");
    }
    let ports = Ports { gateway: Port::From(port), third_party: Port::From(port), ..Ports::ANY };
    let stage = Stage::set(&ports).await.unwrap();
    let answer = Fetch::new().send(get(&format!("{}/", stage.actors.origin()))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!stage.actors.origin().ends_with(&format!(":{port}")));
    stage.leave().await.unwrap();
}

/// What the sandbox has, the gateway in its middle does not have: its routes are those of `serve`.
#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_adds_no_route_to_the_gateway() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let fetch = Fetch::new();
    for path in [
        "/sandbox",
        "/play/naive",
        "/story/1",
        "/yourself",
        "/attacker/callback",
        "/callback",
        "/login",
        "/login/oauth/authorize",
        "/login/oauth/access_token",
        "/user",
        "/healthz",
    ] {
        for method in ["GET", "POST"] {
            let mut request = get(&format!("{}{path}", stage.actors.origin()));
            *request.method_mut() = method.parse().unwrap();
            let answer = fetch.send(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
    // The routing itself does not know that there is such a thing as a sandbox.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).to_owned();
    for room in ["web", "gateway", "flow", "proxy", "serve.rs", "config"] {
        let text = read_all(&source.join(room));
        assert!(
            !text.contains("feature = \"sandbox\"") && !text.contains("sandbox::"),
            "{room} knows the sandbox"
        );
    }
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_has_a_host_of_its_own() {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let hosts = [stage.actors.origin(), stage.actors.third_party.origin(), stage.actors.naive_proxy.origin()];
    let hosts = hosts.map(|origin| url::Url::parse(origin).unwrap().host_str().unwrap().to_owned());
    assert!(hosts[0] != hosts[1] && hosts[1] != hosts[2] && hosts[0] != hosts[2], "{hosts:?}");
    stage.leave().await.unwrap();
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).header(header::ACCEPT, "text/html").body(Bytes::new()).unwrap()
}

fn read_all(path: &Path) -> String {
    if path.is_file() {
        return std::fs::read_to_string(path).unwrap();
    }
    std::fs::read_dir(path).unwrap().map(|entry| read_all(&entry.unwrap().path())).collect()
}
