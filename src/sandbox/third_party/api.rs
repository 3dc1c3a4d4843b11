//! The API: who the token's person is, and what they own.

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{Event, Person, Shared, list};
use crate::sandbox::http::{Answer, Body, json as json_answer, read_bearer};

impl Shared {
    /// `GET /user` and `GET /user/repos`
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

fn user(person: &Person) -> Response<Body> {
    let user = json!({ "id": person.id, "login": person.login, "name": person.name, "email": person.email });
    json_answer(StatusCode::OK, &user)
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
