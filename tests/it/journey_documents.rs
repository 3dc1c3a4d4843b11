//! A client that never registered: its id is the URL of a document that it publishes.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::ADA;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Setup,
    client::{HOSTED, LOOPBACK},
    documents::{Host, Stands},
};

const PATH: &str = "/oauth/client.json";

#[tokio::test]
async fn from_a_document_to_a_tool_call_and_on_for_months() {
    let host = Host::start().await;
    let mut document = host.document(PATH, &[LOOPBACK]);
    // As the clients in the field write them: more than we need, and things that we do not have.
    document["grant_types"] = json!(["authorization_code", "refresh_token", "urn:x:device_code"]);
    document["token_endpoint_auth_method"] = "none".into();
    document["logo_uri"] = host.url("/logo.png").into();
    document["application_type"] = "native".into();
    host.put(PATH, Stands::json(&document).with("cache-control: public, max-age=3600"));
    let mut gateway = Setup { disk: true, ..host.setup() }.start().await;
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], Value::Bool(true));

    let client = host.client(&gateway, PATH, "http://127.0.0.1:33418/callback");
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    let publisher = format!("localhost:{}", host.port());
    for shown in [
        "this computer (port 33418)",
        "Published app",
        "name chosen by the app, not verified",
        &format!("verified: published by <bdi>{publisher}</bdi>"),
        "does not prove that it is this app",
        "not approved here before",
        &host.url(PATH),
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let tokens = ada.tokens(&client).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    assert_eq!(host.asked(PATH), 1, "a document that may be kept was asked for again");

    // The second time the page knows it.
    gateway.forward(Duration::from_hours(2));
    let page = ada.consent_page(&client.asks()).await;
    assert!(page.body.contains("first approved here 2 hours ago"), "{}", page.body);
    assert_eq!(host.asked(PATH), 2);
    let fetches = "mcp_deputy_document_fetches_total";
    assert_eq!(gateway.metrics().await.value(fetches, &[("outcome", "taken")]), 2);

    // The host may be away for a while, and the gateway may be started anew: tokens go by the record.
    host.put(PATH, Stands::status(503));
    gateway.restart().await;
    let tokens = client.refresh(&tokens.refresh).await;
    for _ in 0..200 {
        if host.asked(PATH) > 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(host.asked(PATH) > 2, "nobody looked whether it is still there");
    let failed = [("outcome", "unavailable"), ("reason", "document_host_failed")];
    let counted = async { while gateway.metrics().await.value(fetches, &failed) != 1 {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("a failed fetch is counted");
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    gateway.forward(Duration::from_hours(24 * 20));
    client.refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn a_hosted_client_leads_with_where_access_goes_and_says_who_publishes_it() {
    let host = Host::start().await;
    host.put(PATH, Stands::json(&host.document(PATH, &[HOSTED])));
    let gateway = host.setup().start().await;
    let client = host.client(&gateway, PATH, HOSTED);
    let page = gateway.visitor(&ADA).consent_page(&client.asks()).await;
    let at = |text: &str| page.body.find(text).unwrap_or_else(|| panic!("{text}: {}", page.body));
    assert!(at("app.example") < at("Published app") && at("Published app") < at("verified: published by"));
    assert!(!page.body.contains("does not prove"));
}

#[tokio::test]
async fn a_document_that_says_private_key_jwt_needs_an_assertion() {
    let host = Host::start().await;
    let mut document = host.document(PATH, &[LOOPBACK]);
    document["token_endpoint_auth_methods_supported"] = json!(["private_key_jwt", "tls_client_auth"]);
    document["jwks_uri"] = host.url("/keys.json").into();
    host.put(PATH, Stands::json(&document));
    let gateway = host.setup().start().await;
    let client = host.client(&gateway, PATH, LOOPBACK);
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let reply = client.try_redeem(&answer).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_client")));
}
