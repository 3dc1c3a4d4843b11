//! Metadata documents as a weapon: to have us look where nobody else can, to be somebody else, to change afterwards.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::third_party::{ADA, Event, GRACE};
use serde_json::json;

use crate::support::{
    Answer, Asking, Client, Gateway, PATIENCE, Reply, Setup,
    client::{HOSTED, LOOPBACK},
    documents::{Everywhere, Host, Stands, client},
};

const EVIL: &str = "https://evil.example/cb";
const PATH: &str = "/client.json";
/// To be read anew each time.
const NO_STORE: &str = "cache-control: no-store";

async fn page(gateway: &Gateway, asking: &Asking) -> Reply {
    gateway.send(Request::get(asking.url()).header("accept", "text/html").body(Bytes::new()).unwrap()).await
}

/// The page without what is different every time.
fn without_support_id(page: &Reply) -> String {
    let id = page.header("x-request-id").unwrap_or_default().to_owned();
    assert!(!id.is_empty() && page.text().contains(&id));
    page.text().replace(&id, "…")
}

/// Asks for a page and expects none.
async fn refused(gateway: &Gateway, client: &Client) -> String {
    let reply = page(gateway, &client.asks()).await;
    assert_eq!((reply.status, reply.header("location")), (400, None), "{}: {}", client.id, reply.text());
    assert!(reply.text().contains("<code>document_refused</code>"), "{}: {}", client.id, reply.text());
    without_support_id(&reply)
}

/// A host, a gateway that reads its documents, and a client that stands there.
async fn published(headers: &str) -> (Host, Gateway, Client) {
    let host = Host::start().await;
    host.put(PATH, Stands::json(&host.document(PATH, &[LOOPBACK, HOSTED])).with(headers));
    let gateway = host.setup().start().await;
    let client = host.client(&gateway, PATH, LOOPBACK);
    (host, gateway, client)
}

#[tokio::test]
async fn attack_ssrf_addresses_in_the_url() {
    let host = Host::start().await;
    let port = host.port();
    for tables in ["", "[registration]\nloopback_documents = true\n"] {
        let gateway = Setup { tables: tables.to_owned(), ..host.setup() }.start().await;
        for inside in [
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::7f00:1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00:ec2::254]",
            "[fe80::1]",
        ] {
            let id = format!("https://{inside}:{port}{PATH}");
            refused(&gateway, &client(&gateway, &id, HOSTED)).await;
        }
        if tables.is_empty() {
            for here in ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "a.localhost"] {
                let id = format!("https://{here}:{port}{PATH}");
                refused(&gateway, &client(&gateway, &id, HOSTED)).await;
            }
        }
    }
    assert_eq!(host.connections(), 0, "somebody was connected to");
}

#[tokio::test]
async fn attack_ssrf_names_that_lead_inside() {
    let host = Host::start().await;
    for leads_to in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["2002:7f00:1::"],
    ] {
        let names = Arc::new(Everywhere(leads_to));
        let gateway = Setup { names: Some(names), ..host.setup() }.start().await;
        let id = format!("https://app.example:{}{PATH}", host.port());
        refused(&gateway, &client(&gateway, &id, HOSTED)).await;
    }
    assert_eq!(host.connections(), 0, "somebody was connected to");
}

#[tokio::test]
async fn attack_urls_that_are_repaired_are_never_asked_for() {
    let (host, gateway, _) = published("").await;
    let port = host.port();
    for id in [
        format!("https://localhost:{port}"),
        format!("https://localhost:{port}/"),
        format!("https://LOCALHOST:{port}{PATH}"),
        format!("https://localhost:{port}/x/..{PATH}"),
        format!("https://localhost:{port}/%2e{PATH}"),
        format!("https://localhost:{port}{PATH}#x"),
        format!("https://localhost:{port}{PATH}?x"),
        format!("https://user@localhost:{port}{PATH}"),
        format!("https://localhost:{port}\\client.json"),
        format!("https://localhost:{port}/client\t.json"),
        format!("https://localhost:0{port}{PATH}"),
        format!("https:/localhost:{port}{PATH}"),
        format!("https://localhost:{port}/{}", "a".repeat(600)),
        gateway.url("/x").replace("http:", "https:"),
    ] {
        let reply = page(&gateway, &client(&gateway, &id, LOOPBACK).asks()).await;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{id}");
        assert!(!reply.text().contains("<form"), "{id}");
    }
    // Not even shaped like the URL of a document.
    for id in [format!("http://localhost:{port}{PATH}"), format!("HTTPS://localhost:{port}{PATH}")] {
        assert_eq!(page(&gateway, &client(&gateway, &id, LOOPBACK).asks()).await.status, 400, "{id}");
    }
    assert_eq!(host.connections(), 0, "somebody was asked");
}

#[tokio::test]
async fn attack_bad_documents_all_fail_with_the_very_same_page() {
    let host = Host::start().await;
    let gateway = host.setup().start().await;
    let good = |path: &str| host.document(path, &[HOSTED]);
    let with = |path: &str, member: &str, value: serde_json::Value| {
        let mut document = good(path);
        document[member] = value;
        Stands::json(&document)
    };
    let without = |path: &str, member: &str| {
        let mut document = good(path);
        document.as_object_mut().unwrap().remove(member);
        Stands::json(&document)
    };
    host.put("/good", Stands::json(&good("/good")));
    let elsewhere = format!("location: {}", host.url("/good"));
    let cases = [
        ("/redirect301", Stands::status(301).with(&elsewhere)),
        ("/redirect302", Stands::status(302).with(&elsewhere)),
        ("/redirect307", Stands { status: 307, ..Stands::json(&good("/redirect307")) }.with(&elsewhere)),
        ("/missing", Stands::status(404)),
        ("/gone", Stands { status: 410, ..Stands::json(&good("/gone")) }),
        ("/failing", Stands { status: 500, ..Stands::json(&good("/failing")) }),
        ("/created", Stands { status: 201, ..Stands::json(&good("/created")) }),
        ("/forbidden", Stands { status: 403, ..Stands::json(&good("/forbidden")) }),
        ("/other", Stands::json(&good("/good"))),
        ("/slash", Stands::json(&good("/slash/"))),
        ("/oversized", with("/oversized", "x", "a".repeat(5 * 1024).into())),
        ("/huge", with("/huge", "x", "a".repeat(1024 * 1024).into())),
        ("/html", Stands { body: "<html>".to_owned(), ..Stands::status(200) }),
        (
            "/twice",
            Stands {
                body: good("/twice").to_string().replacen('{', r#"{"client_name":"Other","#, 1),
                ..Stands::status(200)
            },
        ),
        ("/secret", with("/secret", "client_secret", "s3cret".into())),
        ("/expiring", with("/expiring", "client_secret_expires_at", 0.into())),
        ("/post", with("/post", "token_endpoint_auth_method", "client_secret_post".into())),
        (
            "/basic",
            with("/basic", "token_endpoint_auth_methods_supported", json!(["none", "client_secret_basic"])),
        ),
        ("/no-id", without("/no-id", "client_id")),
        ("/no-name", without("/no-name", "client_name")),
        ("/no-redirects", without("/no-redirects", "redirect_uris")),
        ("/ours", with("/ours", "redirect_uris", json!([gateway.url("/callback/quarry")]))),
        ("/javascript", with("/javascript", "redirect_uris", json!(["javascript:alert(1)"]))),
        ("/wildcard", with("/wildcard", "redirect_uris", json!(["https://app.example/*"]))),
        ("/keyless", with("/keyless", "token_endpoint_auth_method", "private_key_jwt".into())),
    ];
    let mut pages = Vec::new();
    for (path, stands) in cases {
        host.put(path, stands);
        pages.push((path, refused(&gateway, &host.client(&gateway, path, HOSTED)).await));
        assert_eq!(host.asked(path), 1, "{path}");
    }
    let nobody = client(&gateway, "https://localhost:1/client.json", HOSTED);
    pages.push(("nobody there", refused(&gateway, &nobody).await));
    for (path, page) in &pages {
        assert_eq!(*page, pages[0].1, "{path} can be told from the others");
    }
    assert_eq!(host.asked("/good"), 0, "a redirect was followed");
    let reply = page(&gateway, &host.client(&gateway, "/good", HOSTED).asks()).await;
    assert_eq!(reply.status, 200, "the good one works: {}", reply.text());
    // Errors are not kept: what was mended works at once.
    host.put("/missing", Stands::json(&good("/missing")));
    assert_eq!(page(&gateway, &host.client(&gateway, "/missing", HOSTED).asks()).await.status, 200);
}

#[tokio::test]
async fn attack_slow_document() {
    let host = Host::start().await;
    let slow = Stands { after: PATIENCE * 10, ..Stands::json(&host.document(PATH, &[HOSTED])) };
    host.put(PATH, slow);
    let gateway = host.setup().start().await;
    let started = tokio::time::Instant::now();
    refused(&gateway, &host.client(&gateway, PATH, HOSTED)).await;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn attack_redirect_uri_that_the_document_does_not_list() {
    let (_host, gateway, client) = published("").await;
    for uri in
        [EVIL, "https://app.example/callback/", "https://app.example/callback?x", "http://127.0.0.1:1/other"]
    {
        let reply = page(&gateway, &client.asks().with("redirect_uri", uri)).await;
        assert_eq!((reply.status, reply.header("location")), (400, None), "{uri}");
        assert!(reply.text().contains("<code>bad_redirect_uri</code>"), "{uri}: {}", reply.text());
    }
    // The port of a program on this computer is its own affair.
    let reply = page(&gateway, &client.asks().with("redirect_uri", "http://127.0.0.1:50123/callback")).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn attack_document_changed_between_page_and_post() {
    for headers in ["", NO_STORE] {
        let (host, gateway, client) = published(headers).await;
        let mut ada = gateway.visitor(&ADA);
        let shown = ada.consent_page(&client.asks()).await;
        let changed = host.document(PATH, &[LOOPBACK, HOSTED, EVIL]);
        host.put(PATH, Stands::json(&changed).with(headers));
        let answer = ada.press(&shown, "Approve").await;
        assert_eq!((answer.status.as_u16(), answer.leads_to()), (400, None), "{}", answer.body);
        assert!(answer.body.contains("<code>client_changed</code>"), "{}", answer.body);
        assert_eq!(gateway.third_party.authorize_requests(), 0);
    }
}

#[tokio::test]
async fn attack_document_changed_between_post_and_callback() {
    let (host, gateway, client) = published(NO_STORE).await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let departure = ada.approve(&asking).await;
    let callback = ada.callback_of(&departure).await;
    let mut renamed = host.document(PATH, &[LOOPBACK, HOSTED]);
    renamed["client_name"] = "Somebody else".into();
    host.put(PATH, Stands::json(&renamed).with(NO_STORE));
    let answer = ada.open(&callback).await;
    assert_eq!((answer.status.as_u16(), answer.leads_to()), (400, None), "{}", answer.body);
    assert!(answer.body.contains("<code>client_changed</code>"), "{}", answer.body);
    let issued = gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. }));
    assert_eq!(issued, 0, "the third party's code was used");
    assert!(ada.delivered().is_empty());
}

#[tokio::test]
async fn attack_document_that_is_gone_still_lets_nobody_in() {
    let (host, gateway, client) = published(NO_STORE).await;
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    let mut refresh = tokens;
    for status in [500, 302, 403] {
        host.put(PATH, Stands::status(status));
        gateway.forward(Duration::from_mins(1));
        let asked = host.asked(PATH);
        refresh = client.refresh(&refresh.refresh).await;
        for _ in 0..200 {
            if host.asked(PATH) > asked {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(host.asked(PATH) > asked, "nobody looked");
        assert_eq!(gateway.whoami(&refresh.access).await, "ada", "{status} ended it");
    }

    host.put(PATH, Stands::status(404));
    gateway.forward(Duration::from_mins(1));
    let mut ended = None;
    for _ in 0..200 {
        let reply = client.try_refresh(&refresh.refresh).await;
        if reply.status != 200 {
            ended = Some(reply);
            break;
        }
        refresh = crate::support::Tokens::of(&reply);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = ended.expect("the client is gone");
    assert_eq!((ended.status, ended.json()["error"].as_str()), (401, Some("invalid_client")));
    let reply = gateway.tool(&refresh.access, "whoami", json!({})).await;
    assert_eq!(reply.status, 401, "its tokens are gone");
    refused(&gateway, &client).await;

    // It may come back, with an approval of its own; what was before stays over.
    host.put(PATH, Stands::json(&host.document(PATH, &[LOOPBACK])).with(NO_STORE));
    gateway.forward(Duration::from_mins(1));
    let again = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(gateway.whoami(&again.access).await, "ada");
    let old = client.try_refresh(&refresh.refresh).await;
    assert_eq!(old.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn attack_redirect_uri_that_left_the_document_keeps_no_grant() {
    let (host, gateway, client) = published(NO_STORE).await;
    let hosted = host.client(&gateway, PATH, HOSTED);
    let leaving = gateway.visitor(&ADA).tokens(&hosted).await;
    let staying = gateway.visitor(&GRACE).tokens(&client).await;
    host.put(PATH, Stands::json(&host.document(PATH, &[LOOPBACK])).with(NO_STORE));
    gateway.forward(Duration::from_mins(1));
    // Whoever asks for a page is enough to notice.
    assert_eq!(page(&gateway, &client.asks()).await.status, 200);
    for _ in 0..200 {
        if gateway.tool(&leaving.access, "whoami", json!({})).await.status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gateway.tool(&leaving.access, "whoami", json!({})).await.status, 401);
    assert_eq!(hosted.try_refresh(&leaving.refresh).await.json()["error"], "invalid_grant");
    assert_eq!(gateway.whoami(&staying.access).await, "grace");
}

#[tokio::test]
async fn attack_shared_client_id() {
    // One id for every installation of an app: whoever runs a program on this computer can use it too.
    let (_host, gateway, client) = published("").await;
    let mut ada = gateway.visitor(&ADA);
    let own = ada.tokens(&client).await;
    let departed = gateway.third_party.authorize_requests();
    let asking = client.asks().with("redirect_uri", "http://127.0.0.1:4444/callback");
    let shown = ada.consent_page(&asking).await;
    assert!(shown.body.contains("port 4444") && shown.body.contains("does not prove"), "{}", shown.body);
    assert_eq!(gateway.third_party.authorize_requests(), departed, "somebody went on without a click");
    assert!(ada.delivered().len() == 1, "the attacker got something");

    // One installation gives its token back: the others do not notice.
    let mut grace = gateway.visitor(&GRACE);
    let other = grace.tokens(&client).await;
    client.revoke(&own.refresh).await;
    assert_eq!(gateway.tool(&own.access, "whoami", json!({})).await.status, 401);
    assert_eq!(gateway.whoami(&other.access).await, "grace");

    // And a code of one is nothing to a program that did not ask for it.
    let stolen = ada.authorize(&client.asks()).await;
    let thief = Answer { verifier: crate::support::random("verifier-0123456789-thief-"), ..stolen.clone() };
    assert_eq!(client.try_redeem(&thief).await.json()["error"], "invalid_grant");
    client.redeem(&stolen).await;
}

#[tokio::test]
async fn attack_flood_of_requests_is_one_fetch() {
    let (host, gateway, client) = published(NO_STORE).await;
    let gateway = Arc::new(gateway);
    let flood: Vec<_> = (0..60)
        .map(|_| {
            let (gateway, asking) = (Arc::clone(&gateway), client.asks());
            tokio::spawn(async move { page(&gateway, &asking).await.status })
        })
        .collect();
    for request in flood {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(host.asked(PATH), 1);
}

#[tokio::test]
async fn attack_other_addresses_in_a_document_are_never_fetched() {
    let (host, gateway, _) = published("").await;
    let client = host.client(&gateway, PATH, HOSTED);
    let mut document = host.document(PATH, &[HOSTED]);
    for (member, path) in [
        ("logo_uri", "/logo.png"),
        ("client_uri", "/home"),
        ("tos_uri", "/tos"),
        ("policy_uri", "/policy"),
        ("jwks_uri", "/keys"),
        ("sector_identifier_uri", "/sector"),
    ] {
        document[member] = host.url(path).into();
    }
    host.put(PATH, Stands::json(&document));
    let mut ada = gateway.visitor(&ADA);
    let shown = ada.consent_page(&client.asks()).await;
    assert!(!shown.body.contains("<img") && !shown.body.contains("logo.png"), "{}", shown.body);
    ada.tokens(&client).await;
    assert_eq!(host.connections(), host.asked(PATH), "something else was fetched");
}

#[tokio::test]
async fn attack_registration_cannot_choose_the_url_of_a_document_as_its_id() {
    let (host, gateway, _) = published("").await;
    let mut metadata = host.document(PATH, &[EVIL]);
    metadata["token_endpoint_auth_method"] = "none".into();
    let reply = gateway.post_json("/register", &metadata).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let id = reply.json()["client_id"].as_str().unwrap().to_owned();
    assert!(!id.starts_with("https://"), "{id}");
    let squatted = page(&gateway, &host.client(&gateway, PATH, EVIL).asks()).await;
    assert!(squatted.text().contains("<code>bad_redirect_uri</code>"), "{}", squatted.text());
}

#[tokio::test]
async fn attack_document_of_a_domain_that_is_not_allowed() {
    let host = Host::start().await;
    host.put(PATH, Stands::json(&host.document(PATH, &[HOSTED])));
    for tables in [
        "[registration]\nclient_id_metadata_documents = false\nloopback_documents = true\n",
        "[registration]\nallowed_domains = [\"claude.ai\", \"*.apps.example\"]\n",
    ] {
        let names = Arc::new(Everywhere(&["127.0.0.1"]));
        let gateway = Setup { tables: tables.to_owned(), names: Some(names), ..host.setup() }.start().await;
        for name in ["localhost", "app.example", "claude.ai.evil.example", "apps.example"] {
            let id = format!("https://{name}:{}{PATH}", host.port());
            refused(&gateway, &client(&gateway, &id, HOSTED)).await;
        }
        let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
        let advertised = metadata.get("client_id_metadata_document_supported").is_some();
        assert_eq!(advertised, !tables.contains("false"));
    }
    assert_eq!(host.connections(), 0);
}
