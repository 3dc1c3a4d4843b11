//! The whole room against servers that misbehave: what each call sends, what becomes of each answer, and that no word of
//! an answer is found in an error or the log.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::RootCertStore;
use secrecy::ExposeSecret as _;
use url::Url;

use super::{
    ConfiguredProvider,
    fake::{Act, Fake},
    quirks::CLIENT_CREDENTIALS_REFUSED,
    third_parties,
};
use crate::{
    domain::{
        provider::{IssPolicy, Provider, Revocation, TokenAuthMethod, TokenRequest},
        scope::ScopeSet,
        time::Timestamp,
    },
    flow::ports::{Clock, Departure, ThirdParty as _, ThirdPartyError, ThirdPartyTokens},
    net::{
        client::{Client, Limits},
        connect::TrustRoots,
    },
};

const CANARY: &str = "gho_canary";
const CALLBACK: &str = "https://mcp.example.com/callback/forge";

/// A GitHub-like third party at `origin`.
pub(super) fn forge(origin: &str) -> Provider {
    let url = |path: &str| Url::parse(&format!("{origin}{path}")).unwrap();
    let list = |list: &[&str]| list.iter().copied().map(str::to_owned).collect::<Vec<_>>();
    Provider {
        name: "forge".to_owned(),
        title: "Forge".to_owned(),
        preset: None,
        host: None,
        issuer: None,
        iss: IssPolicy::IfPresent,
        authorization_endpoint: url("/login/oauth/authorize"),
        token_endpoint: url("/login/oauth/access_token"),
        revocation: Revocation::None,
        userinfo_endpoint: url("/user"),
        userinfo_body: None,
        subject: list(&["id"]),
        subject_realm: Vec::new(),
        username: list(&["login"]),
        display_name: list(&["name"]),
        email: list(&["email"]),
        emails_endpoint: None,
        organizations_endpoint: None,
        organization: list(&["id"]),
        scopes: Vec::new(),
        default_scopes: list(&["read:user"]),
        requires_scope: true,
        scope_parameter: "scope".to_owned(),
        scope_separator: " ".to_owned(),
        granted_scope_separators: vec![',', ' '],
        scope_equivalents: Vec::new(),
        scope_descriptions: std::collections::BTreeMap::new(),
        pkce: true,
        token_auth_method: TokenAuthMethod::Basic,
        token_request: TokenRequest::Form,
        token_answer: vec![],
        headers: vec![],
        authorize_params: Vec::new(),
        choose_account_params: Vec::new(),
        refresh_needs_consent: false,
        client_id: "static-client".to_owned(),
        client_secret: Some("s3cret+/%".into()),
        access_outlives_refresh: true,
        revoke_ends_only_this_token: true,
        discovery: None,
    }
}

/// A client with short deadlines.
pub(super) fn client() -> Client {
    let limits =
        Limits { connect: Duration::from_millis(300), overall: Duration::from_millis(500), body: 4096 };
    Client::trusted_within(&TrustRoots::Only(Arc::new(RootCertStore::empty())), limits).unwrap()
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}

fn configured(provider: Provider) -> ConfiguredProvider {
    ConfiguredProvider::new(provider, CALLBACK.to_owned(), client(), Arc::new(Noon)).unwrap()
}

async fn at(act: Act) -> (ConfiguredProvider, Fake) {
    let server = Fake::start(act).await;
    (configured(forge(&server.url(""))), server)
}

async fn redeemed(act: Act) -> Result<ThirdPartyTokens, ThirdPartyError> {
    at(act).await.0.redeem("code".into(), "verifier".into()).await
}

async fn refreshed(act: Act) -> Result<ThirdPartyTokens, ThirdPartyError> {
    at(act).await.0.refresh("ghr_old".into()).await
}

fn departure_of(provider: Provider, fresh_consent: bool, scopes: &[&str]) -> (Url, Vec<(String, String)>) {
    let scopes: ScopeSet = scopes.iter().copied().collect();
    let departure = Departure::for_test("st", "ch", &scopes, fresh_consent);
    let url = Url::parse(&configured(provider).departure(&departure)).unwrap();
    let pairs = url.query_pairs().into_owned().collect();
    (url, pairs)
}

fn only(pairs: &[(String, String)], name: &str) -> Option<String> {
    let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} must not be repeated");
    value
}

#[test]
fn departs_as_the_static_client_with_our_own_challenge_and_callback() {
    let (url, pairs) = departure_of(forge("https://forge.example"), false, &["repo", "gist"]);
    assert_eq!(
        url.as_str(),
        "https://forge.example/login/oauth/authorize?response_type=code&client_id=static-client&state=st\
         &redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fforge&scope=gist+repo&code_challenge=ch\
         &code_challenge_method=S256"
    );
    assert_eq!(only(&pairs, "resource"), None);
}

#[test]
fn departs_as_the_provider_is_configured() {
    let mut provider = forge("https://forge.example");
    provider.scope_separator = ",".to_owned();
    provider.pkce = false;
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    provider.authorize_params = vec![
        param("access_type", "offline"),
        param("state", "theirs"),
        param("redirect_uri", "https://evil.example/"),
        param("scope", "everything"),
        param("response_mode", "fragment"),
    ];
    let (_, pairs) = departure_of(provider, false, &["a", "b"]);
    assert_eq!(only(&pairs, "scope").unwrap(), "a,b");
    assert_eq!(only(&pairs, "access_type").unwrap(), "offline");
    assert_eq!(only(&pairs, "state").unwrap(), "st");
    assert_eq!(only(&pairs, "redirect_uri").unwrap(), CALLBACK);
    for absent in ["code_challenge", "code_challenge_method", "response_mode", "prompt"] {
        assert_eq!(only(&pairs, absent), None);
    }
    let (_, pairs) = departure_of(forge("https://forge.example"), false, &[]);
    assert_eq!(only(&pairs, "scope"), None);
}

#[test]
fn asks_for_a_fresh_consent_beside_a_configured_prompt() {
    for (configured, fresh, sent) in [
        (None, false, None),
        (None, true, Some("consent")),
        (Some("select_account"), false, Some("select_account")),
        (Some("select_account"), true, Some("select_account consent")),
        (Some("consent"), true, Some("consent")),
        (Some("none"), true, Some("consent")),
    ] {
        let mut provider = forge("https://forge.example");
        provider.authorize_params.extend(configured.map(|value| ("prompt".to_owned(), value.to_owned())));
        let (_, pairs) = departure_of(provider, fresh, &["a"]);
        assert_eq!(only(&pairs, "prompt").as_deref(), sent);
    }
}

#[test]
fn lets_the_person_choose_an_account_where_the_third_party_can() {
    let prompt = |configured: Option<&str>, choosing: &[(&str, &str)], fresh| {
        let mut provider = forge("https://forge.example");
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        provider.authorize_params = configured.map(|value| owned(("prompt", value))).into_iter().collect();
        provider.choose_account_params = choosing.iter().copied().map(owned).collect();
        let scopes = ScopeSet::from_iter(["a"]);
        let departure = Departure::for_test("st", "ch", &scopes, fresh).choosing_account();
        let url = Url::parse(&configured_url(provider, &departure)).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        assert_eq!(only(&pairs, "state").as_deref(), Some("st"));
        only(&pairs, "prompt")
    };
    let select = [("prompt", "select_account"), ("state", "theirs")];
    assert_eq!(prompt(None, &select, false).as_deref(), Some("select_account"));
    assert_eq!(prompt(Some("consent"), &select, false).as_deref(), Some("select_account"));
    assert_eq!(prompt(None, &select, true).as_deref(), Some("select_account consent"));
    assert_eq!(prompt(Some("consent"), &[], false).as_deref(), Some("consent"));
}

fn configured_url(provider: Provider, departure: &Departure<'_>) -> String {
    configured(provider).departure(departure)
}

#[tokio::test]
async fn redeems_with_verifier_callback_and_client_authentication() {
    let body = r#"{"access_token":"gho_a","refresh_token":"ghr_a","expires_in":"60","scope":"repo,gist"}"#;
    let (forge, server) = at(Act::answer(201, "text/plain", body)).await;
    let tokens = forge.redeem("co de".into(), "verifier".into()).await.unwrap();
    assert_eq!(tokens.access.expose_secret(), "gho_a");
    assert_eq!(tokens.refresh.unwrap().expose_secret(), "ghr_a");
    assert_eq!(tokens.expires_at, Some(Timestamp::from_millis(1_060_000)));
    assert_eq!(tokens.scopes.unwrap().to_string(), "gist repo");

    let seen = server.only();
    assert!(seen.head.starts_with("POST /login/oauth/access_token HTTP/1.1"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("authorization"), Some("Basic c3RhdGljLWNsaWVudDpzM2NyZXQlMkIlMkYlMjU="));
    assert_eq!(seen.field("grant_type").unwrap(), "authorization_code");
    assert_eq!(seen.field("code").unwrap(), "co de");
    assert_eq!(seen.field("code_verifier").unwrap(), "verifier");
    assert_eq!(seen.field("redirect_uri").unwrap(), CALLBACK);
    for absent in ["resource", "client_secret", "scope"] {
        assert_eq!(seen.field(absent), None);
    }
}

#[tokio::test]
async fn no_verifier_is_sent_where_pkce_is_off() {
    let server = Fake::start(Act::json(r#"{"access_token":"t"}"#)).await;
    let mut provider = forge(&server.url(""));
    provider.pkce = false;
    configured(provider).redeem("code".into(), "verifier".into()).await.unwrap();
    assert_eq!(server.only().field("code_verifier"), None);
}

#[tokio::test]
async fn refreshes_with_credentials_in_the_body_where_configured() {
    let server =
        Fake::start(Act::answer(200, "application/x-www-form-urlencoded", "access_token=gho_b")).await;
    let mut provider = forge(&server.url(""));
    provider.token_auth_method = TokenAuthMethod::Post;
    let tokens = configured(provider).refresh("ghr_old".into()).await.unwrap();
    assert_eq!(tokens.access.expose_secret(), "gho_b");
    assert!(tokens.refresh.is_none() && tokens.expires_at.is_none() && tokens.scopes.is_none());

    let seen = server.only();
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.field("client_id").unwrap(), "static-client");
    assert_eq!(seen.field("client_secret").unwrap(), "s3cret+/%");
    assert_eq!(seen.field("grant_type").unwrap(), "refresh_token");
    assert_eq!(seen.field("refresh_token").unwrap(), "ghr_old");
    assert_eq!(seen.field("scope"), None);
}

#[tokio::test]
async fn an_empty_scope_is_an_answer_and_a_missing_one_is_none() {
    let tokens = redeemed(Act::json(r#"{"access_token":"t","scope":""}"#)).await.unwrap();
    assert_eq!(tokens.scopes, Some(ScopeSet::default()));
    let tokens = redeemed(Act::json(r#"{"access_token":"t"}"#)).await.unwrap();
    assert_eq!(tokens.scopes, None);
}

#[tokio::test]
async fn refusals_and_outages_are_told_apart() {
    use ThirdPartyError::{Refused, Unavailable};
    let github = |code: &str| Act::json(&format!(r#"{{"error":"{code}","error_description":"{CANARY}"}}"#));
    for (act, expected) in [
        (github("bad_verification_code"), Refused("bad_verification_code")),
        (github("bad_refresh_token"), Refused("bad_refresh_token")),
        (github("incorrect_client_credentials"), Unavailable(CLIENT_CREDENTIALS_REFUSED)),
        (Act::answer(400, "application/json", r#"{"error":"invalid_grant"}"#), Refused("invalid_grant")),
        (
            Act::answer(403, "application/json", r#"{"error":"unauthorized_client"}"#),
            Refused("unauthorized_client"),
        ),
        (
            Act::answer(401, "application/json", r#"{"error":"invalid_client"}"#),
            Unavailable(CLIENT_CREDENTIALS_REFUSED),
        ),
        (
            Act::answer(400, "application/json", r#"{"error":"temporarily_unavailable"}"#),
            Unavailable("temporarily_unavailable"),
        ),
        (Act::answer(500, "application/json", r#"{"error":"invalid_grant"}"#), Unavailable("server_error")),
        (Act::answer(429, "text/plain", "slower"), Unavailable("rate_limited")),
        (Act::answer(400, "text/html", "<html>"), Unavailable("nonsense")),
        (Act::answer(200, "text/html", "<html>"), Unavailable("nonsense")),
        (Act::answer(204, "text/html", ""), Unavailable("nonsense")),
        (Act::Raw(b"\x16\x03".to_vec()), Unavailable("connection_broken")),
        (Act::answer(200, "application/json", [b' '; 5000]), Unavailable("answer_too_large")),
    ] {
        assert_eq!(redeemed(act.clone()).await.unwrap_err(), expected);
        assert_eq!(refreshed(act).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn silence_ends_within_the_deadline() {
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    let start = Instant::now();
    for act in [Act::Hang, Act::Slow(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())] {
        assert_eq!(redeemed(act).await.unwrap_err(), ThirdPartyError::Unavailable("timeout"));
    }
    assert!(start.elapsed() < Duration::from_secs(3));
    let nobody = configured(forge("http://127.0.0.1:1")).refresh("ghr_old".into()).await;
    assert_eq!(nobody.unwrap_err(), ThirdPartyError::Unavailable("unreachable"));
}

#[tokio::test]
async fn no_credential_follows_a_redirect() {
    let other = Fake::start(Act::json(r#"{"access_token":"t","id":1}"#)).await;
    let (forge, server) = at(Act::answer_with(307, &[("location", &other.url("/steal"))], "")).await;
    let redirected = ThirdPartyError::Unavailable("redirected");
    assert_eq!(forge.redeem("code".into(), "verifier".into()).await.unwrap_err(), redirected);
    assert_eq!(forge.refresh("ghr_old".into()).await.unwrap_err(), redirected);
    assert_eq!(forge.identify(&CANARY.into()).await.unwrap_err(), redirected);
    assert_eq!(server.seen().len(), 3);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn identifies_with_the_token_as_bearer() {
    let body = r#"{"id":9007199254740993,"login":"ada","name":"Ada","email":"ada@example.com"}"#;
    let (forge, server) = at(Act::json(body)).await;
    let identity = forge.identify(&CANARY.into()).await.unwrap();
    assert_eq!((identity.id.as_str(), identity.login.as_str()), ("9007199254740993", "ada"));
    assert_eq!((identity.display_name.as_deref(), identity.email), (Some("Ada"), None));
    let seen = server.only();
    assert!(seen.head.starts_with("GET /user HTTP/1.1"));
    assert_eq!(seen.header("authorization"), Some("Bearer gho_canary"));
    assert_eq!(seen.header("user-agent"), Some("mcp-deputy"));
    assert_eq!(seen.header("accept"), Some("application/json"));
}

#[tokio::test]
async fn a_refused_token_is_told_from_an_identity_that_cannot_be_had() {
    use ThirdPartyError::{Refused, Unavailable};
    for (act, expected) in [
        (Act::answer(401, "application/json", "{}"), Refused("token_refused")),
        (Act::answer(403, "application/json", "{}"), Refused("token_refused")),
        (Act::answer_with(403, &[("x-ratelimit-remaining", "0")], "{}"), Unavailable("rate_limited")),
        (Act::answer(404, "application/json", "{}"), Unavailable("identity_unavailable")),
        (Act::answer(503, "application/json", "{}"), Unavailable("server_error")),
        (Act::json("{}"), Unavailable("identity_without_subject")),
        (Act::json("gho_canary"), Unavailable("nonsense")),
        (Act::Hang, Unavailable("timeout")),
    ] {
        assert_eq!(at(act).await.0.identify(&CANARY.into()).await.unwrap_err(), expected);
    }
}

#[test]
fn each_third_party_has_a_callback_of_its_own() {
    let mut other = forge("https://other.example");
    other.name = "other".to_owned();
    let clock: Arc<dyn Clock> = Arc::new(Noon);
    let providers = [forge("https://forge.example"), other];
    let all =
        third_parties(&providers, "https://mcp.example.com", &client(), &clock, &Arc::default()).unwrap();
    let scopes = ScopeSet::default();
    let departure = Departure::for_test("st", "ch", &scopes, false);
    let url = all["other"].departure(&departure);
    assert!(url.starts_with("https://other.example/login/oauth/authorize?"), "{url}");
    assert!(url.contains("redirect_uri=https%3A%2F%2Fmcp.example.com%2Fcallback%2Fother&"), "{url}");
    assert!(third_parties(&providers, "nonsense", &client(), &clock, &Arc::default()).is_err());
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_an_answer_or_a_secret_is_in_an_error_or_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    for act in [
        Act::json(&format!(r#"{{"access_token":"{CANARY}","refresh_token":"{CANARY}","id":"{CANARY}"}}"#)),
        Act::json(&format!(r#"{{"access_token":["{CANARY}"]}}"#)),
        Act::json(&format!(r#"{{"access_token":"{CANARY}""#)),
        Act::json(&format!(r#"{{"error":"{CANARY}","error_description":"{CANARY}"}}"#)),
        Act::json(&format!(r#"{{"access_token":"{CANARY}","token_type":"mac"}}"#)),
        Act::answer(400, "text/html", CANARY),
        Act::answer(500, CANARY, CANARY),
        Act::answer_with(302, &[("location", &format!("http://{CANARY}/"))], CANARY),
        Act::Raw(CANARY.into()),
    ] {
        let (forge, _server) = at(act).await;
        let texts = [
            format!("{:?}", forge.redeem(CANARY.into(), CANARY.into()).await),
            format!("{:?}", forge.refresh(CANARY.into()).await),
            format!("{:?}", forge.identify(&CANARY.into()).await.map(|_| ())),
            format!("{forge:?}"),
        ];
        assert!(!texts.concat().contains(CANARY), "{texts:?}");
    }
    let text = || String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(!text().contains(CANARY), "{}", text());
    assert!(!text().contains("s3cret"));
    assert!(text().contains("nonsense") && text().contains("redeem"));
    tracing::info!("{CANARY}");
    assert!(text().contains(CANARY), "a planted secret must be found");
}
