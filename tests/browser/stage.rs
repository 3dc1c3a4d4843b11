//! The whole gateway in this process, the simulated third party behind it, and a client that waits at its redirect URI.
//!
//! Hosts as in real life: gateway and client on `127.0.0.1`, the third party on `localhost`, so that every way to it and
//! back crosses sites. Nothing between browser and gateway is replaced: cookies and policies are those that are sent.

use std::{
    convert::Infallible,
    fs,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use mcp_deputy::{
    config,
    gateway::{Bound, Gateway, Surroundings, desk},
    net::{
        client::Client,
        connect::TrustRoots,
        listen::Endpoint,
        tls::{Certificates, PemFiles},
    },
    sandbox::{
        fetch::Fetch,
        http::{Bound as Place, LoopbackHost},
        third_party::{Behaviour, Person, StaticClient, ThirdParty},
    },
};
use rustls::{RootCertStore, pki_types::CertificateDer};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::{Url, form_urlencoded};

use crate::{
    site::{html, serve},
    support::Browser,
    traces,
};

const STATIC_CLIENT: &str = "the-one-static-client";
const STATIC_SECRET: &str = "a-static-secret-for-tests";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-at-least-0";

/// A gateway, its third party, and a place for clients.
pub(crate) struct Stage {
    pub(crate) third_party: ThirdParty,
    /// `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`
    gateway: String,
    redirect_uri: String,
    came_back: Arc<Mutex<Vec<Answer>>>,
    /// The bearer tokens with which the MCP server was called.
    bearers: Arc<Mutex<Vec<String>>>,
    client: Client,
    /// Ends the gateway and the third party with the value.
    _stop: DropGuard,
    _files: TempDir,
}

/// A registered client.
pub(crate) struct App {
    pub(crate) client_id: String,
    redirect_uri: String,
}

/// The query with which a browser came to the redirect URI.
#[derive(Clone, Debug)]
pub(crate) struct Answer(Vec<(String, String)>);

impl Answer {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} comes once");
        value
    }
}

impl Stage {
    /// On plain http.
    pub(crate) async fn set() -> Self {
        Self::build(false, "").await
    }

    /// On plain http, with scopes that can be left out.
    pub(crate) async fn set_with_choices() -> Self {
        Self::build(false, OPTIONAL).await
    }

    /// On https, remembering what was approved.
    pub(crate) async fn set_remembering() -> Self {
        Self::build(true, "[consent]\nmode = \"remember\"\n").await
    }

    /// On https with a certificate that nobody vouches for: cookies are `__Host-` cookies.
    pub(crate) async fn set_with_tls() -> Self {
        Self::build(true, "").await
    }

    async fn build(is_tls: bool, more: &str) -> Self {
        traces::begin();
        let stop = CancellationToken::new();
        let files = TempDir::new().unwrap();
        let place = Place::bind(LoopbackHost::Localhost, 0).await.unwrap();
        let third_party = ThirdParty::start(place, Behaviour::default(), &stop);
        let (bearers, upstream) = mcp_server(&stop).await;
        let (came_back, redirect_uri) = redirect_uri().await;

        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
        let roots = TrustRoots::Only(Arc::new(roots));
        let tls = is_tls.then(|| {
            let pem =
                PemFiles { certificate: files.path().join("cert.pem"), key: files.path().join("key.pem") };
            fs::write(&pem.certificate, made.cert.pem()).unwrap();
            fs::write(&pem.key, made.signing_key.serialize_pem()).unwrap();
            Certificates::from_files(&pem).unwrap().server_config().unwrap()
        });
        let loopback = "127.0.0.1:0".parse().unwrap();
        let public = Endpoint::bind(loopback, tls).unwrap();
        let admin = Endpoint::bind(loopback, None).unwrap();
        let scheme = if is_tls { "https" } else { "http" };
        let gateway = format!("{scheme}://{}", public.address().unwrap());
        third_party.register_client(StaticClient {
            client_id: STATIC_CLIENT.to_owned(),
            client_secret: STATIC_SECRET.into(),
            name: "Example gateway".to_owned(),
            redirect_uris: vec![format!("{gateway}/callback/quarry")],
        });
        let text = configuration(&gateway, &third_party, &upstream) + more;
        let settings = config::from_text("proxy.toml", &text, &|_| None);
        let surroundings = Surroundings { roots: roots.clone(), ..Surroundings::default() };
        let running = Gateway::new(settings.unwrap(), &surroundings).await.unwrap();
        tokio::spawn(running.run(
            desk::<()>,
            Bound { public, admin, metrics: None, certificates: None },
            stop.clone(),
        ));
        let client = Client::trusted(&roots).unwrap();
        Self {
            third_party,
            gateway,
            redirect_uri,
            came_back,
            bearers,
            client,
            _stop: stop.drop_guard(),
            _files: files,
        }
    }

    /// A URL of the gateway.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway)
    }

    /// Where clients wait.
    pub(crate) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Registers a client (RFC 7591).
    pub(crate) async fn register(&self, name: &str) -> App {
        self.register_at(name, &self.redirect_uri).await
    }

    /// Registers one that says the same of itself, but for the end of its redirect URI: identical ones would be one client.
    pub(crate) async fn register_another(&self, name: &str) -> App {
        self.register_at(name, &format!("{}?another", self.redirect_uri)).await
    }

    /// Registers a client whose answers go elsewhere.
    pub(crate) async fn register_at(&self, name: &str, redirect_uri: &str) -> App {
        let metadata = json!({
            "client_name": name,
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
        });
        let (status, registered) =
            self.post("/register", "application/json", metadata.to_string(), None).await;
        assert_eq!(status, StatusCode::CREATED, "{registered}");
        App {
            client_id: registered["client_id"].as_str().unwrap().to_owned(),
            redirect_uri: redirect_uri.to_owned(),
        }
    }

    /// The address to which `app` sends a browser.
    pub(crate) fn authorize(&self, app: &App, state: &str) -> String {
        self.authorize_for(app, state, "")
    }

    /// The same, for these scopes.
    pub(crate) fn authorize_for(&self, app: &App, state: &str, scope: &str) -> String {
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &app.client_id)
            .append_pair("redirect_uri", &app.redirect_uri)
            .append_pair("scope", scope)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", state)
            .append_pair("resource", &self.url("/mcp"))
            .finish();
        self.url(&format!("/authorize?{query}"))
    }

    /// Every answer that reached the redirect URI, in order.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.came_back.lock().unwrap().clone()
    }

    /// Waits until `browser` is at the redirect URI, and gives the only answer with this `state`.
    pub(crate) async fn answer(&self, browser: &Browser, state: &str) -> Answer {
        browser.wait_for_url(&self.redirect_uri).await;
        let answers = self.answers();
        let mut mine = answers.iter().filter(|answer| answer.get("state") == Some(state));
        let answer = mine.next().unwrap_or_else(|| panic!("no answer with {state}: {answers:?}"));
        assert!(mine.next().is_none(), "one answer with {state}: {answers:?}");
        assert_eq!(answer.get("iss"), Some(self.gateway.as_str()));
        answer.clone()
    }

    /// The same, where it must be a code: redeems it, calls the MCP server, and gives the login of the person whose
    /// third-party token arrived there.
    pub(crate) async fn whose(&self, app: &App, browser: &Browser, state: &str) -> &'static str {
        let token = self.tokens(app, browser, state).await;
        assert_eq!(self.status_with(&token).await, 200);
        let bearer = self.bearers.lock().unwrap().pop().unwrap();
        self.person_behind(&bearer).await
    }

    /// Waits for the code with this `state`, redeems it, and gives the access token.
    pub(crate) async fn tokens(&self, app: &App, browser: &Browser, state: &str) -> String {
        let answer = self.answer(browser, state).await;
        let code = answer.get("code").unwrap_or_else(|| panic!("no code: {answer:?}"));
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", &app.client_id)
            .append_pair("redirect_uri", &app.redirect_uri)
            .append_pair("code_verifier", VERIFIER)
            .append_pair("code", code)
            .finish();
        let (status, tokens) = self.post("/token", "application/x-www-form-urlencoded", form, None).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        traces::note(["access_token", "refresh_token"].map(|name| tokens[name].as_str().unwrap().to_owned()));
        tokens["access_token"].as_str().unwrap().to_owned()
    }

    /// The status of a request to the MCP server with this token.
    pub(crate) async fn status_with(&self, token: &str) -> u16 {
        self.post("/mcp", "application/json", "{}".to_owned(), Some(token)).await.0.as_u16()
    }

    /// Opens an event stream at the MCP server with this token.
    pub(crate) async fn stream(&self, token: &str) -> Stream {
        let asked = Request::get(self.url("/mcp"))
            .header(header::ACCEPT, "text/event-stream")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Bytes::new());
        let answer = Fetch::new().open(asked.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Stream(answer.into_body())
    }

    /// How many authorization requests browsers brought to the third party.
    pub(crate) fn departures(&self) -> usize {
        self.third_party.authorize_requests()
    }

    /// As if `person` had used the gateway before: logged in at the third party, and its page answered long ago.
    pub(crate) async fn known_at_the_third_party(&self, browser: &Browser, person: &'static Person) {
        self.third_party.remember_consent(person, STATIC_CLIENT, &["read:user"]);
        browser.goto(self.third_party.origin()).await;
        let (name, value) = self.third_party.session_cookie(person);
        browser
            .devtools(
                "Network.setCookie",
                json!({ "name": name, "value": value, "url": self.third_party.origin(), "httpOnly": true }),
            )
            .await;
    }

    async fn post(
        &self,
        path: &str,
        media_type: &str,
        body: String,
        bearer: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = Request::post(self.url(path))
            .header(header::CONTENT_TYPE, media_type)
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let answer = self.client.call(request.body(body.into_bytes()).unwrap()).await.unwrap();
        (answer.status(), serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    async fn person_behind(&self, bearer: &str) -> &'static str {
        let asked = Request::get(self.third_party.user_endpoint())
            .header(header::AUTHORIZATION, bearer)
            .body(Vec::new());
        let user = self.client.call(asked.unwrap()).await.unwrap();
        let user: Value = serde_json::from_slice(user.body()).unwrap();
        let login = user["login"].as_str().unwrap();
        let people = mcp_deputy::sandbox::third_party::PEOPLE;
        people.into_iter().find(|person| person.login == login).unwrap().login
    }

    /// Asks for `url` as a stranger without cookies would. The status and the cookies that were set.
    pub(crate) async fn stranger(&self, url: &str) -> (StatusCode, usize) {
        let answer = self.client.call(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
        (answer.status(), answer.headers().get_all(header::SET_COOKIE).iter().count())
    }

    /// Follows a request to the third party as `person` would who has agreed there before, up to the address of our
    /// callback, with a code of the third party in it.
    pub(crate) async fn callback_for(&self, url: &str, person: &'static Person) -> Url {
        self.third_party.remember_consent(person, STATIC_CLIENT, &["read:user"]);
        self.third_party.behave(|behaviour| behaviour.next_person = Some(person));
        let answer = self.client.call(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
        Url::parse(answer.headers()[header::LOCATION].to_str().unwrap()).unwrap()
    }
}

/// An event stream that is open.
pub(crate) struct Stream(Incoming);

impl Stream {
    /// Waits until it ends.
    pub(crate) async fn ended(&mut self) {
        while let Some(Ok(_)) = self.0.frame().await {}
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let codes = self.answers();
        let codes = codes.iter().filter_map(|answer| answer.get("code").map(ToOwned::to_owned));
        let theirs = self.third_party.secrets().into_iter();
        let theirs = theirs.map(|secret| secret.expose_secret().to_owned());
        traces::note([STATIC_SECRET.to_owned(), VERIFIER.to_owned()].into_iter().chain(codes).chain(theirs));
    }
}

/// Everything with which the browser came to the redirect URI is kept.
async fn redirect_uri() -> (Arc<Mutex<Vec<Answer>>>, String) {
    let came_back: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let kept = Arc::clone(&came_back);
    let port = serve(move |asked| {
        if asked.path == "/cb" {
            let query = form_urlencoded::parse(asked.query.as_bytes()).into_owned().collect();
            kept.lock().unwrap().push(Answer(query));
        }
        html("<p>Connected. You can close this window.")
    })
    .await;
    (came_back, format!("http://127.0.0.1:{port}/cb"))
}

/// Keeps the credentials with which it is called. A GET opens a stream on which nothing ever comes.
async fn mcp_server(stop: &CancellationToken) -> (Arc<Mutex<Vec<String>>>, String) {
    let bearers: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&bearers);
    let place = Place::bind(LoopbackHost::Ipv4, 0).await.unwrap();
    let url = format!("{}/mcp", place.origin());
    place.serve(stop, move |request: Request<Incoming>| {
        let bearer = request.headers().get(header::AUTHORIZATION);
        kept.lock().unwrap().extend(bearer.map(|bearer| bearer.to_str().unwrap().to_owned()));
        let answer = if request.method() == http::Method::GET {
            let answer = http::Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
            answer.body(Silence.boxed()).unwrap()
        } else {
            mcp_deputy::sandbox::http::json(StatusCode::OK, &json!({}))
        };
        async move { Ok(answer) }
    });
    (bearers, url)
}

/// A body that never says anything and never ends.
struct Silence;

impl http_body::Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// Two scopes that a person may leave out.
const OPTIONAL: &str = r#"
[[mcp_server.scope]]
name = "repo:write"
description = "Change files in your repositories"
provider_scopes = ["repo"]
optional = true
[[mcp_server.scope]]
name = "gist:read"
description = "See your gists"
provider_scopes = ["gist"]
optional = true
"#;

fn configuration(gateway: &str, third_party: &ThirdParty, upstream: &str) -> String {
    format!(
        r#"
public_url = "{gateway}"

[store]
url = "memory:"

[provider.quarry]
title = "Quarry"
client_id = "{STATIC_CLIENT}"
client_secret = "{STATIC_SECRET}"
issuer = "{issuer}"
iss = "required"
authorization_endpoint = "{authorization}"
token_endpoint = "{token}"
userinfo_endpoint = "{user}"
revocation = "rfc7009"
revocation_endpoint = "{revocation}"
subject = "id"
username = "login"
granted_scope_separators = ", "
token_auth_method = "post"
revoke_ends_only_this_token = true

[[mcp_server]]
path = "/mcp"
upstream_url = "{upstream}"
name = "Quarry tools"

[[mcp_server.scope]]
name = "profile:read"
description = "See who you are at Quarry"
provider_scopes = ["read:user"]
default = true

[limits]
drain_deadline = "1s"
"#,
        issuer = third_party.issuer(),
        authorization = third_party.authorization_endpoint(),
        token = third_party.token_endpoint(),
        user = third_party.user_endpoint(),
        revocation = third_party.revocation_endpoint(),
    )
}

/// Logs in at the third party, and answers its own page.
pub(crate) async fn log_in(browser: &Browser, stage: &Stage, login: &str) {
    browser.wait_for_url(stage.third_party.origin()).await;
    browser.click(&format!("button[value={login}]")).await;
    authorize_there(browser).await;
}

/// Answers the third party's own page.
pub(crate) async fn authorize_there(browser: &Browser) {
    browser.wait_for("return !!document.querySelector('button[value=authorize]')").await;
    browser.click("button[value=authorize]").await;
}

/// How long a browser gets to do what it must not do.
pub(crate) const AFTER_A_WHILE: Duration = Duration::from_millis(300);
