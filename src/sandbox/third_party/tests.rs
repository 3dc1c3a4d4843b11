//! The behaviour that the gateway's tests rely on.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::sandbox::{
    browser::Browser,
    chance::s256,
    fetch::Fetch,
    http::{LoopbackHost, Params},
};

const CALLBACK: &str = "http://127.0.0.1:1/callback/quarry";
const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters";

async fn third_party() -> ThirdParty {
    let bound = Bound::bind(LoopbackHost::Localhost, 0).await.unwrap();
    let third_party = ThirdParty::start(bound, Behaviour::default(), &CancellationToken::new());
    third_party.register_client(StaticClient {
        client_id: "gateway".into(),
        client_secret: "s3cret".into(),
        name: "A <gateway>".into(),
        redirect_uris: vec![CALLBACK.into()],
    });
    third_party
}

fn browser() -> Browser {
    let mut browser = Browser::new("ada");
    browser.capture(CALLBACK);
    browser
}

fn authorize_url(third_party: &ThirdParty, scope: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "gateway"), ("redirect_uri", CALLBACK), ("response_type", "code")])
        .extend_pairs([("scope", scope), ("state", "abc"), ("code_challenge_method", "S256")])
        .append_pair("code_challenge", &s256(VERIFIER))
        .finish();
    format!("{}?{query}", third_party.authorization_endpoint())
}

/// The parameters that the callback received last.
fn arrived(browser: &Browser) -> Params {
    Params::parse(browser.captured().last().unwrap().query().unwrap().as_bytes())
}

async fn code(third_party: &ThirdParty, person: &'static Person) -> String {
    third_party.remember_consent(person, "gateway", &["read:user"]);
    third_party.behave(|behaviour| behaviour.next_person = Some(person));
    let mut browser = browser();
    browser.open(&authorize_url(third_party, "read:user")).await.unwrap();
    arrived(&browser).get("code").unwrap().to_owned()
}

async fn post(url: String, accept: &str, form: &[(&str, &str)]) -> Response<Bytes> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("client_id", "gateway"), ("client_secret", "s3cret")])
        .extend_pairs(form)
        .finish();
    let request = Request::post(url).header(header::ACCEPT, accept).body(body.into()).unwrap();
    Fetch::new().send(request).await.unwrap()
}

async fn token_answer(third_party: &ThirdParty, form: &[(&str, &str)]) -> serde_json::Value {
    let answer = post(third_party.token_endpoint(), "application/json", form).await;
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(answer.body()).unwrap()
}

async fn access_token(third_party: &ThirdParty, person: &'static Person) -> serde_json::Value {
    let code = code(third_party, person).await;
    token_answer(third_party, &[("code", &code), ("code_verifier", VERIFIER)]).await
}

async fn call(third_party: &ThirdParty, path: &str, token: &serde_json::Value) -> Response<Bytes> {
    let request = Request::get(format!("{}{path}", third_party.origin()))
        .header(header::AUTHORIZATION, format!("Bearer {}", token.as_str().unwrap_or_default()))
        .body(Bytes::new());
    Fetch::new().send(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn consent_is_remembered_and_the_page_skipped() {
    let third_party = third_party().await;
    let mut browser = browser();
    let login = browser.open(&authorize_url(&third_party, "read:user repo")).await.unwrap();
    let consent = browser.press(&login, "Ada").await.unwrap();
    assert!(consent.body.contains("A &lt;gateway&gt;") && consent.body.contains("<code>repo</code>"));
    assert!(browser.press(&consent, "Authorize").await.unwrap().captured);
    assert_eq!(arrived(&browser).get("state"), Some("abc"));
    assert_eq!(arrived(&browser).get("iss"), Some(third_party.issuer().as_str()));

    assert!(browser.open(&authorize_url(&third_party, "repo")).await.unwrap().captured, "no page this time");
    assert_eq!(third_party.authorize_requests(), 2);
    assert_eq!(third_party.events().count(|e| matches!(e, Event::ConsentPageShown { .. })), 1);
    assert_eq!(third_party.events().count(|e| matches!(e, Event::ConsentSkipped { .. })), 1);

    let wider = browser.open(&authorize_url(&third_party, "repo delete_repo")).await.unwrap();
    assert!(wider.title().starts_with("Authorize"), "more scopes: asked again");
    let denied = browser.press(&wider, "Cancel").await.unwrap();
    assert!(denied.captured && arrived(&browser).get("error") == Some("access_denied"));
    assert!(arrived(&browser).get("code").is_none());
}

#[tokio::test]
async fn an_unregistered_redirect_uri_gets_nothing() {
    let third_party = third_party().await;
    let url = authorize_url(&third_party, "repo").replace("callback", "elsewhere");
    let page = Browser::new("ada").open(&url).await.unwrap();
    assert_eq!((page.status.as_u16(), page.forms().len()), (400, 0));
}

#[tokio::test]
async fn answers_are_form_encoded_unless_json_is_asked_for() {
    let third_party = third_party().await;
    third_party.behave(|b| b.granted = Granted::Exactly(vec!["repo".into(), "read:user".into()]));
    let code = code(&third_party, &ADA).await;
    let form = [("code", code.as_str()), ("code_verifier", VERIFIER), ("redirect_uri", CALLBACK)];
    let answer = post(third_party.token_endpoint(), "*/*", &form).await;
    let fields = Params::parse(answer.body());
    assert_eq!(fields.get("scope"), Some("read:user,repo"), "with commas");
    assert_eq!(fields.get("token_type"), Some("bearer"));
    assert!(fields.get("expires_in").is_none() && fields.get("refresh_token").is_none(), "never expires");

    let again = post(third_party.token_endpoint(), "*/*", &form).await;
    assert_eq!(again.status(), 200, "errors come at 200");
    assert_eq!(Params::parse(again.body()).get("error"), Some("bad_verification_code"));
    third_party.behave(|behaviour| behaviour.error_status = ErrorStatus::Standard);
    let again = post(third_party.token_endpoint(), "application/json", &form).await;
    assert_eq!(again.status(), 400);
    assert!(again.body().windows(13).any(|part| part == b"invalid_grant"));
}

#[tokio::test]
async fn pkce_is_enforced_and_a_wrong_verifier_burns_nothing() {
    let third_party = third_party().await;
    let code = code(&third_party, &ADA).await;
    for wrong in [vec![("code", code.as_str())], vec![("code", &code), ("code_verifier", "wrong")]] {
        assert_eq!(token_answer(&third_party, &wrong).await["error"], "bad_verification_code");
    }
    let right = token_answer(&third_party, &[("code", &code), ("code_verifier", VERIFIER)]).await;
    assert!(right["access_token"].is_string());
}

#[tokio::test]
async fn the_api_answers_per_person_and_refuses_bad_tokens() {
    let third_party = third_party().await;
    for person in PEOPLE {
        let token = access_token(&third_party, person).await;
        let user = call(&third_party, "/user", &token["access_token"]).await;
        assert_eq!(user.headers()["x-oauth-scopes"], "read:user");
        let user: serde_json::Value = serde_json::from_slice(user.body()).unwrap();
        assert_eq!((user["id"].as_u64(), user["login"].as_str()), (Some(person.id), Some(person.login)));
        let repositories = call(&third_party, "/user/repos", &token["access_token"]).await;
        assert!(String::from_utf8_lossy(repositories.body()).contains(person.repositories[0]));
        third_party.revoke_all_of(person);
        assert_eq!(call(&third_party, "/user", &token["access_token"]).await.status(), 401);
    }
    assert_eq!(third_party.api_calls_of(&ADA), 2);
}

#[tokio::test]
async fn refresh_tokens_are_single_use_and_end_the_old_access_token() {
    let third_party = third_party().await;
    third_party.behave(|behaviour| behaviour.expiring = Some(Duration::from_hours(1)));
    let first = access_token(&third_party, &GRACE).await;
    assert_eq!(first["expires_in"], 3600);
    let form = [("grant_type", "refresh_token"), ("refresh_token", first["refresh_token"].as_str().unwrap())];
    let second = token_answer(&third_party, &form).await;
    assert_eq!(call(&third_party, "/user", &first["access_token"]).await.status(), 401);
    assert_eq!(call(&third_party, "/user", &second["access_token"]).await.status(), 200);
    assert_eq!(token_answer(&third_party, &form).await["error"], "bad_refresh_token");

    third_party.behave(|behaviour| behaviour.refuse_refresh = true);
    let form =
        [("grant_type", "refresh_token"), ("refresh_token", second["refresh_token"].as_str().unwrap())];
    assert_eq!(token_answer(&third_party, &form).await["error"], "bad_refresh_token");
}

#[tokio::test]
async fn expired_access_tokens_are_refused() {
    let third_party = third_party().await;
    third_party.behave(|behaviour| {
        behaviour.expiring = Some(Duration::ZERO);
        behaviour.expires_in = ExpiresIn::Text;
        behaviour.omit_token_type = true;
        behaviour.omit_scope = true;
    });
    let token = access_token(&third_party, &ADA).await;
    assert_eq!(token["expires_in"], "0");
    assert!(token.get("token_type").is_none() && token.get("scope").is_none());
    assert_eq!(call(&third_party, "/user", &token["access_token"]).await.status(), 401);
}

#[tokio::test]
async fn tokens_are_revoked_in_two_ways() {
    let third_party = third_party().await;
    let first = access_token(&third_party, &ADA).await;
    let second = access_token(&third_party, &ADA).await;
    assert_eq!(third_party.live_tokens_of(&ADA), 2);
    let form = [("token", first["access_token"].as_str().unwrap())];
    assert_eq!(post(third_party.revocation_endpoint(), "*/*", &form).await.status(), 200);
    let request = Request::delete(format!("{}/applications/gateway/token", third_party.origin()))
        .header(header::AUTHORIZATION, "Basic Z2F0ZXdheTpzM2NyZXQ=")
        .body(Bytes::from(serde_json::json!({ "access_token": second["access_token"] }).to_string()));
    assert_eq!(Fetch::new().send(request.unwrap()).await.unwrap().status(), 204);
    assert_eq!(third_party.live_tokens_of(&ADA), 0);
}

#[tokio::test]
async fn the_oldest_token_dies_when_there_are_too_many() {
    let third_party = third_party().await;
    third_party.behave(|behaviour| behaviour.live_tokens = Some(1));
    let first = access_token(&third_party, &ADA).await;
    let second = access_token(&third_party, &ADA).await;
    assert_eq!(call(&third_party, "/user", &first["access_token"]).await.status(), 401);
    assert_eq!(call(&third_party, "/user", &second["access_token"]).await.status(), 200);
}

#[tokio::test]
async fn endpoints_fail_as_told() {
    let third_party = third_party().await;
    let request =
        |third_party: &ThirdParty| Request::post(third_party.token_endpoint()).body(Bytes::new()).unwrap();
    let fetch = Fetch::with_timeout(Duration::from_millis(200));
    third_party.behave(|behaviour| behaviour.token_endpoint = Health::ServerError);
    assert_eq!(fetch.send(request(&third_party)).await.unwrap().status(), 500);
    for health in [Health::Hang, Health::HangUp] {
        third_party.behave(|behaviour| behaviour.token_endpoint = health);
        assert!(fetch.send(request(&third_party)).await.is_err());
    }
}

#[tokio::test]
async fn events_hold_no_secret() {
    let third_party = third_party().await;
    third_party.behave(|behaviour| behaviour.expiring = Some(Duration::from_mins(1)));
    access_token(&third_party, &ADA).await;
    let events = format!("{:?}", third_party.events().all());
    let secrets = third_party.secrets();
    assert_eq!(secrets.len(), 4, "a session, a code and two tokens");
    assert!(secrets.iter().all(|secret| !events.contains(secret.expose_secret())));
}
