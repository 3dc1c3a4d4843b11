//! Linear: commas, GraphQL for who it is, errors of that at status 200, tokens of a day.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /api.linear.app/oauth/token" => match (&*field("grant_type"), &*field("refresh_token")) {
            ("authorization_code", _) => json(
                200,
                r#"{"access_token":"lin_1","token_type":"Bearer","expires_in":86399,"scope":["read","write"],"refresh_token":"r1"}"#,
            ),
            (_, "r1") => json(
                200,
                r#"{"access_token":"lin_2","expires_in":86399,"scope":"read write","refresh_token":"r2"}"#,
            ),
            _ => json(400, r#"{"error":"invalid_grant"}"#),
        },
        "POST /api.linear.app/graphql" => {
            let is_json = seen.header("content-type") == Some("application/json");
            match seen.header("authorization") {
                Some("Bearer access") if is_json && seen.body.contains("viewer { id") => json(
                    200,
                    r#"{"data":{"viewer":{"id":"u-1","name":"Ada Lovelace","displayName":"ada","email":"ada@example.com"}}}"#,
                ),
                _ => json(400, r#"{"errors":[{"message":"Authentication required"}]}"#),
            }
        }
        "POST /api.linear.app/oauth/revoke" => json(200, r#"{"success":true}"#),
        _ => json(404, "{}"),
    }
}

#[tokio::test]
async fn contract_of_linear() {
    let linear = Contract::with("preset = \"linear\"", answers).await;
    let departed = linear.departure(&["write", "read"], false);
    departed.is_ours(true);
    assert_eq!(departed.get("scope").as_deref(), Some("read,write"));

    let granted = linear.redeem().await.unwrap().scopes.unwrap();
    assert_eq!(linear.wider(&["read"], &granted), "write");
    assert_eq!(linear.refresh("r1").await.unwrap().refresh.unwrap().expose_secret(), "r2");
    assert_eq!(linear.refresh("r0").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));

    let identity = linear.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("u-1", "ada"));
    assert_eq!((identity.display_name.as_deref(), identity.email), (Some("Ada Lovelace"), None));
    assert_eq!(linear.revoke().await, Ok(()));
}

#[tokio::test]
async fn contract_of_linear_when_its_api_fails_with_200() {
    for body in [
        r#"{"data":null,"errors":[{"message":"Internal error"}]}"#,
        r#"{"data":{"viewer":null}}"#,
        r#"{"errors":[]}"#,
    ] {
        let linear = Contract::with("preset = \"linear\"", move |_| json(200, body)).await;
        // Not a refusal: nobody loses access because an API had a bad day.
        assert_eq!(linear.identify().await.unwrap_err(), NO_SUBJECT);
    }
    let linear = Contract::with("preset = \"linear\"", |_| json(401, "{}")).await;
    assert_eq!(linear.identify().await.unwrap_err(), TOKEN_REFUSED);
}
