//! Atlassian: an audience, a forced prompt, rotating refresh tokens whose refusal looks like the client's.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /auth.atlassian.com/oauth/token" => match (&*field("grant_type"), &*field("refresh_token")) {
            ("authorization_code", _) => json(
                200,
                r#"{"access_token":"eyJ1","expires_in":3600,"token_type":"Bearer","refresh_token":"r1","scope":"read:me offline_access read:jira-work"}"#,
            ),
            (_, "r1") => json(
                200,
                r#"{"access_token":"eyJ2","expires_in":3600,"refresh_token":"r2","scope":"read:me offline_access read:jira-work"}"#,
            ),
            _ => {
                json(403, r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#)
            }
        },
        "GET /api.atlassian.com/me" => json(
            200,
            r#"{"account_type":"atlassian","account_id":"5b10a2844c20165700ede21g","email":"ada@example.com","name":"Ada","nickname":"ada"}"#,
        ),
        _ => json(404, "{}"),
    }
}

#[tokio::test]
async fn contract_of_atlassian() {
    let atlassian = Contract::with("preset = \"atlassian\"", answers).await;
    let departed = atlassian.departure(&["read:jira-work"], false);
    departed.is_ours(true);
    assert_eq!(departed.get("audience").as_deref(), Some("api.atlassian.com"));
    assert_eq!(departed.get("prompt").as_deref(), Some("consent"));
    assert_eq!(departed.get("scope").as_deref(), Some("offline_access read:jira-work read:me"));

    let granted = atlassian.redeem().await.unwrap().scopes.unwrap();
    assert_eq!(atlassian.wider(&["read:me"], &granted), "read:jira-work");
    assert_eq!(atlassian.last().field("client_secret").as_deref(), Some("our-secret"));
    assert_eq!(atlassian.refresh("r1").await.unwrap().refresh.unwrap().expose_secret(), "r2");
    assert_eq!(atlassian.refresh("r0").await.unwrap_err(), ThirdPartyError::Refused("unauthorized_client"));
    let identity = atlassian.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("5b10a2844c20165700ede21g", "ada"));
    assert_eq!(identity.email, None, "nobody says that it is verified");
    let asked = atlassian.fake.seen().len();
    assert_eq!(atlassian.revoke().await, Ok(()));
    assert_eq!(atlassian.fake.seen().len(), asked);
}

#[tokio::test]
async fn contract_of_atlassian_without_the_scope_for_who_it_is() {
    let atlassian =
        Contract::with("preset = \"atlassian\"", |_| json(403, r#"{"code":403,"message":"Forbidden"}"#))
            .await;
    assert_eq!(atlassian.identify().await.unwrap_err(), TOKEN_REFUSED);
    let atlassian =
        Contract::with("preset = \"atlassian\"", |_| json(200, r#"{"email":"ada@example.com"}"#)).await;
    assert_eq!(atlassian.identify().await.unwrap_err(), NO_SUBJECT);
}
