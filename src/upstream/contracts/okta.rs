//! Okta: the organization's server or a custom one, refresh tokens that stay or go round as the tenant wants it.

use secrecy::ExposeSecret as _;

use super::*;

#[tokio::test]
async fn contract_of_okta() {
    for issuer_path in ["", "/oauth2/default"] {
        let answers = move |seen: &Seen| {
            let issuer = format!("http://{}{issuer_path}", seen.header("host").unwrap());
            let base = if issuer_path.is_empty() { format!("{issuer}/oauth2") } else { issuer.clone() };
            let path = base
                .split_once("//")
                .and_then(|(_, rest)| rest.split_once('/'))
                .map(|(_, path)| format!("/{path}/v1"));
            let path = path.unwrap();
            let (method, asked) = seen.line().split_once(' ').unwrap();
            match (method, asked.strip_prefix(&*path).unwrap_or(asked)) {
                ("GET", it) if it == format!("{issuer_path}/.well-known/openid-configuration") => json(
                    200,
                    &format!(
                        r#"{{"issuer":"{issuer}","authorization_endpoint":"{base}/v1/authorize","token_endpoint":"{base}/v1/token",
                            "userinfo_endpoint":"{base}/v1/userinfo","revocation_endpoint":"{base}/v1/revoke",
                            "scopes_supported":["openid","offline_access"],
                            "token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"]}}"#
                    ),
                ),
                // Persistent: the same again. Rotating: another one.
                ("POST", "/token") if issuer_path.is_empty() => json(
                    200,
                    r#"{"access_token":"a","expires_in":3600,"refresh_token":"r","scope":"openid offline_access","id_token":"x"}"#,
                ),
                ("POST", "/token") if seen.field("refresh_token").as_deref() == Some("old") => json(
                    400,
                    r#"{"error":"invalid_grant","error_description":"The refresh token is invalid or expired."}"#,
                ),
                ("POST", "/token") => {
                    json(200, r#"{"access_token":"a","expires_in":3600,"refresh_token":"r2"}"#)
                }
                // The access token's `sub` would be a login; this one is the user's id.
                ("GET", "/userinfo") => {
                    json(200, r#"{"sub":"00uid4BxXw6I6TV4m0g3","preferred_username":"ada@example.com"}"#)
                }
                ("POST", "/revoke") => Act::answer(200, "text/plain", ""),
                _ => json(404, "{}"),
            }
        };
        let section = format!("preset = \"okta\"\nissuer = \"{{fake}}{issuer_path}\"");
        let okta = Contract::with(&section, answers).await;
        let departed = okta.departure(&["openid", "okta.users.read"], false);
        departed.is_ours(true);
        assert_eq!(departed.get("scope").as_deref(), Some("offline_access okta.users.read openid"));
        okta.redeem().await.unwrap();
        assert_eq!(okta.last().header("authorization"), Some(BASIC));
        let refreshed = okta.refresh("r").await.unwrap().refresh.unwrap();
        assert_eq!(refreshed.expose_secret(), if issuer_path.is_empty() { "r" } else { "r2" });
        if !issuer_path.is_empty() {
            assert_eq!(okta.refresh("old").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));
        }
        let identity = okta.identify().await.unwrap();
        assert_eq!(
            (identity.id.as_str(), identity.login.as_str()),
            ("00uid4BxXw6I6TV4m0g3", "ada@example.com")
        );
        assert_eq!(okta.revoke().await, Ok(()));
    }
    assert!(configured("preset = \"okta\"", "").unwrap_err().starts_with("issuer is missing"));
}
