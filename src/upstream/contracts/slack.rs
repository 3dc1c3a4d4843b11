//! Slack: errors at status 200, the person's token inside, a bot's outside, ids that are unique in their workspace only.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /slack.com/api/oauth.v2.access" => match (&*field("grant_type"), &*field("refresh_token")) {
            ("authorization_code", _) if seen.header("authorization") != Some(BASIC) => {
                json(200, r#"{"ok":false,"error":"bad_client_secret"}"#)
            }
            ("authorization_code", _) => json(
                200,
                r#"{"ok":true,"app_id":"A1","access_token":"xoxb-everybodys","scope":"commands","token_type":"bot",
                    "authed_user":{"id":"U1","scope":"users:read,chat:write","access_token":"xoxp-person","token_type":"user",
                    "expires_in":43200,"refresh_token":"xoxe-1"},"team":{"id":"T1"}}"#,
            ),
            (_, "xoxe-1") => json(
                200,
                r#"{"ok":true,"access_token":"xoxe.xoxp-2","refresh_token":"xoxe-2","expires_in":43200,"token_type":"user","scope":"users:read,chat:write"}"#,
            ),
            _ => json(200, r#"{"ok":false,"error":"invalid_refresh_token"}"#),
        },
        "GET /slack.com/api/auth.test" => json(
            200,
            r#"{"ok":true,"url":"https://x.slack.com/","team":"X","user":"ada","team_id":"T1","user_id":"U1"}"#,
        ),
        "POST /slack.com/api/auth.revoke" => json(200, r#"{"ok":false,"error":"token_revoked"}"#),
        _ => json(404, "{}"),
    }
}

#[tokio::test]
async fn contract_of_slack() {
    let slack = Contract::with("preset = \"slack\"", answers).await;
    let departed = slack.departure(&["users:read", "chat:write"], false);
    departed.is_ours(true);
    assert_eq!(departed.get("user_scope").as_deref(), Some("chat:write,users:read"));
    assert_eq!(departed.get("scope"), None, "a bot's token would be everybody's");

    let tokens = slack.redeem().await.unwrap();
    assert_eq!(tokens.access.expose_secret(), "xoxp-person");
    assert_eq!(slack.wider(&["users:read"], &tokens.scopes.unwrap()), "chat:write");
    let refreshed = slack.refresh("xoxe-1").await.unwrap();
    assert_eq!(refreshed.access.expose_secret(), "xoxe.xoxp-2");
    assert_eq!(refreshed.refresh.unwrap().expose_secret(), "xoxe-2");
    assert_eq!(slack.refresh("xoxe-0").await.unwrap_err(), ThirdPartyError::Refused("invalid_refresh_token"));

    let identity = slack.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("T1/U1", "ada"));
    assert_eq!(slack.revoke().await, Ok(()), "it was dead already");
}

#[tokio::test]
async fn contract_of_slack_when_it_refuses() {
    for (error, expected) in [
        ("token_revoked", TOKEN_REFUSED),
        ("account_inactive", TOKEN_REFUSED),
        ("ratelimited", ThirdPartyError::Unavailable("rate_limited")),
        ("fatal_error", ThirdPartyError::Unavailable("identity_unavailable")),
    ] {
        let body = format!(r#"{{"ok":false,"error":"{error}"}}"#);
        let slack = Contract::with("preset = \"slack\"", move |_| json(200, &body)).await;
        assert_eq!(slack.identify().await.unwrap_err(), expected, "{error}");
    }
    // Whoever gives us no workspace, or one that could be read as two parts, names nobody.
    for body in [r#"{"ok":true,"user_id":"U1"}"#, r#"{"ok":true,"user_id":"U1","team_id":"T1/U2"}"#] {
        let slack = Contract::with("preset = \"slack\"", move |_| json(200, body)).await;
        assert_eq!(slack.identify().await.unwrap_err(), NO_SUBJECT);
    }
    // Only a bot was installed: that token is nobody's.
    let bot = r#"{"ok":true,"access_token":"xoxb-everybodys","authed_user":{"id":"U1"}}"#;
    let slack = Contract::with("preset = \"slack\"", move |_| json(200, bot)).await;
    assert_eq!(slack.redeem().await.unwrap_err(), ThirdPartyError::Unavailable("nonsense"));
    let credentials = r#"{"ok":false,"error":"bad_client_secret"}"#;
    let slack = Contract::with("preset = \"slack\"", move |_| json(200, credentials)).await;
    assert_eq!(slack.redeem().await.unwrap_err(), ThirdPartyError::Unavailable("client_credentials_refused"));
}
