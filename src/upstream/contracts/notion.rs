//! Notion: JSON in both directions, a version in every call, no scopes, and integrations that are nobody's.

use secrecy::ExposeSecret as _;

use super::*;

fn member(seen: &Seen, name: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&seen.body).ok()?;
    Some(body.get(name)?.as_str()?.to_owned())
}

fn answers(seen: &Seen) -> Act {
    if seen.header("notion-version").is_none() {
        return json(400, r#"{"object":"error","code":"missing_version"}"#);
    }
    match seen.line() {
        "POST /api.notion.com/v1/oauth/token" => {
            let is_json = seen.header("content-type") == Some("application/json");
            // It refuses members that it does not know.
            let unknown = ["code_verifier", "client_secret"].iter().any(|name| member(seen, name).is_some());
            match (member(seen, "grant_type").as_deref(), member(seen, "refresh_token").as_deref()) {
                _ if seen.header("authorization") != Some(BASIC) => {
                    json(401, r#"{"object":"error","code":"unauthorized"}"#)
                }
                _ if !is_json || unknown => json(400, r#"{"error":"invalid_request"}"#),
                (Some("authorization_code"), _) => json(
                    200,
                    r#"{"access_token":"ntn_1","token_type":"bearer","bot_id":"b","workspace_id":"w","refresh_token":"nrt_1",
                        "owner":{"type":"user","user":{"object":"user","id":"p"}}}"#,
                ),
                (_, Some("nrt_1")) => {
                    json(200, r#"{"access_token":"ntn_2","token_type":"bearer","refresh_token":"nrt_2"}"#)
                }
                _ => json(400, r#"{"error":"invalid_grant"}"#),
            }
        }
        "GET /api.notion.com/v1/users/me" => json(
            200,
            r#"{"object":"user","id":"the-bot","type":"bot","name":"Our app","bot":{"owner":{"type":"user","user":
                {"object":"user","id":"the-person","name":"Ada","type":"person","person":{"email":"ada@example.com"}}}}}"#,
        ),
        "POST /api.notion.com/v1/oauth/revoke" if member(seen, "token").as_deref() == Some("token") => {
            json(200, "{}")
        }
        _ => json(404, r#"{"object":"error"}"#),
    }
}

#[tokio::test]
async fn contract_of_notion() {
    let notion = Contract::with("preset = \"notion\"", answers).await;
    let departed = notion.departure(&[], false);
    departed.is_ours(false);
    assert_eq!((departed.get("owner").as_deref(), departed.get("scope")), (Some("user"), None));

    let tokens = notion.redeem().await.unwrap();
    assert_eq!(tokens.access.expose_secret(), "ntn_1");
    let sent = notion.last();
    assert_eq!(member(&sent, "redirect_uri").as_deref(), Some("https://mcp.example.com/callback/third"));
    assert_eq!(notion.refresh("nrt_1").await.unwrap().refresh.unwrap().expose_secret(), "nrt_2");
    assert_eq!(notion.refresh("nrt_0").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));

    let identity = notion.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("the-person", "Ada"));
    assert_eq!(identity.email, None);
    assert_eq!(notion.revoke().await, Ok(()));
    assert_eq!(notion.last().header("authorization"), Some(BASIC));
}

#[tokio::test]
async fn contract_of_notion_with_an_integration_that_is_nobodys() {
    let workspace = r#"{"object":"user","id":"the-bot","type":"bot","bot":{"owner":{"type":"workspace","workspace":true}}}"#;
    let notion = Contract::with("preset = \"notion\"", move |_| json(200, workspace)).await;
    assert_eq!(notion.identify().await.unwrap_err(), NO_SUBJECT);
    let notion =
        Contract::with("preset = \"notion\"", |_| json(401, r#"{"object":"error","code":"unauthorized"}"#))
            .await;
    assert_eq!(notion.identify().await.unwrap_err(), TOKEN_REFUSED);
    let refused = configured("preset = \"notion\"\npkce = false", "").map(drop);
    assert_eq!(refused, Ok(()));
}
