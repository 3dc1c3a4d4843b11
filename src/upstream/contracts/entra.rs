//! Microsoft Entra ID: one tenant by its id, no `resource`, no forced prompt, Graph says who it is, nothing is given back.

use secrecy::ExposeSecret as _;

use super::*;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token" => {
            if seen.field("resource").is_some() {
                return json(400, r#"{"error":"invalid_target","error_codes":[9010010]}"#);
            }
            match (&*field("grant_type"), &*field("refresh_token")) {
                ("authorization_code", _) => json(
                    200,
                    r#"{"token_type":"Bearer","scope":"https://graph.microsoft.com/User.Read Mail.Read profile openid email",
                        "expires_in":4912,"ext_expires_in":4912,"access_token":"eyJ1","refresh_token":"0.1"}"#,
                ),
                (_, "0.1") => json(
                    200,
                    r#"{"token_type":"Bearer","scope":"User.Read Mail.Read","expires_in":"4912","access_token":"eyJ2","refresh_token":"0.2"}"#,
                ),
                (_, "0.mfa") => json(400, r#"{"error":"interaction_required","suberror":"basic_action"}"#),
                _ => json(400, r#"{"error":"invalid_grant","error_codes":[70008],"claims":"{}"}"#),
            }
        }
        "GET /graph.microsoft.com/v1.0/me" if seen.header("authorization") == Some("Bearer access") => json(
            200,
            r#"{"@odata.context":"x","id":"9a6f0b7e-0000-4c5e-8f2d-3a1b5c7d9e0f","displayName":"Ada",
                "userPrincipalName":"ada@example.com","mail":"ada@example.com"}"#,
        ),
        _ => json(401, r#"{"error":{"code":"InvalidAuthenticationToken"}}"#),
    }
}

#[tokio::test]
async fn contract_of_entra() {
    let entra = Contract::with(&format!("preset = \"entra\"\ntenant = \"{TENANT}\""), answers).await;
    let departed = entra.departure(&["Mail.Read"], false);
    departed.is_ours(true);
    assert_eq!(departed.0.path(), format!("/{TENANT}/oauth2/v2.0/authorize"));
    assert_eq!(departed.get("scope").as_deref(), Some("Mail.Read User.Read offline_access"));
    assert_eq!(departed.get("prompt"), None, "a forced consent loops where an administrator has to give it");
    assert_eq!(entra.provider.issuer.unwrap(), format!("https://login.microsoftonline.com/{TENANT}/v2.0"));

    let entra = Contract::with(&format!("preset = \"entra\"\ntenant = \"{TENANT}\""), answers).await;
    let granted = entra.redeem().await.unwrap().scopes.unwrap();
    // Known by another name, or to say who it is: not more.
    assert_eq!(entra.wider(&["User.Read", "Mail.Read"], &granted), "");
    assert_eq!(entra.wider(&["User.Read"], &granted), "Mail.Read");
    assert_eq!(entra.refresh("0.1").await.unwrap().refresh.unwrap().expose_secret(), "0.2");
    assert_eq!(entra.refresh("0.mfa").await.unwrap_err(), ThirdPartyError::Refused("interaction_required"));
    assert_eq!(entra.refresh("0.0").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));

    let identity = entra.identify().await.unwrap();
    assert_eq!(identity.id, "9a6f0b7e-0000-4c5e-8f2d-3a1b5c7d9e0f");
    // Nobody says that `mail` is verified: an administrator can write anything there.
    assert_eq!((identity.login.as_str(), identity.email), ("ada@example.com", None));

    let asked = entra.fake.seen().len();
    assert_eq!(entra.revoke().await, Ok(()));
    assert_eq!(entra.fake.seen().len(), asked, "there is no way to give a token back");
}

#[tokio::test]
async fn contract_of_entra_names_one_tenant() {
    for (tenant, why) in [
        ("", "tenant is missing"),
        ("tenant = \"common\"", "tenant must be the tenant's id"),
        ("tenant = \"organizations\"", "tenant must be the tenant's id"),
        ("tenant = \"contoso.onmicrosoft.com\"", "tenant must be the tenant's id"),
        ("tenant = \"11111111-2222-3333-4444-55555555555x\"", "tenant must be the tenant's id"),
    ] {
        let refused = configured(&format!("preset = \"entra\"\n{tenant}"), "").unwrap_err();
        assert!(refused.starts_with(why), "{refused}");
    }
    let section = format!("preset = \"entra\"\ntenant = \"{TENANT}\"\nhost = \"login.microsoftonline.us\"");
    let government = configured(&section, "").unwrap().providers.remove(0);
    assert_eq!(government.userinfo_endpoint.as_str(), "https://graph.microsoft.us/v1.0/me");
    assert!(configured(&format!("preset = \"google\"\ntenant = \"{TENANT}\""), "").is_err());
}
