//! The API: who the token's person is, where they belong, and what they own.

use std::collections::BTreeSet;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Event, Person, Shared, list};
use crate::sandbox::http::{Answer, Body, json as json_answer, read_bearer};

impl Shared {
    /// `GET /user` and what stands below it.
    pub(super) async fn api(&self, request: &Request<Incoming>) -> Answer {
        if let Err(misbehaviour) = self.healthy(|behaviour| behaviour.api).await {
            return misbehaviour;
        }
        let path = request.uri().path().to_owned();
        let bearer = read_bearer(request.headers()).and_then(|token| self.state().bearer(token));
        let person = bearer.as_ref().map(|bearer| bearer.person.login);
        let mut response = match &bearer {
            None => json_answer(StatusCode::UNAUTHORIZED, &json!({ "message": "Bad credentials" })),
            Some(bearer) if path == "/user" => user(bearer.person),
            Some(bearer) if path == "/userinfo" => userinfo(bearer.person),
            Some(bearer) if path == "/user/emails" => {
                let emails = json!([{ "email": bearer.person.email, "verified": true, "primary": true }]);
                if_allowed(&bearer.scopes, "user:email", &emails)
            }
            Some(bearer) if path == "/user/orgs" => {
                if_allowed(&bearer.scopes, "read:org", &self.organizations(bearer.person))
            }
            Some(bearer) => repositories(bearer.person),
        };
        let scopes = bearer.map(|bearer| list(&bearer.scopes).join(", "));
        if let Some(scopes) = scopes.and_then(|scopes| HeaderValue::from_str(&scopes).ok()) {
            response.headers_mut().insert("x-oauth-scopes", scopes);
        }
        self.events.record(Event::ApiCalled { person, path, status: response.status().as_u16() });
        Ok(response)
    }
}

impl Shared {
    /// What it says of itself as an OpenID Connect provider (Discovery 1.0).
    pub(super) fn discovery_document(&self) -> Response<Body> {
        let at = |path: &str| format!("{}{path}", self.origin);
        let document = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": at("/login/oauth/authorize"),
            "token_endpoint": at("/login/oauth/access_token"),
            "userinfo_endpoint": at("/userinfo"),
            "revocation_endpoint": at("/revoke"),
            "scopes_supported": ["openid"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
        });
        json_answer(StatusCode::OK, &document)
    }

    fn organizations(&self, person: &Person) -> Value {
        let state = self.state();
        let mine = state.behaviour.members.iter().filter(|(login, _)| *login == person.login);
        mine.map(|(_, id)| json!({ "id": id, "login": format!("org-{id}") })).collect()
    }
}

fn if_allowed(scopes: &BTreeSet<String>, needed: &str, answer: &Value) -> Response<Body> {
    if scopes.contains(needed) {
        return json_answer(StatusCode::OK, answer);
    }
    json_answer(StatusCode::FORBIDDEN, &json!({ "message": "Resource not accessible" }))
}

fn user(person: &Person) -> Response<Body> {
    let user = json!({ "id": person.id, "login": person.login, "name": person.name, "email": person.email });
    json_answer(StatusCode::OK, &user)
}

/// As OpenID Connect has it, where `/user` is the API's own way.
fn userinfo(person: &Person) -> Response<Body> {
    let claims = json!({
        "sub": person.id.to_string(),
        "preferred_username": person.login,
        "name": person.name,
        "email": person.email,
        "email_verified": true,
    });
    json_answer(StatusCode::OK, &claims)
}

fn repositories(person: &Person) -> Response<Body> {
    let repositories = person.repositories.iter().enumerate().map(|(n, name)| {
        json!({
            "id": person.id * 100 + n as u64,
            "name": name,
            "full_name": format!("{}/{name}", person.login),
            "private": n == 0,
        })
    });
    json_answer(StatusCode::OK, &repositories.collect())
}
