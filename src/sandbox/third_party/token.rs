//! The token endpoint with the quirks of its class, and two ways to revoke.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::{
    AnswerFormat, ErrorStatus, Event, ExpiresIn, Shared, list,
    state::{Refused, Tokens},
};
use crate::sandbox::http::{Answer, Body, Params, answer, json, read_body, text};

impl Shared {
    /// `POST /login/oauth/access_token`
    pub(super) async fn token(&self, request: Request<Incoming>) -> Answer {
        if let Err(misbehaviour) = self.healthy(|behaviour| behaviour.token_endpoint).await {
            return misbehaviour;
        }
        let (headers, form) = parts(request).await;
        let wants_json = self.wants_json(&headers);
        Ok(match self.exchange(&headers, &form) {
            Ok(tokens) => encode(StatusCode::OK, wants_json, self.success(tokens)),
            Err(error) => {
                self.events.record(Event::TokenRefused { error });
                self.refusal(error, wants_json)
            }
        })
    }

    /// `POST /revoke` (RFC 7009)
    pub(super) async fn revoke(&self, request: Request<Incoming>) -> Answer {
        if let Err(misbehaviour) = self.healthy(|behaviour| behaviour.revocation).await {
            return misbehaviour;
        }
        let (headers, form) = parts(request).await;
        let Some(client_id) = self.authenticate(&headers, &form) else {
            return Ok(json(StatusCode::UNAUTHORIZED, &serde_json::json!({ "error": "invalid_client" })));
        };
        self.end(&client_id, form.get("token").unwrap_or_default());
        Ok(text(StatusCode::OK, ""))
    }

    /// `DELETE /applications/{client_id}/token` with basic authentication and a JSON body.
    pub(super) async fn delete_token(&self, request: Request<Incoming>) -> Answer {
        if let Err(misbehaviour) = self.healthy(|behaviour| behaviour.revocation).await {
            return misbehaviour;
        }
        let path = request.uri().path().to_owned();
        let headers = request.headers().clone();
        let body = read_body(request).await.unwrap_or_default();
        let client_id = self.authenticate(&headers, &Params::default());
        if client_id.as_ref().is_none_or(|id| path != format!("/applications/{id}/token")) {
            return Ok(json(StatusCode::NOT_FOUND, &serde_json::json!({ "message": "Not Found" })));
        }
        let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let token = body.get("access_token").and_then(Value::as_str).unwrap_or_default();
        let known = self.end(&client_id.unwrap_or_default(), token);
        Ok(text(if known { StatusCode::NO_CONTENT } else { StatusCode::UNPROCESSABLE_ENTITY }, ""))
    }

    fn exchange(&self, headers: &HeaderMap, form: &Params) -> Result<Tokens, Refused> {
        let client_id = self.authenticate(headers, form).ok_or("incorrect_client_credentials")?;
        match form.get("grant_type") {
            None | Some("authorization_code") => {
                let code = form.get("code").ok_or("bad_verification_code")?;
                let verifier = form.get("code_verifier");
                let tokens = self.state().redeem(&client_id, code, form.get("redirect_uri"), verifier)?;
                let (person, scopes) = (tokens.person.login, list(&tokens.scopes));
                self.events.record(Event::TokenIssued { person, client_id, scopes });
                Ok(tokens)
            }
            Some("refresh_token") => {
                let token = form.get("refresh_token").ok_or("bad_refresh_token")?;
                let tokens = self.state().refresh(&client_id, token)?;
                self.events.record(Event::Refreshed { person: tokens.person.login });
                Ok(tokens)
            }
            Some(_) => Err("unsupported_grant_type"),
        }
    }

    /// `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1).
    fn authenticate(&self, headers: &HeaderMap, form: &Params) -> Option<String> {
        let (client_id, secret) = match headers.get(header::AUTHORIZATION) {
            Some(value) => basic(value.to_str().ok()?)?,
            None => (form.get("client_id")?.to_owned(), form.get("client_secret")?.to_owned()),
        };
        let state = self.state();
        let client = state.client(&client_id)?;
        (client.client_secret.expose_secret() == secret).then(|| client_id.clone())
    }

    fn success(&self, tokens: Tokens) -> Map<String, Value> {
        let behaviour = self.state().behaviour.clone();
        let mut fields = Map::new();
        fields.insert("access_token".into(), tokens.access.into());
        if !behaviour.omit_token_type {
            fields.insert("token_type".into(), "bearer".into());
        }
        if !behaviour.omit_scope {
            fields.insert("scope".into(), list(&tokens.scopes).join(",").into());
        }
        if let Some(seconds) = tokens.expires_in.map(|ttl| ttl.as_secs()) {
            let value = match behaviour.expires_in {
                ExpiresIn::Number => seconds.into(),
                ExpiresIn::Text => seconds.to_string().into(),
            };
            fields.insert("expires_in".into(), value);
        }
        if let Some(refresh) = tokens.refresh {
            fields.insert("refresh_token".into(), refresh.into());
        }
        fields
    }

    fn refusal(&self, error: Refused, wants_json: bool) -> Response<Body> {
        let (status, error) = match (self.state().behaviour.error_status, error) {
            (ErrorStatus::Ok, error) => (StatusCode::OK, error),
            (ErrorStatus::Standard, "incorrect_client_credentials") => {
                (StatusCode::UNAUTHORIZED, "invalid_client")
            }
            (ErrorStatus::Standard, "unsupported_grant_type") => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type")
            }
            (ErrorStatus::Standard, _) => (StatusCode::BAD_REQUEST, "invalid_grant"),
        };
        let mut fields = Map::new();
        fields.insert("error".into(), error.into());
        fields.insert("error_description".into(), "The request was refused.".into());
        fields.insert("error_uri".into(), format!("{}/docs", self.origin).into());
        encode(status, wants_json, fields)
    }

    fn wants_json(&self, headers: &HeaderMap) -> bool {
        match self.state().behaviour.answer_format {
            AnswerFormat::AlwaysForm => false,
            AnswerFormat::AlwaysJson => true,
            AnswerFormat::ByAccept => headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .is_some_and(|accept| accept.contains("application/json")),
        }
    }

    fn end(&self, client_id: &str, token: &str) -> bool {
        let person = self.state().revoke(client_id, token).map(|person| person.login);
        self.events.record(Event::Revoked { person });
        person.is_some()
    }
}

async fn parts(request: Request<Incoming>) -> (HeaderMap, Params) {
    let headers = request.headers().clone();
    (headers, Params::parse(&read_body(request).await.unwrap_or_default()))
}

fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded =
        STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    // Both halves are form-encoded (RFC 6749 section 2.3.1).
    let decode = |half: &str| {
        url::form_urlencoded::parse(half.as_bytes())
            .next()
            .map(|(text, _)| text.into_owned())
            .unwrap_or_default()
    };
    Some((decode(id), decode(secret)))
}

fn encode(status: StatusCode, as_json: bool, fields: Map<String, Value>) -> Response<Body> {
    if as_json {
        return json(status, &Value::Object(fields));
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &fields {
        match value {
            Value::String(text) => form.append_pair(name, text),
            other => form.append_pair(name, &other.to_string()),
        };
    }
    answer(status, "application/x-www-form-urlencoded; charset=utf-8", form.finish())
}
