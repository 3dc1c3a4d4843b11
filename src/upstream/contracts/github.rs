//! GitHub: errors at status 200, scopes with commas, answers as forms, limits with 403, tokens of an app that expire.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /github.com/login/oauth/access_token" => {
            match (&*field("grant_type"), &*field("refresh_token")) {
                ("authorization_code", _) if field("code_verifier") != "verifier" => {
                    json(200, r#"{"error":"bad_verification_code"}"#)
                }
                ("authorization_code", _) => json(
                    200,
                    r#"{"access_token":"ghu_1","expires_in":28800,"refresh_token":"ghr_1",
                    "refresh_token_expires_in":15897600,"scope":"","token_type":"bearer"}"#,
                ),
                // Each is good once.
                (_, "ghr_1") => json(
                    200,
                    r#"{"access_token":"ghu_2","expires_in":"28800","refresh_token":"ghr_2","scope":"","token_type":"bearer"}"#,
                ),
                _ => json(
                    200,
                    r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#,
                ),
            }
        }
        "GET /api.github.com/user" => {
            json(200, r#"{"login":"ada","id":583231,"node_id":"MDQ6","email":"ada@example.com","name":null}"#)
        }
        "DELETE /api.github.com/applications/our-id/token" => json(422, r#"{"message":"Validation Failed"}"#),
        _ => json(404, r#"{"message":"Not Found"}"#),
    }
}

#[tokio::test]
async fn contract_of_github_app() {
    let github = Contract::with("preset = \"github-app\"", answers).await;
    let departed = github.departure(&[], false);
    departed.is_ours(true);
    assert!(departed.0.as_str().starts_with("https://github.com/login/oauth/authorize?"));
    assert_eq!(departed.get("scope"), None);

    let tokens = github.redeem().await.unwrap();
    assert_eq!(tokens.access.expose_secret(), "ghu_1");
    assert_eq!(tokens.expires_at, Some(Timestamp::from_millis(1_000_000 + 28_800_000)));
    // No scopes were granted, and none are needed: its permissions are set where the app is.
    assert_eq!(github.wider(&[], &tokens.scopes.unwrap()), "");
    let sent = github.last();
    assert_eq!(sent.field("client_secret").as_deref(), Some("our-secret"));
    assert_eq!(sent.header("accept"), Some("application/json"));
    assert_eq!((sent.field("resource"), sent.field("scope")), (None, None));

    let rotated = github.refresh("ghr_1").await.unwrap();
    assert_eq!(rotated.refresh.unwrap().expose_secret(), "ghr_2");
    assert_eq!(github.refresh("ghr_0").await.unwrap_err(), ThirdPartyError::Refused("bad_refresh_token"));

    let identity = github.identify().await.unwrap();
    // The number: logins are renamed. The address is not marked as verified.
    assert_eq!((identity.id.as_str(), identity.login.as_str(), identity.email), ("583231", "ada", None));
    assert_eq!(github.last().header("authorization"), Some("Bearer access"));

    // It does not know the token any more, which is what was wanted.
    assert_eq!(github.revoke().await, Ok(()));
    assert_eq!(github.last().header("authorization"), Some(BASIC));

    let refused = configured(
        "preset = \"github-app\"",
        "[[mcp_server.scope]]\nname = \"a\"\ndescription = \"A\"\nprovider_scopes = [\"repo\"]",
    );
    assert!(refused.unwrap_err().contains("has no scopes that could be asked for"));
}

#[tokio::test]
async fn contract_of_github_app_at_an_enterprise_server() {
    let answers = |seen: &Seen| match seen.line() {
        "GET /github.example.com/api/v3/user" => json(200, r#"{"id":7,"login":"ada"}"#),
        "DELETE /github.example.com/api/v3/applications/our-id/token" => json(204, ""),
        "POST /github.example.com/login/oauth/access_token" => {
            // An old one answers as a form, whatever was asked for.
            Act::answer(
                200,
                "application/x-www-form-urlencoded",
                "access_token=ghu_1&scope=&token_type=bearer",
            )
        }
        _ => json(404, "{}"),
    };
    let github = Contract::with("preset = \"github-app\"\nhost = \"github.example.com\"", answers).await;
    assert!(
        github
            .departure(&[], false)
            .0
            .as_str()
            .starts_with("https://github.example.com/login/oauth/authorize?")
    );
    assert_eq!(github.provider.issuer.as_deref(), Some("https://github.example.com/login/oauth"));
    let tokens = github.redeem().await.unwrap();
    assert!(tokens.refresh.is_none() && tokens.expires_at.is_none());
    assert_eq!(github.identify().await.unwrap().id, "7");
    assert_eq!(github.revoke().await, Ok(()));
}

#[tokio::test]
async fn contract_of_github() {
    let answers = |seen: &Seen| match seen.line() {
        "POST /github.com/login/oauth/access_token" => {
            json(200, r#"{"access_token":"gho_1","scope":"read:user,repo","token_type":"bearer"}"#)
        }
        // A limit, not a refusal: nobody's access ends by it.
        "GET /api.github.com/user" => Act::answer_with(
            403,
            &[("x-ratelimit-remaining", "0")],
            r#"{"message":"API rate limit exceeded"}"#,
        ),
        _ => json(404, "{}"),
    };
    let github = Contract::with("preset = \"github\"", answers).await;
    let departed = github.departure(&["repo", "read:user"], false);
    departed.is_ours(true);
    assert_eq!(departed.get("scope").as_deref(), Some("read:user repo"));
    let tokens = github.redeem().await.unwrap();
    assert!(tokens.refresh.is_none() && tokens.expires_at.is_none(), "it does not expire");
    let granted = tokens.scopes.unwrap();
    assert_eq!(github.wider(&["repo", "user"], &granted), "");
    assert_eq!(github.wider(&["read:user"], &granted), "repo");
    assert_eq!(github.identify().await.unwrap_err(), ThirdPartyError::Unavailable("rate_limited"));
}
