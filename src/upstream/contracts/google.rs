//! Google: a refresh token only with a fresh consent and never a second time, scopes under other names, one revocation for all.

use secrecy::ExposeSecret as _;

use super::*;

fn answers(seen: &Seen) -> Act {
    let field = |name: &str| seen.field(name).unwrap_or_default();
    match seen.line() {
        "POST /oauth2.googleapis.com/token" => match (&*field("grant_type"), &*field("refresh_token")) {
            ("authorization_code", _) => json(
                200,
                r#"{"access_token":"ya29.1","expires_in":3599,"refresh_token":"1//r","id_token":"not.read.here",
                    "scope":"openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/drive.readonly",
                    "token_type":"Bearer"}"#,
            ),
            (_, "1//r") => json(200, r#"{"access_token":"ya29.2","expires_in":3599,"token_type":"Bearer"}"#),
            _ => json(
                400,
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
            ),
        },
        "GET /openidconnect.googleapis.com/v1/userinfo" => json(
            200,
            r#"{"sub":"110169484474386276334","email":"ada@example.com","email_verified":true,"hd":"example.com","name":"Ada"}"#,
        ),
        "POST /oauth2.googleapis.com/revoke" => json(400, r#"{"error":"invalid_token"}"#),
        _ => json(404, "{}"),
    }
}

#[tokio::test]
async fn contract_of_google() {
    let google = Contract::with("preset = \"google\"", answers).await;
    let drive = "https://www.googleapis.com/auth/drive.readonly";
    let departed = google.departure(&[drive], true);
    departed.is_ours(true);
    assert_eq!(departed.get("access_type").as_deref(), Some("offline"));
    assert_eq!(departed.get("prompt").as_deref(), Some("consent"));
    assert_eq!(departed.get("scope").unwrap(), format!("email {drive} openid"));
    assert_eq!(google.departure(&[drive], false).get("prompt"), None);
    assert!(google.provider.refresh_needs_consent);

    let tokens = google.redeem().await.unwrap();
    assert_eq!(tokens.refresh.unwrap().expose_secret(), "1//r");
    let granted = tokens.scopes.unwrap();
    // The long name of `email` is not more than was approved; Drive would be.
    assert_eq!(google.wider(&["openid", "email", drive], &granted), "");
    assert_eq!(google.wider(&["openid", "email"], &granted), drive);

    // No new refresh token: whoever keeps them keeps the old one.
    let refreshed = google.refresh("1//r").await.unwrap();
    assert_eq!((refreshed.access.expose_secret(), refreshed.refresh.is_none()), ("ya29.2", true));
    assert_eq!(google.refresh("1//gone").await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));

    let identity = google.identify().await.unwrap();
    assert_eq!(identity.id, "110169484474386276334");
    assert_eq!(
        (identity.login.as_str(), identity.email.as_deref()),
        ("ada@example.com", Some("ada@example.com"))
    );

    // Dead already. And one revocation would end everything that this person gave our app.
    assert_eq!(google.revoke().await, Ok(()));
    assert!(!google.provider.revoke_ends_only_this_token);
}

#[tokio::test]
async fn contract_of_google_when_it_is_unwell() {
    let page = |seen: &Seen| match seen.line() {
        "GET /openidconnect.googleapis.com/v1/userinfo" => {
            json(200, r#"{"sub":"1","email":"ada@example.com","email_verified":false}"#)
        }
        _ => Act::answer(502, "text/html", "<html>That is an error.</html>"),
    };
    let google = Contract::with("preset = \"google\"", page).await;
    assert_eq!(google.refresh("1//r").await.unwrap_err(), ThirdPartyError::Unavailable("server_error"));
    assert_eq!(google.identify().await.unwrap().email, None, "an address that is not verified is none");
}
