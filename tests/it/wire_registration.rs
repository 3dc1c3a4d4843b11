//! How clients become known: what the registration endpoint answers, managing a registration (RFC 7592), clients of the
//! configuration, and who is let in at all.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, Reply, Setup, Tokens,
    client::{HOSTED, LOOPBACK, Registration},
    random, secrets,
};

const DAY: Duration = Duration::from_hours(24);

fn public(name: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": [LOOPBACK], "token_endpoint_auth_method": "none" })
}

fn confidential(name: &str) -> Value {
    json!({ "client_name": name, "redirect_uris": [HOSTED], "token_endpoint_auth_method": "client_secret_post" })
}

/// Registers, and writes down what is secret in the answer.
pub(crate) async fn register(gateway: &Gateway, body: &Value) -> Value {
    let reply = gateway.post_json("/register", body).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let answer = reply.json();
    for member in ["client_secret", "registration_access_token"] {
        if let Some(secret) = answer[member].as_str() {
            secrets::note(secret);
        }
    }
    answer
}

/// A request to the address at which a registration is managed.
pub(crate) async fn manage(
    gateway: &Gateway,
    method: &str,
    id: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Reply {
    let mut request = Request::builder().method(method).uri(gateway.url(&format!("/register/{id}")));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = match body {
        Some(body) => {
            request = request.header("content-type", "application/json");
            Bytes::from(body.to_string())
        }
        None => Bytes::new(),
    };
    gateway.send(request.body(body).unwrap()).await
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member}: {answer}"))
}

#[tokio::test]
async fn an_app_that_says_the_same_is_the_same_client() {
    let gateway = Gateway::start().await;
    let first = register(&gateway, &public("Many")).await;
    let again = register(&gateway, &public("Many")).await;
    assert_eq!(first, again, "nothing about it changes");
    let answer = first.as_object().unwrap();
    assert!(!answer.contains_key("client_secret") && !answer.contains_key("registration_access_token"));

    for other in [
        public("Another"),
        json!({ "client_name": "Many", "redirect_uris": [HOSTED], "token_endpoint_auth_method": "none" }),
        json!({ "client_name": "Many", "redirect_uris": [LOOPBACK, HOSTED], "token_endpoint_auth_method": "none" }),
        json!({ "client_name": "Many", "redirect_uris": [LOOPBACK], "token_endpoint_auth_method": "client_secret_post" }),
    ] {
        assert_ne!(register(&gateway, &other).await["client_id"], first["client_id"], "{other}");
    }
    // What is ignored makes no difference.
    let mut more = public("Many");
    more["logo_uri"] = json!("https://app.example/logo.png");
    assert_eq!(register(&gateway, &more).await["client_id"], first["client_id"]);
    // Ten at once: one client.
    let bodies: Vec<Value> = (0..10).map(|_| public("At once")).collect();
    let answers = futures(bodies.iter().map(|body| register(&gateway, body))).await;
    assert!(answers.iter().all(|answer| answer["client_id"] == answers[0]["client_id"]));
}

/// Waits for all of them, at the same time.
async fn futures<T>(steps: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut steps: Vec<_> = steps.into_iter().map(|step| (Box::pin(step), None)).collect();
    std::future::poll_fn(|context| {
        for (step, done) in &mut steps {
            if done.is_none()
                && let std::task::Poll::Ready(value) = step.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if steps.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    steps.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn a_registration_lives_a_day_from_when_it_was_last_returned() {
    let gateway = Gateway::start().await;
    let id = text(&register(&gateway, &public("Slow")).await, "client_id").to_owned();
    let client = Client::registered(&gateway.origin, &register(&gateway, &public("Slow")).await);
    assert_eq!(client.id, id);
    gateway.forward(DAY / 2);
    assert_eq!(register(&gateway, &public("Slow")).await["client_id"], id.as_str());
    gateway.forward(DAY.saturating_sub(Duration::from_secs(1)));
    gateway.flows().sweep().await.unwrap();
    gateway.visitor(&ADA).consent_page(&client.asks()).await;

    gateway.forward(DAY);
    let page = gateway.visitor(&ADA).open(&client.asks().url()).await;
    assert_eq!(page.status, 400, "nobody ever approved it");
    // The app registers anew, and it works again under the same id.
    assert_eq!(register(&gateway, &public("Slow")).await["client_id"], id.as_str());
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    gateway.forward(DAY * 20);
    gateway.flows().sweep().await.unwrap();
    client.refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn the_oldest_registration_that_nobody_used_makes_room() {
    let tables = "[registration]\nmax_unused_clients = 10\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let named = |number: usize| public(&format!("App {number}"));
    let used = Client::registered(&gateway.origin, &register(&gateway, &public("Used")).await);
    let tokens = gateway.visitor(&ADA).tokens(&used).await;
    let mut known = Vec::new();
    for number in 0..10 {
        gateway.forward(Duration::from_secs(1));
        known.push(Client::registered(&gateway.origin, &register(&gateway, &named(number)).await));
    }
    // The first one comes back after two hours, which makes it the youngest.
    gateway.forward(Duration::from_hours(2));
    register(&gateway, &named(0)).await;
    for number in 10..19 {
        gateway.forward(Duration::from_secs(1));
        register(&gateway, &named(number)).await;
    }
    let mut statuses = Vec::new();
    for client in &known {
        statuses.push(gateway.visitor(&ADA).open(&client.asks().url()).await.status);
    }
    assert_eq!(statuses[0], 200, "it was just returned");
    assert_eq!(statuses[1..], [400; 9], "the oldest are gone");
    assert_eq!(gateway.visitor(&ADA).open(&used.asks().url()).await.status, 200, "it was used");
    used.refresh(&tokens.refresh).await;
    // The bound holds after a restart as well: it is counted anew.
    let last = Client::registered(&gateway.origin, &register(&gateway, &named(18)).await);
    assert_eq!(gateway.visitor(&ADA).open(&last.asks().url()).await.status, 200);
}

#[tokio::test]
async fn a_confidential_client_manages_its_registration() {
    let gateway = Gateway::start().await;
    let answer = register(&gateway, &confidential("Hosted")).await;
    let (id, token) =
        (text(&answer, "client_id").to_owned(), text(&answer, "registration_access_token").to_owned());
    assert_eq!(text(&answer, "registration_client_uri"), gateway.url(&format!("/register/{id}")));

    let read = manage(&gateway, "GET", &id, Some(&token), None).await;
    assert_eq!((read.status, read.header("cache-control")), (200, Some("no-store")));
    assert_eq!(read.header("access-control-allow-origin"), Some("*"));
    let read = read.json();
    assert_eq!((read["client_id"].as_str(), read["client_name"].as_str()), (Some(&*id), Some("Hosted")));
    assert_eq!(read["registration_access_token"], token.as_str());
    assert_eq!(read.get("client_secret"), None, "only its hash is known");

    // A detail changes: nothing ends.
    let client = Client::registered(&gateway.origin, &answer);
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    let mut next = confidential("Hosted");
    next["client_id"] = json!(id);
    next["client_secret"] = answer["client_secret"].clone();
    next["software_version"] = json!("2");
    let changed = manage(&gateway, "PUT", &id, Some(&token), Some(&next)).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    assert_eq!(
        (&changed["software_version"], &changed["client_secret"]),
        (&json!("2"), &answer["client_secret"])
    );
    let tokens = client.refresh(&tokens.refresh).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");

    // It goes, and everything with it.
    let gone = manage(&gateway, "DELETE", &id, Some(&token), None).await;
    assert_eq!((gone.status, gone.body.len(), gone.header("cache-control")), (204, 0, Some("no-store")));
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
    let refused = client.try_refresh(&tokens.refresh).await;
    assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_client"));
    assert_eq!(gateway.visitor(&ADA).open(&client.asks().url()).await.status, 400);
    for method in ["GET", "DELETE"] {
        assert_eq!(manage(&gateway, method, &id, Some(&token), None).await.status, 401, "{method}");
    }
}

#[tokio::test]
async fn a_changed_redirect_uri_voids_what_was_approved() {
    let gateway = Gateway::start().await;
    let answer = register(&gateway, &confidential("Hosted")).await;
    let (id, token) =
        (text(&answer, "client_id").to_owned(), text(&answer, "registration_access_token").to_owned());
    let client = Client::registered(&gateway.origin, &answer);
    let mut visitor = gateway.visitor(&ADA);
    let tokens = visitor.tokens(&client).await;
    let pending = visitor.consent_page(&client.asks()).await;
    let waiting = visitor.authorize(&client.asks()).await;

    let mut next = confidential("Hosted");
    next["client_id"] = json!(id);
    next["redirect_uris"] = json!(["https://elsewhere.example/callback"]);
    gateway.forward(Duration::from_secs(1));
    let changed = manage(&gateway, "PUT", &id, Some(&token), Some(&next)).await;
    assert_eq!((changed.status, &changed.json()["redirect_uris"]), (200, &next["redirect_uris"]));
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401, "the token is dead");
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    assert_eq!(client.try_redeem(&waiting).await.error(), "invalid_grant", "so is the code");
    let late = visitor.press(&pending, "Approve").await;
    assert_eq!(late.status, 400, "what the page said is not so any more: {}", late.body);
    assert_eq!(visitor.open(&client.asks().url()).await.status, 400, "the old address is not registered");

    // And back: what was approved before stays over, but the client works.
    next["redirect_uris"] = json!([HOSTED]);
    assert_eq!(manage(&gateway, "PUT", &id, Some(&token), Some(&next)).await.status, 200);
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    gateway.forward(Duration::from_secs(1));
    gateway.visitor(&ADA).tokens(&client).await;
}

#[tokio::test]
async fn what_managing_refuses() {
    let gateway = Gateway::start().await;
    let answer = register(&gateway, &confidential("Hosted")).await;
    let (id, token) =
        (text(&answer, "client_id").to_owned(), text(&answer, "registration_access_token").to_owned());
    let with = |member: &str, value: Value| {
        let mut body = confidential("Hosted");
        body["client_id"] = json!(id);
        body[member] = value;
        body
    };
    for (body, error) in [
        (confidential("Hosted"), "invalid_client_metadata"),
        (with("client_id", json!("mcpd_ci_other")), "invalid_client_metadata"),
        (with("client_secret", json!("not the secret")), "invalid_client_metadata"),
        (with("redirect_uris", json!([])), "invalid_redirect_uri"),
        (with("redirect_uris", json!(["http://evil.example/"])), "invalid_redirect_uri"),
        (with("redirect_uris", json!([gateway.url("/callback/quarry")])), "invalid_redirect_uri"),
        (with("token_endpoint_auth_method", json!("tls_client_auth")), "invalid_client_metadata"),
        (json!([]), "invalid_client_metadata"),
    ] {
        let reply = manage(&gateway, "PUT", &id, Some(&token), Some(&body)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{body}");
    }
    let reply = manage(&gateway, "POST", &id, Some(&token), Some(&confidential("Hosted"))).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, PUT, DELETE")));
    let preflight = manage(&gateway, "OPTIONS", &id, None, None).await;
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, PUT, DELETE"));
    assert_eq!(
        manage(&gateway, "GET", &id, Some(&token), None).await.json()["redirect_uris"],
        json!([HOSTED])
    );

    // From a secret to none: the client is public, and the old secret opens nothing.
    let client = Client::registered(&gateway.origin, &answer);
    let reply =
        manage(&gateway, "PUT", &id, Some(&token), Some(&with("token_endpoint_auth_method", json!("none"))))
            .await;
    assert_eq!((reply.status, reply.json().get("client_secret")), (200, None));
    assert_eq!(client.try_refresh("mcpd_rt_x").await.error(), "invalid_client");
    // And back: a new secret, shown once.
    let back = with("token_endpoint_auth_method", json!("client_secret_basic"));
    let reply = manage(&gateway, "PUT", &id, Some(&token), Some(&back)).await.json();
    secrets::note(text(&reply, "client_secret"));
    assert_ne!(reply["client_secret"], answer["client_secret"]);
    assert_eq!(reply["client_secret_expires_at"], 0);

    let off = Setup { tables: "[registration]\nmanagement = \"off\"\n".to_owned(), ..Setup::default() }
        .start()
        .await;
    let answer = register(&off, &confidential("Hosted")).await;
    assert_eq!(
        (answer.get("registration_access_token"), answer.get("registration_client_uri")),
        (None, None)
    );
    assert_eq!(manage(&off, "GET", text(&answer, "client_id"), None, None).await.status, 404);

    let all = Setup { tables: "[registration]\nmanagement = \"all\"\n".to_owned(), ..Setup::default() }
        .start()
        .await;
    let (one, two) = (register(&all, &public("Many")).await, register(&all, &public("Many")).await);
    assert_ne!(one["client_id"], two["client_id"], "whoever holds a token shares with nobody");
    let token = text(&one, "registration_access_token");
    assert_eq!(manage(&all, "GET", text(&one, "client_id"), Some(token), None).await.status, 200);
    assert_eq!(manage(&all, "GET", text(&two, "client_id"), Some(token), None).await.status, 401);
}

#[tokio::test]
async fn registration_can_need_a_token() {
    let token = random("initial-access-");
    let tables = format!("[registration]\ninitial_access_token = \"{token}\"\n");
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let with = |authorization: Option<String>| {
        let mut request = Request::post(gateway.url("/register")).header("content-type", "application/json");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        gateway.send(request.body(public("App").to_string().into()).unwrap())
    };
    let missing = with(None).await;
    assert_eq!((missing.status, missing.error().as_str()), (401, "invalid_token"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"registration\""));
    assert_eq!(missing.header("access-control-allow-origin"), Some("*"));
    for wrong in
        [format!("Bearer {token}x"), "Bearer ".to_owned(), format!("Basic {token}"), "Bearer".to_owned()]
    {
        let reply = with(Some(wrong.clone())).await;
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_token"), "{wrong}");
    }
    assert_eq!(with(Some(format!("Bearer {token}"))).await.status, 201);
}

#[tokio::test]
async fn only_apps_of_allowed_domains_register() {
    let tables = "[registration]\nallowed_domains = [\"app.example\", \"*.team.example\"]\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let to = |uris: &[&str]| json!({ "redirect_uris": uris, "token_endpoint_auth_method": "none" });
    for uris in [&[HOSTED][..], &["https://x.team.example/cb"], &[HOSTED, "https://a.b.team.example/"]] {
        register(&gateway, &to(uris)).await;
    }
    for uris in [
        &["https://evil.example/"][..],
        &["https://app.example.evil.example/"],
        &["https://evilapp.example/"],
        &["https://team.example/"],
        &[HOSTED, "https://evil.example/"],
        &[LOOPBACK],
    ] {
        let reply = gateway.post_json("/register", &to(uris)).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_redirect_uri"), "{uris:?}");
    }
    // A registration cannot move out of the list either.
    let answer = register(&gateway, &confidential("Hosted")).await;
    let mut next = confidential("Hosted");
    next["client_id"] = answer["client_id"].clone();
    next["redirect_uris"] = json!(["https://evil.example/"]);
    let token = text(&answer, "registration_access_token");
    let moved = manage(&gateway, "PUT", text(&answer, "client_id"), Some(token), Some(&next)).await;
    assert_eq!((moved.status, moved.error().as_str()), (400, "invalid_redirect_uri"));

    let tables = "[registration]\nallowed_domains = [\"localhost\"]\n".to_owned();
    let local = Setup { tables, ..Setup::default() }.start().await;
    register(&local, &public("On this computer")).await;
    assert_eq!(local.post_json("/register", &to(&[HOSTED])).await.status, 400);
}

fn operators_client(secret: Option<&str>, redirect_uri: &str) -> String {
    let secret = secret.map(|secret| format!("client_secret = \"{secret}\"\n")).unwrap_or_default();
    format!(
        "[registration]\ndynamic = \"off\"\n[[client]]\nclient_id = \"reports\"\nname = \"Our reports\"\n\
         redirect_uris = [\"{redirect_uri}\"]\n{secret}"
    )
}

fn reports(gateway: &Gateway, secret: Option<&str>) -> Client {
    let method = if secret.is_some() { "client_secret_basic" } else { "none" };
    let mut answer =
        json!({ "client_id": "reports", "redirect_uris": [HOSTED], "token_endpoint_auth_method": method });
    if let Some(secret) = secret {
        answer["client_secret"] = json!(secret);
    }
    Client::registered(&gateway.origin, &answer)
}

#[tokio::test]
async fn a_client_of_the_configuration_works_without_registering() {
    for secret in [None, Some(random("operators-secret-"))] {
        let secret = secret.as_deref();
        let mut gateway =
            Setup { disk: true, tables: operators_client(secret, HOSTED), ..Setup::default() }.start().await;
        let client = reports(&gateway, secret);
        let mut visitor = gateway.visitor(&ADA);
        let page = visitor.consent_page(&client.asks()).await;
        assert!(page.body.contains("Our reports") && page.body.contains("name given by the operator"));
        assert!(
            page.body.contains("set up by the operator of this gateway")
                && !page.body.contains("not verified")
        );
        let tokens = visitor.tokens(&client).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        // It does not expire, is asked for consent each time, and outlives a restart.
        gateway.forward(Duration::from_hours(24 * 200));
        gateway.flows().sweep().await.unwrap();
        gateway.restart().await;
        gateway.visitor(&ADA).consent_page(&reports(&gateway, secret).asks()).await;
        // Nobody manages it over the network.
        assert_eq!(manage(&gateway, "GET", "reports", None, None).await.status, 401);
        assert_eq!(manage(&gateway, "DELETE", "reports", Some("mcpd_rg_x"), None).await.status, 401);
        let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
        assert_eq!(metadata.get("registration_endpoint"), None);
        if secret.is_some() {
            let wrong = reports(&gateway, Some("another-secret-of-theirs"));
            assert_eq!(wrong.try_refresh(&tokens.refresh).await.error(), "invalid_client");
            assert_eq!(reports(&gateway, None).try_refresh(&tokens.refresh).await.error(), "invalid_client");
        }
    }
}

#[tokio::test]
async fn a_client_that_the_operator_takes_out_loses_everything() {
    let with = |tables: String| Setup { disk: true, tables, ..Setup::default() };
    let mut gateway = with(operators_client(None, HOSTED)).start().await;
    let client = reports(&gateway, None);
    let tokens = gateway.visitor(&ADA).tokens(&client).await;

    gateway.restart_with(String::new()).await;
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
    assert_eq!(client.reconnected().try_refresh(&tokens.refresh).await.error(), "invalid_client");
    assert_eq!(gateway.visitor(&ADA).open(&client.asks().url()).await.status, 400);

    // Written in again, it works; what was approved before stays over.
    gateway.forward(Duration::from_secs(1));
    gateway.restart_with(operators_client(None, HOSTED)).await;
    let client = client.reconnected();
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    let tokens: Tokens = gateway.visitor(&ADA).tokens(&client).await;
    client.refresh(&tokens.refresh).await;

    // Another redirect URI: another app.
    gateway.forward(Duration::from_secs(1));
    gateway.restart_with(operators_client(None, "https://moved.example/callback")).await;
    let client = client.reconnected();
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
    assert_eq!(gateway.visitor(&ADA).open(&client.asks().url()).await.status, 400);

    // What is gone for good leaves the store.
    gateway.restart_with(String::new()).await;
    gateway.forward(Duration::from_hours(2));
    gateway.flows().sweep().await.unwrap();
    gateway.restart_with(operators_client(None, HOSTED)).await;
    gateway.visitor(&ADA).tokens(&client.reconnected()).await;
}

#[tokio::test]
async fn a_name_that_misleads_is_told_on_the_page() {
    let tables = "[registration]\nreserved_names = [\"Example Bank\"]\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    for (name, redirect_uri, warning) in [
        ("Claude", HOSTED, Some("looks like <bdi>Claude</bdi>")),
        ("CIaude", LOOPBACK, Some("looks like <bdi>Claude</bdi>")),
        ("Quаrry", LOOPBACK, Some("looks like <bdi>Quarry</bdi>")),
        ("Quarry Tools", HOSTED, Some("looks like <bdi>Quarry tools</bdi>")),
        ("Quarry Login", HOSTED, Some("looks like <bdi>Quarry</bdi>")),
        ("ЕXAMPLE BANK", HOSTED, Some("looks like <bdi>Example Bank</bdi>")),
        ("pаypаl", HOSTED, Some("mixes letters of different alphabets")),
        ("Cl\u{200B}ear", HOSTED, Some("contains characters that cannot be seen")),
        ("\u{202E}ppa", HOSTED, Some("contains characters that cannot be seen")),
        ("Claude", "https://claude.ai/api/mcp/auth_callback", None),
        ("Claude Code", LOOPBACK, None),
        ("An honest app", HOSTED, None),
    ] {
        let client = Registration::hosted(name, redirect_uri).at(&gateway).await;
        let page = gateway.visitor(&ADA).consent_page(&client.asks()).await.body;
        match warning {
            Some(warning) => {
                assert!(page.contains(warning), "{name:?}: {page}");
                let (host, name) = (page.find("class=\"destination"), page.find("class=\"name\""));
                assert!(host.unwrap() < name.unwrap(), "where access goes comes first");
            }
            None => assert!(!page.contains("This name"), "{name}: {page}"),
        }
    }
}
