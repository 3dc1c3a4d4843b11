//! The third party's token is refused: by the third party, by the MCP server, or by nobody for long.

use std::time::Duration;

use mcp_deputy::sandbox::{
    mcp_server::Refusal,
    third_party::{ADA, Behaviour, Event, GRACE, Health},
};
use serde_json::json;

use crate::support::{Setup, challenge};

#[tokio::test]
async fn a_refusal_of_the_third_party_ends_the_grants() {
    let gateway = Setup { refusal: Refusal::Unauthorized, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let (_, other) = gateway.tokens(&GRACE).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    gateway.third_party.revoke_all_of(&ADA);
    let expected = format!("{}, error=\"invalid_token\"", challenge(&gateway, "/mcp", "read"));
    for _ in 0..2 {
        let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some(expected.as_str())),
            "{}",
            reply.text()
        );
    }
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&other.access).await, "grace");
    let again = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(gateway.whoami(&again.access).await, "ada");
}

#[tokio::test]
async fn an_expired_third_party_token_that_cannot_be_renewed_ends_the_grants() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let gateway = Setup { behaviour, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    gateway.forward(Duration::from_hours(8));
    gateway.third_party.behave(|behaviour| behaviour.refuse_refresh = true);
    let fresh = client.try_refresh(&tokens.refresh).await;
    assert_eq!((fresh.status, fresh.error().as_str()), (400, "invalid_grant"));
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
}

#[tokio::test]
async fn an_mcp_server_that_refuses_a_good_token_is_a_bad_gateway() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let gateway = Setup { refusal: Refusal::AlwaysUnauthorized, behaviour, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let refreshed = || gateway.third_party.events().count(|event| matches!(event, Event::Refreshed { .. }));
    // First the third-party token is renewed; the client is told to come again, and no grant ends.
    let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
    assert_eq!((reply.status, refreshed()), (401, 1));
    let fresh = client.refresh(&tokens.refresh).await;
    // Then the third party is asked, once a minute; it knows the token, so it is the MCP server that is wrong.
    for _ in 0..3 {
        let reply = gateway.tool(&fresh.access, "whoami", json!({})).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (502, None), "{}", reply.text());
        assert_eq!(refreshed(), 1, "not again for this reason within ten minutes");
    }
    let asked = gateway.third_party.api_calls_of(&ADA);
    gateway.tool(&fresh.access, "whoami", json!({})).await;
    assert_eq!(gateway.third_party.api_calls_of(&ADA), asked);
    // While the third party is down nothing ends either.
    gateway.third_party.behave(|behaviour| behaviour.api = Health::ServerError);
    gateway.forward(Duration::from_mins(2));
    assert_eq!(gateway.tool(&fresh.access, "whoami", json!({})).await.status, 502);
    client.refresh(&fresh.refresh).await;
}
