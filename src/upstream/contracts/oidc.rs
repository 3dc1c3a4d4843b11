//! Any OpenID Connect provider: what it says of itself, and what it must not be believed.

use secrecy::ExposeSecret as _;

use super::*;
use crate::domain::provider::{IssPolicy, TokenAuthMethod, UNDISCOVERED};

/// A document with these members besides, and without those that are null.
fn document(issuer: &str, more: &str) -> Act {
    json(
        200,
        &format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"{issuer}/go","token_endpoint":"{issuer}/token",
                "userinfo_endpoint":"{issuer}/me"{more}}}"#
        ),
    )
}

fn issuer_of(seen: &Seen) -> String {
    format!("http://{}", seen.header("host").unwrap())
}

const SECTION: &str = "preset = \"oidc\"\nissuer = \"{fake}\"";

#[tokio::test]
async fn contract_of_oidc() {
    let answers = |seen: &Seen| match seen.line() {
        "GET /.well-known/openid-configuration" => {
            assert_eq!(seen.header("authorization"), None);
            let issuer = issuer_of(seen);
            let more = r#","authorization_response_iss_parameter_supported":true,"scopes_supported":["openid","offline_access"],
                "token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_post"],"revocation_endpoint":"ISSUER/gone""#;
            document(&issuer, &more.replace("ISSUER", &issuer))
        }
        "POST /token" => json(
            200,
            r#"{"access_token":"a","token_type":"bearer","refresh_token":"r","id_token":"not.read.here"}"#,
        ),
        "GET /me" => json(
            200,
            r#"{"sub":"248289761001","preferred_username":"ada","email":"a@x.example","email_verified":"true"}"#,
        ),
        "POST /gone" => json(200, ""),
        _ => json(404, "{}"),
    };
    let oidc = Contract::with(SECTION, answers).await;
    assert_eq!(oidc.provider.iss, IssPolicy::Required);
    assert_eq!(oidc.provider.token_auth_method, TokenAuthMethod::Post);
    let departed = oidc.departure(&["openid", "mcp"], false);
    departed.is_ours(true);
    assert_eq!(departed.0.path(), "/go");
    assert_eq!(departed.get("scope").as_deref(), Some("mcp offline_access openid"));

    let tokens = oidc.redeem().await.unwrap();
    assert_eq!((tokens.access.expose_secret(), tokens.scopes), ("a", None));
    assert_eq!(oidc.last().field("client_secret").as_deref(), Some("our-secret"));
    let identity = oidc.identify().await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("248289761001", "ada"));
    assert_eq!(identity.email.as_deref(), Some("a@x.example"));
    assert_eq!(oidc.revoke().await, Ok(()));
    assert_eq!(oidc.last().line(), "POST /gone");
}

#[tokio::test]
async fn contract_of_oidc_that_says_little() {
    let answers = |seen: &Seen| match seen.line() {
        "GET /.well-known/openid-configuration" => document(&issuer_of(seen), ""),
        "POST /token" => json(400, r#"{"error":"invalid_grant"}"#),
        "GET /me" => json(200, r#"{"preferred_username":"ada","email":"ada@example.com"}"#),
        _ => json(404, "{}"),
    };
    let oidc = Contract::with(SECTION, answers).await;
    assert_eq!(oidc.provider.iss, IssPolicy::IfPresent);
    assert_eq!(oidc.provider.revocation, Revocation::None);
    assert_eq!(oidc.provider.scopes, ["openid"]);
    assert_eq!(oidc.redeem().await.unwrap_err(), ThirdPartyError::Refused("invalid_grant"));
    assert_eq!(oidc.last().header("authorization"), Some(BASIC));
    // Nobody is known by a name or an address.
    assert_eq!(oidc.identify().await.unwrap_err(), NO_SUBJECT);
}

/// What discovery makes of an answer.
async fn discovered(
    section: &str,
    answer: impl Fn(&str) -> Act + Send + Sync + 'static,
) -> Result<Provider, ThirdPartyError> {
    let fake = Fake::answering(move |seen| answer(&issuer_of(seen))).await;
    let mut provider = configured(&section.replace("{fake}", &fake.url("")), "").unwrap().providers.remove(0);
    let done = discover(&client(), &mut provider).await;
    if done.is_err() {
        assert_eq!(provider.token_endpoint.as_str(), UNDISCOVERED, "nothing of it was taken");
    }
    done.map(|()| provider)
}

#[tokio::test]
async fn attack_discovery_document_of_another_issuer() {
    use ThirdPartyError::{Refused, Unavailable};
    let fails = async |answer: fn(&str) -> Act| discovered(SECTION, answer).await.unwrap_err();
    let another = fails(|_| document("https://evil.example", "")).await;
    assert_eq!(another, Refused("another_issuer"));
    assert_eq!(fails(|issuer| document(&format!("{issuer}/"), "")).await, Refused("another_issuer"));
    assert_eq!(
        fails(|issuer| json(200, &format!(r#"{{"issuer":"{issuer}"}}"#))).await,
        Refused("endpoint_missing")
    );
    for url in [
        "http://evil.example/token",
        "ftp://x/",
        "javascript:alert(1)",
        "https://a:b@x/",
        "https://x/#f",
        "7",
    ] {
        let answer = move |issuer: &str| {
            let whole = format!(
                r#"{{"issuer":"{issuer}","authorization_endpoint":"{issuer}/go","token_endpoint":"{url}","userinfo_endpoint":"{issuer}/me"}}"#
            );
            json(200, &whole)
        };
        assert_eq!(discovered(SECTION, answer).await.unwrap_err(), Refused("endpoint_unusable"), "{url}");
    }
    let only_keys = r#","token_endpoint_auth_methods_supported":["private_key_jwt"]"#;
    let answer = move |issuer: &str| document(issuer, only_keys);
    assert_eq!(discovered(SECTION, answer).await.unwrap_err(), Refused("client_authentication_unusable"));
    assert_eq!(fails(|_| Act::answer(200, "text/html", "<html>")).await, Unavailable("nonsense"));
    assert_eq!(fails(|_| json(404, "{}")).await, Unavailable("no_discovery_document"));
    assert_eq!(
        fails(|_| Act::answer_with(302, &[("location", "https://evil.example/")], "")).await,
        Unavailable("redirected")
    );
    assert_eq!(fails(|_| Act::Hang).await, Unavailable("timeout"));
    assert_eq!(fails(|_| json(200, &" ".repeat(5000))).await, Unavailable("answer_too_large"));
}

#[tokio::test]
async fn what_is_written_is_never_asked_for() {
    let section = format!(
        "{SECTION}\ntoken_endpoint = \"https://mine.example/token\"\nscopes = [\"openid\", \"mine\"]\niss = \"if_present\"\n\
         revocation = \"none\"\ntoken_auth_method = \"basic\""
    );
    let more = r#","authorization_response_iss_parameter_supported":true,"scopes_supported":["offline_access"],
        "token_endpoint_auth_methods_supported":["client_secret_post"],"revocation_endpoint":"https://x.example/gone""#;
    let provider = discovered(&section, move |issuer| document(issuer, more)).await.unwrap();
    assert_eq!(provider.token_endpoint.as_str(), "https://mine.example/token");
    assert_eq!(provider.scopes, ["openid", "mine"]);
    assert_eq!((provider.iss, provider.token_auth_method), (IssPolicy::IfPresent, TokenAuthMethod::Basic));
    assert_eq!(provider.revocation, Revocation::None);
}

#[test]
fn nobody_is_sent_anywhere_before_the_issuer_was_asked() {
    let section = "preset = \"oidc\"\nissuer = \"https://id.example.com\"";
    let provider = configured(section, "").unwrap().providers.remove(0);
    let callback = "https://mcp.example.com/callback/third".to_owned();
    assert!(ConfiguredProvider::new(provider, callback, client(), Arc::new(Noon)).is_err());
}

#[test]
fn an_issuer_is_needed_and_names_its_document() {
    assert!(configured("preset = \"oidc\"", "").unwrap_err().starts_with("issuer is missing"));
    for issuer in ["https://id.example.com", "https://id.example.com/", "https://id.example.com/realms/a"] {
        let provider =
            configured(&format!("preset = \"oidc\"\nissuer = \"{issuer}\""), "").unwrap().providers.remove(0);
        let expected = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        assert_eq!(provider.discovery.unwrap().document.as_str(), expected);
        assert_eq!(provider.issuer.as_deref(), Some(issuer));
    }
}
