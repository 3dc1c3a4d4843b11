//! GitLab: at gitlab.com or at home; refresh tokens that are good once; who it is by OpenID Connect.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /gitlab.com/oauth/token" | "POST /gitlab.example.com/oauth/token" => {
            match (&*field("grant_type"), &*field("refresh_token")) {
                ("authorization_code", _) => json(
                    200,
                    r#"{"access_token":"a1","token_type":"Bearer","expires_in":7200,"refresh_token":"r1",
                        "scope":"openid read_api","created_at":1900000000}"#,
                ),
                (_, "r1") => json(
                    200,
                    r#"{"access_token":"a2","token_type":"Bearer","expires_in":7200,"refresh_token":"r2","scope":"openid read_api"}"#,
                ),
                _ => json(
                    400,
                    r#"{"error":"invalid_grant","error_description":"The provided authorization grant is invalid"}"#,
                ),
            }
        }
        "GET /gitlab.com/oauth/userinfo" | "GET /gitlab.example.com/oauth/userinfo" => json(
            200,
            r#"{"sub":"42","nickname":"ada","name":"Ada","email":"ada@example.com","email_verified":true,"groups":["a"]}"#,
        ),
        "POST /gitlab.com/oauth/revoke" => json(200, "{}"),
        _ => Act::answer(404, "text/html", "<html>"),
    }
}

#[tokio::test]
async fn contract_of_gitlab() {
    let gitlab = Contract::with("preset = \"gitlab\"", answers).await;
    let departed = gitlab.departure(&["read_api"], false);
    departed.is_ours(true);
    // `openid` is always there: without it nobody could be told who it is.
    assert_eq!(departed.get("scope").as_deref(), Some("openid read_api"));

    let tokens = gitlab.redeem().await.unwrap();
    assert_eq!(gitlab.wider(&["read_user"], &tokens.scopes.unwrap()), "read_api");
    assert_eq!(gitlab.last().field("client_secret").as_deref(), Some("our-secret"));
    assert_eq!(gitlab.refresh("r1").await.unwrap().refresh.unwrap().expose_secret(), "r2");
    assert_eq!(gitlab.refresh("r0").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));

    let identity = gitlab.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("42", "ada"));
    assert_eq!(identity.email.as_deref(), Some("ada@example.com"));
    assert_eq!(gitlab.revoke().await, Ok(()));
    let sent = gitlab.last();
    assert_eq!(
        (sent.field("token").as_deref(), sent.field("client_id").as_deref()),
        (Some("token"), Some("our-id"))
    );
}

#[tokio::test]
async fn contract_of_gitlab_at_home() {
    let gitlab = Contract::with("preset = \"gitlab\"\nhost = \"gitlab.example.com\"", answers).await;
    assert!(
        gitlab
            .departure(&["read_user"], false)
            .0
            .as_str()
            .starts_with("https://gitlab.example.com/oauth/authorize?")
    );
    assert_eq!(gitlab.provider.issuer.as_deref(), Some("https://gitlab.example.com"));
    assert_eq!(gitlab.identify().await.unwrap().id, "42");
    // This one is too old to know revocation.
    assert_eq!(gitlab.revoke().await, Err(ThirdPartyError::Unavailable("revocation_unavailable")));
}
