//! The browser's half: authorization request, login, consent, and the way back with a code.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use url::Url;

use super::{
    ACCENT, Event, Iss, NAME, PEOPLE, Person, SESSION, Shared, list, scopes_of, state::AuthorizationRequest,
};
use crate::sandbox::{
    chance::random,
    http::{Body, Params, escape, page, read_cookie, read_form, redirect, set_cookie},
};

impl Shared {
    /// `GET /login/oauth/authorize`
    pub(super) fn authorize(&self, request: &Request<Incoming>) -> Response<Body> {
        let asked = match self.read_request(&Params::of_query(request)) {
            Ok(asked) => asked,
            Err(refused) => return *refused,
        };
        let forced = self.state().behaviour.next_person.take();
        if let Some(person) = forced {
            let session = self.log_in(person);
            let mut response = self.ask_or_skip(person, asked);
            set_cookie(&mut response, SESSION, &session);
            return response;
        }
        match self.person_of(request) {
            Some(person) => self.ask_or_skip(person, asked),
            None => self.login_page(asked),
        }
    }

    /// `POST /login`: one of the people by one click.
    pub(super) async fn login(&self, request: Request<Incoming>) -> Response<Body> {
        let form = read_form(request).await;
        let wanted = form.get("login").unwrap_or_default();
        let Some(person) = PEOPLE.into_iter().find(|person| person.login == wanted) else {
            return sorry(StatusCode::BAD_REQUEST, "Nobody here has that name.");
        };
        let session = self.log_in(person);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("request", form.get("request").unwrap_or_default())
            .finish();
        let mut response = redirect(StatusCode::SEE_OTHER, &format!("/login/oauth/continue?{query}"));
        set_cookie(&mut response, SESSION, &session);
        response
    }

    /// `GET /login/oauth/continue`: back to the request that led to the login page.
    pub(super) fn proceed(&self, request: &Request<Incoming>) -> Response<Body> {
        let asked = self.take_pending(&Params::of_query(request));
        match (self.person_of(request), asked) {
            (Some(person), Some(asked)) => self.ask_or_skip(person, asked),
            (None, Some(asked)) => self.login_page(asked),
            (_, None) => {
                sorry(StatusCode::BAD_REQUEST, "This page has been used already. Please start again.")
            }
        }
    }

    /// `POST /login/oauth/decision`: the person's answer on the consent page.
    pub(super) async fn decide(&self, request: Request<Incoming>) -> Response<Body> {
        let person = self.person_of(&request);
        let form = read_form(request).await;
        let (Some(person), Some(asked)) = (person, self.take_pending(&form)) else {
            return sorry(StatusCode::BAD_REQUEST, "This page has been used already. Please start again.");
        };
        if form.get("decision") != Some("authorize") {
            self.events.record(Event::ConsentDenied { person: person.login });
            return self.back(&asked, &[("error", "access_denied")]);
        }
        self.state().remember(person, &asked.client_id, &asked.scopes);
        let client_id = asked.client_id.clone();
        self.events.record(Event::ConsentGiven { person: person.login, client_id });
        self.send_code(person, &asked)
    }

    fn read_request(&self, query: &Params) -> Result<AuthorizationRequest, Box<Response<Body>>> {
        let client_id = query.get("client_id").unwrap_or_default().to_owned();
        let registered = self.state().client(&client_id).map(|client| client.redirect_uris.clone());
        let registered = registered.unwrap_or_default();
        let redirect_uri = query.get("redirect_uri").or(registered.first().map(String::as_str));
        let asked = AuthorizationRequest {
            redirect_uri: redirect_uri.unwrap_or_default().to_owned(),
            scopes: scopes_of(query.get("scope").unwrap_or_default()),
            state: query.get("state").map(ToOwned::to_owned),
            challenge: query.get("code_challenge").map(ToOwned::to_owned),
            client_id,
        };
        self.events.record(Event::AuthorizeRequested {
            client_id: asked.client_id.clone(),
            redirect_uri: asked.redirect_uri.clone(),
            scopes: list(&asked.scopes),
            state_len: asked.state.as_ref().map_or(0, String::len),
            pkce: asked.challenge.is_some(),
        });
        if registered.is_empty() {
            return Err(Box::new(self.refuse("unknown client", StatusCode::NOT_FOUND)));
        }
        if !registered.contains(&asked.redirect_uri) {
            return Err(Box::new(self.refuse("redirect URI is not registered", StatusCode::BAD_REQUEST)));
        }
        if asked.challenge.is_some() && query.get("code_challenge_method") != Some("S256") {
            self.events.record(Event::AuthorizeRefused { reason: "PKCE method is not S256" });
            return Err(Box::new(self.back(&asked, &[("error", "invalid_request")])));
        }
        Ok(asked)
    }

    fn ask_or_skip(&self, person: &'static Person, asked: AuthorizationRequest) -> Response<Body> {
        let client_id = asked.client_id.clone();
        if self.state().remembers(person, &asked) {
            self.events.record(Event::ConsentSkipped { person: person.login, client_id });
            return self.send_code(person, &asked);
        }
        let scopes = list(&asked.scopes);
        self.events.record(Event::ConsentPageShown { person: person.login, client_id, scopes });
        self.consent_page(person, asked)
    }

    fn login_page(&self, asked: AuthorizationRequest) -> Response<Body> {
        self.events.record(Event::LoginPageShown);
        let request = self.put_pending(asked);
        let buttons = PEOPLE.into_iter().map(|person| {
            format!(
                "<button name=\"login\" value=\"{}\">Sign in as {}</button>",
                person.login,
                escape(person.name)
            )
        });
        let body = format!(
            "<form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"request\" value=\"{request}\">\
             <p>Who are you?</p><p>{}</p></form><p>{NAME} is the sandbox's third party. Nobody has a password here.</p>",
            buttons.collect::<String>()
        );
        page(StatusCode::OK, &format!("Sign in to {NAME}"), ACCENT, &body)
    }

    fn consent_page(&self, person: &Person, asked: AuthorizationRequest) -> Response<Body> {
        let name =
            self.state().client(&asked.client_id).map(|client| client.name.clone()).unwrap_or_default();
        let scopes = asked.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope)));
        let scopes = scopes.collect::<String>();
        let request = self.put_pending(asked);
        let body = format!(
            "<p>Signed in as <strong>{}</strong>.</p><p><strong>{}</strong> wants to use your account:</p>\
             <ul>{scopes}</ul><form method=\"post\" action=\"/login/oauth/decision\">\
             <input type=\"hidden\" name=\"request\" value=\"{request}\">\
             <button name=\"decision\" value=\"cancel\">Cancel</button>\
             <button name=\"decision\" value=\"authorize\">Authorize</button></form>\
             <p>{NAME} remembers this and will not ask again.</p>",
            escape(person.login),
            escape(&name),
        );
        page(StatusCode::OK, &format!("Authorize an application at {NAME}"), ACCENT, &body)
    }

    fn send_code(&self, person: &'static Person, asked: &AuthorizationRequest) -> Response<Body> {
        let (client_id, redirect_uri) = (asked.client_id.clone(), asked.redirect_uri.clone());
        let code = self.state().issue_code(person, asked.clone());
        self.events.record(Event::CodeIssued { person: person.login, client_id, redirect_uri });
        self.back(asked, &[("code", &code)])
    }

    /// The authorization response (RFC 6749 section 4.1.2, RFC 9207).
    fn back(&self, asked: &AuthorizationRequest, result: &[(&str, &str)]) -> Response<Body> {
        let Ok(mut location) = Url::parse(&asked.redirect_uri) else {
            return self.refuse("redirect URI is no URL", StatusCode::BAD_REQUEST);
        };
        let iss = match self.state().behaviour.iss.clone() {
            Iss::Absent => None,
            Iss::Correct => Some(self.issuer()),
            Iss::Wrong(other) => Some(other),
        };
        let mut query = location.query_pairs_mut();
        query.extend_pairs(result);
        query.extend_pairs(asked.state.iter().map(|state| ("state", state)));
        query.extend_pairs(iss.iter().map(|iss| ("iss", iss)));
        drop(query);
        redirect(StatusCode::FOUND, location.as_str())
    }

    fn refuse(&self, reason: &'static str, status: StatusCode) -> Response<Body> {
        self.events.record(Event::AuthorizeRefused { reason });
        sorry(status, "This application's request cannot be answered.")
    }

    fn person_of(&self, request: &Request<Incoming>) -> Option<&'static Person> {
        let session = read_cookie(request.headers(), SESSION)?;
        self.state().sessions.get(&session).copied()
    }

    fn put_pending(&self, asked: AuthorizationRequest) -> String {
        let id = random("");
        self.state().pending.insert(id.clone(), asked);
        id
    }

    fn take_pending(&self, params: &Params) -> Option<AuthorizationRequest> {
        self.state().pending.remove(params.get("request")?)
    }
}

fn sorry(status: StatusCode, sentence: &str) -> Response<Body> {
    page(status, NAME, ACCENT, &format!("<p>{}</p>", escape(sentence)))
}
