//! Who may sign in, and who may stay: the rules of `[access]` over the whole life of a grant.

use std::time::Duration;

use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::third_party::{ADA, Behaviour, Event, GRACE, Health};
use serde_json::json;

use crate::support::{
    Answer, Gateway, PATIENCE, Setup,
    backend::{Backend, events},
    client::Registration,
};

/// Facts are asked for again after ten minutes; sessions are read again after ten seconds.
const FACTS: Duration = Duration::from_mins(11);
const CACHE: Duration = Duration::from_secs(11);

async fn with(rules: &str, behaviour: Behaviour) -> Gateway {
    let tables = format!("[access]\n{rules}\n");
    Setup { behaviour, disk: true, tables, ..Setup::default() }.start().await
}

fn members(list: &[(&'static str, u64)]) -> Behaviour {
    Behaviour { members: list.to_vec(), ..Behaviour::default() }
}

fn belongs(gateway: &Gateway, list: &[(&'static str, u64)]) {
    gateway.third_party.behave(|behaviour| behaviour.members = list.to_vec());
}

#[tokio::test]
async fn whom_no_rule_names_gets_no_code() {
    for rules in [
        "users = [\"1001\"]",
        "users = [\"quarry:1001\"]",
        "emails = [\"ADA@example.org\"]",
        "organizations = [\"42\"]",
        "users = [\"quarry:1\"]\norganizations = [\"7\", \"42\"]",
    ] {
        let gateway = with(rules, members(&[("ada", 42), ("grace", 43)])).await;
        let client = Registration::native("App").at(&gateway).await;
        let tokens = gateway.visitor(&ADA).tokens(&client).await;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada", "{rules}");

        let mut grace = gateway.visitor(&GRACE);
        let asking = client.asks();
        let answer = grace.authorize(&asking).await;
        assert_eq!(answer.error.as_deref(), Some("access_denied"), "{rules}");
        assert_eq!(answer.code, None, "{rules}");
        // Nothing of hers is kept at the third party.
        let given_back = |event: &Event| matches!(event, Event::Revoked { .. });
        let given_back = gateway.third_party.events().wait_for(given_back, PATIENCE).await;
        assert!(given_back.is_some(), "{rules}");
    }
}

#[tokio::test]
async fn rules_about_organizations_ask_for_the_scope_and_show_it() {
    let gateway = with("organizations = [\"42\"]", members(&[("ada", 42)])).await;
    let client = gateway.client("App").await;
    let page = gateway.visitor(&ADA).consent_page(&client.asks()).await;
    assert!(page.body.contains("read:org") && !page.body.contains("user:email"), "{}", page.body);
    let gateway = with("email_domains = [\"example.org\"]", Behaviour::default()).await;
    let client = gateway.client("App").await;
    let page = gateway.visitor(&ADA).consent_page(&client.asks()).await;
    assert!(page.body.contains("user:email") && !page.body.contains("read:org"), "{}", page.body);
}

#[tokio::test]
async fn who_left_the_organization_loses_access_at_the_next_refresh() {
    let gateway = with("organizations = [\"42\"]", members(&[("ada", 42)])).await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    belongs(&gateway, &[("ada", 7)]);
    // Facts that are fresh are believed.
    let tokens = client.refresh(&tokens.refresh).await;
    gateway.forward(FACTS);
    let reply = client.try_refresh(&tokens.refresh).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_grant")));
    let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn who_left_the_organization_loses_access_while_the_app_is_in_use() {
    let gateway = with("organizations = [\"42\"]", members(&[("ada", 42)])).await;
    let (_client, tokens) = gateway.tokens(&ADA).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    belongs(&gateway, &[]);
    gateway.forward(FACTS);
    // The request that finds the facts old is still served; it has them asked for in the background.
    let mut tries = 0;
    while gateway.tool(&tokens.access, "whoami", json!({})).await.status != 401 {
        assert!(tries < 200, "she is still served");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An open stream sends nothing that would find the facts old: the sweeper does.
#[tokio::test]
async fn who_left_the_organization_loses_the_open_stream() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let behaviour = members(&[("ada", 42), ("grace", 42)]);
    let tables = "[access]\norganizations = [\"42\"]\n".to_owned();
    let setup = Setup { behaviour, upstream: Some(backend.url.clone()), tables, ..Setup::default() };
    let gateway = setup.start().await;
    let (_, ada) = gateway.tokens(&ADA).await;
    let (_, grace) = gateway.tokens(&GRACE).await;
    let open = async |token: &str| {
        let request = gateway.at("/mcp", "GET", token).body("".into()).unwrap();
        gateway.fetch().open(request).await.unwrap()
    };
    let (mut hers, _her_stream) = (open(&ada.access).await, streams.recv().await.unwrap());
    let (mut other, other_stream) = (open(&grace.access).await, streams.recv().await.unwrap());
    belongs(&gateway, &[("grace", 42)]);
    gateway.flows().sweep().await.unwrap();
    gateway.forward(FACTS);
    gateway.flows().sweep().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, hers.body_mut().frame()).await.expect("she still listens");
    assert!(ended.is_none());
    other_stream.send("data: 1\n\n".into()).await.unwrap();
    assert!(other.body_mut().frame().await.unwrap().is_ok(), "whoever stayed listens on");
}

#[tokio::test]
async fn an_outage_of_the_third_party_costs_nobody_access() {
    let gateway = with("organizations = [\"42\"]", members(&[("ada", 42)])).await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    gateway.third_party.behave(|behaviour| behaviour.api = Health::ServerError);
    gateway.forward(FACTS);
    let tokens = client.refresh(&tokens.refresh).await;
    gateway.third_party.behave(|behaviour| behaviour.api = Health::Normal);
    gateway.forward(FACTS);
    client.refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn narrower_rules_hold_from_the_next_start() {
    let mut gateway = with("users = [\"1001\", \"1002\"]", Behaviour::default()).await;
    let (client, ada) = gateway.tokens(&ADA).await;
    let grace = gateway.visitor(&GRACE).tokens(&client).await;
    gateway.reconfigure("\"1001\", ", "");
    gateway.restart().await;
    gateway.forward(CACHE);
    assert_eq!(gateway.tool(&ada.access, "whoami", json!({})).await.status, 401);
    assert_eq!(client.try_refresh(&ada.refresh).await.status, 400);
    assert_eq!(gateway.whoami(&grace.access).await, "grace");
}

#[tokio::test]
async fn rules_hold_at_the_second_page_too() {
    // Known to the browser as Ada, Grace comes back: the second page asks, and the rules ask first.
    let gateway = with("users = [\"1001\"]", Behaviour::default()).await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let asking = client.asks();
    let departure = ada.approve(&asking).await;
    let page = ada.go_on(&departure).await;
    let answer = Answer::of(&page, &asking);
    assert_eq!((answer.error.as_deref(), answer.code), (Some("access_denied"), None));
}

#[tokio::test]
async fn rules_that_became_narrower_hold_for_an_open_second_page() {
    let mut gateway = with("users = [\"1001\", \"1002\"]", Behaviour::default()).await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.approve(&client.asks()).await;
    let page = ada.go_on(&departure).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/arrival"));
    gateway.reconfigure(", \"1002\"", "");
    gateway.restart().await;
    let before = ada.delivered().len();
    let refused = ada.press(&page, "Approve").await;
    assert!(refused.body.contains("person_not_admitted"), "{}", refused.body);
    assert_eq!((refused.leads_to(), ada.delivered().len()), (None, before));
}

/// The operator has an MCP server stand on another third party: what people approved for the first one is over there.
#[tokio::test]
async fn another_provider_of_an_mcp_server_ends_what_was_approved_for_the_first() {
    let tables =
        format!("[[resource_server]]\nid = \"asks\"\nsecret = \"{ASKING}\"\nresources = [\"/mcp\"]\n");
    let setup = Setup { disk: true, two_providers: true, tables, ..Setup::default() };
    let mut gateway = setup.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let tokens = ada.tokens(&client).await;
    let rotated = client.refresh(&tokens.refresh).await;
    let waiting = ada.authorize(&client.asks()).await;
    let mut departing = gateway.visitor(&ADA);
    let departed = departing.approve(&client.asks()).await;
    let about = |token: &str| [("token", token), ("client_id", "asks"), ("client_secret", ASKING)].map(owned);
    assert_eq!(ask(&gateway, &about(&rotated.access)).await, json!(true));

    gateway.reconfigure("provider = \"quarry\"", "provider = \"slate\"");
    gateway.restart().await;
    assert_eq!(gateway.tool(&rotated.access, "whoami", json!({})).await.status, 401);
    assert_eq!(ask(&gateway, &about(&rotated.access)).await, json!(false));
    for reply in [
        client.try_refresh(&rotated.refresh).await,
        // Nor the same answer again.
        client.try_refresh(&tokens.refresh).await,
        client.try_redeem(&waiting).await,
    ] {
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
    }
    let back = departing.go_on(&departed).await;
    assert!(back.body.contains("client_changed"), "{}", back.body);
    // Asked again, people approve what is there now.
    gateway.visitor(&ADA).tokens(&client).await;
}

const ASKING: &str = "a-secret-of-at-least-16-characters";

fn owned((name, value): (&'static str, &str)) -> (&'static str, String) {
    (name, value.to_owned())
}

async fn ask(gateway: &Gateway, form: &[(&'static str, String)]) -> serde_json::Value {
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    gateway.post_form("/introspect", &form).await.json()["active"].clone()
}
